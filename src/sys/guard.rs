//! Who may send what over a bridge: every port its own addresses and nobody else's, by nf_tables(8).
//!
//! One table of the namespace's, with a set for each family of what is leased: port, Ethernet address, IP address. What
//! a container sends passes if it is IP or ARP and says so truly; everything else, router advertisements and other
//! protocols among it, is dropped where it enters the bridge. What comes from the bridge itself is not looked at.
//!
//! The rules outlive the process that made them, as the bridge does.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::netlink::{Batch, Protocol, nested};
use super::{Error, Result};

/// `NFNL_SUBSYS_NFTABLES`, and its messages, from linux/netfilter/nf_tables.h.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const NFPROTO_BRIDGE: u8 = 7;

const TABLE: &[u8] = b"kelp\0";
const CHAIN: &[u8] = b"ports\0";
/// `NF_BR_PRE_ROUTING`, before the kernel's own users of it.
const PREROUTING: u32 = 0;
const PRIORITY: i32 = -300;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// Attributes of each kind of message.
const NAME: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// Registers of four bytes, and the one for verdicts.
const FIRST_REGISTER: u32 = 8;
const VERDICT: u32 = 0;
/// `nft_meta_keys`.
const META_PROTOCOL: u32 = 1;
const META_IIF: u32 = 4;
/// `nft_payload_bases`.
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;

/// Where a frame has its sender's Ethernet address, and an IP or ARP header its sender's addresses, in bytes.
const FRAME_SENDER: u32 = 6;
const IPV4_SOURCE: u32 = 12;
const IPV6_SOURCE: u32 = 8;
const ARP_SENDER: u32 = 8;
const ARP_SENDER_IP: u32 = 14;
const MAC: u32 = 6;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// A set of leases.
#[derive(Debug, Clone, Copy)]
struct Set {
    name: &'static [u8],
    id: u32,
    /// Of an address, in bytes.
    address: u32,
}

const FOUR: Set = Set { name: b"four\0", id: 1, address: 4 };
const SIX: Set = Set { name: b"six\0", id: 2, address: 16 };

impl Set {
    /// Port and Ethernet address fill three registers.
    fn key(self) -> u32 {
        12 + self.address
    }
}

/// What a port may send as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The port's index in the bridge's namespace.
    pub port: i32,
    pub mac: [u8; 6],
    pub ipv4: Ipv4Addr,
    pub ipv6: Option<Ipv6Addr>,
}

/// From here on nothing passes the calling thread's namespace's bridge but what [`allow`] has let. `false`: this kernel
/// has no nf_tables, or not for bridges, and everything passes.
pub fn close() -> Result<bool> {
    let mut batch = Batch::of(Protocol::Netfilter);
    // There once, from whoever was in this namespace before: with what it lets pass.
    message(&mut batch, "close a bridge", NEW_TABLE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    batch.attribute(NAME, TABLE);
    for set in [FOUR, SIX] {
        message(&mut batch, "make a set of leases", NEW_SET, libc::NLM_F_CREATE);
        batch.attribute(NAME, TABLE);
        batch.attribute(SET_NAME, set.name);
        batch.attribute(SET_FLAGS, &0u32.to_be_bytes());
        batch.attribute(SET_KEY_TYPE, &0u32.to_be_bytes());
        batch.attribute(SET_KEY_LENGTH, &set.key().to_be_bytes());
        batch.attribute(SET_ID, &set.id.to_be_bytes());
    }
    message(&mut batch, "guard a bridge's ports", NEW_CHAIN, libc::NLM_F_CREATE);
    batch.attribute(NAME, TABLE);
    batch.attribute(CHAIN_NAME, CHAIN);
    let hook = [nested(1, &PREROUTING.to_be_bytes()), nested(2, &PRIORITY.to_be_bytes())].concat();
    batch.attribute(CHAIN_HOOK, &hook);
    batch.attribute(CHAIN_POLICY, &DROP.to_be_bytes());
    batch.attribute(CHAIN_TYPE, b"filter\0");
    let sender = |at, source| [(LINK_HEADER, at, MAC), (NETWORK_HEADER, source, 0)];
    let arp = [(NETWORK_HEADER, ARP_SENDER, MAC), (NETWORK_HEADER, ARP_SENDER_IP, 0)];
    rule(&mut batch, ETHERTYPE_IPV4, FOUR, sender(FRAME_SENDER, IPV4_SOURCE));
    rule(&mut batch, ETHERTYPE_IPV6, SIX, sender(FRAME_SENDER, IPV6_SOURCE));
    rule(&mut batch, ETHERTYPE_ARP, FOUR, arp);
    match batch.send() {
        Ok(()) => Ok(true),
        Err(e) if e.is(libc::EEXIST) => Ok(true),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Lets a port send as what it is.
pub fn allow(lease: &Lease) -> Result<()> {
    elements("let a port send", NEW_ELEMENT, libc::NLM_F_CREATE, lease).send()
}

/// Undoes [`allow`], where it was done.
pub fn forbid(lease: &Lease) -> Result<()> {
    match elements("let a port send no more", DELETE_ELEMENT, 0, lease).send() {
        Err(e) if e.is(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// What a kernel says that was built without.
fn is_missing(error: &Error) -> bool {
    [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::ENOENT, libc::EAFNOSUPPORT]
        .iter()
        .any(|errno| error.is(*errno))
}

/// Begins a message: `struct nfgenmsg`.
fn message(batch: &mut Batch, doing: &'static str, kind: u16, flags: i32) {
    batch.request(doing, kind, flags, &[NFPROTO_BRIDGE, 0, 0, 0]);
}

/// What says the truth about itself passes: `parts` are base, offset and length of the sender's Ethernet and IP
/// address.
fn rule(batch: &mut Batch, ethertype: u16, set: Set, parts: [(u32, u32, u32); 2]) {
    let [mac, (base, offset, _)] = parts;
    let number = |attribute: u16, value: u32| nested(attribute, &value.to_be_bytes());
    let meta = |key: u32| expression(b"meta\0", &[number(1, FIRST_REGISTER), number(2, key)]);
    let load = |register: u32, (base, offset, length): (u32, u32, u32)| {
        let place = [number(1, register), number(2, base), number(3, offset), number(4, length)];
        expression(b"payload\0", &place)
    };
    let wanted = nested(3, &nested(DATA_VALUE, &ethertype.to_be_bytes()));
    let verdict = nested(2, &nested(DATA_VERDICT, &number(1, ACCEPT)));
    let expressions = [
        meta(META_PROTOCOL),
        expression(b"cmp\0", &[number(1, FIRST_REGISTER), number(2, 0), wanted]),
        meta(META_IIF),
        load(FIRST_REGISTER + 1, mac),
        load(FIRST_REGISTER + 3, (base, offset, set.address)),
        expression(b"lookup\0", &[nested(1, set.name), number(2, FIRST_REGISTER)]),
        expression(b"immediate\0", &[number(1, VERDICT), verdict]),
    ];
    message(batch, "let leased addresses pass", NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND);
    batch.attribute(NAME, TABLE);
    batch.attribute(RULE_CHAIN, CHAIN);
    batch.attribute(RULE_EXPRESSIONS, &expressions.concat());
}

fn expression(name: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    nested(LIST_ELEMENT, &[nested(1, name), nested(2, &attributes.concat())].concat())
}

fn elements(doing: &'static str, kind: u16, flags: i32, lease: &Lease) -> Batch {
    let mut batch = Batch::of(Protocol::Netfilter);
    let six = lease.ipv6.map(|six| (SIX, six.octets().to_vec()));
    for (set, address) in std::iter::once((FOUR, lease.ipv4.octets().to_vec())).chain(six) {
        // As the rule has it in its registers.
        let key = [&lease.port.to_ne_bytes()[..], &lease.mac, &[0, 0], &address].concat();
        let key = nested(ELEMENT_KEY, &nested(DATA_VALUE, &key));
        message(&mut batch, doing, kind, flags);
        batch.attribute(NAME, TABLE);
        batch.attribute(SET_NAME, set.name);
        batch.attribute(ELEMENTS, &nested(LIST_ELEMENT, &key));
    }
    batch
}
