//! kelp's network beside slirp4netns, pasta and the host's own loopback: `cargo bench --bench network`, on a quiet
//! machine.
//!
//! Every way runs the same program at both ends, `traffic`, as the same unprivileged user. Rounds are interleaved, so
//! that what disturbs one disturbs all. Prints medians and ratios, never a verdict; a tool that is not installed, or
//! does not start here, is a printed line, and one that breaks a connection before its end a cell that says so. `cargo bench --bench network -- throughput latency` measures parts
//! (`throughput`, `published`, `neighbours`, `udp`, `latency`, `connections`, `idle`); `KELP_BENCH_ROUNDS` (5),
//! `KELP_BENCH_SECONDS` (1, of each measurement) and `KELP_BENCH_FLOWS` (10000) shorten or lengthen it. All traffic
//! stays on this machine.

#![allow(dead_code, reason = "the bench uses a part of the tests' harness")]
#![allow(unused_imports, reason = "the bench uses a part of the tests' harness")]
#![allow(unreachable_pub, reason = "a bench has no outside")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails is no measurement")]
#![allow(
    clippy::disallowed_methods,
    reason = "the fences of src/ keep the binary's rooms apart, not its benches"
)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its report is what it is for")]
#![allow(clippy::cast_possible_truncation, reason = "figures for people")]

#[path = "../harness/mod.rs"]
mod harness;
mod memory;
mod traffic;
mod ways;

use harness::Sandbox;
use ways::{Figures, Lack, Way, World};

/// Says to this program that it is at one end of a way.
const AGENT: &str = "--agent";

fn number(variable: &str, default: f64) -> f64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn main() {
    if std::env::args().any(|a| a == AGENT) {
        return traffic::agent();
    }
    // `cargo test --benches` and test listings call the program with arguments of a test harness.
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    traffic::many_descriptors();
    let sandbox = Sandbox::new().busybox();
    let mut world = World::new(&sandbox);
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    let seconds = number("KELP_BENCH_SECONDS", 1.0);
    heading(&world);
    if wanted("throughput") {
        for streams in [1, 8] {
            for direction in ["out", "in", "both"] {
                throughput(&mut world, direction, streams, seconds);
            }
        }
    }
    if wanted("published") {
        for streams in [1, 8] {
            for direction in ["out", "in"] {
                published(&mut world, direction, streams, seconds);
            }
        }
    }
    if wanted("neighbours") {
        for direction in ["out", "in"] {
            neighbours(&mut world, direction, seconds);
        }
    }
    if wanted("udp") {
        for direction in ["out", "in"] {
            loss(&mut world, direction, seconds);
        }
    }
    if wanted("latency") {
        latency(&mut world, seconds);
    }
    if wanted("connections") {
        for crowd in [1, 16] {
            connections(&mut world, crowd, seconds);
        }
    }
    if wanted("idle") {
        idle(&mut world, seconds);
    }
    drop(world);
    // The other tools' processes are in the same home for a moment longer: no place for a check on leaks.
    sandbox.wipe();
    std::mem::forget(sandbox);
}

fn heading(world: &World) {
    let out = |program: &str, args: &[&str]| {
        let out = std::process::Command::new(program).args(args).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let commit = out("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let (date, kernel) = (out("date", &["+%F"]), out("uname", &["-r"]));
    println!("{date} · kelp {commit} · Linux {kernel} · {processors} processors\n");
    let names: Vec<&str> = world.ways.iter().map(|way| way.name).collect();
    println!("| what | {} |", names.join(" | "));
    println!("| --- |{}", " --- |".repeat(names.len()));
}

/// Measures every way that can be, in turn, and prints one line for each figure that comes of it: the medians, and what
/// they are of the first way's. One that breaks is not measured any more.
fn rows(
    world: &mut World,
    whats: &[&str],
    decimals: usize,
    mut one: impl FnMut(&mut World, usize) -> Figures,
) {
    let rounds = number("KELP_BENCH_ROUNDS", 5.0).max(1.0) as usize;
    let mut all: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); whats.len()]; world.ways.len()];
    let mut broken = vec![0; world.ways.len()];
    for _ in 0..rounds {
        for (at, samples) in all.iter_mut().enumerate() {
            match one(world, at) {
                Ok(measured) => samples.iter_mut().zip(measured).for_each(|(all, one)| all.push(one)),
                Err(Lack::Broken) => {
                    broken[at] += 1;
                    world.ways[at].end();
                }
                Err(Lack::Absent) => {}
            }
        }
    }
    for (n, what) in whats.iter().enumerate() {
        let medians: Vec<Option<f64>> = all.iter_mut().map(|samples| median(&mut samples[n])).collect();
        let base = medians.first().copied().flatten().filter(|base| *base > 0.0);
        let cells = medians.iter().enumerate().map(|(at, median)| {
            let figure = match (median, base) {
                (None, _) if broken[at] > 0 => return "broken".to_owned(),
                (None, _) => return "–".to_owned(),
                (Some(m), Some(base)) if at > 0 => format!("{m:.decimals$} ({:.2}×)", m / base),
                (Some(m), _) => format!("{m:.decimals$}"),
            };
            if broken[at] > 0 { format!("{figure}, then broken") } else { figure }
        });
        println!("| {what} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Runs `measure` and gives what it gives, as Gbit/s, and the CPU time that the way's own processes took for each GB.
fn with_cost(world: &mut World, at: usize, measure: impl FnOnce(&mut World) -> Figures) -> Figures {
    let before = world.ways[at].seconds();
    let figures = measure(world)?;
    let spent = world.ways[at].seconds() - before;
    let cost = (!world.ways[at].carriers.is_empty()).then(|| spent / (figures[1] / 1e9));
    Ok(std::iter::once(figures[0] / 1e9).chain(cost).collect())
}

fn plural(streams: usize) -> &'static str {
    if streams == 1 { "" } else { "s" }
}

/// From inside to a server on the host's loopback.
fn throughput(world: &mut World, direction: &str, streams: usize, seconds: f64) {
    let what = format!("TCP {direction}, {streams} stream{}, Gbit/s", plural(streams));
    rows(world, &[&what, "its CPU, s a GB"], 2, |world, at| {
        with_cost(world, at, |world| {
            let to = world.host_server(at).ok_or(Lack::Absent)?;
            world.ways[at]
                .inside
                .as_mut()
                .ok_or(Lack::Absent)?
                .ask(&format!("throughput {to} {direction} {streams} {seconds}"))
        })
    });
}

/// From the host to a server inside.
fn published(world: &mut World, direction: &str, streams: usize, seconds: f64) {
    let said = if direction == "out" { "to it" } else { "from it" };
    let what = format!("published port from the host, {said}, {streams} stream{}, Gbit/s", plural(streams));
    rows(world, &[&what, "its CPU, s a GB"], 2, |world, at| {
        with_cost(world, at, |world| {
            let to = world.ways[at].published.ok_or(Lack::Absent)?;
            world.client.ask_always(&format!("throughput {to} {direction} {streams} {seconds}"))
        })
    });
}

/// From one container to another of the same network.
fn neighbours(world: &mut World, direction: &str, seconds: f64) {
    let what = format!("container to container on a network, {direction}, 1 stream, Gbit/s");
    rows(world, &[&what], 2, |world, at| {
        let (to, from) = world.neighbour(at).ok_or(Lack::Absent)?;
        Ok(vec![from.ask(&format!("throughput {to} {direction} 1 {seconds}"))?[0] / 1e9])
    });
    if direction == "in" {
        rows(world, &["the same, 1 byte there and back, µs"], 1, |world, at| {
            let (to, from) = world.neighbour(at).ok_or(Lack::Absent)?;
            from.ask(&format!("round-trips {to} {seconds}"))
        });
    }
}

fn loss(world: &mut World, direction: &str, seconds: f64) {
    let what = format!("UDP {direction} at 1 Gbit/s (1,400 bytes), lost, %");
    rows(world, &[&what], 2, |world, at| {
        let to = world.host_server(at).ok_or(Lack::Absent)?;
        world.ways[at].inside.as_mut().ok_or(Lack::Absent)?.ask(&format!("loss {to} {direction} {seconds}"))
    });
}

fn latency(world: &mut World, seconds: f64) {
    rows(world, &["1 byte there and back, µs", "99 of 100 below"], 1, |world, at| {
        let to = world.host_server(at).ok_or(Lack::Absent)?;
        world.ways[at].inside.as_mut().ok_or(Lack::Absent)?.ask(&format!("round-trips {to} {seconds}"))
    });
    rows(world, &["published port from the host, 1 byte, µs"], 1, |world, at| {
        let to = world.ways[at].published.ok_or(Lack::Absent)?;
        world.client.ask_always(&format!("round-trips {to} {seconds}"))
    });
}

fn connections(world: &mut World, crowd: usize, seconds: f64) {
    let what = format!("connections a second, {crowd} at a time");
    rows(world, &[&what], 0, |world, at| {
        let ports = world.host_servers(at).ok_or(Lack::Absent)?;
        world.ways[at]
            .inside
            .as_mut()
            .ok_or(Lack::Absent)?
            .ask(&format!("connections {ports} {crowd} {seconds}"))
    });
    let what = format!("the same to a published port, {crowd} at a time");
    rows(world, &[&what], 0, |world, at| {
        let to = world.ways[at].published.ok_or(Lack::Absent)?;
        world.client.ask_always(&format!("connections {to} {crowd} {seconds}"))
    });
}

/// Memory, and what connections that say nothing cost those that do.
fn idle(world: &mut World, seconds: f64) {
    let flows = number("KELP_BENCH_FLOWS", 10_000.0) as usize;
    let mut figures = Vec::new();
    for at in 0..world.ways.len() {
        let Some(to) = world.host_server(at) else {
            figures.push(Err(Lack::Absent));
            continue;
        };
        let way = &mut world.ways[at];
        let memory =
            |way: &Way| way.carriers.iter().filter_map(|pid| memory::proportional_set(*pid)).sum::<f64>();
        let before = memory(way);
        let inside = way.inside.as_mut().unwrap();
        let kept = inside.ask(&format!("keep {to} {flows}"));
        let latency = kept.and_then(|_| inside.ask(&format!("round-trips {to} {seconds}")));
        let after = memory(way);
        let cleared = way.inside.as_mut().unwrap().ask(&format!("forget {to}"));
        let measured = latency.and_then(|latency| cleared.map(|_| [before, after, latency[0]]));
        if measured.is_err() {
            eprintln!("{} did not carry {flows} connections", way.name);
        }
        figures.push(measured);
    }
    let line = |what: &str, n: usize| {
        let cell = |measured: &Result<[f64; 3], Lack>| match measured {
            Ok(figures) => format!("{:.1}", figures[n]),
            Err(Lack::Broken) => "broken".to_owned(),
            Err(Lack::Absent) => "–".to_owned(),
        };
        let cells: Vec<String> = figures.iter().map(cell).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    line("memory of its processes before any of this, MB (PSS)", 0);
    line(&format!("the same with {flows} open connections"), 1);
    line("1 byte there and back meanwhile, µs", 2);
}
