//! A bridge in a network namespace, ports of it that lead into other namespaces, and what is at their far ends.
//!
//! What is known of a port is set, not learned: its Ethernet address on the bridge, its IP addresses in the neighbour
//! table. So nobody draws to himself what is meant for another by claiming to have his address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::netlink::{Batch, nested as attribute};
use super::{Context, Error, Result, guard, process, settled, tun};

/// Of linux/if_link.h, linux/veth.h and linux/neighbour.h.
const IFLA_NET_NS_FD: u16 = 28;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_GUARD: u16 = 5;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const NO_GENERATED_ADDRESS: u8 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_MASTER: u8 = 0x04;
const LOOPBACK: i32 = 1;

/// The namespace's own interfaces: the bridge, and the TUN device that leads out.
const BRIDGE: &str = "br0";
const UPLINK: &str = "up0";

/// One family's part of the network: its lowest address, the bits of its prefix, and its gateway.
pub type Block<A> = (A, u8, A);

/// A network to be.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    pub mac: [u8; 6],
    pub mtu: u16,
    pub ipv4: Block<Ipv4Addr>,
    pub ipv6: Option<Block<Ipv6Addr>>,
    /// Whether more than the gateway is beyond the uplink.
    pub open: bool,
}

/// A container's end, as it is to be.
#[derive(Debug, Clone)]
pub struct End {
    /// Up to 15 bytes, in its own namespace.
    pub name: String,
    pub mac: [u8; 6],
    pub ipv4: Ipv4Addr,
    pub ipv6: Option<Ipv6Addr>,
    /// Whether the default route is this way, of each family.
    pub default_route: bool,
    pub default_route6: bool,
}

fn text(word: &str) -> Vec<u8> {
    [word.as_bytes(), &[0]].concat()
}

/// `struct ifinfomsg`.
fn link(family: u8, index: i32, set: i32) -> [u8; 16] {
    let mut body = [0; 16];
    body[0] = family;
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&set.to_ne_bytes());
    body[12..16].copy_from_slice(&set.to_ne_bytes());
    body
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn index_of(name: &str) -> Result<Option<i32>> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    match rustix::net::netdevice::name_to_index(socket.op("socket")?, name) {
        Ok(index) => Ok(Some(index.cast_signed())),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(e) => Err(Error::new("find an interface", e.raw_os_error())),
    }
}

fn known_index(name: &str) -> Result<i32> {
    index_of(name)?.ok_or_else(|| Error::new("find an interface", libc::ENODEV))
}

/// In the calling thread's namespace.
fn set_sysctl(name: &str, value: &str) -> Result<()> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("/proc/sys/net/{name}");
    let file = rustix::fs::open(path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    rustix::io::write(file.op_on("open", &path)?, value.as_bytes()).op_on("write", &path).map(|_| ())
}

fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// A route of this family to `to`, over the interface or a gateway on it.
fn route(batch: &mut Batch, to: Option<(IpAddr, u8)>, like: IpAddr, gateway: Option<IpAddr>, index: i32) {
    let scope =
        if gateway.is_none() && like.is_ipv4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let bits = to.map_or(0, |(_, bits)| bits);
    let (table, by, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RTN_UNICAST);
    let body = [family(like), bits, 0, 0, table, by, scope, kind, 0, 0, 0, 0];
    batch.request("set a route", libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body);
    if let Some((address, _)) = to {
        batch.attribute(libc::RTA_DST, &octets(address));
    }
    if let Some(gateway) = gateway {
        batch.attribute(libc::RTA_GATEWAY, &octets(gateway));
    }
    batch.attribute(libc::RTA_OIF, &index.to_ne_bytes());
}

/// `struct ndmsg` and its attributes. Without an address it is an entry of the bridge's own table.
fn neighbour(batch: &mut Batch, index: i32, address: Option<IpAddr>, mac: [u8; 6]) {
    let bridge = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
    let (state, flags) = if address.is_some() { (NUD_PERMANENT, 0) } else { (NUD_NOARP, NTF_MASTER) };
    let mut body = [address.map_or(bridge, family), 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..10].copy_from_slice(&state.to_ne_bytes());
    batch.request("set a neighbour", libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &body);
    if let Some(address) = address {
        batch.attribute(NDA_DST, &octets(address));
    }
    batch.attribute(NDA_LLADDR, &mac);
}

fn no_generated_address(batch: &mut Batch, index: i32) {
    let inner = attribute(IFLA_INET6_ADDR_GEN_MODE, &[NO_GENERATED_ADDRESS]);
    let six = attribute(u16::try_from(libc::AF_INET6).unwrap_or_default(), &inner);
    batch.request("keep to the given addresses", libc::RTM_NEWLINK, 0, &link(0, index, 0));
    batch.attribute(libc::IFLA_AF_SPEC, &six);
}

/// Furnishes the calling thread's namespace: bridge and uplink, and what leads from the one to the other. Where it was
/// furnished before, only the uplink is made anew. Gives the uplink's descriptor, as [`tun::open`] makes it.
pub fn furnish(network: &Network) -> Result<OwnedFd> {
    if index_of(BRIDGE)?.is_none() {
        let mut batch = Batch::default();
        batch.request("bring lo up", libc::RTM_NEWLINK, 0, &link(0, LOOPBACK, libc::IFF_UP));
        batch.request(
            "make a bridge",
            libc::RTM_NEWLINK,
            libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            &link(0, 0, 0),
        );
        batch.attribute(libc::IFLA_IFNAME, &text(BRIDGE));
        batch.attribute(libc::IFLA_ADDRESS, &network.mac);
        batch.attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, b"bridge"));
        batch.send()?;
        set_sysctl("ipv4/ip_forward", "1")?;
        set_sysctl("ipv4/conf/all/send_redirects", "0")?;
        set_sysctl(&format!("ipv4/conf/{BRIDGE}/send_redirects"), "0")?;
        set_sysctl(&format!("ipv4/conf/{BRIDGE}/rp_filter"), "1")?;
        if has_ipv6() {
            set_sysctl("ipv6/conf/all/forwarding", "1")?;
            set_sysctl(&format!("ipv6/conf/{BRIDGE}/accept_ra"), "0")?;
        }
    }
    let bridge = known_index(BRIDGE)?;
    let device = tun::open(UPLINK)?;
    let uplink = known_index(UPLINK)?;
    set_sysctl(&format!("ipv4/conf/{UPLINK}/rp_filter"), "1")?;
    let mut batch = Batch::default();
    for index in [bridge, uplink] {
        if has_ipv6() {
            no_generated_address(&mut batch, index);
        }
        batch.request("bring the network up", libc::RTM_NEWLINK, 0, &link(0, index, libc::IFF_UP));
        batch.attribute(libc::IFLA_MTU, &u32::from(network.mtu).to_ne_bytes());
        if index == uplink {
            batch.attribute(libc::IFLA_TXQLEN, &tun::QUEUE.to_ne_bytes());
        }
    }
    let (first, prefix, gateway) = network.ipv4;
    let six = network.ipv6.filter(|_| has_ipv6());
    let blocks = [(first.into(), prefix, IpAddr::from(gateway), 32)];
    let six = six.map(|(first, prefix, gateway)| (first.into(), prefix, gateway.into(), 128));
    for (first, prefix, gateway, bits) in blocks.into_iter().chain(six) {
        route(&mut batch, Some((first, prefix)), first, None, bridge);
        route(&mut batch, Some((gateway, bits)), gateway, None, uplink);
        if network.open {
            route(&mut batch, None, gateway, None, uplink);
        }
    }
    batch.send()?;
    Ok(device)
}

/// Connects the namespace `far` with the bridge by a pair of interfaces, `port` on the bridge's side. The calling
/// thread is in the bridge's namespace.
///
/// [`acquaint`] is to follow.
pub fn plug(network: &Network, port: &str, far: &OwnedFd, end: &End) -> Result<()> {
    // What a bridge that is no more has left behind.
    in_namespace(far, {
        let name = end.name.clone();
        move || unplug(&name)
    })?;
    let bridge = known_index(BRIDGE)?;
    let mtu = attribute(libc::IFLA_MTU, &u32::from(network.mtu).to_ne_bytes());
    let peer = [
        link(0, 0, 0).to_vec(),
        attribute(libc::IFLA_IFNAME, &text(&end.name)),
        attribute(libc::IFLA_ADDRESS, &end.mac),
        attribute(IFLA_NET_NS_FD, &far.as_fd().as_raw_fd().to_ne_bytes()),
        mtu,
    ]
    .concat();
    let info = [
        attribute(libc::IFLA_INFO_KIND, b"veth"),
        attribute(libc::IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &peer)),
    ]
    .concat();
    let mut batch = Batch::default();
    batch.request(
        "make a pair of interfaces",
        libc::RTM_NEWLINK,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        &link(0, 0, 0),
    );
    batch.attribute(libc::IFLA_IFNAME, &text(port));
    batch.attribute(libc::IFLA_MTU, &u32::from(network.mtu).to_ne_bytes());
    batch.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
    batch.attribute(libc::IFLA_LINKINFO, &info);
    batch.send()?;
    set_up_port(port, end)?;
    let (network, end) = (*network, end.clone());
    in_namespace(far, move || set_up_end(&network, &end))?;
    settled::forwarding(known_index(port)?, bridge)
}

/// Lets a port send as its end and nobody else, in a namespace that [`guard::close`] has closed.
pub fn let_send(port: &str, end: &End) -> Result<()> {
    guard::allow(&lease(known_index(port)?, end))
}

/// Undoes [`let_send`], before the port is removed.
pub fn silence(port: &str, end: &End) -> Result<()> {
    index_of(port)?.map_or(Ok(()), |index| guard::forbid(&lease(index, end)))
}

fn lease(port: i32, end: &End) -> guard::Lease {
    guard::Lease { port, mac: end.mac, ipv4: end.ipv4, ipv6: end.ipv6 }
}

/// The bridge's side: nothing is learned at it, nothing that is not for it goes out of it but broadcasts.
fn set_up_port(port: &str, end: &End) -> Result<()> {
    let index = known_index(port)?;
    if has_ipv6() {
        set_sysctl(&format!("ipv6/conf/{port}/disable_ipv6"), "1")?;
    }
    let flags = [(IFLA_BRPORT_LEARNING, 0), (IFLA_BRPORT_UNICAST_FLOOD, 0), (IFLA_BRPORT_GUARD, 1u8)];
    let flags: Vec<u8> = flags.iter().flat_map(|(kind, value)| attribute(*kind, &[*value])).collect();
    let family = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
    let mut batch = Batch::default();
    batch.request("set up a port", libc::RTM_SETLINK, 0, &link(family, index, 0));
    batch.attribute(libc::IFLA_PROTINFO | NLA_F_NESTED, &flags);
    neighbour(&mut batch, index, None, end.mac);
    let bridge = known_index(BRIDGE)?;
    neighbour(&mut batch, bridge, Some(end.ipv4.into()), end.mac);
    if let Some(six) = end.ipv6.filter(|_| has_ipv6()) {
        neighbour(&mut batch, bridge, Some(six.into()), end.mac);
    }
    batch.request("bring a port up", libc::RTM_NEWLINK, 0, &link(0, index, libc::IFF_UP));
    batch.send()
}

/// The container's side.
fn set_up_end(network: &Network, end: &End) -> Result<()> {
    let index = known_index(&end.name)?;
    let mut batch = Batch::default();
    let six = end.ipv6.zip(network.ipv6).filter(|_| has_ipv6());
    if has_ipv6() {
        set_sysctl(&format!("ipv6/conf/{}/accept_ra", end.name), "0")?;
        match six {
            Some(_) => no_generated_address(&mut batch, index),
            None => set_sysctl(&format!("ipv6/conf/{}/disable_ipv6", end.name), "1")?,
        }
    }
    batch.request("bring an interface up", libc::RTM_NEWLINK, 0, &link(0, index, libc::IFF_UP));
    let (_, prefix, gateway) = network.ipv4;
    let four = (IpAddr::from(end.ipv4), prefix, IpAddr::from(gateway));
    let six = six.map(|(own, (_, prefix, gateway))| (IpAddr::from(own), prefix, IpAddr::from(gateway)));
    for (own, prefix, gateway) in std::iter::once(four).chain(six) {
        // struct ifaddrmsg. The address is leased: nobody else has it.
        let nodad = u8::try_from(libc::IFA_F_NODAD).unwrap_or_default();
        let mut body = [family(own), prefix, nodad, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let new = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        batch.request("give an interface its address", libc::RTM_NEWADDR, new, &body);
        batch.attribute(libc::IFA_LOCAL, &octets(own));
        batch.attribute(libc::IFA_ADDRESS, &octets(own));
        neighbour(&mut batch, index, Some(gateway), network.mac);
        let default = if own.is_ipv4() { end.default_route } else { end.default_route6 };
        if default && network.open {
            route(&mut batch, None, gateway, Some(gateway), index);
        }
    }
    batch.send()?;
    match end.ipv6.filter(|_| six.is_some()) {
        Some(own) => settled::own_address(own),
        None => Ok(()),
    }
}

/// Somebody on the bridge: an Ethernet address and what IP addresses it has.
#[derive(Debug, Clone)]
pub struct Peer {
    pub mac: [u8; 6],
    pub addresses: Vec<IpAddr>,
}

/// Makes the peers known at the interface of `namespace`, for good: nobody else is believed to be them.
pub fn acquaint(namespace: &OwnedFd, interface: &str, peers: Vec<Peer>) -> Result<()> {
    let interface = interface.to_owned();
    in_namespace(namespace, move || {
        let index = known_index(&interface)?;
        let mut batch = Batch::default();
        for (address, mac) in peers.iter().flat_map(|p| p.addresses.iter().map(|a| (*a, p.mac))) {
            if address.is_ipv4() || has_ipv6() {
                neighbour(&mut batch, index, Some(address), mac);
            }
        }
        batch.send()
    })
}

/// Undoes [`acquaint`], where it was done.
pub fn forget(namespace: &OwnedFd, interface: &str, peer: Peer) -> Result<()> {
    let interface = interface.to_owned();
    in_namespace(namespace, move || {
        let Some(index) = index_of(&interface)? else { return Ok(()) };
        let mut batch = Batch::default();
        for address in peer.addresses {
            let mut body = [family(address), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            batch.request("forget a neighbour", libc::RTM_DELNEIGH, 0, &body);
            batch.attribute(NDA_DST, &octets(address));
        }
        match batch.send() {
            Err(e) if e.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    })
}

/// From now on the way out of `namespace` is by the gateway on that interface, for the gateway's family.
pub fn lead_out(namespace: &OwnedFd, interface: &str, gateway: IpAddr) -> Result<()> {
    let interface = interface.to_owned();
    in_namespace(namespace, move || {
        let mut batch = Batch::default();
        route(&mut batch, None, gateway, Some(gateway), known_index(&interface)?);
        batch.send()
    })
}

/// Whether the bridge, in the calling thread's namespace, has the port.
pub fn has_port(port: &str) -> Result<bool> {
    Ok(index_of(port)?.is_some())
}

/// Removes an interface of the calling thread's namespace, and with it the other one of its pair.
pub fn unplug(name: &str) -> Result<()> {
    let Some(index) = index_of(name)? else { return Ok(()) };
    let mut batch = Batch::default();
    batch.request("remove an interface", libc::RTM_DELLINK, 0, &link(0, index, 0));
    match batch.send() {
        Err(e) if e.is(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// Runs `job` by a thread that has entered the network namespace.
fn in_namespace(namespace: &OwnedFd, job: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let namespace = process::duplicate(namespace.as_fd())?;
    let work = move || process::enter(&namespace, libc::CLONE_NEWNET).and_then(|()| job());
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(work).op("start a thread")?;
    thread.join().unwrap_or_else(|_| Err(Error::new("set up an interface", libc::ECHILD)))
}
