//! Requests to rtnetlink(7), several in one system call.
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

/// Requests in the order in which the kernel carries them out. It goes on after one that failed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each request does, for its error. Its sequence number is its place here.
    doing: Vec<&'static str>,
    /// Where the last request begins.
    last: usize,
}

impl Batch {
    /// Adds a request: `kind` is an `RTM_*`, `flags` are `NLM_F_*`, `body` is the fixed part that goes with the kind.
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
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.close();
    }

    /// Everything is aligned to four bytes, and the request's length is that of all of it.
    fn close(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u32::try_from(self.bytes.len() - self.last).unwrap_or(u32::MAX);
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends all of them. The error is that of the first one that failed.
    pub(super) fn send(&self) -> Result<()> {
        let socket = socket()?;
        rustix::net::send(&socket, &self.bytes, SendFlags::empty()).op("send to rtnetlink")?;
        let mut answer = [0; ANSWER];
        let mut first = Ok(());
        let mut waiting = self.doing.len();
        // The kernel has carried out everything by now, and every request has its answer.
        while waiting > 0 {
            let (length, _) =
                rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).op("rtnetlink")?;
            for (sequence, errno) in answers(&answer[..length]) {
                waiting = waiting.saturating_sub(1);
                let doing = self.doing.get(sequence).copied().unwrap_or("rtnetlink");
                if errno != 0 && first.is_ok() {
                    first = Err(Error::new(doing, errno));
                }
            }
        }
        first
    }
}

fn socket() -> Result<OwnedFd> {
    // Protocol 0 is NETLINK_ROUTE.
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .op("open an rtnetlink socket")
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
    fn answers_of_any_length_end() {
        for length in 0..64 {
            assert!(answers(&vec![0; length]).count() <= 4);
            assert!(answers(&vec![255; length]).count() <= 4);
        }
    }
}
