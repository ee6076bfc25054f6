//! `slirp [OPTIONS] -- COMMAND…`: runs a command in a user and network namespace of its own, whose packets this
//! process's stack carries. For measurements beside slirp4netns and pasta, and for tries by hand.

#![allow(clippy::unwrap_used, reason = "a tool for developers, which says where it failed")]
#![allow(clippy::disallowed_methods, clippy::print_stderr, reason = "the fences of src/ are not this tool's")]

use std::io::IoSlice;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use kelp::net::{Config, Listener, Protocol, Query, Stack, V4, V6};
use kelp::sys::{inet, socket, tun};

const USAGE: &str = "slirp [--host-loopback] [--mtu N] [--counters] [--echo-dns] [--publish ADDR:PORT:TARGET/tcp|udp]… -- COMMAND…";

#[derive(Default)]
struct Options {
    host_loopback: bool,
    counters: bool,
    echo_dns: bool,
    mtu: Option<u16>,
    publish: Vec<(SocketAddr, u16, Protocol)>,
    command: Vec<String>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|a| a == "--inside") {
        return inside(args[2].parse().unwrap(), args[3].parse().unwrap(), &args[4..]);
    }
    let Some(options) = parse(&args[1..]) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mtu = options.mtu.unwrap_or(1500);
    let (ours, theirs) = socket::seqpacket_pair().unwrap();
    // Meant for the child, so without close-on-exec.
    let theirs = unsafe_dup(&theirs);
    let mut child = Command::new("unshare")
        .args(["-rn", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--inside", &theirs.to_string(), &mtu.to_string()])
        .args(&options.command)
        .spawn()
        .unwrap();
    let mut fds = Vec::new();
    socket::receive(&ours, &mut [0; 8], &mut fds, true).unwrap();
    let mut stack = Stack::new(fds.pop().unwrap(), config(&options, mtu)).unwrap();
    let handle = stack.handle();
    if options.echo_dns {
        let answers = handle.clone();
        stack.serve_dns(Arc::new(move |query| match query {
            Query::Datagram { from, bytes } => answers.answer(from, bytes),
            Query::Stream { socket, .. } => drop(socket),
        }));
    }
    for (at, port, protocol) in &options.publish {
        let socket: OwnedFd = match protocol {
            Protocol::Tcp => TcpListener::bind(at).unwrap().into(),
            Protocol::Udp => UdpSocket::bind(at).unwrap().into(),
        };
        let inside = if at.is_ipv4() { "10.0.2.100" } else { "fd00::64" };
        let target = SocketAddr::new(inside.parse().unwrap(), *port);
        handle.publish(Listener { socket, protocol: *protocol, target, host_clients: None });
    }
    let stop = Arc::new(inet::event().unwrap());
    let raise = Arc::clone(&stop);
    let waiter = std::thread::spawn(move || {
        let status = child.wait().unwrap();
        inet::raise(&raise);
        status
    });
    if let Err(e) = stack.run(stop.as_fd()) {
        eprintln!("slirp: {e}");
    }
    if options.counters {
        eprintln!("{stack:?}");
    }
    let status = waiter.join().unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap())
}

fn unsafe_dup(fd: &OwnedFd) -> RawFd {
    let fd = nix::unistd::dup(fd).unwrap();
    std::os::fd::IntoRawFd::into_raw_fd(fd)
}

fn parse(args: &[String]) -> Option<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--host-loopback" => options.host_loopback = true,
            "--counters" => options.counters = true,
            "--echo-dns" => options.echo_dns = true,
            "--mtu" => options.mtu = Some(args.next()?.parse().ok()?),
            "--publish" => {
                let (spec, protocol) = args.next()?.split_once('/')?;
                let (at, port) = spec.rsplit_once(':')?;
                let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
                options.publish.push((at.parse().ok()?, port.parse().ok()?, protocol));
            }
            "--" => {
                options.command = args.cloned().collect();
                return (!options.command.is_empty()).then_some(options);
            }
            _ => return None,
        }
    }
    None
}

fn config(options: &Options, mtu: u16) -> Config {
    Config {
        v4: Some(V4 {
            address: "10.0.2.100".parse().unwrap(),
            prefix: 24,
            gateway: "10.0.2.2".parse().unwrap(),
            dns: "10.0.2.3".parse().unwrap(),
        }),
        v6: (mtu >= 1280).then(|| V6 {
            address: "fd00::64".parse().unwrap(),
            prefix: 64,
            gateway: "fd00::2".parse().unwrap(),
            dns: "fd00::3".parse().unwrap(),
        }),
        mtu,
        host_loopback: options.host_loopback,
        ..Config::default()
    }
}

/// Inside the namespaces: makes the interface, hands its descriptor out, becomes the command.
fn inside(channel: RawFd, mtu: u16, command: &[String]) -> ExitCode {
    let tun = tun::open("eth0").unwrap();
    let mut set_up = vec![
        "ip link set lo up".to_owned(),
        format!("ip link set eth0 up mtu {mtu} txqueuelen {}", tun::QUEUE),
        "ip addr add 10.0.2.100/24 dev eth0".to_owned(),
        "ip route add default via 10.0.2.2".to_owned(),
    ];
    if mtu >= 1280 {
        set_up.push("ip -6 addr add fd00::64/64 dev eth0 nodad".to_owned());
        set_up.push("ip -6 route add default via fd00::2 dev eth0".to_owned());
    }
    for line in set_up {
        let mut words = line.split(' ');
        let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
        assert!(status.success(), "{line}");
    }
    // SAFETY is the parent's: it made the descriptor for this process.
    let channel = owned(channel);
    socket::send(&channel, &[IoSlice::new(&[1])], &[tun.as_fd()], true).unwrap();
    assert!(tun.as_raw_fd() > 2);
    drop((tun, channel));
    let e = Command::new(&command[0]).args(&command[1..]).exec();
    eprintln!("slirp: {}: {e}", command[0]);
    ExitCode::from(127)
}

#[allow(unsafe_code, reason = "a descriptor's number came on the command line")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the parent left this descriptor open for this process alone, which makes it owned here once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
