//! Probes at the end of what was sent, RFC 8985 §7: when they are sent, and what they have told.

use std::time::{Duration, Instant};

use super::{Ack, Sender, Seq, Silence};

const TRIP: Duration = Duration::from_millis(1);

/// A connection that is open.
fn open(now: Instant) -> Sender {
    let mut tx = Sender::new(Seq(0), 1460);
    tx.agree(Seq(0), 65_000, 0, 1460, true);
    tx.sent(1, now);
    acknowledge(&mut tx, Seq(1), None, now + TRIP);
    tx
}

fn acknowledge(tx: &mut Sender, ack: Seq, twice: Option<(Seq, Seq)>, now: Instant) {
    let ack = Ack { seq: Seq(1), ack, window: 65_000, sack: [twice, None, None], bare: true };
    tx.acknowledge(&ack, now);
}

#[test]
fn a_probe_that_would_come_too_late_is_none() {
    let now = Instant::now();
    let mut tx = open(now);
    tx.sent(5000, now);
    tx.patience(now);
    assert!(tx.probes());
    // The link has become slow meanwhile: two round trips are longer than the timeout.
    for _ in 0..100 {
        tx.timeout.measure(Duration::from_millis(150));
    }
    let until = tx.patience(now);
    assert!(!tx.probes() && until == now + tx.timeout.get());
    assert_eq!(tx.silence(until), Silence::Over);
}

/// Sends, probes, and hears that all has arrived; the window before and after what `then` does.
fn probed(then: impl FnOnce(&mut Sender, Seq, Instant)) -> (usize, usize) {
    let mut now = Instant::now();
    let mut tx = open(now);
    tx.sent(5000, now);
    now = tx.patience(now);
    assert!(matches!(tx.silence(now), Silence::Probe(..)));
    let end = tx.nxt;
    now += TRIP;
    acknowledge(&mut tx, end, None, now);
    let before = tx.congestion.window();
    then(&mut tx, end, now);
    tx.sent(1460, now);
    let nxt = tx.nxt;
    acknowledge(&mut tx, nxt, None, now + TRIP);
    (before, tx.congestion.window())
}

#[test]
fn a_loss_that_a_probe_has_mended_counts() {
    let (before, after) = probed(|_, _, _| {});
    assert!(after < before, "{before} {after}");
}

#[test]
fn a_probe_of_what_was_only_late_does_not() {
    let told = probed(|tx, end, now| {
        acknowledge(tx, end, Some((Seq(end.0 - 1460), end)), now);
    });
    assert!(told.1 >= told.0, "{told:?}");
    // Of a container that does not tell what came twice.
    let answered = probed(|tx, end, now| acknowledge(tx, end, None, now));
    assert!(answered.1 >= answered.0, "{answered:?}");
}
