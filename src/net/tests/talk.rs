//! A connection whose container's end is played by hand, segment by segment.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::wire::{Heard, Sent, Wire, config};
use crate::net::Config;

/// A container's end, played by hand.
pub(super) struct Talk {
    pub(super) wire: Wire,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// The container's next number, and the next it expects.
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) modern: bool,
}

impl Talk {
    pub(super) fn to_port(port: u16) -> Self {
        Self::with(config(), port)
    }

    pub(super) fn with(config: Config, port: u16) -> Self {
        let from = SocketAddr::new(Ipv4Addr::new(10, 0, 2, 100).into(), 40_000);
        let to = SocketAddr::new(Ipv4Addr::new(10, 0, 2, 2).into(), port);
        Self { wire: Wire::new(config), from, to, seq: 1000, ack: 0, window: 65_000, modern: true }
    }

    pub(super) fn blank(&self) -> Sent<'static> {
        Sent {
            from: self.from,
            to: self.to,
            seq: self.seq,
            ack: Some(self.ack),
            flags: "",
            window: self.window,
            payload: &[],
            modern: self.modern,
            sack: None,
        }
    }

    pub(super) fn say(&mut self, sent: Sent<'_>) -> Vec<Heard> {
        self.wire.give(&sent.packet());
        self.wire.segments()
    }

    pub(super) fn syn(&mut self) -> Vec<Heard> {
        let syn = Sent { ack: None, flags: "S", ..self.blank() };
        self.say(syn)
    }

    /// An open connection and the host's end of it.
    pub(super) fn open() -> (Self, TcpStream) {
        Self::open_with(config())
    }

    pub(super) fn open_with(config: Config) -> (Self, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::with(config, listener.local_addr().unwrap().port()).opened(&listener)
    }

    /// The same with a container that knows no options.
    pub(super) fn open_plainly() -> (Self, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut talk = Self::with(config(), listener.local_addr().unwrap().port());
        talk.modern = false;
        talk.opened(&listener)
    }

    pub(super) fn opened(self, listener: &TcpListener) -> (Self, TcpStream) {
        let mut talk = self;
        let answer = talk.syn();
        assert_eq!(answer.len(), 1);
        assert!(answer[0].syn && answer[0].ack == Some(1001), "{answer:?}");
        talk.seq += 1;
        talk.ack = answer[0].seq.wrapping_add(1);
        // A round trip.
        talk.wire.pass(Duration::from_millis(2));
        assert_eq!(talk.acknowledge(), []);
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (talk, stream)
    }

    pub(super) fn acknowledge(&mut self) -> Vec<Heard> {
        self.say(self.blank())
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let sent = Sent { payload: bytes, ..self.blank() };
        let heard = self.say(sent);
        self.seq = self.seq.wrapping_add(u32::try_from(bytes.len()).unwrap());
        heard
    }

    pub(super) fn fin(&mut self) -> Vec<Heard> {
        let sent = Sent { flags: "F", ..self.blank() };
        let heard = self.say(sent);
        self.seq = self.seq.wrapping_add(1);
        heard
    }

    pub(super) fn later(&mut self, time: Duration) -> Vec<Heard> {
        self.wire.pass(time);
        self.wire.segments()
    }
}

pub(super) fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}
