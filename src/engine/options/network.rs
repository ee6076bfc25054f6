//! `--add-host`, `--dns`, `--dns-search`, `--dns-option`, `--hostname`: what ends up in three files of `/etc`, so
//! nothing that could begin a line or a field of its own gets through.

use std::net::IpAddr;

use super::invalid;
use crate::engine::Result;

/// In the place of an address: the host, as the container sees it at each start.
pub const HOST_GATEWAY: &str = "host-gateway";

/// `NAME:IP` or `NAME=IP`, IPv6 with or without brackets; the address may be [`HOST_GATEWAY`].
pub fn add_host(spec: &str) -> Result<(String, String)> {
    let fail = |reason: &str| invalid("add-host", spec, reason);
    let (name, address) = spec
        .split_once('=')
        .or_else(|| spec.split_once(':'))
        .filter(|(name, address)| !name.is_empty() && !address.is_empty())
        .ok_or_else(|| fail("bad format for add-host: NAME:IP or NAME=IP is allowed"))?;
    let sound = |name: &str| name.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !sound(name) {
        return Err(fail("a host name has no blanks, control characters or `#`"));
    }
    if address == HOST_GATEWAY {
        return Ok((name.to_owned(), address.to_owned()));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let ip: IpAddr = bare.parse().map_err(|_| fail("invalid IP address in add-host"))?;
    Ok((name.to_owned(), ip.to_string()))
}

/// An address of a name server.
pub fn dns(address: &str) -> Result<String> {
    let ip: IpAddr =
        address.trim().parse().map_err(|_| invalid("dns", address, "it is not an IP address"))?;
    Ok(ip.to_string())
}

/// A domain; `.` alone empties the list.
pub fn dns_search(domain: &str) -> Result<String> {
    let name = domain.trim();
    let bare = name.strip_suffix('.').unwrap_or(name);
    if name == "." || (bare.len() < 255 && is_name(bare, true)) {
        return Ok(name.to_owned());
    }
    Err(invalid("dns-search", domain, "it is not a valid domain"))
}

/// A word for the `options` line of resolv.conf.
pub fn dns_option(option: &str) -> Result<String> {
    if option.is_empty() || !option.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(invalid("dns-option", option, "one word is allowed, such as ndots:2"));
    }
    Ok(option.to_owned())
}

/// A host name by RFC 1123, up to 63 characters; like docker with `_` allowed, which service names are full of.
pub fn hostname(name: &str) -> Result<String> {
    if name.len() > 63 || !is_name(name, true) {
        let reason =
            "up to 63 letters, digits, `-`, `_` and `.` are allowed; parts cannot begin or end with `-`";
        return Err(invalid("hostname", name, reason));
    }
    Ok(name.to_owned())
}

fn is_name(name: &str, underscore: bool) -> bool {
    let sound = |part: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || (underscore && b == b'_');
        !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(inside)
    };
    name.split('.').all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(add_host("a:1.2.3.4").unwrap(), pair("a", "1.2.3.4"));
        assert_eq!(add_host("a=::1").unwrap(), pair("a", "::1"));
        assert_eq!(add_host("a:::1").unwrap(), pair("a", "::1"));
        assert_eq!(add_host("a:[2001:db8::1]").unwrap(), pair("a", "2001:db8::1"));
        for bad in ["a", "a:", ":1.2.3.4", "a:1.2.3", "a\n1.1.1.1 b:1.2.3.4", "a b=1.2.3.4", "#=1.2.3.4"] {
            assert!(add_host(bad).is_err(), "{bad}");
        }
        assert_eq!(add_host("a:host-gateway").unwrap(), pair("a", "host-gateway"));
        assert!(add_host("a b:host-gateway").is_err());
    }

    #[test]
    fn names() {
        assert_eq!(hostname("web-1.example_x").unwrap(), "web-1.example_x");
        assert!(hostname(&"a".repeat(63)).is_ok());
        for bad in ["", "-a", "a-", "a..b", "a b", "a\nb", &"a".repeat(64), "ä"] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
        assert!(dns("8.8.8.8").is_ok() && dns("fe80::1").is_ok());
        assert!(dns("8.8.8").is_err() && dns("").is_err());
        assert!(dns_search(".").is_ok() && dns_search("example.com.").is_ok());
        assert!(dns_search("a\nnameserver 1.1.1.1").is_err() && dns_search("").is_err());
        assert!(dns_option("ndots:2").is_ok() && dns_option("a b").is_err() && dns_option("a\n").is_err());
    }
}
