//! Traffic for measurements: a server that answers every kind of question at one port, and a client that asks.
//!
//! Both are plain blocking threads, as iperf3's are, in this program and not in others, so that every way is measured
//! with the same load and the same clock, in containers that hold nothing but busybox. A connection that a way breaks
//! ends the measurement and not the program: it is said in place of a figure.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What one call of read or write moves at most, in bytes. iperf3's.
const CHUNK: usize = 128 << 10;
/// A datagram's payload in bytes, and how many make 1 Gbit in a second.
const DATAGRAM: usize = 1400;
const DATAGRAMS: f64 = 1e9 / 8.0 / DATAGRAM as f64;
/// Datagrams go out in bursts this far apart: what a timer can do without spinning.
const BURST: Duration = Duration::from_micros(250);
/// How long the last datagrams may take.
const SETTLE: Duration = Duration::from_millis(200);
/// Of a connection that is opened to be counted.
const HELLO: usize = 1024;

/// What the first byte of a connection asks for.
const UPLOAD: u8 = b'u';
const DOWNLOAD: u8 = b'd';
const ECHO: u8 = b'e';
const ONCE: u8 = b'o';
const KEEP: u8 = b'k';
const FORGET: u8 = b'f';
const DATAGRAMS_UP: u8 = b'U';
const DATAGRAMS_DOWN: u8 = b'D';

/// Answers at this address for as long as the process lives. The port, which the kernel chooses where `at` says 0.
pub fn serve(at: SocketAddr) -> u16 {
    let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let kept = Arc::new(Mutex::new(Vec::new()));
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut asked = [0];
            if stream.read_exact(&mut asked).is_err() {
                continue;
            }
            match asked[0] {
                ONCE => drop(stream.write_all(&asked)),
                KEEP => {
                    let mut hello = [0; HELLO];
                    if stream.read_exact(&mut hello).and_then(|()| stream.write_all(&hello)).is_ok() {
                        kept.lock().unwrap().push(stream);
                    }
                }
                FORGET => kept.lock().unwrap().clear(),
                // What is measured ends by closing; there is nobody to tell.
                what => drop(std::thread::spawn(move || answer(what, stream).ok())),
            }
        }
    });
    port
}

fn answer(what: u8, mut stream: TcpStream) -> io::Result<()> {
    match what {
        UPLOAD => {
            let total = drain(&mut stream, None)?;
            stream.write_all(&total.to_be_bytes())
        }
        DOWNLOAD => fill(&mut stream, None).map(drop),
        ECHO => {
            stream.set_nodelay(true)?;
            let mut byte = [0];
            loop {
                stream.read_exact(&mut byte)?;
                stream.write_all(&byte)?;
            }
        }
        DATAGRAMS_UP | DATAGRAMS_DOWN => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let mut seconds = [0; 8];
            stream.read_exact(&mut seconds)?;
            stream.write_all(&socket.local_addr()?.port().to_be_bytes())?;
            let count = if what == DATAGRAMS_UP {
                count_datagrams(&socket, &stream, &mut [0])?
            } else {
                let (_, client) = socket.recv_from(&mut [0; DATAGRAM])?;
                socket.connect(client)?;
                pace_datagrams(&socket, f64::from_be_bytes(seconds))
            };
            stream.write_all(&count.to_be_bytes())
        }
        _ => Ok(()),
    }
}

/// Reads until the end, or until `end`.
fn drain(stream: &mut TcpStream, end: Option<Instant>) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    while end.is_none_or(|end| Instant::now() < end) {
        match stream.read(&mut buffer)? {
            0 => break,
            n => total += n as u64,
        }
    }
    Ok(total)
}

/// Writes until nobody listens, or until `end`.
fn fill(stream: &mut TcpStream, end: Option<Instant>) -> io::Result<u64> {
    let buffer = vec![0x5a; CHUNK];
    let mut total = 0;
    while end.is_none_or(|end| Instant::now() < end) {
        total += stream.write(&buffer)? as u64;
    }
    Ok(total)
}

/// Sends 1 Gbit/s; how many datagrams that were.
fn pace_datagrams(socket: &UdpSocket, seconds: f64) -> u64 {
    let (begin, payload) = (Instant::now(), [0; DATAGRAM]);
    let mut sent = 0;
    loop {
        let elapsed = begin.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return sent;
        }
        while (sent as f64) < elapsed * DATAGRAMS {
            let _ = socket.send(&payload);
            sent += 1;
        }
        std::thread::sleep(BURST);
    }
}

/// Counts until the other end has said that it has sent all, which is `said`.
fn count_datagrams(socket: &UdpSocket, control: &TcpStream, said: &mut [u8]) -> io::Result<u64> {
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    control.set_nonblocking(true)?;
    let (mut count, mut buffer, mut last) = (0, [0; 2048], None);
    while last.is_none_or(|at: Instant| at.elapsed() < SETTLE) {
        for _ in 0..4096 {
            match socket.recv(&mut buffer) {
                Ok(_) => count += 1,
                Err(_) => break,
            }
        }
        if last.is_none() {
            match (&mut &*control).read_exact(said) {
                Ok(()) => last = Some(Instant::now()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
    control.set_nonblocking(false)?;
    Ok(count)
}

fn ask(at: SocketAddr, what: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[what])?;
    Ok(stream)
}

/// Bits a second that all streams carry together, and the bytes. Half of them go the other way where `both`.
pub fn throughput(at: SocketAddr, what: Direction, streams: usize, seconds: f64) -> io::Result<Vec<f64>> {
    let directions: &[u8] = match what {
        Direction::Out => &[UPLOAD],
        Direction::In => &[DOWNLOAD],
        Direction::Both => &[UPLOAD, DOWNLOAD],
    };
    let mut jobs = Vec::new();
    for direction in directions {
        for _ in 0..streams {
            let stream = ask(at, *direction)?;
            let upload = *direction == UPLOAD;
            jobs.push(std::thread::spawn(move || one_way(stream, upload, seconds)));
        }
    }
    // All of them, so that none is left over for what is measured next.
    let done: Vec<io::Result<(f64, f64)>> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    let done = done.into_iter().collect::<io::Result<Vec<_>>>()?;
    let rate = done.iter().map(|(bytes, took)| bytes * 8.0 / took).sum();
    Ok(vec![rate, done.iter().map(|(bytes, _)| bytes).sum()])
}

/// Bytes that one stream has carried, and the seconds that it took.
fn one_way(mut stream: TcpStream, upload: bool, seconds: f64) -> io::Result<(f64, f64)> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let total = if upload {
        fill(&mut stream, Some(end))?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut total = [0; 8];
        stream.read_exact(&mut total)?;
        u64::from_be_bytes(total)
    } else {
        let total = drain(&mut stream, Some(end))?;
        // The server never stops by itself.
        if Instant::now() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        total
    };
    Ok((total as f64, begin.elapsed().as_secs_f64()))
}

/// As the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Out,
    In,
    Both,
}

/// Microseconds that a byte takes there and back: the median, and what 99 of 100 stay below.
pub fn round_trips(at: SocketAddr, seconds: f64) -> io::Result<Vec<f64>> {
    let mut stream = ask(at, ECHO)?;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut all = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        all.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    Ok(vec![all[all.len() / 2], all[all.len() * 99 / 100]])
}

/// Connections a second that are opened, carry a byte each way and are closed, `crowd` of them at a time, at all of
/// the ports in turn: one would run out of numbers of its own.
pub fn connections(ports: &[SocketAddr], crowd: usize, seconds: f64) -> io::Result<Vec<f64>> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let one = move |ports: Vec<SocketAddr>, first: usize| -> io::Result<u32> {
        let mut count = 0;
        for at in ports.iter().cycle().skip(first) {
            if Instant::now() >= end {
                break;
            }
            ask(*at, ONCE)?.read_exact(&mut [0])?;
            count += 1;
        }
        Ok(count)
    };
    let jobs: Vec<_> = (0..crowd)
        .map(|n| {
            let ports = ports.to_vec();
            std::thread::spawn(move || one(ports, n))
        })
        .collect();
    let done: Vec<io::Result<u32>> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    let total: u32 = done.into_iter().sum::<io::Result<u32>>()?;
    Ok(vec![f64::from(total) / begin.elapsed().as_secs_f64()])
}

/// Per cent of datagrams that are lost at 1 Gbit/s.
pub fn loss(at: SocketAddr, out: bool, seconds: f64) -> io::Result<Vec<f64>> {
    let mut control = ask(at, if out { DATAGRAMS_UP } else { DATAGRAMS_DOWN })?;
    control.write_all(&seconds.to_be_bytes())?;
    let mut port = [0; 2];
    control.read_exact(&mut port)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((at.ip(), u16::from_be_bytes(port)))?;
    let mut count = [0; 8];
    let (sent, received) = if out {
        let sent = pace_datagrams(&socket, seconds);
        std::thread::sleep(SETTLE / 2);
        control.write_all(&[0])?;
        control.read_exact(&mut count)?;
        (sent, u64::from_be_bytes(count))
    } else {
        socket.send(b"begin")?;
        let received = count_datagrams(&socket, &control, &mut count)?;
        (u64::from_be_bytes(count), received)
    };
    Ok(vec![100.0 * (1.0 - received as f64 / sent as f64)])
}

/// Opens connections that then say nothing.
pub fn keep(at: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut kept = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = ask(at, KEEP)?;
        let mut hello = [1; HELLO];
        stream.write_all(&hello)?;
        stream.read_exact(&mut hello)?;
        kept.push(stream);
    }
    Ok(kept)
}

/// Has the server close them.
pub fn forget(at: SocketAddr) {
    drop(ask(at, FORGET));
}

/// Lets this process have as many descriptors as it may.
pub fn many_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// In place of figures: the way broke a connection.
pub const BROKEN: &str = "broken";

/// The program as it is in a namespace: does what each line of stdin says, and says on stdout what came of it.
pub fn agent() {
    many_descriptors();
    let mut kept = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        match obey(&line, &mut kept) {
            Ok(figures) => {
                let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
                println!("{}", figures.join(" "));
            }
            Err(e) => {
                eprintln!("{line}: {e}");
                println!("{BROKEN}");
            }
        }
    }
}

fn obey(line: &str, kept: &mut Vec<TcpStream>) -> io::Result<Vec<f64>> {
    let words: Vec<&str> = line.split(' ').collect();
    let at = || words[1].parse::<SocketAddr>().unwrap();
    let number = |n: usize| words[n].parse::<f64>().unwrap();
    match words[0] {
        "serve" => Ok(vec![f64::from(serve(at()))]),
        "throughput" => {
            let what = match words[2] {
                "out" => Direction::Out,
                "in" => Direction::In,
                _ => Direction::Both,
            };
            throughput(at(), what, words[3].parse().unwrap(), number(4))
        }
        "round-trips" => round_trips(at(), number(2)),
        "connections" => {
            let ports: Vec<SocketAddr> = words[1].split(',').map(|p| p.parse().unwrap()).collect();
            connections(&ports, words[2].parse().unwrap(), number(3))
        }
        "loss" => loss(at(), words[2] == "out", number(3)),
        "keep" => {
            kept.extend(keep(at(), words[2].parse().unwrap())?);
            Ok(vec![kept.len() as f64])
        }
        "forget" => {
            kept.clear();
            forget(at());
            Ok(vec![0.0])
        }
        other => panic!("{other}?"),
    }
}
