//! Whether the kernel killed a container for want of memory.
//!
//! A container has no control group of its own yet: it shares its shim's, and the kernel counts, for each group, the
//! processes that it killed there. The count at the start and the count at the end are compared, and only where the
//! first process died of a SIGKILL that neither a command nor the shim sent. What that can mistake: a kill of a
//! process of the same group that is not the container's, in the same span, along with a SIGKILL from outside; and
//! of a process that the kernel killed *below* the first one nothing is seen, as long as that one ends otherwise.
//!
//! Where there is no such count (no memory controller, nothing mounted at the usual place, a group outside the
//! namespace that is seen from here) the answer is no, silently: nothing depends on it.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};

/// More than either of the kernel's files has, in bytes.
const SIZE: usize = 1024;

/// The count of the group that this process is in.
#[derive(Debug)]
pub(super) struct Kills {
    file: OwnedFd,
    before: u64,
}

impl Kills {
    /// Counts from here on. `None` where the kernel does not count.
    pub(super) fn begin() -> Option<Self> {
        let own = open("/proc/self/cgroup")?;
        let groups = read(&own)?;
        let file = open(&counter(&groups)?)?;
        let before = count(&read(&file)?)?;
        Some(Self { file, before })
    }

    /// Whether there has been one since.
    pub(super) fn any(&self) -> bool {
        read(&self.file).and_then(|text| count(&text)).is_some_and(|now| now > self.before)
    }
}

/// Where the kernel counts for the group that `/proc/self/cgroup` names, see cgroups(7). The memory controller is in
/// one hierarchy at a time: a line that names it is version 1's, and only without one it can be version 2's.
fn counter(groups: &str) -> Option<String> {
    let lines = || groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let old = lines().find(|(controllers, _)| controllers.split(',').any(|c| c == "memory"));
    let (mount, path, file) = match old {
        Some((_, path)) => ("/sys/fs/cgroup/memory", path, "memory.oom_control"),
        None => {
            ("/sys/fs/cgroup", lines().find(|(controllers, _)| controllers.is_empty())?.1, "memory.events")
        }
    };
    // Seen from a cgroup namespace, a group outside of it begins with `/..`.
    (!path.split('/').any(|part| part == ".."))
        .then(|| format!("{mount}{}/{file}", path.trim_end_matches('/')))
}

/// `oom_kill` is the key in both versions' files.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn open(path: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

/// From its beginning, cut off at [`SIZE`]. The kernel gives such a file whole, with the first read.
fn read(file: &OwnedFd) -> Option<String> {
    let mut buffer = [0; SIZE];
    let length = rustix::io::pread(file, &mut buffer, 0).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_where_the_memory_controller_is() {
        let cases = [
            ("0::/user.slice/a.scope\n", Some("/sys/fs/cgroup/user.slice/a.scope/memory.events")),
            ("0::/\n", Some("/sys/fs/cgroup/memory.events")),
            (
                "9:name=systemd:/\n4:memory:/a/b\n0::/c\n",
                Some("/sys/fs/cgroup/memory/a/b/memory.oom_control"),
            ),
            ("2:cpu,memory:/\n0::/\n", Some("/sys/fs/cgroup/memory/memory.oom_control")),
            ("4:memory:/x:y\n", Some("/sys/fs/cgroup/memory/x:y/memory.oom_control")),
            ("0::/../other\n", None),
            ("9:name=systemd:/\n", None),
            ("", None),
        ];
        for (groups, place) in cases {
            assert_eq!(counter(groups).as_deref(), place, "{groups}");
        }
    }

    #[test]
    fn both_versions_count_under_one_key() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count("low 0\nhigh 0\nmax 9\noom 4\noom_kill 2\noom_group_kill 7\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
