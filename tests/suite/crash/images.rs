//! `pull`, `load`, `push`, `rmi` and `prune`, three hundred kills in all. After each: the store is sound, `df` and `du`
//! agree, the next command has cleared staging, and the same command succeeds.

use std::time::Duration;

use rustix::process::Signal;

use super::{Random, pass, rounds};
use crate::harness::{Image, Layer, Registry, Sandbox, call, within};

/// Kills in each of the five tests, of commands that were alive when it came.
const ROUNDS: u64 = 60;

/// What is interrupted. `{n}` in a line is the number of the attempt.
#[derive(Default)]
struct Scene {
    before: Option<String>,
    /// Killed, and has to work when it is done again.
    line: String,
    after: Option<String>,
    /// Sent to stdin of `line`, and found as `input.tar`.
    input: Vec<u8>,
    /// An interrupted one may leave in staging what it goes on with.
    resumes: bool,
    /// Done again it finds that the work was done.
    removes: bool,
}

/// One attempt at a scene.
struct Attempt<'a> {
    scene: &'a Scene,
    sandbox: &'a Sandbox,
    number: u64,
}

impl Attempt<'_> {
    fn text(&self, line: &str) -> String {
        line.replace("{n}", &self.number.to_string())
    }

    fn optional(&self, line: Option<&String>) {
        if let Some(line) = line {
            self.sandbox.ok(&self.text(line));
        }
    }

    /// Kills the command at this moment, unless it has ended by then. Whether it had not.
    fn kill(&self, moment: Duration) -> bool {
        self.optional(self.scene.before.as_ref());
        let line = self.text(&self.scene.line);
        eprintln!("{}: `{line}` is killed after {moment:?}", self.number);
        let job = self.sandbox.kelp(&line).stdin(self.scene.input.clone()).spawn(false);
        pass(moment);
        job.signal(Signal::KILL);
        let killed = job.finish(Duration::from_secs(30)).code == -9;
        let quiet = || self.sandbox.processes().is_empty();
        assert!(within(Duration::from_secs(10), quiet), "it leaves {:#?}", self.sandbox.processes());
        killed
    }

    /// The store is sound, and nothing is in staging but what is to be gone on with.
    fn inspect(&self, when: &str, resumes: bool) {
        let s = self.sandbox;
        s.ok("images");
        let kept = |name: &String| resumes && (name.starts_with("partial-") || name.starts_with("lease-"));
        let left: Vec<_> = s.stored("staging").into_iter().filter(|name| !kept(name)).collect();
        assert!(left.is_empty(), "{when}: left in staging: {left:?}");
        s.ok("system check");
        s.df_is_du(when);
    }

    /// Does the command to its end, and gives the time that it took.
    fn complete(&self) -> Duration {
        let s = self.sandbox;
        let out = s.kelp(&self.text(&self.scene.line)).stdin(self.scene.input.clone()).run();
        let done = self.scene.removes && out.code == 1;
        if done {
            out.says("No such image");
        } else {
            assert_eq!(out.code, 0, "{}", out.story());
        }
        if self.scene.removes {
            for dir in ["layers", "blobs/sha256"] {
                assert_eq!(s.stored(dir), [""; 0], "left in {dir} by {}", out.story());
            }
        }
        out.took
    }
}

impl Scene {
    /// `also` looks at the outside world after each kill and after each end.
    fn play(&self, s: &Sandbox, also: impl Fn(u64, bool)) {
        let mut random = Random::new();
        let rounds = rounds(ROUNDS, &self.line);
        s.write("input.tar", &self.input);
        let at = |number| Attempt { scene: self, sandbox: s, number };
        let first = at(0);
        first.optional(self.before.as_ref());
        let mut typical = first.complete();
        first.optional(self.after.as_ref());
        let (mut kills, mut attempts) = (0, 0);
        while kills < rounds {
            attempts += 1;
            assert!(attempts < rounds * 4, "only {kills} of {attempts} kills came in time");
            let attempt = at(attempts);
            kills += u64::from(attempt.kill(random.moment(typical)));
            attempt.inspect("after the kill", self.resumes);
            also(attempts, false);
            // What a removal was to remove may be gone: its input is made again only where that is no failure.
            let took = attempt.complete();
            also(attempts, true);
            attempt.inspect("when it was done again", false);
            attempt.optional(self.after.as_ref());
            typical = (typical * 3 + took.max(typical / 2)) / 4;
        }
        eprintln!("{kills} kills in {attempts} attempts, {typical:?} each");
    }
}

/// An image of four layers that nothing else has, about a megabyte, half of it incompressible.
fn image() -> Image {
    (0..4).fold(Image::default(), |image, which| {
        let noise = noise(which, 120_000);
        let mut layer = Layer::default().file(&format!("noise{which}"), 0o644, &noise);
        for n in 0..40 {
            let name = format!("{which}-{n}");
            layer = layer.dir(&name, 0o755).file(&format!("{name}/f"), 0o644, &[b'x'; 4000]);
        }
        image.layer(layer)
    })
}

/// Bytes that no compression makes fewer of.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed + 1);
    (0..size).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
}

#[test]
fn load() {
    let s = Sandbox::new();
    let input = image().docker_archive("four:1");
    let after = Some("rmi four:1".into());
    Scene { line: "load".into(), input, after, ..Scene::default() }.play(&s, |_, _| {});
}

fn removal(line: &str) {
    let s = Sandbox::new();
    let before = Some("load -i input.tar".into());
    let input = image().docker_archive("four:1");
    Scene { before, line: line.into(), input, removes: true, ..Scene::default() }.play(&s, |_, _| {});
}

#[test]
fn rmi() {
    removal("rmi four:1");
}

#[test]
fn prune() {
    removal("image prune -af");
}

#[test]
fn pull() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image());
    let name = format!("{}/app:1", registry.host());
    let (line, after) = (format!("pull -q {name}"), Some(format!("rmi {name}")));
    Scene { line, after, resumes: true, ..Scene::default() }.play(&s, |_, _| {});
}

/// Each time to a repository that does not exist yet, from an image that no registry has: everything is sent. What the
/// registry has after a kill is whole or without a name.
#[test]
fn push() {
    let s = Sandbox::new();
    let registry = Registry::new();
    s.load(&image(), "four:1");
    let name = format!("{}/r{{n}}:1", registry.host());
    let before = Some(format!("tag four:1 {name}"));
    let after = Some(format!("rmi {name}"));
    let scene = Scene { before, line: format!("push -q {name}"), after, ..Scene::default() };
    scene.play(&s, |number, done| {
        let get = |path: &str| call(registry.port(), "GET", &format!("/v2/r{number}/{path}"), &[], b"");
        let kind = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
        let manifest = call(registry.port(), "GET", &format!("/v2/r{number}/manifests/1"), &kind, b"");
        assert!(manifest.status == 200 || manifest.status == 404 && !done, "{manifest:?}");
        if manifest.status == 200 {
            let manifest: serde_json::Value = serde_json::from_slice(&manifest.body).unwrap();
            let layers = manifest["layers"].as_array().unwrap();
            assert_eq!(layers.len(), 4);
            for blob in layers.iter().chain([&manifest["config"]]) {
                let path = format!("blobs/{}", blob["digest"].as_str().unwrap());
                assert_eq!(get(&path).body.len() as u64, blob["size"].as_u64().unwrap());
            }
        }
    });
    // Another user gets all of it.
    let other = Sandbox::new();
    other.ok(&format!("pull -q {}", name.replace("{n}", "1")));
    other.ok("system check");
}
