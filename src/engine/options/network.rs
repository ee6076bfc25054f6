//! `--add-host`, `--dns`, `--dns-search`, `--dns-option`, `--hostname`.

use crate::engine::Result;

/// `NAME:IP` or `NAME=IP`, IPv6 with or without brackets.
pub fn add_host(_spec: &str) -> Result<(String, String)> {
    todo!()
}

/// An address of a name server.
pub fn dns(_address: &str) -> Result<String> {
    todo!()
}

/// A domain; `.` alone empties the list.
pub fn dns_search(_domain: &str) -> Result<String> {
    todo!()
}

/// A word for the `options` line of resolv.conf.
pub fn dns_option(_option: &str) -> Result<String> {
    todo!()
}

/// A host name by RFC 1123, up to 63 characters.
pub fn hostname(_name: &str) -> Result<String> {
    todo!()
}
