//! Clients of a published TCP port, and how the container sees them.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::talk::Talk;
use super::wire::Sent;
use crate::net::{Listener, Protocol};

fn target() -> SocketAddr {
    "10.0.2.100:80".parse().unwrap()
}

/// A stack with a published port, and where it is.
fn published() -> (Talk, SocketAddr) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), listener.local_addr().unwrap().port());
    let mut talk = Talk::to_port(0);
    let (socket, protocol) = (listener.into(), Protocol::Tcp);
    talk.wire.stack.handle().publish(Listener { socket, protocol, target: target(), host_clients: None });
    talk.wire.turn();
    (talk, at)
}

/// A client with an address and a port of its own choice.
fn client(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_reuseaddr(&own, true).unwrap();
    bind(&own, &from).unwrap();
    connect(&own, &to).unwrap();
    let stream = TcpStream::from(own);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

#[test]
fn a_container_that_does_not_listen_refuses_the_client() {
    let (mut talk, at) = published();
    let mut client = TcpStream::connect(at).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].syn && heard[0].ack.is_none(), "{heard:?}");
    let port = client.local_addr().unwrap().port();
    let to = SocketAddr::new(Ipv4Addr::new(10, 0, 2, 2).into(), port);
    let reset = Sent { from: target(), to, seq: 0, ack: Some(heard[0].seq + 1), flags: "R", ..talk.blank() };
    assert_eq!(talk.say(reset), []);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(talk.wire.stack.flows().0, 0);
}

/// Both are seen at the gateway's address: the second one at another port.
#[test]
fn two_clients_may_have_the_same_port() {
    let (mut talk, at) = published();
    let first = client("127.0.0.1:0".parse().unwrap(), at);
    let port = first.local_addr().unwrap().port();
    let heard = talk.wire.calls();
    assert_eq!(heard, [port], "the first has its own");
    let second = client(SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), port), at);
    let heard = talk.wire.calls();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_ne!(heard[0], port);
    assert_eq!(talk.wire.stack.flows().0, 2);
    drop((first, second));
}
