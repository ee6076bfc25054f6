//! A TCP segment, read from a packet or to be written into one.

use std::net::SocketAddr;

use smoltcp::wire::{IpProtocol, TcpOption, TcpPacket, TcpSeqNumber};

use super::seq::Seq;
use crate::net::packet::{Malformed, Packet};

/// Ranges of bytes that arrived ahead of others, first byte to behind the last.
pub(in crate::net) type Ranges = [Option<(Seq, Seq)>; 3];

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Segment<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: Seq,
    pub ack: Option<Seq>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    pub psh: bool,
    /// As in the header, not scaled.
    pub window: u16,
    pub options: Options,
    pub payload: &'a [u8],
}

/// The options that mean something here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::net) struct Options {
    pub segment_size: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    pub sack: Ranges,
}

impl<'a> Segment<'a> {
    /// Reads the segment in a packet. The checksum is not looked at.
    pub(in crate::net) fn parse(packet: &Packet<'a>) -> Result<Self, Malformed> {
        debug_assert_eq!(packet.protocol, IpProtocol::Tcp);
        let tcp = TcpPacket::new_checked(packet.payload).map_err(|_| Malformed::Length)?;
        Ok(Self {
            source: SocketAddr::new(packet.source, tcp.src_port()),
            destination: SocketAddr::new(packet.destination, tcp.dst_port()),
            seq: number(tcp.seq_number()),
            ack: tcp.ack().then(|| number(tcp.ack_number())),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            psh: tcp.psh(),
            window: tcp.window_len(),
            options: Options::parse(tcp.options())?,
            payload: tcp.payload(),
        })
    }

    /// How many sequence numbers the segment takes up.
    pub(in crate::net) fn length(&self) -> usize {
        self.payload.len() + usize::from(self.syn) + usize::from(self.fin)
    }

    /// Length of the header in bytes.
    pub(in crate::net) fn header_length(&self) -> usize {
        20 + self.options.length()
    }

    /// Writes the header, with no checksum, into exactly as many bytes as it has.
    pub(in crate::net) fn emit(&self, bytes: &mut [u8]) {
        bytes.fill(0);
        let mut tcp = TcpPacket::new_unchecked(&mut *bytes);
        tcp.set_src_port(self.source.port());
        tcp.set_dst_port(self.destination.port());
        tcp.set_seq_number(TcpSeqNumber(self.seq.0.cast_signed()));
        tcp.set_ack_number(TcpSeqNumber(self.ack.unwrap_or_default().0.cast_signed()));
        tcp.set_header_len(u8::try_from(self.header_length()).unwrap_or(20));
        tcp.set_ack(self.ack.is_some());
        tcp.set_syn(self.syn);
        tcp.set_fin(self.fin);
        tcp.set_rst(self.rst);
        tcp.set_psh(self.psh);
        tcp.set_window_len(self.window);
        self.options.emit(tcp.options_mut());
    }
}

fn number(seq: TcpSeqNumber) -> Seq {
    Seq(seq.0.cast_unsigned())
}

impl Options {
    /// Reads what is known; skips what is not. Options after a broken one are not read, as in any kernel.
    fn parse(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        while !bytes.is_empty() {
            let Ok((rest, option)) = TcpOption::parse(bytes) else { break };
            if rest.len() >= bytes.len() {
                return Err(Malformed::Length);
            }
            match option {
                TcpOption::EndOfList => break,
                TcpOption::MaxSegmentSize(size) => options.segment_size = Some(size),
                // RFC 7323: more than 14 means 14.
                TcpOption::WindowScale(shift) => options.window_scale = Some(shift.min(14)),
                TcpOption::SackPermitted => options.sack_permitted = true,
                TcpOption::SackRange(ranges) => {
                    options.sack = ranges.map(|r| r.map(|(from, to)| (Seq(from), Seq(to))));
                }
                _ => {}
            }
            bytes = rest;
        }
        Ok(options)
    }

    fn all(&self) -> impl Iterator<Item = TcpOption<'static>> {
        let sack = self.sack.map(|r| r.map(|(from, to)| (from.0, to.0)));
        let sack = sack[0].is_some().then_some(TcpOption::SackRange(sack));
        self.segment_size
            .map(TcpOption::MaxSegmentSize)
            .into_iter()
            .chain(self.window_scale.map(TcpOption::WindowScale))
            .chain(self.sack_permitted.then_some(TcpOption::SackPermitted))
            .chain(sack)
    }

    /// Length in bytes, filled up to whole words.
    fn length(&self) -> usize {
        self.all().map(|o| o.buffer_len()).sum::<usize>().next_multiple_of(4)
    }

    fn emit(&self, mut bytes: &mut [u8]) {
        for option in self.all() {
            bytes = option.emit(bytes);
        }
        // What fills the last word up is zero: the end of the list.
    }
}
