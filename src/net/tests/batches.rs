//! When the container's packets come faster than they are taken: what is put off, and that it is not forgotten.

use super::talk::{Talk, expect};
use super::wire::{Heard, Sent};
use crate::net::stack::BATCH;

/// Gives the stack a full batch of short segments without a turn, and has one; the numbers that it acknowledges.
fn full_batch(talk: &mut Talk) -> Vec<u32> {
    for _ in 0..BATCH {
        let sent = Sent { payload: b"0123456789", ..talk.blank() };
        talk.wire.give(&sent.packet());
        talk.seq += 10;
    }
    talk.wire.turn();
    acknowledged(talk)
}

fn acknowledged(talk: &Talk) -> Vec<u32> {
    talk.wire.take().iter().filter_map(|p| Heard::read(p)).filter_map(|heard| heard.ack).collect()
}

#[test]
fn an_acknowledgement_waits_for_a_few_full_batches() {
    let (mut talk, mut stream) = Talk::open();
    for _ in 0..3 {
        assert!(full_batch(&mut talk).is_empty());
        assert!(
            talk.wire.stack.deadline().is_some_and(|at| at <= talk.wire.now),
            "it would wait for an event"
        );
    }
    assert_eq!(full_batch(&mut talk), [talk.seq]);
    // That a batch was full does not say that another comes.
    assert!(full_batch(&mut talk).is_empty());
    talk.wire.turn();
    assert_eq!(acknowledged(&talk), [talk.seq]);
    assert!(talk.wire.stack.deadline().is_none_or(|at| at > talk.wire.now), "it would never sleep");
    expect(&mut stream, &b"0123456789".repeat(5 * BATCH));
}

#[test]
fn what_is_lost_is_told_amid_full_batches() {
    let (mut talk, _stream) = Talk::open();
    let (gap, ahead) = (talk.seq, talk.seq + 10);
    talk.seq = ahead;
    assert_eq!(full_batch(&mut talk), [gap]);
}
