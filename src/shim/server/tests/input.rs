//! Input: whose it is, when it ends, and a container that does not read it.

use super::*;

#[test]
fn stdin_comes_from_any_client_and_ends_with_the_one_that_had_it() {
    let first = Some(ALL);
    let options = Options { stdin: true, stdin_once: true, first, ..Options::default() };
    let mut c = Container::start("cat", options);
    let mut first = c.first();
    let second = c.attach(ALL);
    second.type_in(b"from the second\n");
    first.until("from the second\n");
    first.type_in(b"from the first\n");
    first.until("from the first\n");
    // What was sent before the end arrives before the end.
    first.type_in(b"last\n");
    say(&first.socket, &Request::StdinClosed);
    assert_eq!(first.finish(), Some(0));
    assert_eq!(first.stdout, b"from the second\nfrom the first\nlast\n");
    c.end();
}

#[test]
fn without_stdin_once_the_container_keeps_its_stdin() {
    let c = Container::start("cat", Options { stdin: true, ..Options::default() });
    let mut one = c.attach(ALL);
    one.type_in(b"one\n");
    one.until("one\n");
    say(&one.socket, &Request::StdinClosed);
    drop(one);
    let mut two = c.attach(ALL);
    two.type_in(b"two\n");
    two.until("two\n");
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    assert_eq!(two.finish(), Some(137));
    c.end();
}

#[test]
fn a_container_that_does_not_read_holds_up_nobody() {
    let script = "trap 'echo got it; exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    let mut c = Container::start(script, Options { stdin: true, first: Some(ALL), ..Options::default() });
    let mut client = c.first();
    let full = vec![b'x'; MAX_DATA];
    client.type_in(&full);
    while client.next() != Some(Heard::Taken) {}
    // The pipe is full by this, so the next packet is not taken; the signal gets through all the same.
    client.type_in(&full);
    client.until("ready");
    say(&client.socket, &Request::Signal(libc::SIGUSR1));
    assert_eq!(client.finish(), Some(9));
    assert_eq!(client.stdout, b"ready\ngot it\n");
    c.end();
}

#[test]
fn a_client_that_does_not_wait_for_its_turn_is_dropped() {
    let c = Container::start("sleep 1000", Options { stdin: true, ..Options::default() });
    let mut rude = c.attach(ALL);
    for _ in 0..3 {
        let _ = protocol::send(rude.socket.as_fd(), Request::Stdin(&[b'x'; MAX_DATA]).encode(), &[], true);
    }
    assert_eq!(rude.finish(), None);
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
}

#[test]
fn a_closed_stdin_is_told() {
    let mut c = Container::start(
        "exec <&-; echo closed; sleep 1000",
        Options { stdin: true, first: Some(ALL), ..Options::default() },
    );
    let mut client = c.first();
    client.until("closed");
    client.type_in(b"x");
    assert_eq!(client.next(), Some(Heard::Gone));
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    assert_eq!(client.finish(), Some(137));
    c.end();
}
