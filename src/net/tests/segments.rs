//! Single segments, sent by hand: what the state machine does with each in each state.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use super::talk::{Talk, expect};
use super::wire::{Heard, Sent, config};
use crate::net::{Config, Limits};

#[test]
fn refused_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut talk = Talk::to_port(port);
    let heard = talk.syn();
    assert!(heard.len() == 1 && heard[0].rst && heard[0].ack == Some(1001), "{heard:?}");
    assert_eq!(talk.wire.stack.flows().0, 0);
}

#[test]
fn the_hosts_loopback_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = Config { host_loopback: false, ..config() };
    let mut talk = Talk::with(closed, listener.local_addr().unwrap().port());
    let heard = talk.syn();
    assert!(heard.len() == 1 && heard[0].rst, "{heard:?}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody came through");
}

#[test]
fn a_segment_of_no_connection_is_reset() {
    let mut talk = Talk::to_port(9);
    let heard = talk.say(Sent { ack: Some(77), payload: b"x", ..talk.blank() });
    assert!(heard.len() == 1 && heard[0].rst && heard[0].seq == 77 && heard[0].ack.is_none());
    let heard = talk.say(Sent { ack: None, flags: "F", ..talk.blank() });
    assert!(heard.len() == 1 && heard[0].rst && heard[0].ack == Some(1001));
    assert_eq!(talk.say(Sent { flags: "R", ..talk.blank() }), []);
}

#[test]
fn bytes_go_both_ways() {
    let (mut talk, mut stream) = Talk::open();
    let heard = talk.data(b"hello");
    assert!(heard.len() == 1 && heard[0].ack == Some(talk.seq) && heard[0].length == 0, "{heard:?}");
    expect(&mut stream, b"hello");
    stream.write_all(b"world!").unwrap();
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].length == 6 && heard[0].seq == talk.ack, "{heard:?}");
    talk.ack += 6;
    assert_eq!(talk.acknowledge(), []);
}

#[test]
fn the_container_closes_first() {
    let (mut talk, mut stream) = Talk::open();
    let heard = talk.fin();
    assert!(heard.len() == 1 && heard[0].ack == Some(talk.seq) && !heard[0].fin, "{heard:?}");
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    // Half closed: the host may go on.
    stream.write_all(b"more").unwrap();
    assert_eq!(talk.wire.segments()[0].length, 4);
    talk.ack += 4;
    talk.acknowledge();
    drop(stream);
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].fin, "{heard:?}");
    talk.ack += 1;
    assert_eq!(talk.acknowledge(), []);
    assert_eq!(talk.wire.stack.flows().0, 0, "LAST-ACK ends with the acknowledgement");
}

#[test]
fn the_host_closes_first() {
    let (mut talk, mut stream) = Talk::open();
    stream.shutdown(Shutdown::Write).unwrap();
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].fin && heard[0].seq == talk.ack, "{heard:?}");
    talk.ack += 1;
    talk.acknowledge();
    talk.data(b"still");
    expect(&mut stream, b"still");
    let heard = talk.fin();
    assert!(heard.len() == 1 && heard[0].ack == Some(talk.seq), "{heard:?}");
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(talk.wire.stack.flows().0, 1, "TIME-WAIT");
    // The acknowledgement was lost and the FIN comes again.
    talk.seq -= 1;
    let heard = talk.fin();
    assert!(heard.len() == 1 && heard[0].ack == Some(talk.seq) && !heard[0].rst, "{heard:?}");
    talk.later(Duration::from_secs(61));
    assert_eq!(talk.wire.stack.flows().0, 0);
}

#[test]
fn both_close_at_once() {
    let (mut talk, stream) = Talk::open();
    drop(stream);
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].fin, "{heard:?}");
    // Sent before ours was heard.
    let heard = talk.fin();
    assert!(heard.iter().any(|h| h.ack == Some(talk.seq)), "{heard:?}");
    talk.ack += 1;
    talk.acknowledge();
    assert_eq!(talk.wire.stack.flows().0, 1, "CLOSING leads to TIME-WAIT");
    talk.later(Duration::from_secs(61));
    assert_eq!(talk.wire.stack.flows().0, 0);
}

#[test]
fn a_new_connection_ends_time_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut talk = Talk::to_port(listener.local_addr().unwrap().port());
    let answer = talk.syn();
    (talk.seq, talk.ack) = (1001, answer[0].seq + 1);
    talk.acknowledge();
    drop(listener.accept().unwrap());
    talk.wire.segments();
    talk.ack += 1;
    talk.fin();
    assert_eq!(talk.wire.stack.flows().0, 1);
    // An old one does not.
    let heard = talk.say(Sent { seq: 900, ack: None, flags: "S", ..talk.blank() });
    assert!(heard.len() == 1 && !heard[0].syn && heard[0].ack == Some(talk.seq), "{heard:?}");
    let heard = talk.say(Sent { seq: 5000, ack: None, flags: "S", ..talk.blank() });
    assert!(heard.len() == 1 && heard[0].syn && heard[0].ack == Some(5001), "{heard:?}");
}

#[test]
fn a_reset_of_the_containers_resets_the_host() {
    let (mut talk, mut stream) = Talk::open();
    assert_eq!(talk.say(Sent { flags: "R", ack: None, ..talk.blank() }), []);
    let e = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(talk.wire.stack.flows().0, 0);
}

#[test]
fn a_reset_that_is_not_exact_is_challenged() {
    let (mut talk, mut stream) = Talk::open();
    let heard = talk.say(Sent { seq: talk.seq + 5, flags: "R", ack: None, ..talk.blank() });
    assert!(heard.len() == 1 && !heard[0].rst && heard[0].ack == Some(talk.seq), "{heard:?}");
    // Outside of the window it is not even answered.
    let heard = talk.say(Sent { seq: talk.seq.wrapping_sub(9), flags: "R", ack: None, ..talk.blank() });
    assert_eq!(heard, []);
    talk.data(b"alive");
    expect(&mut stream, b"alive");
}

#[test]
fn a_syn_in_the_middle_is_challenged() {
    let (mut talk, mut stream) = Talk::open();
    for seq in [talk.seq, 1000, 123_456_789] {
        let heard = talk.say(Sent { seq, ack: None, flags: "S", ..talk.blank() });
        assert!(heard.len() == 1 && !heard[0].rst && heard[0].ack == Some(talk.seq), "{heard:?}");
    }
    talk.data(b"alive");
    expect(&mut stream, b"alive");
}

#[test]
fn an_acknowledgement_of_the_future_is_challenged() {
    let (mut talk, mut stream) = Talk::open();
    let heard = talk.say(Sent { ack: Some(talk.ack + 100_000), payload: b"forged", ..talk.blank() });
    assert!(heard.len() == 1 && heard[0].ack == Some(talk.seq), "{heard:?}");
    talk.data(b"true");
    expect(&mut stream, b"true");
}

#[test]
fn a_reset_of_the_hosts_resets_the_container() {
    let (mut talk, stream) = Talk::open();
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    let heard = talk.wire.segments();
    assert!(heard.len() == 1 && heard[0].rst && heard[0].seq == talk.ack, "{heard:?}");
    assert_eq!(talk.wire.stack.flows().0, 0);
}

#[test]
fn what_comes_ahead_is_kept_and_told() {
    let (mut talk, mut stream) = Talk::open();
    let first = talk.seq;
    talk.seq += 5;
    let heard = talk.data(b"later");
    assert!(heard.len() == 1 && heard[0].ack == Some(first), "{heard:?}");
    assert_eq!(heard[0].sack, Some((first + 5, first + 10)));
    talk.seq = first + 12;
    let heard = talk.data(b"last");
    assert_eq!(heard[0].sack, Some((first + 12, first + 16)), "the latest first");
    talk.seq = first;
    // It overlaps what is there: what is in order comes first.
    let heard = talk.data(b"hello!!!");
    assert_eq!(heard.last().unwrap().ack, Some(first + 10));
    talk.seq = first + 8;
    let heard = talk.data(b"er--last more");
    assert_eq!(heard.last().unwrap().ack, Some(first + 21));
    expect(&mut stream, b"hello!!!er--last more");
}

/// RFC 5681 §4.2, RFC 2018: bytes have no room for ranges, and an acknowledgement that comes with them is no duplicate.
#[test]
fn a_gap_is_told_to_whoever_is_sent_to_all_the_time() {
    let (mut talk, mut stream) = Talk::open();
    let first = talk.seq;
    talk.seq += 5;
    for n in 0..3 {
        stream.write_all(b"meanwhile").unwrap();
        let heard = talk.data(b"later");
        assert!(heard.iter().any(|h| h.length == 9), "{heard:?}");
        let told = heard.iter().find(|h| h.length == 0).expect("an acknowledgement of its own");
        assert_eq!((told.ack, told.sack), (Some(first), Some((first + 5, first + 10 + 5 * n))));
    }
    stream.write_all(b"meanwhile").unwrap();
    talk.seq = first;
    let heard = talk.data(b"hello");
    assert!(heard.iter().all(|h| h.length == 9 && h.ack == Some(first + 20)), "{heard:?}");
}

/// The kernel's own list says when it will ask.
#[test]
fn whoever_is_asked_by_the_container_is_asked_after_as_long_a_silence() {
    let (mut talk, stream) = Talk::open();
    talk.wire.pass(Duration::from_secs(100));
    talk.say(Sent { seq: talk.seq.wrapping_sub(1), ..talk.blank() });
    let port = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let ends = format!("{} {}", port(stream.peer_addr().unwrap()), port(stream.local_addr().unwrap()));
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = list.lines().find(|line| line.contains(&ends)).unwrap();
    let (timer, at) = line.split_whitespace().nth(5).unwrap().split_once(':').unwrap();
    let hundredths = u32::from_str_radix(at, 16).unwrap();
    assert!(timer == "02" && (9000..=10_100).contains(&hundredths), "{line}");
}

#[test]
fn silence_is_answered_by_sending_again_and_in_the_end_by_giving_up() {
    let (mut talk, mut stream) = Talk::open();
    stream.write_all(b"data").unwrap();
    assert_eq!(talk.wire.segments().len(), 1);
    let mut wait = Duration::from_millis(200);
    let mut again = 0;
    let start = talk.wire.now;
    let reset = loop {
        let heard = talk.later(wait);
        if let Some(reset) = heard.iter().find(|h| h.rst) {
            break *reset;
        }
        for h in &heard {
            assert!(h.length == 4 && h.seq == talk.ack, "{h:?}");
            again += 1;
        }
        wait = (wait * 2).min(Duration::from_secs(60));
        assert!(again < 40);
    };
    assert_eq!(reset.seq, talk.ack + 4);
    let took = talk.wire.now - start;
    assert!((10..=16).contains(&again) && took > Duration::from_secs(300), "{again} times in {took:?}");
    assert_eq!(talk.wire.stack.flows().0, 0);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_shut_window_is_tried_for_ever() {
    let (mut talk, mut stream) = Talk::open();
    talk.window = 0;
    talk.acknowledge();
    stream.write_all(b"waiting").unwrap();
    assert_eq!(talk.wire.segments(), []);
    for _ in 0..40 {
        let heard = talk.later(Duration::from_secs(61));
        assert!(heard.len() == 1 && heard[0].length == 0 && heard[0].seq == talk.ack - 1, "{heard:?}");
        assert_eq!(talk.acknowledge(), []);
    }
    talk.window = 4;
    let heard = talk.acknowledge();
    assert!(heard.len() == 1 && heard[0].length == 4, "{heard:?}");
    talk.ack += 4;
    talk.window = 100;
    assert_eq!(talk.acknowledge()[0].length, 3);
}

#[test]
fn a_window_that_shuts_on_bytes_on_their_way_is_tried_for_ever() {
    let (mut talk, mut stream) = Talk::open();
    stream.write_all(b"dropped").unwrap();
    assert_eq!(talk.wire.segments()[0].length, 7);
    talk.window = 0;
    talk.acknowledge();
    for _ in 0..40 {
        let heard = talk.later(Duration::from_secs(61));
        assert!(heard.len() == 1 && heard[0].seq == talk.ack && !heard[0].rst, "{heard:?}");
        talk.acknowledge();
    }
    // Once it opens, they do not wait for the minute that the last try was given.
    talk.window = 1000;
    talk.acknowledge();
    let heard = talk.later(Duration::from_millis(1100));
    assert!(heard.len() == 1 && heard[0].length == 7, "{heard:?}");
    // A container that does not answer is given up all the same.
    talk.window = 0;
    talk.acknowledge();
    let heard: Vec<Heard> = (0..20).flat_map(|_| talk.later(Duration::from_secs(61))).collect();
    assert!(heard.last().is_some_and(|h| h.rst), "{heard:?}");
}

#[test]
fn a_connection_that_keeps_talking_is_noted_down_once() {
    let (mut talk, mut stream) = Talk::open();
    for _ in 0..300 {
        stream.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(1));
        talk.wire.turn();
        talk.wire.turn();
        talk.ack = talk.ack.wrapping_add(1);
        talk.wire.give(&talk.blank().packet());
        talk.wire.turn();
        talk.wire.take();
        talk.wire.silent(Duration::from_secs(1));
    }
    assert!(talk.wire.stack.appointments() <= 130, "{}", talk.wire.stack.appointments());
}

#[test]
fn a_handshake_nobody_finishes_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut talk = Talk::to_port(listener.local_addr().unwrap().port());
    let first = talk.syn();
    let mut again = 0;
    for _ in 0..300 {
        for heard in talk.later(Duration::from_secs(1)) {
            assert!(heard.syn && heard.seq == first[0].seq, "{heard:?}");
            again += 1;
        }
    }
    assert_eq!((again, talk.wire.stack.flows().0), (5, 0));
}

#[test]
fn the_container_is_asked_whether_it_is_there() {
    let (mut talk, stream) = Talk::open();
    let heard = talk.later(Duration::from_secs(2 * 3600 + 1));
    assert!(heard.len() == 1 && heard[0].length == 0 && heard[0].seq == talk.ack - 1, "{heard:?}");
    assert_eq!(talk.acknowledge(), []);
    assert_eq!(talk.later(Duration::from_secs(3600)), []);
    talk.later(Duration::from_secs(3601));
    let heard: Vec<Heard> = (0..10).flat_map(|_| talk.later(Duration::from_secs(76))).collect();
    assert!(heard.last().is_some_and(|h| h.rst), "{heard:?}");
    assert_eq!(talk.wire.stack.flows().0, 0);
    drop(stream);
}

/// Whoever has nothing to say for two days has not gone away.
#[test]
fn a_long_silence_ends_nothing() {
    let (mut talk, mut stream) = Talk::open();
    for _ in 0..2 * 24 * 60 {
        for heard in talk.wire.silent(Duration::from_secs(60)) {
            assert!(heard.length == 0 && !heard.fin && !heard.rst, "{heard:?}");
            talk.acknowledge();
        }
    }
    talk.data(b"still");
    expect(&mut stream, b"still");
    stream.write_all(b"here").unwrap();
    assert_eq!(talk.wire.segments()[0].length, 4);
}

#[test]
fn a_stalled_host_shuts_the_window_and_loses_nothing() {
    let (mut talk, mut stream) = Talk::open();
    let mut sent = Vec::new();
    let mut shut = false;
    for round in 0..4000u32 {
        let bytes = vec![u8::try_from(round % 251).unwrap(); 60_000];
        let heard = talk.data(&bytes);
        let last = heard.last().copied().unwrap();
        let taken = last.ack.unwrap().wrapping_sub(talk.seq.wrapping_sub(60_000));
        sent.extend_from_slice(&bytes[..usize::try_from(taken).unwrap()]);
        talk.seq = last.ack.unwrap();
        if last.window == 0 {
            shut = true;
            break;
        }
    }
    assert!(shut, "the window never shut");
    let mut got = vec![0; sent.len()];
    let reader = std::thread::spawn(move || {
        stream.read_exact(&mut got).unwrap();
        (got, stream)
    });
    let mut opened = false;
    while !reader.is_finished() {
        opened |= talk.wire.segments().iter().any(|h| h.window > 0);
    }
    opened |= talk.wire.segments().iter().any(|h| h.window > 0);
    let (got, _stream) = reader.join().unwrap();
    assert!(got == sent, "bytes differ");
    assert!(opened, "the container was never told that the window is open");
}

#[test]
fn a_full_table_lets_the_oldest_go_that_is_not_open() {
    // Connections to an address that never answers would do as well, but this one is certain not to.
    let limits = Limits { tcp: 8, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut talk = Talk::with(Config { limits, ..config() }, listener.local_addr().unwrap().port());
    for port in 0..100 {
        talk.from.set_port(20_000 + port);
        let heard = talk.syn();
        assert!(heard.len() == 1 && heard[0].syn, "{heard:?}");
        assert!(talk.wire.stack.flows().0 <= 8);
    }
    assert_eq!(talk.wire.stack.counters().over_limit, 92);
    // The last one still works.
    let heard = talk.syn();
    (talk.seq, talk.ack) = (1001, heard[0].seq + 1);
    talk.acknowledge();
    let heard = talk.data(b"x");
    assert!(heard.len() == 1 && heard[0].ack == Some(1002), "{heard:?}");
}

#[test]
fn what_is_over_gives_way_to_what_begins() {
    let limits = Limits { tcp: 8, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut talk = Talk::with(Config { limits, ..config() }, listener.local_addr().unwrap().port());
    let mut streams = Vec::new();
    for port in 0..100 {
        talk.from.set_port(20_000 + port);
        talk.seq = 1000;
        let answer = talk.syn();
        assert!(answer.len() == 1 && answer[0].syn, "{answer:?}");
        (talk.seq, talk.ack) = (1001, answer[0].seq.wrapping_add(1));
        assert_eq!(talk.acknowledge(), []);
        let (stream, _) = listener.accept().unwrap();
        if port < 4 {
            streams.push(stream);
            continue;
        }
        // The host ends it first, so it is remembered for a minute.
        drop(stream);
        assert!(talk.wire.segments()[0].fin);
        talk.ack = talk.ack.wrapping_add(1);
        talk.fin();
    }
    assert_eq!((talk.wire.stack.flows().0, talk.wire.stack.counters().over_limit), (8, 0));
}
