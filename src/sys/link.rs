//! Network namespaces and their interfaces: the loopback, and a TUN device towards a network in user space.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::netlink::Batch;
use super::{Context, Error, Result, process, settled, tun, userns};

/// What the thread that makes a namespace needs: a few system calls' worth, in bytes.
const STACK: usize = 64 << 10;
/// `lo` is the first interface of every namespace.
const LOOPBACK: i32 = 1;
/// `IN6_ADDR_GEN_MODE_NONE` of linux/if_link.h: no link-local address, hence no router solicitations.
const NO_GENERATED_ADDRESS: u8 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `AF_INET6` as the type of an attribute inside `IFLA_AF_SPEC`.
const SPEC_OF_INET6: u16 = 10;

/// One family's address of an interface, and its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<A> {
    pub own: A,
    /// Bits of the network's part.
    pub prefix: u8,
    /// The next hop of the default route, inside the prefix.
    pub gateway: A,
}

/// A TUN device to be: what the namespace's own side of it is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tun {
    /// Up to 15 bytes.
    pub name: &'static str,
    pub mtu: u32,
    pub ipv4: Option<Address<Ipv4Addr>>,
    /// Without one the interface has no IPv6 at all.
    pub ipv6: Option<Address<Ipv6Addr>>,
}

/// A network namespace, and the other side of its TUN device, as [`tun::open`] makes it.
#[derive(Debug)]
pub struct Network {
    pub namespace: OwnedFd,
    pub tun: Option<OwnedFd>,
}

/// A network namespace in the making.
#[derive(Debug)]
pub struct NewNamespace(JoinHandle<Result<Network>>);

/// Begins to make a network namespace with `lo` up, and a TUN device if one is wanted: most of what a start waits for
/// in the kernel. A thread enters it, so the process stays where it is; it has one thread again after
/// [`NewNamespace::finish`].
pub fn new_namespace(tun: Option<Tun>) -> Result<NewNamespace> {
    let make = move || {
        process::unshare(libc::CLONE_NEWNET)?;
        let tun = furnish(tun.as_ref())?;
        Ok(Network { namespace: process::thread_namespace("net")?, tun })
    };
    std::thread::Builder::new().stack_size(STACK).spawn(make).op("start a thread").map(NewNamespace)
}

impl NewNamespace {
    pub fn finish(self) -> Result<Network> {
        self.0.join().unwrap_or_else(|_| Err(Error::new("make a network namespace", libc::ECHILD)))
    }
}

/// The same in a user namespace within the caller's own, whose root may then do as it likes with it. The calling
/// process has one thread.
pub fn new_namespace_within(user: impl AsFd, tun: Option<&Tun>) -> Result<Network> {
    let make = || {
        process::unshare(libc::CLONE_NEWNET)?;
        let tun = furnish(tun)?;
        Ok(std::iter::once(process::own_namespace("net")?).chain(tun).collect())
    };
    // Who reads the error asks for this one.
    let told = |what: &str, errno| match what {
        tun::OPEN => Error::with_subject(tun::OPEN, tun::DEVICE, errno),
        what => Error::with_subject("make a network namespace:", what, errno),
    };
    let mut made = userns::make_within(user, make, told)?.into_iter();
    let namespace = made.next().ok_or_else(|| Error::new("make a network namespace", libc::ECHILD))?;
    Ok(Network { namespace, tun: made.next() })
}

/// Brings `lo` up. The kernel gives it 127.0.0.1/8 and ::1 by itself.
pub fn loopback_up() -> Result<()> {
    furnish(None).map(|_| ())
}

/// Everything that the calling thread's namespace is to have.
fn furnish(tun: Option<&Tun>) -> Result<Option<OwnedFd>> {
    let mut batch = Batch::default();
    batch.request("bring lo up", libc::RTM_NEWLINK, 0, &link(LOOPBACK, libc::IFF_UP));
    let Some(tun) = tun else { return batch.send().map(|()| None) };
    let device = tun::open(tun.name)?;
    let index = index_of(tun.name)?;
    match tun.ipv6 {
        Some(_) => {
            keep_to_given_addresses(&mut batch, index);
            // The other end is a stack of ours, which advertises nothing: this is for the day that it does.
            if_writable(set_sysctl(tun.name, "accept_ra", b"0"))?;
        }
        // Where the kernel has no IPv6, there is none to be switched off.
        None if Path::new("/proc/sys/net/ipv6").exists() => {
            keep_to_given_addresses(&mut batch, index);
            if_writable(set_sysctl(tun.name, "disable_ipv6", b"1"))?;
        }
        None => {}
    }
    batch.request("bring the TUN device up", libc::RTM_NEWLINK, 0, &link(index, libc::IFF_UP));
    batch.attribute(libc::IFLA_MTU, &tun.mtu.to_ne_bytes());
    batch.attribute(libc::IFLA_TXQLEN, &tun::QUEUE.to_ne_bytes());
    if let Some(address) = &tun.ipv4 {
        addresses(
            &mut batch,
            libc::AF_INET,
            index,
            address.prefix,
            &address.own.octets(),
            &address.gateway.octets(),
        );
    }
    if let Some(address) = &tun.ipv6 {
        addresses(
            &mut batch,
            libc::AF_INET6,
            index,
            address.prefix,
            &address.own.octets(),
            &address.gateway.octets(),
        );
    }
    batch.send()?;
    if let Some(address) = &tun.ipv6 {
        settled::own_address(address.own)?;
    }
    Ok(Some(device))
}

/// Before it is up, when an address would be made.
fn keep_to_given_addresses(batch: &mut Batch, index: i32) {
    // `{ AF_INET6: { addr_gen_mode: none } }`, each a header of four bytes.
    let [mode_length, mode] = [5u16, IFLA_INET6_ADDR_GEN_MODE].map(u16::to_ne_bytes);
    let [family_length, family] = [12u16, SPEC_OF_INET6].map(u16::to_ne_bytes);
    let inner = [&family_length[..], &family, &mode_length, &mode, &[NO_GENERATED_ADDRESS, 0, 0, 0]];
    batch.request("keep to the given addresses", libc::RTM_NEWLINK, 0, &link(index, 0));
    batch.attribute(libc::IFLA_AF_SPEC, &inner.concat());
}

/// Inside another container `/proc/sys` is read-only.
fn if_writable(set: Result<()>) -> Result<()> {
    match set {
        Err(e) if e.is(libc::EROFS) => Ok(()),
        other => other,
    }
}

fn index_of(name: &str) -> Result<i32> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let index =
        rustix::net::netdevice::name_to_index(socket.op("socket")?, name).op("find the TUN device")?;
    Ok(index.cast_signed())
}

/// `struct ifinfomsg` that sets these `IFF_*`.
fn link(index: i32, set: i32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&set.to_ne_bytes());
    body[12..16].copy_from_slice(&set.to_ne_bytes());
    body
}

/// An address, and a default route through the gateway.
fn addresses(batch: &mut Batch, family: i32, index: i32, prefix: u8, own: &[u8], gateway: &[u8]) {
    let family = u8::try_from(family).unwrap_or_default();
    let new = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    // struct ifaddrmsg. Nobody else is on the link, so the address is not asked for first.
    let nodad = u8::try_from(libc::IFA_F_NODAD).unwrap_or_default();
    let mut body = [family, prefix, nodad, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    batch.request("give the TUN device its address", libc::RTM_NEWADDR, new, &body);
    batch.attribute(libc::IFA_LOCAL, own);
    batch.attribute(libc::IFA_ADDRESS, own);
    // struct rtmsg.
    let (table, by, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RTN_UNICAST);
    let body = [family, 0, 0, 0, table, by, libc::RT_SCOPE_UNIVERSE, kind, 0, 0, 0, 0];
    batch.request("set the default route", libc::RTM_NEWROUTE, new, &body);
    batch.attribute(libc::RTA_GATEWAY, gateway);
    batch.attribute(libc::RTA_OIF, &index.to_ne_bytes());
}

/// In the calling thread's namespace.
fn set_sysctl(interface: &str, name: &str, value: &[u8]) -> Result<()> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/{name}");
    let file = rustix::fs::open(path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::io::write(file.op_on("open", &path)?, value).op_on("write", &path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a user namespace of its own, so that no test needs root.
    fn in_namespaces(test: impl FnOnce() -> Result<bool>) {
        let Some(child) = process::fork_filtered().unwrap() else {
            let held = process::unshare(libc::CLONE_NEWUSER).and_then(|()| test());
            process::exit_now(u8::from(!matches!(held, Ok(true))))
        };
        assert_eq!(process::wait_pid(child).unwrap(), process::WaitStatus::Exited(0));
    }

    #[test]
    fn a_tun_device_has_its_addresses_and_routes() {
        let tun = Tun {
            name: "eth0",
            mtu: 1500,
            ipv4: Some(Address { own: [10, 0, 2, 100].into(), prefix: 24, gateway: [10, 0, 2, 2].into() }),
            ipv6: Some(Address {
                own: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x64),
                prefix: 64,
                gateway: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
            }),
        };
        in_namespaces(|| {
            let made = new_namespace(Some(tun))?.finish()?;
            process::enter(&made.namespace, libc::CLONE_NEWNET)?;
            let read = |path: &str| std::fs::read_to_string(path).op_on("read", path);
            let route = read("/proc/thread-self/net/route")?;
            let six = read("/proc/thread-self/net/if_inet6")?;
            Ok(made.tun.is_some()
                && route.contains("eth0\t00000000\t0202000A")
                && six.lines().filter(|l| l.contains("eth0")).count() == 1
                && read("/proc/sys/net/ipv6/conf/eth0/accept_ra")?.trim() == "0")
        });
    }

    #[test]
    fn ipv6_can_be_off() {
        let ipv4 = Some(Address { own: [10, 0, 2, 100].into(), prefix: 24, gateway: [10, 0, 2, 2].into() });
        in_namespaces(|| {
            let made = new_namespace(Some(Tun { name: "eth0", mtu: 1280, ipv4, ipv6: None }))?.finish()?;
            process::enter(&made.namespace, libc::CLONE_NEWNET)?;
            let six = std::fs::read_to_string("/proc/thread-self/net/if_inet6").op("read")?;
            Ok(!six.contains("eth0"))
        });
    }
}
