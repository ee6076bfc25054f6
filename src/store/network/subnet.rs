//! Address arithmetic that is the same in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// An address as a number, and how many bits it has.
pub trait Number: Copy + Eq + std::fmt::Display {
    const BITS: u8;
    fn number(self) -> u128;
    /// The lowest [`Number::BITS`] of `number`.
    fn of(number: u128) -> Self;
    /// `None` of the other family.
    fn from_ip(address: IpAddr) -> Option<Self>;
}

impl Number for Ipv4Addr {
    const BITS: u8 = 32;
    fn number(self) -> u128 {
        u32::from(self).into()
    }
    fn of(number: u128) -> Self {
        Self::from(u32::try_from(number & u128::from(u32::MAX)).unwrap_or_default())
    }
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Number for Ipv6Addr {
    const BITS: u8 = 128;
    fn number(self) -> u128 {
        self.into()
    }
    fn of(number: u128) -> Self {
        number.into()
    }
    fn from_ip(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }
    }
}

/// One family's part of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet<A> {
    /// The lowest address.
    pub first: A,
    /// Bits of the network's part.
    pub prefix: u8,
    pub gateway: A,
    /// From where addresses are leased, where that is not the whole: lowest address and bits.
    #[serde(default = "nothing", skip_serializing_if = "Option::is_none")]
    pub range: Option<(A, u8)>,
}

fn nothing<A>() -> Option<(A, u8)> {
    None
}

/// The bits of a host within a network of `prefix` bits.
fn host_mask<A: Number>(prefix: u8) -> u128 {
    let width = u32::from(A::BITS.saturating_sub(prefix));
    if width >= 128 { u128::MAX } else { (1 << width) - 1 }
}

impl<A: Number> Subnet<A> {
    /// The network that `address` is in, its gateway the first address after the lowest one.
    pub fn around(address: A, prefix: u8) -> Self {
        let first = address.number() & !host_mask::<A>(prefix);
        Self { first: A::of(first), prefix, gateway: A::of(first + 1), range: None }
    }

    pub fn contains(&self, address: A) -> bool {
        address.number() & !host_mask::<A>(self.prefix) == self.first.number()
    }

    fn last(&self) -> u128 {
        self.first.number() | host_mask::<A>(self.prefix)
    }

    /// Whether a container may have it: it is neither the network's, nor the gateway's, nor IPv4's broadcast address.
    pub fn is_for_containers(&self, address: A) -> bool {
        let broadcast = A::BITS == 32 && address.number() == self.last();
        self.contains(address) && address != self.first && address != self.gateway && !broadcast
    }

    pub fn overlaps(&self, (first, prefix): (A, u8)) -> bool {
        let mask = !host_mask::<A>(self.prefix.min(prefix));
        self.first.number() & mask == first.number() & mask
    }

    /// The lowest address that containers may have and `taken` does not hold.
    pub fn lowest_free(&self, taken: &[A]) -> Option<A> {
        let (first, prefix) = self.range.unwrap_or((self.first, self.prefix));
        let (first, last) = (first.number(), first.number() | host_mask::<A>(prefix));
        // Each that is taken can turn one candidate away, and three are nobody's.
        let tries = u128::try_from(taken.len()).unwrap_or(u128::MAX).saturating_add(4);
        let mut candidates = (first..=last).take(usize::try_from(tries).unwrap_or(usize::MAX)).map(A::of);
        candidates.find(|a| self.is_for_containers(*a) && !taken.contains(a))
    }
}
