//! The three namespaces and the threads in them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use kelp::net::{Config, Handle, Stack, V4, V6};
use kelp::sys::{inet, link, process, tun};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

pub const CONTAINER: &str = "10.0.2.100";
pub const GATEWAY: &str = "10.0.2.2";
pub const HOST: &str = "10.9.0.1";
pub const FAR: &str = "10.9.0.2";
pub const FAR_V6: &str = "fd09::2";
pub const HOST_V6: &str = "fd09::1";
/// The MTU of the way to the far machine.
pub const FAR_MTU: u16 = 1400;

const CLONE_NEWNET: i32 = 0x4000_0000;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, that does what it is told.
pub struct Place {
    jobs: Sender<Job>,
    /// As `ip` wants it.
    id: u32,
}

/// The world, seen from the thread that plays the host.
pub struct World {
    pub container: Place,
    pub far: Place,
    pub handle: Handle,
    /// The thread of the stack.
    pub stack_id: u32,
    running: Running,
}

/// A stack in a thread of its own.
struct Running {
    stop: std::sync::Arc<OwnedFd>,
    stack: JoinHandle<Stack>,
    id: u32,
}

/// One more container, with something between it and its stack.
pub struct Carried<Between> {
    pub container: Place,
    _between: Between,
    running: Option<Running>,
}

impl<B> Carried<B> {
    /// `between` is given the container's interface and the stack's end of a link that looks like one.
    pub fn new(between: impl FnOnce(OwnedFd, OwnedFd) -> B) -> Self {
        let container = Place::new();
        let tun = container.run(interface);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let running = Running::new(Stack::new(ours, config()).unwrap());
        Self { container, _between: between(tun, theirs), running: Some(running) }
    }
}

impl<B> Drop for Carried<B> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|_| !std::thread::panicking()) {
            running.end();
        }
    }
}

impl Running {
    fn new(mut stack: Stack) -> Self {
        let stop = std::sync::Arc::new(inet::event().unwrap());
        let until = std::sync::Arc::clone(&stop);
        let (tell, id) = channel();
        let stack = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            stack.run(until.as_fd()).unwrap();
            stack
        });
        Self { stop, stack, id: id.recv().unwrap() }
    }

    fn end(self) -> Stack {
        inet::raise(&*self.stop);
        self.stack.join().unwrap()
    }
}

impl Place {
    pub fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, id) = channel();
        std::thread::spawn(move || {
            process::unshare(CLONE_NEWNET).unwrap();
            link::loopback_up().unwrap();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()).unwrap();
            for job in todo {
                job();
            }
        });
        Self { jobs, id: id.recv().unwrap() }
    }

    /// Does something there and waits for it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(job())))).unwrap();
        result.recv().unwrap_or_else(|_| panic!("it failed there, see above"))
    }

    /// Begins a thread there.
    pub fn spawn<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.run(move || std::thread::spawn(job))
    }
}

/// Runs `ip` where the calling thread is.
pub fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap_or_else(|e| panic!("ip: {e}"));
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

impl World {
    pub fn new() -> Self {
        link::loopback_up().unwrap();
        let (container, far) = (Place::new(), Place::new());
        ip(&format!("link add h0 type veth peer name f0 netns {}", far.id));
        for line in ["addr add 10.9.0.1/24 dev h0", "-6 addr add fd09::1/64 dev h0 nodad"] {
            ip(line);
        }
        ip(&format!("link set h0 up mtu {FAR_MTU}"));
        far.run(|| {
            ip("addr add 10.9.0.2/24 dev f0");
            ip("-6 addr add fd09::2/64 dev f0 nodad");
            ip(&format!("link set f0 up mtu {FAR_MTU}"));
        });
        // In the host's namespace, as the sysctl is its own.
        let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
        let stack = Stack::new(container.run(interface), config()).unwrap();
        let handle = stack.handle();
        let running = Running::new(stack);
        Self { container, far, handle, stack_id: running.id, running }
    }

    /// Ends the stack; what is left of it.
    pub fn end(self) -> Stack {
        self.running.end()
    }
}

/// The container's interface, where the calling thread is.
fn interface() -> OwnedFd {
    let tun = tun::open("eth0").unwrap();
    ip(&format!("link set eth0 txqueuelen {}", tun::QUEUE));
    for line in [
        "link set eth0 up mtu 1500",
        "addr add 10.0.2.100/24 dev eth0",
        "route add default via 10.0.2.2",
        "-6 addr add fd00::64/64 dev eth0 nodad",
        "-6 route add default via fd00::2 dev eth0",
    ] {
        ip(line);
    }
    tun
}

fn config() -> Config {
    Config {
        v4: Some(V4 {
            address: CONTAINER.parse().unwrap(),
            prefix: 24,
            gateway: GATEWAY.parse().unwrap(),
            dns: "10.0.2.3".parse().unwrap(),
        }),
        v6: Some(V6 {
            address: "fd00::64".parse().unwrap(),
            prefix: 64,
            gateway: "fd00::2".parse().unwrap(),
            dns: "fd00::3".parse().unwrap(),
        }),
        ..Config::default()
    }
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}
