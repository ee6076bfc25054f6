//! A terminal that a test holds the other end of: types, reads, resizes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::command::{Call, LIMIT};
use super::within;

/// A command with a terminal of its own as stdin, stdout, stderr and controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    finished: bool,
}

impl Terminal {
    /// Starts `call` in a terminal of 24 rows and 80 columns.
    #[track_caller]
    pub fn start(call: &Call) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Or a test program that leads a session would take the terminal for its own.
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let slave = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
        // `setsid --ctty` gives a new session with the terminal on stdin as its own, and keeps the pid.
        let plain = call.command();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.current_dir(plain.get_current_dir().unwrap());
        call.become_account(&mut command, &slave);
        command.stdin(Stdio::from(slave.try_clone().unwrap()));
        command.stdout(Stdio::from(slave.try_clone().unwrap())).stderr(Stdio::from(slave));
        let child = command.spawn().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, mut reader) = (Arc::clone(&seen), File::from(master.try_clone().unwrap()));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                shared.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        let mut terminal = Self { master: File::from(master), child, seen, finished: false };
        terminal.resize(24, 80);
        terminal
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Everything that came so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until `text` has come.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        assert!(within(LIMIT, || self.seen().contains(text)), "`{text}` never came; seen:\n{}", self.seen());
    }

    /// Waits for the command's end, which must be exit code `code`; everything that came.
    #[track_caller]
    pub fn exits(mut self, code: i32) -> String {
        let ended = within(LIMIT, || self.child.try_wait().unwrap().is_some());
        assert!(ended, "the command did not end; seen:\n{}", self.seen());
        self.finished = true;
        let status = self.child.wait().unwrap();
        let got = status.code().unwrap_or_else(|| -status.signal().unwrap());
        // The last bytes may still be on their way through the terminal.
        std::thread::sleep(Duration::from_millis(50));
        assert!(got == code, "exit code {got} where {code} was expected; seen:\n{}", self.seen());
        self.seen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
