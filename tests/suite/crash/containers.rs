//! Commands on containers, and `import`: killed themselves, or the shims that work for them, or both.

use std::time::Duration;

use rustix::process::Signal;

use super::{Random, kill, pass, rounds};
use crate::harness::{Layer, Sandbox, within};

/// Kills in each test below.
const ROUNDS: u64 = 70;

/// What is interrupted: `before` prepares, `line` is killed, and has to work when it is done again.
struct Scene {
    before: Option<&'static str>,
    line: &'static str,
    /// Sent to stdin.
    input: Vec<u8>,
    after: Option<&'static str>,
}

/// Shims, and whatever else runs kelp for this account, but not what runs inside a container.
fn kill_shims(s: &Sandbox) {
    for process in s.processes().into_iter().filter(|p| p.line.contains("kelp-shim")) {
        kill(process.pid);
    }
}

impl Scene {
    fn of(line: &'static str) -> Self {
        Self { before: None, line, input: Vec::new(), after: Some("rm -f c1") }
    }

    fn after(before: &'static str, line: &'static str) -> Self {
        Self { before: Some(before), ..Self::of(line) }
    }

    fn prepare(&self, s: &Sandbox) {
        if let Some(line) = self.before {
            s.ok(line);
        }
    }

    fn done(&self, s: &Sandbox) -> Duration {
        let out = s.kelp(self.line).stdin(self.input.clone()).exits(0);
        if let Some(line) = self.after {
            s.ok(line);
        }
        out.took
    }

    /// One life: prepared, killed somewhere in the middle, inspected, and done again.
    fn interrupt(&self, s: &Sandbox, random: &mut Random, typical: Duration) {
        self.prepare(s);
        let moment = random.moment(typical * 5 / 4);
        let target = random.below(10);
        let job = s.kelp(self.line).stdin(self.input.clone()).spawn(false);
        pass(moment);
        if target < 7 {
            job.signal(Signal::KILL);
        }
        if target > 4 {
            kill_shims(s);
        }
        job.finish(Duration::from_secs(30));
        s.ok("ps -a");
        s.ok("images");
        if let Some(line) = self.after.filter(|l| l.starts_with("rm ")) {
            s.ok(line);
        }
        let quiet = within(Duration::from_secs(10), || s.processes().is_empty());
        assert!(quiet, "{} killed after {moment:?} leaves {:#?}", self.line, s.processes());
        s.ok("system check");
        self.prepare(s);
        self.done(s);
        s.ok("system check");
    }

    fn play(&self) {
        let s = Sandbox::new().busybox();
        let mut random = Random::new();
        let rounds = rounds(ROUNDS, self.line);
        self.prepare(&s);
        let typical = self.done(&s);
        for _ in 0..rounds {
            self.interrupt(&s, &mut random, typical);
        }
    }
}

#[test]
fn create() {
    Scene::of("create --name c1 busybox true").play();
}

#[test]
fn start() {
    Scene::after("create --name c1 busybox sleep 1000", "start c1").play();
}

#[test]
fn run() {
    Scene::of("run --name c1 busybox sh -c 'echo x > /y'").play();
}

#[test]
fn run_and_remove() {
    Scene::of("run --rm --name c1 busybox true").play();
}

#[test]
fn exec() {
    Scene::after("run -d --name c1 busybox sleep 1000", "exec c1 sh -c 'echo x > /y'").play();
}

#[test]
fn stop() {
    Scene::after("run -d --name c1 busybox sleep 1000", "stop -t 0 c1").play();
}

#[test]
fn rm() {
    let before = "run -d --name c1 busybox sh -c 'mkdir /x; for i in 1 2 3 4 5 6; do echo $i > /x/$i; done; sleep 1000'";
    Scene::after(before, "rm -f c1").play();
}

#[test]
fn import() {
    let mut layer = Layer::default();
    for n in 0..400 {
        layer = layer.dir(&format!("d{n}"), 0o755).file(&format!("d{n}/f"), 0o644, &[b'x'; 5000]);
    }
    Scene { before: None, line: "import - other", input: layer.bytes(), after: Some("rmi other") }.play();
}
