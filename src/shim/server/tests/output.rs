//! Output: to the clients that asked for it, to the log, and to the end.

use super::*;

#[test]
fn output_and_exit_code_reach_the_first_client_and_the_log() {
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start("echo out; echo err >&2; exit 3", Options { first, ..Options::default() });
    let mut client = c.first();
    assert_eq!(client.finish(), Some(3));
    assert_eq!((client.stdout, client.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    let log = c.log();
    assert!(log.contains("out\n") && log.contains("err\n") && log.len() == 8, "{log:?}");
    assert_eq!(c.end(), WaitStatus::Exited(3));
}

#[test]
fn death_by_a_signal_that_a_client_asked_for() {
    let c = Container::start("sleep 1000", Options::default());
    let waiting = c.connect();
    say(&waiting, &Request::Wait);
    client::kill(c.connect(), libc::SIGTERM).unwrap();
    assert_eq!(Client::new(waiting).finish(), Some(143));
    assert_eq!(c.end(), WaitStatus::Signaled(libc::SIGTERM));
}

#[test]
fn streams_that_were_not_asked_for_do_not_come() {
    let c = Container::start("read x; echo out; echo err >&2", Options { stdin: true, ..Options::default() });
    let mut only_err = c.attach(Attach { stdin: false, stdout: false, stderr: true });
    let mut all = c.attach(ALL);
    all.type_in(b"go\n");
    assert_eq!((all.finish(), only_err.finish()), (Some(0), Some(0)));
    assert_eq!((only_err.stdout, only_err.stderr), (b"".to_vec(), b"err\n".to_vec()));
    assert_eq!((all.stdout, all.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    c.end();
}

#[test]
fn a_slow_client_loses_nothing_and_holds_up_neither_the_others_nor_the_end() {
    const LINES: usize = 2_000_000;
    let script = format!("read x; seq {LINES}; seq 3 >&2");
    let c = Container::start(&script, Options { stdin: true, ..Options::default() });
    let mut slow = c.attach(Attach { stdin: false, ..ALL });
    let mut fast = c.attach(ALL);
    fast.type_in(b"go\n");
    assert_eq!(fast.finish(), Some(0));
    let dir = c.dir.path().to_owned();
    let Container { thread, dir: guard, .. } = c;
    // The server is through although the slow client has not read a byte; even the log's name is gone.
    assert_eq!(thread.join().unwrap(), WaitStatus::Exited(0));
    drop(guard);
    assert!(!dir.exists());
    assert_eq!(slow.finish(), Some(0));
    assert!(slow.gaps > 0, "the flood fitted into the socket");
    let expected: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    assert!(slow.stdout == expected.as_bytes(), "{} of {} bytes", slow.stdout.len(), expected.len());
    assert!(fast.stdout == expected.as_bytes(), "{} of {} bytes", fast.stdout.len(), expected.len());
    assert_eq!(slow.stderr, b"1\n2\n3\n");
}

#[test]
fn two_hundred_megabytes_arrive_whole_in_little_memory() {
    let script = "exec head -c 200000000 /dev/zero";
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start(script, Options { first, ..Options::default() });
    let mut client = c.first();
    let mut total = 0;
    let mut code = None;
    while let Some(heard) = client.next() {
        // Now and then it looks away for longer than the socket has room.
        if total % 7 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        total += client.stdout.len();
        assert!(client.stdout.iter().all(|b| *b == 0));
        client.stdout.clear();
        if let Heard::Exited(n) = heard {
            code = Some(n);
        }
    }
    assert_eq!((total, code), (200_000_000, Some(0)));
    c.end();
}

#[test]
fn a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_shim() {
    let began = Instant::now();
    let first = Some(Attach { stdin: false, ..ALL });
    let mut c = Container::start("(sleep 5; echo late) & echo soon", Options { first, ..Options::default() });
    let mut client = c.first();
    assert_eq!(client.finish(), Some(0));
    assert_eq!(client.stdout, b"soon\n");
    assert!(began.elapsed() < Duration::from_secs(4));
    c.end();
}
