//! Requests to rtnetlink(7) and nf_tables, several in one system call.
//!
//! An encoder of our own: the crates of the field either bring an async runtime, or a code generator and a tree of
//! types for the hundredth part of which there is a use here. A container's network is eight messages, whose values
//! are numbers, addresses and names of a few bytes: none comes near a length field's 16 bits.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::{Context, Error, Result};

/// Of `struct nlmsghdr` and of `struct rtattr`, in bytes.
const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// More than an answer to any request has, which repeats the request's header only.
const ANSWER: usize = 1024;
/// The kernel's `NLMSG_GOODSIZE`: it tells of one interface or route in less.
const TOLD: usize = 8192;
/// `nla_type` without its flags.
const KIND: u16 = 0x3fff;

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`, and the `struct nfgenmsg` that says that it is for nf_tables.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const FOR_TABLES: [u8; 4] = [0, 0, 0, 10];

/// Whom requests go to, and what becomes of the others when one has failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// rtnetlink goes on.
    #[default]
    Route,
    /// nf_tables undoes them.
    Netfilter,
}

/// Requests in the order in which the kernel carries them out.
#[derive(Debug, Default)]
pub(super) struct Batch {
    protocol: Protocol,
    bytes: Vec<u8>,
    /// What each request does, for its error. Its sequence number is its place here.
    doing: Vec<&'static str>,
    /// Where the last request begins.
    last: usize,
}

/// An attribute that goes into another one, padded.
pub(super) fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

impl Batch {
    pub(super) fn of(protocol: Protocol) -> Self {
        let mut batch = Self { protocol, ..Self::default() };
        if protocol == Protocol::Netfilter {
            batch.request("talk to nf_tables", BEGIN, 0, &FOR_TABLES);
        }
        batch
    }

    /// Adds a request: `kind` is an `RTM_*` or of nf_tables, `flags` are `NLM_F_*`, `body` is the fixed part that goes
    /// with the kind.
    pub(super) fn request(&mut self, doing: &'static str, kind: u16, flags: i32, body: &[u8]) {
        self.last = self.bytes.len();
        let sequence = u32::try_from(self.doing.len()).unwrap_or(u32::MAX);
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or_default();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(body);
        self.doing.push(doing);
        self.close();
    }

    /// Adds an attribute to the last request.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&nested(kind, value));
        self.close();
    }

    /// Everything is aligned to four bytes, and the request's length is that of all of it.
    fn close(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u32::try_from(self.bytes.len() - self.last).unwrap_or(u32::MAX);
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends all of them. The error is that of the first one that failed.
    pub(super) fn send(mut self) -> Result<()> {
        if self.protocol == Protocol::Netfilter {
            self.request("talk to nf_tables", END, 0, &FOR_TABLES);
        }
        let socket = socket(self.protocol)?;
        rustix::net::send(&socket, &self.bytes, SendFlags::empty()).op("send to netlink")?;
        let mut answer = [0; ANSWER];
        let mut first = Ok(());
        // The kernel has carried out everything by now, and said what there is to say.
        while let Some(length) = next(&socket, &mut answer)? {
            for (sequence, errno) in answers(&answer[..length]) {
                let doing = self.doing.get(sequence).copied().unwrap_or("netlink");
                if errno != 0 && first.is_ok() {
                    first = Err(Error::new(doing, errno));
                }
            }
        }
        first
    }
}

/// Asks rtnetlink about one thing, and gives its message without the header. `doing` is for the error.
pub(super) fn ask(
    doing: &'static str,
    kind: u16,
    body: &[u8],
    attribute: Option<(u16, &[u8])>,
) -> Result<Vec<u8>> {
    let mut question = Batch::default();
    question.request(doing, kind, 0, body);
    if let Some((kind, value)) = attribute {
        question.attribute(kind, value);
    }
    let socket = socket(Protocol::Route)?;
    rustix::net::send(&socket, &question.bytes, SendFlags::empty()).op("send to netlink")?;
    let mut answer = vec![0; TOLD];
    let length = next(&socket, &mut answer)?.ok_or_else(|| Error::new(doing, libc::ENODATA))?;
    answer.truncate(length);
    let refused = libc::NLMSG_ERROR.to_ne_bytes();
    if answer.get(4..6).is_none_or(|kind| *kind == refused[..2]) {
        let errno = answers(&answer).next().map_or(libc::EPROTO, |(_, errno)| errno);
        return Err(Error::new(doing, errno));
    }
    Ok(answer.split_off(MESSAGE_HEADER))
}

/// The value of the first attribute of this kind.
pub(super) fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let half = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let length = usize::from(half(0)?);
        let value = rest.get(ATTRIBUTE_HEADER..length)?;
        if half(2)? & KIND == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn socket(protocol: Protocol) -> Result<OwnedFd> {
    let number = match protocol {
        // NETLINK_ROUTE is 0.
        Protocol::Route => None,
        Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
    };
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
        .op("open a netlink socket")
}

fn next(socket: &OwnedFd, answer: &mut [u8]) -> Result<Option<usize>> {
    use rustix::io::Errno;
    match rustix::net::recv(socket, answer, RecvFlags::DONTWAIT) {
        Ok((length, _)) => Ok(Some(length)),
        Err(Errno::AGAIN) => Ok(None),
        Err(e) => Err(Error::new("netlink", e.raw_os_error())),
    }
}

/// Sequence number and errno (0 is success) of each `NLMSG_ERROR` in a packet of the kernel's.
fn answers(packet: &[u8]) -> impl Iterator<Item = (usize, i32)> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let length = usize::try_from(word(0)?).ok()?.clamp(MESSAGE_HEADER, rest.len().max(MESSAGE_HEADER));
        let sequence = usize::try_from(word(8)?).ok()?;
        let errno = word(MESSAGE_HEADER)?.cast_signed().wrapping_neg();
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((sequence, errno))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_alignment() {
        let mut batch = Batch::default();
        batch.request("one", 16, 0, &[1, 2, 3, 4]);
        batch.attribute(3, b"eth0\0");
        batch.request("two", 20, libc::NLM_F_CREATE, &[9]);
        let length = |at: usize| u32::from_ne_bytes(batch.bytes[at..at + 4].try_into().unwrap());
        assert_eq!(length(0), 16 + 4 + 12);
        assert_eq!(batch.bytes[20..22], 9u16.to_ne_bytes(), "an attribute's length has no padding");
        assert_eq!(length(32), 20);
        assert_eq!(batch.bytes.len(), 52);
        assert_eq!(batch.bytes[40..44], 1u32.to_ne_bytes());
    }

    #[test]
    fn the_kernel_says_which_request_it_refused() {
        let mut batch = Batch::default();
        // Nobody may change what does not exist, wherever this runs.
        let body = |index: i32| {
            let mut body = [0; 16];
            body[4..8].copy_from_slice(&index.to_ne_bytes());
            body
        };
        batch.request("look at lo", libc::RTM_NEWLINK, 0, &body(i32::MAX));
        let error = batch.send().unwrap_err();
        assert_eq!(error.op(), "look at lo");
        assert!([libc::ENODEV, libc::EPERM].contains(&error.errno()), "{error}");
    }

    #[test]
    fn the_kernel_tells_of_an_interface() {
        let mut lo = [0; 16];
        lo[4..8].copy_from_slice(&1i32.to_ne_bytes());
        let told = ask("look at lo", libc::RTM_GETLINK, &lo, None).unwrap();
        assert_eq!(find(&told[16..], libc::IFLA_IFNAME), Some(&b"lo\0"[..]));
        assert_eq!(find(&told[16..], KIND), None);
        lo[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let error = ask("look at nothing", libc::RTM_GETLINK, &lo, None).unwrap_err();
        assert_eq!((error.op(), error.errno()), ("look at nothing", libc::ENODEV));
    }

    #[test]
    fn attributes_of_any_length_end() {
        for length in 0..64 {
            assert_eq!(find(&vec![0; length], 1), None);
            assert_eq!(find(&vec![255; length], 1), None);
        }
    }

    #[test]
    fn answers_of_any_length_end() {
        for length in 0..64 {
            assert!(answers(&vec![0; length]).count() <= 4);
            assert!(answers(&vec![255; length]).count() <= 4);
        }
    }
}
