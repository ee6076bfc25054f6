//! Clients that talk nonsense, and clients without number.

use std::io::IoSlice;

use super::*;

#[test]
fn nonsense_ends_only_the_conversation_with_those_who_talk_it() {
    let c = Container::start("read x; exit 5", Options { stdin: true, ..Options::default() });
    for packet in [&[0_u8][..], &[255, 1, 2], &[1, b'{'], &[3], &[2, b'x'], &[8]] {
        let socket = c.connect();
        socket::send(&socket, &[IoSlice::new(packet)], &[], true).unwrap();
        assert_eq!(Client::new(socket).finish(), None, "{packet:?}");
    }
    let null = std::fs::File::open("/dev/null").unwrap();
    let socket = c.connect();
    protocol::send(socket.as_fd(), Request::Exec.encode(), &[null.as_fd(); 4], true).unwrap();
    assert!(matches!(Client::new(socket).next(), Some(Heard::Other(s)) if s.contains("exec request")));
    let good = c.attach(ALL);
    good.type_in(b"go\n");
    assert_eq!(c.end(), WaitStatus::Exited(5));
}

/// How many descriptors of this process are of one kind, as `/proc` names it; other tests run beside this one.
fn descriptors_of(kind: &str) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = all.filter_map(|e| std::fs::read_link(e.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().split(':').next() == Some(kind)).count()
}

#[test]
fn ten_thousand_clients_come_and_go_and_leave_nothing() {
    let c = Container::start("cat", Options { stdin: true, ..Options::default() });
    let before = descriptors_of("socket");
    for n in 0..10_000 {
        let socket = c.connect();
        match n % 4 {
            0 => {}
            1 => say(&socket, &Request::Wait),
            2 => say(&socket, &Request::Attach(ALL)),
            _ => {
                say(&socket, &Request::Attach(ALL));
                say(&socket, &Request::Stdin(b"x\n"));
            }
        }
    }
    // A round trip behind all of them: the server has seen them go.
    let mut last = c.attach(ALL);
    last.type_in(b"end\n");
    last.until("end\n");
    drop(last);
    let patience = Instant::now();
    while descriptors_of("socket") > before + 40 {
        assert!(patience.elapsed() < Duration::from_secs(5), "{} sockets", descriptors_of("socket"));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(c.log().matches("x\n").count(), 2500);
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
}
