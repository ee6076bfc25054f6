//! What is lost on the way to the container, told by hand: it is sent again as soon as that can be known.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::talk::Talk;
use super::wire::{Heard, Sent};

/// Longer than this apart, segments count as sent one after another.
const TRIP: Duration = Duration::from_millis(2);

fn ack(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap()
}

/// Has the container say that it has what `heard` carried.
fn has(talk: &mut Talk, heard: &[Heard]) -> Vec<Heard> {
    let (first, last) = (heard[0], heard.last().unwrap());
    let sack = Some((first.seq, last.seq.wrapping_add(ack(last.length))));
    talk.say(Sent { sack, ..talk.blank() })
}

fn send(talk: &mut Talk, stream: &mut TcpStream, bytes: usize) -> Vec<Heard> {
    stream.write_all(&vec![7; bytes]).unwrap();
    talk.wire.segments()
}

/// Whether this is one segment, the same as that one.
fn is_again(heard: &[Heard], that: Heard) -> bool {
    heard.len() == 1 && (heard[0].seq, heard[0].length) == (that.seq, that.length)
}

#[test]
fn three_that_say_the_same_mean_a_loss() {
    let (mut talk, mut stream) = Talk::open_plainly();
    let heard = send(&mut talk, &mut stream, 20_000);
    // The first is lost, the others arrive.
    for _ in 0..2 {
        assert_eq!(talk.acknowledge(), []);
    }
    let again = talk.acknowledge();
    assert!(is_again(&again, heard[0]), "{again:?}");
    // So is the third: the answer to the repair says so.
    talk.ack = heard[2].seq;
    let again = talk.acknowledge();
    assert!(is_again(&again, heard[2]), "{again:?}");
    talk.ack = heard[0].seq.wrapping_add(20_000);
    assert_eq!(talk.acknowledge(), []);
}

#[test]
fn a_gap_is_mended_and_so_is_the_gap_that_is_left() {
    let (mut talk, mut stream) = Talk::open();
    let heard = send(&mut talk, &mut stream, 20_000);
    talk.wire.pass(TRIP);
    let again = has(&mut talk, &heard[1..]);
    assert!(is_again(&again, heard[0]), "{again:?}");
    // It is lost once more. What is sent after it arrives before it.
    talk.wire.pass(TRIP);
    let more = send(&mut talk, &mut stream, 4000);
    assert!(!more.is_empty() && more[0].seq != heard[0].seq, "{more:?}");
    talk.wire.pass(TRIP);
    let again = has(&mut talk, &more);
    assert!(again.iter().any(|h| h.seq == heard[0].seq), "{again:?}");
}

#[test]
fn the_end_is_asked_about_long_before_a_timeout() {
    let (mut talk, mut stream) = Talk::open();
    let heard = send(&mut talk, &mut stream, 20_000);
    // None arrives. The last one is tried once.
    let last = *heard.last().unwrap();
    let again = talk.later(Duration::from_millis(20));
    assert!(again.len() == 1 && again[0].length == 1460, "{again:?}");
    assert_eq!(again[0].seq.wrapping_add(1460), last.seq.wrapping_add(ack(last.length)));
    // It arrives: so nothing before it has.
    talk.wire.pass(TRIP);
    let mended = has(&mut talk, &again);
    assert!(mended.len() >= 5 && mended[0].seq == heard[0].seq, "{mended:?}");
}

#[test]
fn what_comes_late_was_not_lost() {
    let (mut talk, mut stream) = Talk::open();
    for _ in 0..3 {
        let heard = send(&mut talk, &mut stream, 20_000);
        talk.wire.pass(TRIP);
        let early = has(&mut talk, &heard[1..2]);
        assert_eq!(early, [], "one behind a gap says little");
        talk.wire.pass(TRIP / 10);
        talk.ack = heard[0].seq.wrapping_add(20_000);
        assert_eq!(talk.acknowledge(), []);
    }
    assert_eq!(talk.wire.stack.counters().retransmitted, 0);
}

#[test]
fn what_is_said_meanwhile_does_not_put_a_probe_off_for_ever() {
    let (mut talk, mut stream) = Talk::open();
    stream.set_nodelay(true).unwrap();
    send(&mut talk, &mut stream, 3000);
    for _ in 0..60 {
        talk.wire.pass(Duration::from_millis(5));
        send(&mut talk, &mut stream, 100);
    }
    assert!(talk.wire.stack.counters().retransmitted > 0, "silence for 300 ms");
}

/// Karn's algorithm, RFC 1122 §4.2.3.1: a wait that was too short grows until a round trip fits into it.
#[test]
fn a_link_that_has_become_slow_is_learnt() {
    let (mut talk, mut stream) = Talk::open();
    for _ in 0..12 {
        let heard = send(&mut talk, &mut stream, 100);
        assert_eq!(heard.len(), 1);
        for _ in 0..5 {
            talk.later(Duration::from_millis(100));
        }
        talk.ack = talk.ack.wrapping_add(100);
        talk.acknowledge();
        // What came twice is answered twice.
        talk.acknowledge();
    }
    let again = talk.wire.stack.counters().retransmitted;
    assert!((1..=3).contains(&again), "{again} were sent again");
}

/// RFC 6298 §5.7, and RFC 8985 §7.2 for want of a round trip: nothing is known of a link whose handshake was repeated.
#[test]
fn after_a_repeated_handshake_there_is_no_hurry() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut talk = Talk::to_port(listener.local_addr().unwrap().port());
    let answer = talk.syn();
    let again = talk.later(Duration::from_millis(1100));
    assert!(again.len() == 1 && again[0].syn && again[0].seq == answer[0].seq, "{again:?}");
    talk.seq += 1;
    talk.ack = answer[0].seq.wrapping_add(1);
    assert_eq!(talk.acknowledge(), []);
    let (mut stream, _) = listener.accept().unwrap();
    let heard = send(&mut talk, &mut stream, 4000);
    assert_eq!(heard.len(), 3);
    for _ in 0..29 {
        assert_eq!(talk.later(Duration::from_millis(100)), []);
    }
    let again = talk.later(Duration::from_millis(200));
    assert!(is_again(&again, heard[0]), "{again:?}");
}
