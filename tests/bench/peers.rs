//! kelp beside podman, docker, skopeo, bubblewrap and `unshare`: `cargo bench`, as root on a quiet machine.
//!
//! Every tool runs the same busybox and moves the same images; all but docker run as the same unprivileged user.
//! Rounds are interleaved, so that what disturbs one disturbs all. Prints medians and ratios, never a verdict. A tool
//! that is not installed, or a daemon that cannot be started, is a printed line. `cargo bench -- containers` and
//! `cargo bench -- images` measure a part; `KELP_BENCH_ROUNDS` (40, of what takes seconds an eighth) and
//! `KELP_BENCH_CONTAINERS` (1000) shorten or lengthen it.

#![allow(dead_code, reason = "the bench uses a part of the tests' harness")]
#![allow(unused_imports, reason = "the bench uses a part of the tests' harness")]
#![allow(unreachable_pub, reason = "a bench has no outside")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails is no measurement")]
#![allow(
    clippy::disallowed_methods,
    reason = "the fences of src/ keep the binary's rooms apart, not its benches"
)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its report is what it is for")]

mod disk;
#[path = "../harness/mod.rs"]
mod harness;
mod images;
mod material;
mod memory;
mod tool;

use std::process::Command;
use std::time::Duration;

use harness::{Sandbox, status_field};
use tool::{Samples, Tool, interleave};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn main() {
    // `cargo test --benches` and test listings call the program with arguments of a test harness.
    if std::env::args().any(|a| a == "--test" || a == "--list") {
        return;
    }
    let rounds = number("KELP_BENCH_ROUNDS", 40);
    let disk = disk::Disk::mount(std::path::Path::new(harness::account::SCRATCH));
    let sandbox = Sandbox::new().busybox();
    let tools = Tool::all(&sandbox);
    heading();
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    if wanted("containers") {
        starts(&tools, rounds);
        execs(&tools, rounds);
        parallel_starts(&tools);
        idle_shims(&sandbox, &tools);
        log_throughput(&tools);
        listings(&tools, rounds);
    }
    if wanted("images") {
        images::rows(&sandbox, &tools, (rounds / 8).max(1));
    }
    for tool in &tools {
        tool.clean_up();
    }
    drop(tools);
    // The other tools' files and processes are in the same home: no place for a check on leaks.
    sandbox.wipe();
    std::mem::forget(sandbox);
    drop(disk);
}

fn heading() {
    let out = |program: &str, args: &[&str]| {
        let out = Command::new(program)
            .args(args)
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        out.unwrap_or_default()
    };
    let commit = out("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{} · kelp {commit} · Linux {} · {processors} processors\n",
        out("date", &["+%F"]),
        out("uname", &["-r"])
    );
    println!("| what | kelp | others | kelp is |\n| --- | --- | --- | --- |");
}

/// One line of the table: kelp first, the others in their order, how kelp compares with each.
fn row(what: &str, samples: &[Samples]) {
    let Some(kelp) = samples.iter().find(|s| s.name == "kelp").filter(|s| s.median() > 0.0) else {
        return println!("| {what} | – | – | – |");
    };
    let others: Vec<&Samples> = samples.iter().filter(|s| s.name != "kelp" && !s.values.is_empty()).collect();
    let figures: Vec<String> = others.iter().map(|s| format!("{} {}", s.name, s.text())).collect();
    let ratios: Vec<String> = others.iter().map(|s| kelp.against(s)).collect();
    println!("| {what} | {} | {} | {} |", kelp.text(), figures.join(" · "), ratios.join(" · "));
}

fn starts(tools: &[Tool], rounds: usize) {
    let alone = interleave(tools, rounds, "ms", |t| t.time(t.run_true()));
    row("`run --rm IMAGE true`, no network, none running", &alone);
    for tool in tools {
        tool.keep_one_running();
    }
    let beside = interleave(tools, rounds, "ms", |t| t.time(t.run_true()));
    row("the same, another container running", &beside);
}

fn execs(tools: &[Tool], rounds: usize) {
    row("`exec CONTAINER true`", &interleave(tools, rounds, "ms", |t| t.time(t.exec_true())));
}

fn parallel_starts(tools: &[Tool]) {
    let samples = interleave(tools, 3, "ms", |tool| {
        let begin = std::time::Instant::now();
        let children: Vec<_> = (0..50).map(|_| tool.run_true()?.spawn().ok()).collect::<Option<_>>()?;
        for mut child in children {
            assert!(child.wait().unwrap().success(), "{} failed in a crowd", tool.name);
        }
        Some(begin.elapsed().as_secs_f64() * 1e3)
    });
    row("50 starts at once, all of them", &samples);
}

/// What stays in memory for a container that does nothing: the shim beside conmon, with shared pages shared.
fn idle_shims(sandbox: &Sandbox, tools: &[Tool]) {
    let pss = |name: &str| {
        let all = sandbox.processes();
        let of = all.iter().filter(|p| status_field(p.pid, "Name").is_some_and(|n| n.starts_with(name)));
        let sizes: Vec<f64> = of.filter_map(|p| memory::proportional_set(p.pid)).collect();
        sizes.iter().copied().reduce(f64::max)
    };
    let mut samples = Vec::new();
    for tool in tools {
        let value = match tool.name {
            "kelp" => sandbox
                .processes()
                .iter()
                .filter(|p| p.line.contains("kelp-shim"))
                .find_map(|p| memory::proportional_set(p.pid)),
            "podman" => pss("conmon"),
            _ => continue,
        };
        samples.push(Samples { name: tool.name, unit: "MB", values: value.into_iter().collect() });
    }
    row("memory of an idle container's shim (PSS; podman: conmon)", &samples);
}

fn log_throughput(tools: &[Tool]) {
    let samples = interleave(tools, 2, "s", |t| Some(t.time(t.log_a_gigabyte())? / 1e3));
    row("1 GB of log, lines of 80 bytes", &samples);
}

fn listings(tools: &[Tool], rounds: usize) {
    let count = number("KELP_BENCH_CONTAINERS", 1000);
    for tool in tools {
        tool.create(count);
    }
    std::thread::sleep(Duration::from_secs(1));
    let samples = interleave(tools, rounds / 2, "ms", |t| t.time(t.list()));
    row(&format!("`ps -a` with {count} containers"), &samples);
    let samples = interleave(tools, rounds / 2, "ms", |t| t.time(t.complete()));
    row(&format!("one TAB after `stop`, {count} containers"), &samples);
}
