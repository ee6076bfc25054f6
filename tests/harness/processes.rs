//! Reading `/proc`: which processes an account has left, and what a process looks like from outside.

use std::fs;

use super::account::Account;

/// A process, as far as a leak report needs it.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub line: String,
}

/// The value of a field of `/proc/PID/status`, or `None` when the process is gone.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.strip_prefix(field).is_some_and(|r| r.starts_with(':')))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Every live process that the account has in this home. Where the account is shared with other tests, only
/// those that show the home in their arguments, environment or mounts.
pub fn of(account: &Account, home: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for pid in pids() {
        let Some(uids) = status_field(pid, "Uid") else { continue };
        let ours = uids.split_whitespace().filter_map(|u| u.parse().ok()).any(|uid| account.owns(uid));
        let dead = status_field(pid, "State").is_none_or(|s| s.starts_with(['Z', 'X']));
        if !ours || dead || pid == std::process::id() as i32 {
            continue;
        }
        let read = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let line = read("cmdline");
        let shows = |text: &str| text.contains(home);
        if account.exclusive || shows(&line) || shows(&read("environ")) || shows(&read("mountinfo")) {
            let name = status_field(pid, "Name").unwrap_or_default();
            found.push(Process { pid, line: format!("{pid} ({name}, uid {uids}) {line}") });
        }
    }
    found
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
}
