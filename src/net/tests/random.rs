//! Numbers that a seed decides.

/// xorshift64*: enough for a test, and the same everywhere.
#[derive(Debug, Clone)]
pub(in crate::net) struct Random(u64);

impl Random {
    pub(in crate::net) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(in crate::net) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub(in crate::net) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }

    /// True in so many of a thousand cases.
    pub(in crate::net) fn per_mille(&mut self, of: usize) -> bool {
        self.below(1000) < of
    }

    pub(in crate::net) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
