//! The ways that traffic can take on this machine: what has to be started for each, and where it leads.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::harness::{Sandbox, within};
use crate::{AGENT, traffic};

/// Servers on the host's loopback that connections are spread over.
const PORTS: usize = 16;
/// Where the server inside listens.
const INSIDE: u16 = 5201;
/// How long a tool may take to have its network ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take: some ways stop carrying anything under load.
const ANSWER: Duration = Duration::from_secs(60);

/// The program of `traffic` somewhere: it is told what to do, and tells what came of it.
#[derive(Debug)]
pub struct Agent {
    command: Command,
    child: Child,
    to: ChildStdin,
    answers: Receiver<String>,
}

/// Why there are no figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The way does not go there, or one of its ends has gone.
    Absent,
    /// It broke a connection before its end.
    Broken,
}

/// What a measurement came to.
pub type Figures = Result<Vec<f64>, Lack>;

/// One way between the host and a namespace.
#[derive(Debug)]
pub struct Way {
    pub name: &'static str,
    /// `None` where only published ports are measured, or containers with each other.
    pub inside: Option<Agent>,
    /// Under which the host's loopback is known there.
    host: &'static str,
    /// Where a client on the host finds the server inside.
    pub published: Option<SocketAddr>,
    /// The processes that carry the traffic.
    pub carriers: Vec<i32>,
    /// Whoever has to be ended with it.
    helpers: Vec<Child>,
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub ways: Vec<Way>,
    /// On the host.
    pub client: Agent,
    server: Agent,
    ports: Vec<u16>,
    /// Two containers of one network, and the address of the second.
    neighbours: [Agent; 2],
    neighbour: SocketAddr,
}

impl Agent {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (tell, answers) = channel();
        std::thread::spawn(move || from.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { command, child, to, answers }
    }

    /// `Absent` when it has ended, having said why, or did not answer, and is ended therefore.
    pub fn ask(&mut self, line: &str) -> Figures {
        writeln!(self.to, "{line}").map_err(|_| Lack::Absent)?;
        let Ok(answer) = self.answers.recv_timeout(ANSWER) else {
            let _ = self.child.kill();
            return Err(Lack::Absent);
        };
        if answer == traffic::BROKEN {
            return Err(Lack::Broken);
        }
        answer.split_whitespace().map(|word| word.parse().map_err(|_| Lack::Absent)).collect()
    }

    /// The same, of one that is needed again when it has ended.
    pub fn ask_always(&mut self, line: &str) -> Figures {
        let answer = self.ask(line);
        if answer == Err(Lack::Absent) {
            let again = Self::start(std::mem::replace(&mut self.command, Command::new("true")));
            drop(std::mem::replace(self, again));
        }
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Way {
    /// CPU time that its processes have taken so far.
    pub fn seconds(&self) -> f64 {
        self.carriers.iter().map(|pid| cpu_time(*pid)).sum()
    }

    /// Ends it: one that has broken may go round in circles, and what is measured after it would pay for that.
    pub fn end(&mut self) {
        for helper in &mut self.helpers {
            let _ = helper.kill();
            let _ = helper.wait();
        }
        (self.inside, self.published) = (None, None);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.end();
    }
}

/// Seconds that all threads of a process have run.
fn cpu_time(pid: i32) -> f64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// What starting a way needs.
struct Setup<'a> {
    sandbox: &'a Sandbox,
    program: PathBuf,
}

impl World {
    pub fn new(sandbox: &Sandbox) -> Self {
        let program = sandbox.dir("bench").join("traffic");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let setup = Setup { sandbox, program };
        let mut server = setup.on_host();
        let serve = |server: &mut Agent| server.ask("serve 127.0.0.1:0").unwrap()[0] as u16;
        let ports: Vec<u16> = (0..PORTS).map(|_| serve(&mut server)).collect();
        let host = Way {
            name: "host loopback",
            inside: Some(setup.on_host()),
            host: "127.0.0.1",
            published: Some(SocketAddr::from(([127, 0, 0, 1], ports[0]))),
            carriers: Vec::new(),
            helpers: Vec::new(),
        };
        let ways = [Some(host), setup.slirp4netns(), setup.pasta(), Some(setup.kelp())];
        let (neighbours, network, neighbour) = setup.kelp_network();
        let ways = ways.into_iter().flatten().chain([network]).collect();
        Self { ways, client: setup.on_host(), server, ports, neighbours, neighbour }
    }

    /// A server on the host's loopback, as this way knows it.
    pub fn host_server(&self, at: usize) -> Option<SocketAddr> {
        let way = &self.ways[at];
        way.inside.as_ref()?;
        Some(SocketAddr::new(way.host.parse().unwrap(), self.ports[0]))
    }

    /// All of them.
    pub fn host_servers(&self, at: usize) -> Option<String> {
        let way = &self.ways[at];
        way.inside.as_ref()?;
        let all: Vec<String> = self.ports.iter().map(|port| format!("{}:{port}", way.host)).collect();
        Some(all.join(","))
    }

    /// A server and the client that is its neighbour, where the way has such.
    pub fn neighbour(&mut self, at: usize) -> Option<(SocketAddr, &mut Agent)> {
        match self.ways[at].name {
            "host loopback" => Some((self.host_server(at)?, &mut self.client)),
            "kelp, own network" => Some((self.neighbour, &mut self.neighbours[0])),
            _ => None,
        }
    }
}

impl Setup<'_> {
    fn on_host(&self) -> Agent {
        Agent::start(self.sandbox.program_call(&self.program).args([AGENT]).command())
    }

    /// In a user and network namespace of its own, without a network; and its process, in there.
    fn apart(&self) -> (Agent, i32) {
        let program = self.program.to_str().unwrap();
        let call = self.sandbox.program_call("unshare").args(["-rn", "--", program, AGENT]);
        let agent = Agent::start(call.command());
        let pid = agent.child.id().cast_signed();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let there = || std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|net| net != own);
        assert!(within(PATIENCE, there), "unshare did not make a namespace");
        (agent, pid)
    }

    /// Starts what carries the traffic of a namespace, and its server once there is an address.
    fn beside(
        &self,
        name: &'static str,
        host: &'static str,
        args: impl Fn(i32, u16) -> Vec<String>,
    ) -> Option<Way> {
        let (mut inside, pid) = self.apart();
        let port = free_port();
        let words = args(pid, port);
        let mut command = self.sandbox.program_call(&words[0]).args(&words[1..]).command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("{name} is not installed: left out");
            return None;
        };
        let addressed = || {
            let routes = std::fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap_or_default();
            routes.lines().count() > 1
        };
        let carriers = vec![child.id().cast_signed()];
        let way = |inside, published| Way { name, inside, host, published, carriers, helpers: vec![child] };
        if !within(PATIENCE, addressed) {
            drop(way(None, None));
            eprintln!("{name} does not start here: left out");
            return None;
        }
        inside.ask(&format!("serve 0.0.0.0:{INSIDE}")).ok()?;
        Some(way(Some(inside), Some(SocketAddr::from(([127, 0, 0, 1], port)))))
    }

    fn slirp4netns(&self) -> Option<Way> {
        let api = self.sandbox.dir("slirp").join("api");
        let api = api.to_str().unwrap();
        let mut published = None;
        let mut way = self.beside("slirp4netns", "10.0.2.2", |pid, _| {
            let pid = pid.to_string();
            ["slirp4netns", "--configure", "--mtu=65520", "--api-socket", api, &pid, "tap0"]
                .map(str::to_owned)
                .to_vec()
        })?;
        if let Some(at) = way.published {
            let forward = format!(
                "{{\"execute\": \"add_hostfwd\", \"arguments\": {{\"proto\": \"tcp\", \"host_addr\": \"127.0.0.1\", \
                 \"host_port\": {}, \"guest_addr\": \"10.0.2.100\", \"guest_port\": {INSIDE}}}}}",
                at.port()
            );
            published = tell(Path::new(api), &forward).map(|()| at);
        }
        way.published = published;
        Some(way)
    }

    fn pasta(&self) -> Option<Way> {
        self.beside("pasta", "10.0.2.2", |pid, port| {
            let forward = format!("127.0.0.1/{port}:{INSIDE}");
            let options = "--config-net -f -q -4 -a 10.0.2.100 -n 24 -g 10.0.2.2 -T none -u none -U none -t";
            let words = std::iter::once("pasta").chain(options.split(' ')).map(str::to_owned);
            words.chain([forward, pid.to_string()]).collect()
        })
    }

    /// A container that runs the program, attached.
    fn container(&self, options: &str) -> Agent {
        let program = self.program.to_str().unwrap();
        let line = format!("run -i --rm {options} -v {program}:/traffic:ro busybox /traffic {AGENT}");
        Agent::start(self.sandbox.kelp(&line).command())
    }

    fn carriers(&self, name: &str) -> Vec<i32> {
        let title = format!("({name}, ");
        self.sandbox.processes().iter().filter(|p| p.line.contains(&title)).map(|p| p.pid).collect()
    }

    fn kelp(&self) -> Way {
        let port = free_port();
        let options = format!("--network slirp:host-loopback=true -p 127.0.0.1:{port}:{INSIDE}");
        let mut inside = self.container(&options);
        inside.ask(&format!("serve 0.0.0.0:{INSIDE}")).expect("a container runs");
        let published = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let carriers = self.carriers("kelp-net");
        assert_eq!(carriers.len(), 1);
        Way { name: "kelp", inside: Some(inside), host: "10.0.2.2", published, carriers, helpers: Vec::new() }
    }

    fn kelp_network(&self) -> ([Agent; 2], Way, SocketAddr) {
        let port = free_port();
        self.sandbox.ok("network create --subnet 10.229.7.0/24 bench");
        let first = self.container("--network bench");
        let mut second =
            self.container(&format!("--network bench:ip=10.229.7.9 -p 127.0.0.1:{port}:{INSIDE}"));
        second.ask(&format!("serve 0.0.0.0:{INSIDE}")).expect("a container runs");
        let published = Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let carriers = self.carriers("kelp-network");
        let (name, helpers) = ("kelp, own network", Vec::new());
        let way = Way { name, inside: None, host: "", published, carriers, helpers };
        ([first, second], way, SocketAddr::from(([10, 229, 7, 9], INSIDE)))
    }
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Gives slirp4netns an order.
fn tell(api: &Path, order: &str) -> Option<()> {
    use std::io::Read;
    let mut socket = std::os::unix::net::UnixStream::connect(api).ok()?;
    socket.write_all(order.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    (!answer.contains("error")).then_some(())
}
