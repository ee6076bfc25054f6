//! Ethernet addresses of containers.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// docker's choice: locally administered, and as unique as the address. Then others, for when somebody has that.
    pub(super) fn of(address: Ipv4Addr) -> impl Iterator<Item = Self> {
        let [a, b, c, d] = address.octets();
        (0x42..=u8::MAX).map(move |second| Self([0x02, second, a, b, c, d]))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = &'static str;
    /// Six pairs of hex digits, separated by `:` or `-`: one interface's address, not a group's.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or("six pairs of hex digits are expected")?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| "six pairs of hex digits are expected")?;
        }
        if parts.next().is_some() {
            return Err("six pairs of hex digits are expected");
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err("it is not the address of one interface");
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = &'static str;
    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}
