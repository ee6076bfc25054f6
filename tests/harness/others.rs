//! Other people's container tools, as witnesses of what kelp writes and as makers of what it has to read.
//!
//! They run as root, as their distribution means them to, and keep everything in one directory of the test's: no
//! storage, socket or configuration of the machine is touched. Whoever cannot be root cannot ask them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::account::{Account, Kind};
use super::command::Call;
use super::{Sandbox, split, within};

/// The tools, and the directory in which they work.
#[derive(Debug)]
pub struct Others {
    root: Account,
    dir: PathBuf,
}

/// A docker daemon of the test's own. Ended when dropped.
#[derive(Debug)]
pub struct Docker<'a> {
    others: &'a Others,
    daemon: Child,
}

impl Others {
    /// `None` where the tests do not run as root.
    pub fn beside(sandbox: &Sandbox) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        Some(Self { root: Account::borrow(Kind::Root), dir: sandbox.dir("others") })
    }

    /// Where they run, and where they put what they write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Any program, as root, in the directory.
    pub fn call(&self, program: &str, line: &str) -> Call {
        let call = Call::new(program.into(), &self.root, self.dir.clone()).args(split(line));
        let call = call.env("HOME", &self.dir).env("TMPDIR", &self.dir).limit(Duration::from_secs(120));
        call.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// podman with storage of the test's own, and nothing of systemd.
    pub fn podman(&self, line: &str) -> Call {
        let options = "--runtime runc --cgroup-manager cgroupfs --events-backend none";
        self.call("/usr/bin/podman", &format!("{options} {} {line}", self.storage()))
    }

    pub fn buildah(&self, line: &str) -> Call {
        self.call("/usr/bin/buildah", &format!("{} {line}", self.storage()))
    }

    pub fn skopeo(&self, line: &str) -> Call {
        self.call("/usr/bin/skopeo", &format!("--insecure-policy {line}"))
    }

    pub fn umoci(&self, line: &str) -> Call {
        self.call("/usr/bin/umoci", line)
    }

    fn storage(&self) -> String {
        let dir = self.dir.display();
        format!("--storage-driver vfs --root {dir}/storage --runroot {dir}/run")
    }

    /// Starts a docker daemon without networks. `None`, told on stderr, where the machine lets none run.
    pub fn docker(&self) -> Option<Docker<'_>> {
        let log = File::create(self.dir.join("dockerd.log")).unwrap();
        let path = |name: &str| self.dir.join(name).display().to_string();
        let mut command = Command::new("/usr/sbin/dockerd");
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]);
        command.args(["--data-root", &path("docker"), "--exec-root", &path("docker-exec")]);
        command.args(["--pidfile", &path("docker.pid"), "--host", &self.host()]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon =
            command.spawn().unwrap_or_else(|e| panic!("dockerd: {e}: run tests/setup as root first"));
        let mut docker = Docker { others: self, daemon };
        let mut ended = false;
        let ready = within(Duration::from_secs(60), || {
            ended = docker.daemon.try_wait().unwrap().is_some();
            ended || docker.call("version").run().code == 0
        });
        if ready && !ended {
            return Some(docker);
        }
        let log = fs::read_to_string(self.dir.join("dockerd.log")).unwrap();
        eprintln!("NOT ASKED: docker, whose daemon does not start here:\n{log}");
        None
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }
}

impl Docker<'_> {
    pub fn call(&self, line: &str) -> Call {
        self.others.call("/usr/bin/docker", line).env("DOCKER_HOST", self.others.host())
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        // It takes its containerd along when it is asked to end.
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let ended = within(Duration::from_secs(20), || self.daemon.try_wait().is_ok_and(|s| s.is_some()));
        if !ended {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        for mount in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let target = mount.split(' ').nth(4).unwrap_or_default();
            if Path::new(target).starts_with(&self.others.dir) {
                let _ = Command::new("umount").args(["--lazy", target]).status();
            }
        }
    }
}
