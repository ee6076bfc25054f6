//! One command: run as the test's account, with nothing in its environment but what is stated, under a time
//! limit. When anything is not as expected, the whole story is printed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;

/// How long a command may take unless the test says otherwise. Generous: machines differ, hangs do not.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A command that is not started yet.
#[derive(Debug, Clone)]
pub struct Call {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: PathBuf,
    ids: Option<(u32, u32)>,
    stdin: Option<Vec<u8>>,
    limit: Duration,
}

/// What a finished command left: both streams, and how it ended.
#[derive(Debug)]
pub struct Out {
    /// The exit code; `-n` for death by signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    story: String,
}

/// A command that runs beside the test. Dropping it kills its process group.
#[derive(Debug)]
pub struct Job {
    child: Child,
    call: Call,
    started: Instant,
    streams: [Arc<Mutex<Vec<u8>>>; 2],
    ends: Receiver<()>,
    stdin: Option<ChildStdin>,
    finished: bool,
}

impl Call {
    pub fn new(program: PathBuf, account: &Account, directory: PathBuf) -> Self {
        let me = rustix::process::geteuid().as_raw();
        let ids = (account.uid != me).then_some((account.uid, account.gid));
        Self { program, args: Vec::new(), env: Vec::new(), directory, ids, stdin: None, limit: LIMIT }
    }

    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable; the last one wins.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.retain(|(k, _)| k != key);
        self.env.push((key.into(), value.into()));
        self
    }

    /// What the command reads; without this, `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Run by root in the network and mount namespaces of a process, from there as the account that it was for.
    pub fn inside(mut self, pid: u32) -> Self {
        let mut words: Vec<OsString> =
            ["--target", &pid.to_string(), "--net", "--mount"].map(OsString::from).to_vec();
        words.push(format!("--wdns={}", self.directory.display()).into());
        if let Some((uid, gid)) = self.ids.take() {
            let ids = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()];
            words.push("setpriv".into());
            words.extend(ids.map(OsString::from));
        }
        words.push(std::mem::replace(&mut self.program, "nsenter".into()).into());
        words.append(&mut self.args);
        self.args = words;
        self
    }

    /// Moved by root into the control group whose `cgroup.procs` this is, from there as the account that it was for.
    pub fn in_group(mut self, procs: &Path) -> Self {
        let script = "echo $$ >\"$0\" && exec \"$@\"";
        let mut words: Vec<OsString> = vec!["-c".into(), script.into(), procs.into()];
        if let Some((uid, gid)) = self.ids.take() {
            let ids = [format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()];
            words.push("setpriv".into());
            words.extend(ids.map(OsString::from));
        }
        words.push(std::mem::replace(&mut self.program, "sh".into()).into());
        words.append(&mut self.args);
        self.args = words;
        self
    }

    /// The command as it can be handed to a process builder, without streams.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(self.env.iter().cloned()).current_dir(&self.directory);
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes `command` run as the account, and gives it the terminal it is about to have.
    pub fn become_account(&self, command: &mut Command, terminal: &std::fs::File) {
        if let Some((uid, gid)) = self.ids {
            std::os::unix::fs::fchown(terminal, Some(uid), None).unwrap();
            command.uid(uid).gid(gid);
        }
    }

    /// Starts it and comes back at once; its stdin stays open for [`Job::write`] when `interactive`.
    #[track_caller]
    pub fn spawn(self, interactive: bool) -> Job {
        let mut command = self.command();
        let piped = interactive || self.stdin.is_some();
        command.stdin(if piped { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.describe()));
        let (done, ends) = channel();
        let out = collect(child.stdout.take().unwrap(), done.clone());
        let err = collect(child.stderr.take().unwrap(), done);
        let mut stdin = child.stdin.take();
        if let (Some(bytes), Some(mut pipe)) = (self.stdin.clone(), stdin.take_if(|_| !interactive)) {
            // A command that does not read all of it closes the pipe: that is its business.
            thread::spawn(move || pipe.write_all(&bytes));
        }
        Job { child, call: self, started, streams: [out, err], ends, stdin, finished: false }
    }

    /// Runs it to its end, which must be exit code `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Out {
        let limit = self.limit;
        self.spawn(false).finish(limit).expect_code(code)
    }

    /// Runs it to its end, whatever that is.
    #[track_caller]
    pub fn run(self) -> Out {
        let limit = self.limit;
        self.spawn(false).finish(limit)
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.env {
            let _ = write!(text, "{}={} ", key.to_string_lossy(), value.to_string_lossy());
        }
        let _ = write!(text, "{}", self.program.display());
        for arg in &self.args {
            let _ = write!(text, " {arg:?}");
        }
        let _ = write!(text, "  (in {}, as {:?})", self.directory.display(), self.ids);
        text
    }
}

impl Job {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.streams[0].lock().unwrap()).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.streams[1].lock().unwrap()).into_owned()
    }

    /// Waits until stdout contains `text`.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let seen = super::within(self.call.limit, || self.stdout().contains(text));
        assert!(
            seen,
            "`{text}` never came from\n{}\n{}\n{}",
            self.call.describe(),
            self.stdout(),
            self.stderr()
        );
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("started with stdin open").write_all(bytes).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the command itself, not to its group.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Waits for the end of the command and of both its streams. A shim that keeps a stream of its caller's
    /// open is found here.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Out {
        let end = Instant::now() + limit;
        self.stdin = None;
        let mut late = None;
        while late.is_none() && self.child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                late = Some("the command did not end");
            }
            thread::sleep(Duration::from_millis(2));
        }
        let took = self.started.elapsed();
        for _ in 0..2 {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(2));
            if late.is_none() && self.ends.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                late = Some("the command ended, but somebody still holds its stdout or stderr");
            }
        }
        if late.is_some() {
            self.kill_group();
        }
        let status = self.child.wait().unwrap();
        self.finished = true;
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let story = format!(
            "{}\nended with {code} after {took:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.call.describe(),
            shorten(&stdout),
            shorten(&stderr)
        );
        assert!(late.is_none(), "{} within {limit:?}:\n{story}", late.unwrap());
        Out { code, stdout, stderr, took, story }
    }

    fn kill_group(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.pid()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.finished {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

impl Out {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code == code, "exit code {} where {code} was expected:\n{}", self.code, self.story);
        self
    }

    /// stdout without the blanks around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// stdout is exactly this, but for blanks around it.
    #[track_caller]
    pub fn is(&self, expected: &str) -> &Self {
        assert!(self.text() == expected.trim(), "stdout is not {expected:?}:\n{}", self.story);
        self
    }

    #[track_caller]
    pub fn has(&self, part: &str) -> &Self {
        assert!(self.stdout.contains(part), "no {part:?} in stdout:\n{}", self.story);
        self
    }

    #[track_caller]
    pub fn lacks(&self, part: &str) -> &Self {
        assert!(!self.stdout.contains(part), "{part:?} in stdout:\n{}", self.story);
        self
    }

    /// stderr contains this, whatever the case.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        let found = self.stderr.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "no {part:?} in stderr:\n{}", self.story);
        self
    }

    /// Nothing on stderr.
    #[track_caller]
    pub fn silent(&self) -> &Self {
        assert!(self.stderr.is_empty(), "stderr is not empty:\n{}", self.story);
        self
    }

    pub fn story(&self) -> &str {
        &self.story
    }
}

fn collect(mut from: impl Read + Send + 'static, done: std::sync::mpsc::Sender<()>) -> Arc<Mutex<Vec<u8>>> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&bytes);
    thread::spawn(move || {
        let mut chunk = [0; 65536];
        while let Ok(n @ 1..) = from.read(&mut chunk) {
            shared.lock().unwrap().extend_from_slice(&chunk[..n]);
        }
        let _ = done.send(());
    });
    bytes
}

/// The beginning and the end of what is too long for a report.
fn shorten(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= 80 {
        return text.chars().take(8000).collect();
    }
    format!(
        "{}\n… {} lines …\n{}",
        lines[..40].join("\n"),
        lines.len() - 80,
        lines[lines.len() - 40..].join("\n")
    )
}
