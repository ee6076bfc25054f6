//! `kill -9` of commands and shims at random moments. Whatever dies, the next command works, nobody cleans up
//! by hand, and `system check` finds nothing.
//!
//! `KELP_CRASH_SEED` repeats a run, `KELP_CRASH_ROUNDS` lengthens it; both are printed.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Image, Layer, Registry, Sandbox, within};

/// Kills in each test below; there are thirteen of them.
const ROUNDS: u64 = 70;

/// What is interrupted: `before` prepares, `line` is killed, and has to work when it is done again.
struct Scene {
    before: Option<&'static str>,
    line: &'static str,
    /// Sent to stdin, and found as `input.tar`.
    input: Vec<u8>,
    after: Option<&'static str>,
}

/// Marsaglia's xorshift: repeatable, and random enough to find a moment.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn random() -> Random {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed =
        number("KELP_CRASH_SEED").unwrap_or(clock.as_secs() << 20 | u64::from(clock.subsec_micros()) | 1);
    eprintln!("KELP_CRASH_SEED={seed}");
    Random(seed)
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
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
        let moment = Duration::from_micros(random.below(micros(typical) * 5 / 4));
        let target = random.below(10);
        let job = s.kelp(self.line).stdin(self.input.clone()).spawn(false);
        let end = Instant::now() + moment;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(50));
        }
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
        let mut random = random();
        let rounds = number("KELP_CRASH_ROUNDS").unwrap_or(ROUNDS);
        eprintln!("KELP_CRASH_ROUNDS={rounds}: {}", self.line);
        s.write("input.tar", &self.input);
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

/// An image of two layers that nothing else has.
fn archive() -> Vec<u8> {
    let mut layers = [Layer::default(), Layer::default()];
    for (which, layer) in layers.iter_mut().enumerate() {
        for n in 0..150 {
            let name = format!("{which}-{n}");
            *layer = std::mem::take(layer).dir(&name, 0o755).file(&format!("{name}/f"), 0o644, &[b'x'; 5000]);
        }
    }
    let [lower, upper] = layers;
    Image::default().layer(lower).layer(upper).docker_archive("two:1")
}

#[test]
fn load() {
    Scene { before: None, line: "load", input: archive(), after: Some("rmi two:1") }.play();
}

#[test]
fn rmi() {
    Scene { before: Some("load -i input.tar"), line: "rmi two:1", input: archive(), after: None }.play();
}

#[test]
fn prune() {
    let line = "image prune -af";
    Scene { before: Some("load -i input.tar"), line, input: archive(), after: None }.play();
}

/// What the registry has after a killed push is whole or without a name; the next one ends it.
#[test]
fn push() {
    let registry = Registry::new();
    let mut image = Image::busybox();
    for layer in 0..3 {
        image = image.layer(Layer::default().file(&format!("f{layer}"), 0o644, &noise(layer, 400_000)));
    }
    let name = format!("{}/app:1", registry.host());
    let input = image.docker_archive(&name);
    let line = Box::leak(format!("push -q {name}").into_boxed_str());
    Scene { before: Some("load -q -i input.tar"), line, input, after: None }.play();
    let s = Sandbox::new();
    s.ok(format!("run --rm -q {name} cat /f2").as_str()).has("");
}

/// Bytes that no compression makes fewer of.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed + 1);
    (0..size).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

#[test]
fn pull() {
    let registry = Registry::new();
    let mut image = Image::busybox();
    for layer in 0..3 {
        let mut files = Layer::default();
        for n in 0..50 {
            files = files.file(&format!("{layer}-{n}"), 0o644, &[b'x'; 5000]);
        }
        image = image.layer(files);
    }
    registry.push("app", "1", &image);
    let name = format!("{}/app:1", registry.host());
    let line = Box::leak(format!("pull -q {name}").into_boxed_str());
    let after = Box::leak(format!("rmi {name}").into_boxed_str());
    Scene { before: None, line, input: Vec::new(), after: Some(after) }.play();
}
