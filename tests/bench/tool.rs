//! One container tool, and how it is asked for each of the things that are measured.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Sandbox, within};

/// What is running on the tool's side, and how to call it.
#[derive(Debug)]
pub struct Tool {
    pub name: &'static str,
    /// Program and leading arguments.
    base: Vec<String>,
    /// Whom to run it as, and its environment.
    template: Template,
    daemon: Option<Child>,
}

#[derive(Debug, Clone)]
struct Template {
    ids: Option<(u32, u32)>,
    env: Vec<(String, String)>,
    directory: PathBuf,
}

/// Where skopeo, which has no store, keeps its image.
const LAYOUT: &str = "oci:layout";

/// The measurements of one tool.
#[derive(Debug)]
pub struct Samples {
    pub name: &'static str,
    pub unit: &'static str,
    pub values: Vec<f64>,
}

impl Samples {
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    pub fn text(&self) -> String {
        let median = self.median();
        if median < 10.0 {
            format!("{median:.2} {}", self.unit)
        } else {
            format!("{median:.0} {}", self.unit)
        }
    }

    pub fn against(&self, other: &Self) -> String {
        let ratio = other.median() / self.median();
        if ratio >= 1.0 {
            format!("{ratio:.1}× below {}", other.name)
        } else {
            format!("{:.2}× {}", 1.0 / ratio, other.name)
        }
    }
}

/// `rounds` times every tool in turn; a tool that cannot do it has no values.
pub fn interleave(
    tools: &[Tool],
    rounds: usize,
    unit: &'static str,
    one: impl Fn(&Tool) -> Option<f64>,
) -> Vec<Samples> {
    let mut all: Vec<Samples> =
        tools.iter().map(|t| Samples { name: t.name, unit, values: Vec::new() }).collect();
    for round in 0..=rounds {
        for (tool, samples) in tools.iter().zip(&mut all) {
            // The first round warms caches.
            samples.values.extend(one(tool).filter(|_| round > 0 || rounds < 4));
        }
    }
    all
}

fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').any(|dir| Path::new(dir).join(program).exists())
}

/// crun, podman's own choice, refuses a host whose cgroups are not all of version 2.
fn podman_runtime() -> &'static str {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !unified && installed("runc") { "--runtime runc" } else { "" }
}

impl Tool {
    /// kelp and those of its peers that this machine has.
    pub fn all(sandbox: &Sandbox) -> Vec<Self> {
        let account = &sandbox.account;
        let me = rustix::process::geteuid().as_raw();
        let home = sandbox.home().to_str().unwrap().to_owned();
        let env =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let path = std::env::var("PATH").unwrap();
        let user = Template {
            ids: (account.uid != me).then_some((account.uid, account.gid)),
            env: env(&[
                ("HOME", &home),
                ("PATH", &path),
                ("XDG_RUNTIME_DIR", sandbox.dir("run").to_str().unwrap()),
            ]),
            directory: sandbox.work(),
        };
        let root = sandbox.busybox_dir("rootfs").to_str().unwrap().to_owned();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let tar = sandbox.busybox_tar();
        let mut tools = vec![Self {
            name: "kelp",
            base: vec![sandbox.program().to_str().unwrap().to_owned()],
            template: user.clone(),
            daemon: None,
        }];
        let candidates = [
            (
                "podman",
                words(&format!(
                    "podman --cgroup-manager=cgroupfs --events-backend=file {}",
                    podman_runtime()
                )),
            ),
            (
                "bwrap",
                words(&format!(
                    "bwrap --unshare-all --die-with-parent --bind {root} / --proc /proc --dev /dev"
                )),
            ),
            (
                "unshare",
                words(&format!(
                    "unshare --user --map-root-user --mount --pid --net --ipc --uts --cgroup --fork chroot {root}"
                )),
            ),
            ("skopeo", words("skopeo --insecure-policy")),
        ];
        for (name, base) in candidates {
            if !installed(&base[0]) {
                eprintln!("{name} is not installed: left out");
                continue;
            }
            tools.push(Self { name, base, template: user.clone(), daemon: None });
        }
        tools.extend(Self::docker(sandbox, &user));
        for tool in tools.iter().filter(|t| ["podman", "docker"].contains(&t.name)) {
            assert!(tool.command(&["import", tar.to_str().unwrap(), "busybox"]).status().unwrap().success());
        }
        tools
    }

    /// A docker daemon of the bench's own, with its data beside the sandbox.
    fn docker(sandbox: &Sandbox, user: &Template) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !installed("dockerd") {
            eprintln!("no docker daemon can be started: docker is left out");
            return None;
        }
        let dir = sandbox.dir("docker");
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let socket = format!("unix://{}", at("sock"));
        let log = std::fs::File::create(at("log")).unwrap();
        let mut daemon = Command::new("dockerd")
            .args([
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
                "-H",
                &socket,
            ])
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .ok()?;
        let answers = || {
            let version = Command::new("docker").args(["-H", &socket, "version"]).output();
            version.is_ok_and(|o| o.status.success())
        };
        if !within(Duration::from_secs(30), answers) {
            eprintln!("dockerd does not start here ({}): docker is left out", at("log"));
            let _ = daemon.kill();
            let _ = daemon.wait();
            return None;
        }
        let template = Template { ids: None, ..user.clone() };
        let base = ["docker", "-H", &socket].map(str::to_owned).to_vec();
        Some(Self { name: "docker", base, template, daemon: Some(daemon) })
    }

    fn has_verbs(&self) -> bool {
        ["kelp", "podman", "docker"].contains(&self.name)
    }

    /// The process that does the work, where that is not the command.
    pub fn daemon_id(&self) -> Option<i32> {
        self.daemon.as_ref().map(|daemon| daemon.id().cast_signed())
    }

    fn command(&self, args: &[&str]) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.base[0]);
        command.args(&self.base[1..]).args(args).env_clear().envs(self.template.env.iter().cloned());
        command.current_dir(&self.template.directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = self.template.ids {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn verb(&self, args: &[&str]) -> Option<Command> {
        self.has_verbs().then(|| self.command(args))
    }

    /// Milliseconds from the call to the end, which must be success.
    pub fn time(&self, command: Option<Command>) -> Option<f64> {
        let mut command = command?;
        let begin = Instant::now();
        let status = command.status().unwrap();
        let took = begin.elapsed().as_secs_f64() * 1e3;
        assert!(status.success(), "{command:?}: {status}");
        Some(took)
    }

    pub fn run_true(&self) -> Option<Command> {
        match self.name {
            "skopeo" => None,
            "bwrap" | "unshare" => Some(self.command(&["/bin/true"])),
            _ => self.verb(&["run", "--rm", "--network", "none", "busybox", "true"]),
        }
    }

    pub fn keep_one_running(&self) {
        if let Some(mut command) =
            self.verb(&["run", "-d", "--network", "none", "--name", "kept", "busybox", "sleep", "100000"])
        {
            assert!(command.status().unwrap().success(), "{command:?}");
        }
    }

    pub fn exec_true(&self) -> Option<Command> {
        self.verb(&["exec", "kept", "true"])
    }

    pub fn log_a_gigabyte(&self) -> Option<Command> {
        // 79 characters and the line's end, 13,421,773 times.
        let script = format!("yes {} | head -c 1073741824", "x".repeat(79));
        let log: &[&str] = match self.name {
            "podman" => &["--log-driver", "k8s-file"],
            _ => &[],
        };
        let words = [&["run", "--rm", "--network", "none"], log, &["busybox", "sh", "-c", &script]].concat();
        self.verb(&words)
    }

    pub fn create(&self, count: usize) {
        for _ in 0..if self.has_verbs() { count } else { 0 } {
            self.time(self.verb(&["create", "--network", "none", "busybox", "true"]));
        }
    }

    pub fn list(&self) -> Option<Command> {
        self.verb(&["ps", "-a"])
    }

    /// What a shell asks when TAB is pressed after `stop `.
    pub fn complete(&self) -> Option<Command> {
        if self.name != "kelp" {
            return self.verb(&["__complete", "stop", ""]);
        }
        let mut command = self.command(&["--", "kelp", "stop", ""]);
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "2").env("_CLAP_IFS", "\n");
        Some(command)
    }

    /// Brings an image in from a registry without TLS on this machine.
    pub fn pull(&self, name: &str) -> Option<Command> {
        match self.name {
            "skopeo" => Some(self.command(&[
                "copy",
                "--quiet",
                "--src-tls-verify=false",
                &format!("docker://{name}"),
                LAYOUT,
            ])),
            "podman" => self.verb(&["pull", "--quiet", "--tls-verify=false", name]),
            _ => self.verb(&["pull", "--quiet", name]),
        }
    }

    /// Sends an image to a registry without TLS on this machine.
    pub fn push(&self, target: &str) -> Option<Command> {
        match self.name {
            "skopeo" => Some(self.command(&[
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                LAYOUT,
                &format!("docker://{target}"),
            ])),
            "podman" => self.verb(&["push", "--quiet", "--tls-verify=false", target]),
            _ => self.verb(&["push", "--quiet", target]),
        }
    }

    /// Brings an image in from a docker archive.
    pub fn load(&self, archive: &str) -> Option<Command> {
        match self.name {
            "skopeo" => {
                Some(self.command(&["copy", "--quiet", &format!("docker-archive:{archive}"), LAYOUT]))
            }
            _ => self.verb(&["load", "--quiet", "--input", archive]),
        }
    }

    /// Gives an image one more name.
    pub fn tag(&self, name: &str, target: &str) {
        self.time(self.verb(&["tag", name, target]));
    }

    /// Takes a name away, and with the last one the image; there may be none.
    pub fn remove(&self, name: &str) {
        match self.name {
            "skopeo" => drop(std::fs::remove_dir_all(self.template.directory.join("layout"))),
            _ => drop(self.verb(&["rmi", "--force", name]).map(|mut command| command.status())),
        }
    }

    /// Takes a further name away.
    pub fn untag(&self, name: &str) {
        self.time(self.verb(&["rmi", name]));
    }

    pub fn clean_up(&self) {
        match self.name {
            "podman" => {
                drop(self.command(&["rm", "-fa", "-t", "0"]).status());
                // podman never removes it, and the next user of the account is not to find it.
                let uid = self.template.ids.map_or(0, |(uid, _)| uid);
                let _ = std::fs::remove_file(format!("/dev/shm/libpod_rootless_lock_{uid}"));
            }
            "docker" => drop(self.command(&["rm", "-f", "kept"]).status()),
            _ => {}
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            let _ = daemon.wait();
        }
    }
}
