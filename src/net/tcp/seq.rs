//! Sequence numbers, which wrap, RFC 9293 §3.4.

use std::ops::{Add, AddAssign};

/// A place in one direction of a connection. There is no order over all of them: only of two that are less than
/// 2³¹ apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::net) struct Seq(pub u32);

impl Seq {
    /// How many bytes this is after `other`; negative when before.
    pub(in crate::net) fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// How many bytes this is after `other`; 0 when before.
    pub(in crate::net) fn after(self, other: Self) -> usize {
        usize::try_from(self.since(other)).unwrap_or(0)
    }

    pub(in crate::net) fn before(self, other: Self) -> bool {
        self.since(other) < 0
    }

    pub(in crate::net) fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    pub(in crate::net) fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

impl Add<usize> for Seq {
    type Output = Self;

    fn add(self, bytes: usize) -> Self {
        // Nothing is as long as the number space: an offset is below 2³¹.
        Self(self.0.wrapping_add(u32::try_from(bytes).unwrap_or_default()))
    }
}

impl AddAssign<usize> for Seq {
    fn add_assign(&mut self, bytes: usize) {
        *self = *self + bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::Seq;

    #[test]
    fn order_survives_the_wrap() {
        let (a, b) = (Seq(u32::MAX - 1), Seq(3));
        assert!(a.before(b) && !b.before(a));
        assert_eq!(a + 5, b);
        assert_eq!((b.after(a), a.after(b)), (5, 0));
        assert_eq!((a.max(b), a.min(b)), (b, a));
    }
}
