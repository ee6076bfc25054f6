//! A machine made of namespaces: a network of its own, a neighbour on the other end of a wire, and its own
//! resolv.conf. Needs root.

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::Call;
use super::sandbox::{Sandbox, Words};

/// The laptop's side of the first wire, and the neighbour's.
pub const LAPTOP: &str = "198.51.100.2";
pub const NEIGHBOUR: &str = "198.51.100.1";
pub const LAPTOP6: &str = "2001:db8:1::2";
pub const NEIGHBOUR6: &str = "2001:db8:1::1";

/// Dropped, it is gone with all its interfaces.
#[derive(Debug)]
pub struct Laptop {
    laptop: Child,
    neighbour: Child,
    /// What it sees as /etc/resolv.conf.
    resolv_conf: PathBuf,
}

impl Laptop {
    /// `None` where the tests do not run as root. Files are kept in the sandbox's work directory.
    pub fn new(s: &Sandbox) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let hold = |namespaces: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(namespaces).args(["sleep", "infinity"]).stdin(Stdio::null());
            let child = command.spawn().unwrap();
            // It has become sleep once it is in its namespaces.
            let there = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() == "sleep\n";
            assert!(super::within(std::time::Duration::from_secs(10), there));
            child
        };
        let laptop = hold(&["--net", "--mount", "--propagation", "private"]);
        let neighbour = hold(&["--net"]);
        let resolv_conf = s.write("resolv.conf", "");
        let made = Self { laptop, neighbour, resolv_conf };
        made.run("ip link set lo up");
        made.beyond("ip link set lo up");
        made.wire("up0", &[(LAPTOP, NEIGHBOUR, 24), (LAPTOP6, NEIGHBOUR6, 64)]);
        made.run(&format!("ip route add default via {NEIGHBOUR}"));
        made.run(&format!("ip route add default via {NEIGHBOUR6}"));
        // As systemd sets it on every machine; the kernel's own default is nobody.
        made.run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
        // A link that is one elsewhere leads nowhere here.
        made.run(&format!(
            "test -e /etc/resolv.conf || touch /etc/resolv.conf; mount --bind {} /etc/resolv.conf",
            made.resolv_conf.display()
        ));
        Some(made)
    }

    /// A wire named `name` on both ends, with an address of each side's.
    pub fn wire(&self, name: &str, addresses: &[(&str, &str, u8)]) {
        self.run(&format!("ip link add {name} type veth peer name {name} netns {}", self.neighbour.id()));
        for (own, theirs, bits) in addresses {
            let nodad = if own.contains(':') { "nodad" } else { "" };
            self.run(&format!("ip addr add {own}/{bits} dev {name} {nodad}"));
            self.beyond(&format!("ip addr add {theirs}/{bits} dev {name} {nodad}"));
        }
        self.run(&format!("ip link set {name} up"));
        self.beyond(&format!("ip link set {name} up"));
    }

    /// From now on the laptop asks these name servers, and whatever else the text says.
    pub fn set_resolv_conf(&self, text: &str) {
        // In place: it is the file that is bound.
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&self.resolv_conf).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    /// A shell command of root's on the laptop, and what it wrote to stdout.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        enter(&self.laptop, script, &["--net", "--mount"])
    }

    /// The same at the neighbour's.
    #[track_caller]
    pub fn beyond(&self, script: &str) -> String {
        enter(&self.neighbour, script, &["--net"])
    }

    /// Starts a server of root's at the neighbour's, in this directory. Its stderr goes to a file there.
    pub fn serves(&self, dir: &Path, program: &str, args: &[&str]) -> Served {
        let log = fs::File::create(dir.join(format!("{program}.log"))).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.neighbour.id().to_string(), "--net", program]).args(args);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(dir);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Served(command.spawn().unwrap())
    }

    /// kelp on the laptop, as the sandbox's account.
    pub fn kelp(&self, s: &Sandbox, line: impl Words) -> Call {
        s.kelp(line).inside(self.laptop.id())
    }

    /// Runs `f` in a thread on the laptop: sockets that it makes belong there.
    pub fn on<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        within_network_of(&self.laptop, f)
    }

    /// The same at the neighbour's.
    pub fn elsewhere<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        within_network_of(&self.neighbour, f)
    }
}

/// A running server. Dropped, it is gone.
#[derive(Debug)]
pub struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        for child in [&mut self.laptop, &mut self.neighbour] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[track_caller]
fn enter(whose: &Child, script: &str, namespaces: &[&str]) -> String {
    let pid = whose.id().to_string();
    let out = Command::new("nsenter")
        .args(["--target", &pid])
        .args(namespaces)
        .args(["sh", "-c", script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

fn within_network_of<T: Send>(whose: &Child, f: impl FnOnce() -> T + Send) -> T {
    let path = PathBuf::from(format!("/proc/{}/ns/net", whose.id()));
    let namespace: OwnedFd = fs::File::open(Path::new(&path)).unwrap().into();
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network))
                .unwrap();
            f()
        });
        inside.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })
}

/// As it stands in a URL.
pub fn bracketed(ip: &str) -> String {
    match ip.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
