//! Waits for what the kernel does after it has said yes: what a worker of its does later, when the machine is busy much
//! later. Packets before that are dropped without a word.
//!
//! Waiting has a limit, and to have waited in vain is no error: what is waited for comes, only late.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::Result;
use super::netlink::{ask, find};

/// A worker that has not run for so long is not worth waiting for.
const LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(200);
/// Of linux/if_link.h, and of linux/if_bridge.h.
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const BR_STATE_FORWARDING: u8 = 3;
/// Of `struct ifinfomsg`, and where `rtm_type` is in `struct rtmsg`.
const LINK_HEADER: usize = 16;
const ROUTE_TYPE: usize = 7;

fn wait(mut settled: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !settled()? && begun.elapsed() < LIMIT {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Until what is sent to this address of the calling thread's namespace is taken for its own: `addrconf_dad_work` adds
/// that route, for addresses that are not asked for first, too.
pub(super) fn own_address(address: Ipv6Addr) -> Result<()> {
    let mut body = [0; 12];
    body[0] = u8::try_from(libc::AF_INET6).unwrap_or_default();
    body[1] = 128;
    wait(|| {
        let to = (libc::RTA_DST, &address.octets()[..]);
        let route = ask("look for the address's route", libc::RTM_GETROUTE, &body, Some(to))?;
        Ok(route.get(ROUTE_TYPE) == Some(&libc::RTN_LOCAL))
    })
}

/// Until the bridge passes on what comes of its port: the far end's carrier reaches it through `linkwatch_event`, and
/// the bridge's own, when this is the first one that has any.
pub(super) fn forwarding(port: i32, bridge: i32) -> Result<()> {
    wait(|| {
        let port = attributes(port)?;
        let info = find(&port, libc::IFLA_LINKINFO).unwrap_or_default();
        let state = find(info, IFLA_INFO_SLAVE_DATA).and_then(|data| find(data, IFLA_BRPORT_STATE));
        let bridge = attributes(bridge)?;
        // It has none while it is down, and drops what it is to send.
        let queue = find(&bridge, libc::IFLA_QDISC);
        Ok(state == Some(&[BR_STATE_FORWARDING]) && queue.is_some_and(|name| name != b"noop\0"))
    })
}

fn attributes(interface: i32) -> Result<Vec<u8>> {
    let mut body = [0; LINK_HEADER];
    body[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut told = ask("look at an interface", libc::RTM_GETLINK, &body, None)?;
    Ok(told.split_off(LINK_HEADER.min(told.len())))
}
