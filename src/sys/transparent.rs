//! Connections inside a network namespace that come from an address beyond it: that of the gateway, which stands for
//! the host.
//!
//! The client's packets carry a mark, which connections that are accepted take over (`tcp_fwmark_accept`), and so do
//! refusals (`fwmark_reflect`); a rule sees to it that what carries the mark and is meant for the gateway stays inside,
//! where the client's socket is. All else that is meant for the gateway goes out as ever.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::inet::{self, Kind, Outcome};
use super::netlink::Batch;
use super::{Context, Result};

/// Of the packets. Only who may administrate the namespace's network could set the same.
const MARK: u32 = 0x6b65_6c70;
/// The table that the rule leads to, and its place before the main one.
const TABLE: u8 = 107;
const PRIORITY: u32 = 107;
/// `lo` is the first interface of every namespace.
const LOOPBACK: i32 = 1;

// From linux/fib_rules.h.
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FR_ACT_TO_TBL: u8 = 1;

/// Prepares the calling thread's namespace for [`socket`]s from these addresses.
pub fn prepare(gateways: &[IpAddr]) -> Result<()> {
    switch_on("/proc/sys/net/ipv4/tcp_fwmark_accept")?;
    for gateway in gateways {
        switch_on(match gateway {
            IpAddr::V4(_) => "/proc/sys/net/ipv4/fwmark_reflect",
            IpAddr::V6(_) => "/proc/sys/net/ipv6/fwmark_reflect",
        })?;
    }
    let mut batch = Batch::default();
    let new = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    for gateway in gateways {
        let (family, octets) = match gateway {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let family = u8::try_from(family).unwrap_or_default();
        let bits = u8::try_from(octets.len() * 8).unwrap_or_default();
        // struct fib_rule_hdr.
        let rule = [family, 0, 0, 0, TABLE, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
        batch.request("set a rule for clients on the host", libc::RTM_NEWRULE, new, &rule);
        batch.attribute(FRA_PRIORITY, &PRIORITY.to_ne_bytes());
        batch.attribute(FRA_FWMARK, &MARK.to_ne_bytes());
        // struct rtmsg.
        let (by, scope, kind) = (libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
        let route = [family, bits, 0, 0, TABLE, by, scope, kind, 0, 0, 0, 0];
        batch.request("set a route for clients on the host", libc::RTM_NEWROUTE, new, &route);
        batch.attribute(libc::RTA_DST, &octets);
        batch.attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
    }
    match batch.send() {
        // From whoever served this namespace before.
        Err(e) if e.is(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn switch_on(sysctl: &str) -> Result<()> {
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(sysctl, flags, rustix::fs::Mode::empty()).op_on("open", sysctl)?;
    rustix::io::write(file, b"1").op_on("write", sysctl).map(|_| ())
}

/// A TCP socket of the calling thread's namespace that begins to connect to `to`, and comes from `from`.
pub fn connect(from: IpAddr, to: SocketAddr) -> Outcome<OwnedFd> {
    let socket = inet::socket(Kind::Tcp, to.ip())?;
    option(&socket, libc::SOL_SOCKET, libc::SO_MARK, MARK.cast_signed())?;
    match from {
        IpAddr::V4(_) => option(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1)?,
        IpAddr::V6(_) => option(&socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1)?,
    }
    inet::bind(&socket, SocketAddr::new(from, 0))?;
    match inet::connect(&socket, to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

fn option(socket: impl AsFd, level: i32, name: i32, value: i32) -> Outcome<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: these options read an int, which value is.
    let rc = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
