//! pull: transfers that are interrupted, by the network or by whoever runs it, go on where they stopped.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::pull::image;
use crate::harness::{Act, Answer, Image, Layer, Pushed, Registry, Sandbox, Server, within};

/// Bytes of the large layer, which does not compress.
const LARGE: usize = 6 << 20;
const MB: usize = 1 << 20;

/// An image with one large layer over busybox.
fn large(seed: u64) -> Image {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(LARGE);
    while bytes.len() < LARGE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    Image::busybox().layer(Layer::default().file("large", 0o644, &bytes))
}

fn total(pushed: &Pushed) -> u64 {
    pushed.layers.iter().map(|(_, size)| *size as u64).sum()
}

/// A front that lets through small answers whole and does `act` to the large blob.
fn front(registry: &Registry, pushed: &Pushed, act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Server {
    let large = pushed.layers[1].0.clone();
    let count = AtomicUsize::new(0);
    Server::start(Some(registry.port()), move |request, _| {
        if request.is_blob() && request.path.ends_with(&large) {
            act(count.fetch_add(1, Ordering::Relaxed))
        } else {
            Act::Pass
        }
    })
}

/// A front that sends the large blob up to a byte and nothing after it, however often it is asked: kelp asks again
/// after some time, and under load a test is not always quicker.
fn stalling(registry: &Registry, pushed: &Pushed) -> (Server, Arc<AtomicUsize>) {
    let limit = Arc::new(AtomicUsize::new(0));
    let (large, end) = (pushed.layers[1].0.clone(), Arc::clone(&limit));
    let server = Server::start(Some(registry.port()), move |request, _| {
        let end = end.load(Ordering::Relaxed);
        if end == usize::MAX || !request.path.ends_with(&large) {
            return Act::Pass;
        }
        let range =
            request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        Act::StallAfter(end.saturating_sub(range.unwrap_or(0)))
    });
    (server, limit)
}

/// Waits until exactly so many bytes of the large blob are in its file. What was sent and did not arrive yet would be
/// lost with a killed process, and be fetched again.
fn arrived(s: &Sandbox, pushed: &Pushed, bytes: usize) -> bool {
    let partial = s.store().join("staging").join(format!("partial-{}/object", &pushed.layers[1].0[7..]));
    within(Duration::from_secs(60), || std::fs::metadata(&partial).is_ok_and(|m| m.len() == bytes as u64))
}

/// At most a twentieth is fetched again, documents not counted.
fn assert_once(served: u64, pushed: &Pushed) {
    let total = total(pushed);
    assert!(served <= total + total / 20 + (64 << 10), "{served} bytes for a blob of {total}");
    assert!(served >= total, "{served} bytes for a blob of {total}");
}

/// What `run --rm` leaves to its shim to remove passes through staging too, a moment after its end.
fn settled(s: &Sandbox) {
    s.ok("system check");
    let is_empty = || std::fs::read_dir(s.store().join("staging")).unwrap().next().is_none();
    assert!(within(Duration::from_secs(20), is_empty), "{:#?}", s.stored("staging"));
}

#[test]
fn a_connection_that_breaks_every_megabyte() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(1));
    let front = front(&registry, &pushed, |_| Act::CutAfter(MB));
    let name = format!("{}/app:1", front.host());
    s.ok(["pull", &name]).has("Retrying");
    assert_once(front.served(), &pushed);
    let size = s.ok(["run", "--rm", &name, "stat", "-c", "%s", "/large"]);
    size.is(&LARGE.to_string());
    settled(&s);
}

#[test]
fn a_length_that_is_not_the_blobs() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(9));
    let acts = [Act::ClaimLength(MB), Act::ClaimLength(60 * MB), Act::Pass];
    let front = front(&registry, &pushed, move |n| acts[n.min(2)].clone());
    s.ok(["pull", &format!("{}/app:1", front.host())]);
    settled(&s);
}

#[test]
fn a_server_that_knows_no_ranges() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(2));
    let behind = registry.port();
    let large = pushed.layers[1].0.clone();
    let count = AtomicUsize::new(0);
    let front = Server::start(Some(behind), move |request, _| {
        if !request.path.ends_with(&large) {
            return Act::Pass;
        }
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            return Act::CutAfter(2 * MB);
        }
        let whole = crate::harness::call(behind, "GET", &request.path, &[], b"");
        Act::Say(Answer::new(200, whole.body))
    });
    s.ok(["pull", &format!("{}/app:1", front.host())]);
    settled(&s);
}

#[test]
fn killed_and_begun_again() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(3));
    let (front, limit) = stalling(&registry, &pushed);
    let name = format!("{}/app:1", front.host());
    for (signal, at) in [(Signal::KILL, 5 * MB / 2), (Signal::INT, 5 * MB)] {
        limit.store(at, Ordering::Relaxed);
        let job = s.kelp(["pull", &name]).spawn(false);
        assert!(arrived(&s, &pushed, at), "{signal:?}: {:#?}", front.seen());
        // Layer and blob are recorded: what makes them is gone from staging.
        let whole = &pushed.layers[0].0[7..];
        let finished = || {
            s.stored("blobs/sha256").iter().any(|name| name == whole)
                && !s.stored("staging").iter().any(|name| name.ends_with(whole))
        };
        assert!(within(Duration::from_secs(60), finished), "{signal:?}: {:#?}", s.stored("staging"));
        job.signal(signal);
        let out = job.finish(Duration::from_secs(30));
        assert_eq!(out.code, if signal == Signal::KILL { -9 } else { 130 }, "{}", out.story());
        s.ok("system check");
    }
    limit.store(usize::MAX, Ordering::Relaxed);
    // What is finished is protected, what is not is kept: other commands take neither.
    s.kelp(["import", "-", "other"]).stdin(Layer::default().file("x", 0o644, b"x").bytes()).exits(0);
    s.ok("rmi other");
    s.ok(["pull", &name]).has("Already exists");
    assert_once(front.served(), &pushed);
    settled(&s);
}

#[test]
fn what_a_power_cut_left_is_not_believed() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(4));
    let (front, limit) = stalling(&registry, &pushed);
    limit.store(3 * MB, Ordering::Relaxed);
    let name = format!("{}/app:1", front.host());
    let job = s.kelp(["pull", &name]).spawn(false);
    let partial = s.store().join("staging").join(format!("partial-{}/object", &pushed.layers[1].0[7..]));
    assert!(arrived(&s, &pushed, 3 * MB));
    job.signal(Signal::KILL);
    job.finish(Duration::from_secs(10));
    let mut bytes = std::fs::read(&partial).unwrap();
    bytes[MB..MB + 4096].fill(0);
    std::fs::write(&partial, bytes).unwrap();
    limit.store(usize::MAX, Ordering::Relaxed);
    s.ok(["pull", &name]);
    s.ok(["run", "--rm", &name, "stat", "-c", "%s", "/large"]).is(&LARGE.to_string());
    settled(&s);
}

#[test]
fn a_full_disk_that_is_freed() {
    let Some(s) = Sandbox::with_small_disk("size=9m") else {
        return crate::harness::needs_root("a_full_disk_that_is_freed");
    };
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(5));
    let front = front(&registry, &pushed, |_| Act::Pass);
    let name = format!("{}/app:1", front.host());
    s.exits(1, ["pull", &name]).says("disk");
    front.served();
    let staging = s.store().join("staging");
    let kept: u64 = pushed
        .layers
        .iter()
        .filter_map(|(digest, _)| {
            std::fs::metadata(staging.join(format!("partial-{}/object", &digest[7..]))).ok()
        })
        .map(|partial| partial.len())
        .sum();
    // How much, the other layer decides, which fills the disk too.
    assert!(kept >= MB as u64 / 2, "{kept}");
    let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(s.home()).status().unwrap();
    assert!(grown.success());
    s.ok(["pull", &name]);
    // What was on its way when the disk filled up is lost, and may be megabytes; what was written is not.
    let again = front.served();
    assert!(kept + again <= total(&pushed) + MB as u64, "{kept} and {again} of {}", total(&pushed));
    settled(&s);
}

#[test]
fn a_server_that_says_nothing_any_more() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(6));
    let front = front(&registry, &pushed, |n| if n == 0 { Act::StallAfter(MB) } else { Act::Pass });
    let begin = Instant::now();
    s.ok(["pull", &format!("{}/app:1", front.host())]).has("nothing came for");
    assert!(begin.elapsed() < Duration::from_secs(50));
    assert_once(front.served(), &pushed);
}

#[test]
fn trouble_that_passes_and_trouble_that_stays() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    for status in [500, 502, 503, 504] {
        let front = Server::start(Some(registry.port()), move |_, n| {
            if n < 3 { Act::Say(Answer::new(status, "")) } else { Act::Pass }
        });
        s.ok(["pull", "-q", &format!("{}/app:1", front.host())]);
    }
    let busy = |after: &'static str, times: usize| {
        let body =
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}"#;
        Server::start(Some(registry.port()), move |_, n| {
            if n < times { Act::Say(Answer::new(429, body).with("Retry-After", after)) } else { Act::Pass }
        })
    };
    let begin = Instant::now();
    let front = busy("2", 1);
    s.ok(["pull", "-q", &format!("{}/app:1", front.host())]);
    assert!(begin.elapsed() >= Duration::from_secs(2));
    let front = busy("3600", usize::MAX);
    let out = s.exits(69, ["pull", &format!("{}/app:1", front.host())]);
    out.says(&format!("{} limits how often", front.host())).says("3600 s");
    assert_eq!(front.seen().len(), 1, "it waits for nobody that long");
}

#[test]
fn two_at_once_do_the_work_once() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(7));
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let name = format!("{}/app:1", front.host());
    let jobs: Vec<_> = (0..4).map(|_| s.kelp(["pull", &name]).spawn(false)).collect();
    for job in jobs {
        job.finish(Duration::from_secs(60)).expect_code(0);
    }
    assert_once(front.served(), &pushed);
    settled(&s);
}

#[test]
fn interrupted_on_a_terminal_it_leaves_the_line_clean() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(8));
    let front = front(&registry, &pushed, |n| if n == 0 { Act::StallAfter(2 * MB) } else { Act::Pass });
    let name = format!("{}/app:1", front.host());
    let mut t = s.terminal(["pull", &name]);
    t.expect("Downloading");
    std::thread::sleep(Duration::from_millis(300));
    t.send("\u{3}");
    let seen = t.exits(130);
    let last = seen.rsplit('\n').next().unwrap();
    assert!(!last.contains("Downloading"), "{seen:?}");
    s.ok(["pull", &name]);
    settled(&s);
}

/// However narrow the terminal is, a layer has one line, which is what redrawing counts on.
#[test]
fn a_narrow_terminal_holds_the_progress() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(10));
    let front = front(&registry, &pushed, |n| if n == 0 { Act::StallAfter(2 * MB) } else { Act::Pass });
    let name = format!("{}/app:1", front.host());
    let mut t = s.terminal(["pull", &name]);
    t.resize(24, 40);
    t.expect("Downloading");
    std::thread::sleep(Duration::from_millis(300));
    t.send("\u{3}");
    let seen = t.exits(130);
    // `6136ed1280c0: Downloading 100% 12m`, and blanks up to the edge.
    assert!(seen.contains("% ") && !seen.contains("MB"), "{seen:?}");
    s.ok(["pull", &name]);
    settled(&s);
}

/// What is left to go on with is named by the prunes, before it goes and after; a choice among images leaves it alone.
#[test]
fn what_is_left_of_it_is_pruned_by_name() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &large(11));
    let (front, limit) = stalling(&registry, &pushed);
    limit.store(MB, Ordering::Relaxed);
    let job = s.kelp(["pull", &format!("{}/app:1", front.host())]).spawn(false);
    assert!(arrived(&s, &pushed, MB));
    job.signal(Signal::KILL);
    job.finish(Duration::from_secs(30));
    let digest = &pushed.layers[1].0;
    for noun in ["image", "system"] {
        let out = s.ok(&format!("{noun} prune --dry-run"));
        out.has("Interrupted downloads that would be deleted:").has(digest);
        assert!(!out.text().ends_with("space: 0B"), "{}", out.story());
    }
    s.ok("image prune -f --filter until=1h").lacks(digest);
    s.ok("image prune -f --filter dangling=true").has("Deleted Interrupted downloads:").has(digest);
    s.ok("image prune -f").lacks(digest);
    settled(&s);
}
