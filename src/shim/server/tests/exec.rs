//! Further processes of a container: their start, their output, their end.

use std::io::Read;

use super::*;

/// Starts a process as `client::exec_session` does: our ends of stdout and of the conversation.
fn exec(c: &Container, line: &[&str]) -> (Client, OwnedFd) {
    use std::io::Write;
    let mut request = tempfile::tempfile().unwrap();
    request.write_all(&serde_json::to_vec(line).unwrap()).unwrap();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let fds = [request.as_fd(), null.as_fd(), write.as_fd(), write.as_fd()];
    let socket = c.connect();
    protocol::send(socket.as_fd(), Request::Exec.encode(), &fds, true).unwrap();
    (Client::new(socket), read)
}

#[test]
fn exec_brings_output_past_the_shim_and_the_exit_code_through_it() {
    let c = Container::start("sleep 1000", Options::default());
    let (mut client, out) = exec(&c, &["sh", "-c", "echo hello; echo bad >&2; exit 7"]);
    let first = client.next();
    assert!(matches!(&first, Some(Heard::Other(s)) if s.starts_with("ExecStarted")), "{first:?}");
    let mut text = String::new();
    std::fs::File::from(out).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\nbad\n");
    assert_eq!(client.finish(), Some(7));
    // One that cannot be started, one that is signalled, and one whose client goes.
    let (mut client, _out) = exec(&c, &["/no/such/program"]);
    assert!(
        matches!(client.next(), Some(Heard::Other(s)) if s.contains("127") && s.contains("/no/such/program"))
    );
    let (mut client, _out) = exec(&c, &["sleep", "1000"]);
    client.next();
    say(&client.socket, &Request::Signal(libc::SIGTERM));
    assert_eq!(client.finish(), Some(143));
    let witness = c.dir.path().join("witness");
    let (mut client, out) = exec(&c, &["sh", "-c", &format!("sleep 0.2; touch {}", witness.display())]);
    client.next();
    drop((client, out));
    let patience = Instant::now();
    while !witness.exists() {
        assert!(patience.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
    assert_eq!(children_named("sh", "touch"), 0, "the exec'd process is a zombie or alive");
}

#[test]
fn an_exec_that_is_stopped_on_its_way_holds_up_nobody_and_is_given_up() {
    let c = Container::start("while sleep 0.01; do echo tick; done", Options::default());
    let (mut stuck, _out) = exec(&c, &["stopped", "sleep", "5"]);
    let begun = Instant::now();
    let (mut other, _out) = exec(&c, &["true"]);
    let first = other.next();
    assert!(matches!(&first, Some(Heard::Other(s)) if s.starts_with("ExecStarted")), "{first:?}");
    assert_eq!(other.finish(), Some(0));
    let mut attached = c.attach(ALL);
    assert!(matches!(attached.next(), Some(Heard::Output)));
    client::kill(c.connect(), libc::SIGCONT).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "the loop stood still: {:?}", begun.elapsed());
    assert!(matches!(stuck.next(), Some(Heard::Other(s)) if s.contains("125") && s.contains("timed out")));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // One whose container ends meanwhile is told so.
    let (mut stuck, _out) = exec(&c, &["stopped", "sleep", "5"]);
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    assert_eq!(stuck.finish(), Some(137));
    c.end();
}

/// Children of this process, dead or alive, whose command line holds `word`; a zombie has none and counts by name.
fn children_named(name: &str, word: &str) -> usize {
    let me = std::process::id().to_string();
    let of = |pid: &str| -> Option<bool> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned());
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        Some(field("PPid:")? == me && field("Name:")? == name && line.contains(word))
    };
    let all = std::fs::read_dir("/proc").unwrap();
    all.filter(|e| of(&e.as_ref().unwrap().file_name().to_string_lossy()) == Some(true)).count()
}

#[test]
fn a_terminal_of_exec_that_its_client_left_is_read_on() {
    use std::io::Write;
    let c = Container::start("sleep 1000", Options::default());
    let witness = c.dir.path().join("witness");
    let line = format!("seq 200000; touch {}", witness.display());
    let mut request = tempfile::tempfile().unwrap();
    request.write_all(&serde_json::to_vec(&["sh", "-c", &line]).unwrap()).unwrap();
    let socket = c.connect();
    protocol::send(socket.as_fd(), Request::Exec.encode(), &[request.as_fd()], true).unwrap();
    let mut fds = Vec::new();
    protocol::receive(socket.as_fd(), &mut Vec::new(), &mut fds).unwrap();
    assert_eq!(fds.len(), 1);
    drop((socket, fds));
    let patience = Instant::now();
    while !witness.exists() {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    client::kill(c.connect(), libc::SIGKILL).unwrap();
    c.end();
}
