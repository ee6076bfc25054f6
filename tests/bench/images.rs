//! Rows about images on the move: pull, push, load, each tool beside the others with the same registry on this machine.
//!
//! A pull and a load begin where nothing of the image is; what removes it is not timed. A push goes to a registry that
//! is empty, so that nobody is spared the sending. skopeo copies to and from an OCI directory: it unpacks nothing.
//! docker's work is done by its daemon, which is therefore the one whose memory is measured.

use std::path::Path;

use crate::harness::{Registry, Sandbox};
use crate::tool::{Samples, Tool, interleave};
use crate::{material, memory, row};

/// The name that the archive gives its image.
const LOADED: &str = "localhost/loaded:1";

pub fn rows(sandbox: &Sandbox, tools: &[Tool], rounds: usize) {
    let registry = Registry::new();
    let archive = sandbox.write("one.tar", "");
    for layers in [1, 10] {
        let image = material::image(sandbox, layers);
        registry.push(&format!("of{layers}"), "1", &image);
        if layers == 1 {
            std::fs::write(&archive, image.docker_archive(LOADED)).unwrap();
        }
    }
    for (layers, words) in [(10, "ten layers"), (1, "one layer")] {
        let name = format!("{}/of{layers}:1", registry.host());
        let samples = interleave(tools, rounds, "s", |tool| {
            empty(tool, &name);
            seconds(tool, tool.pull(&name))
        });
        row(&format!("`pull` of 206 MB in {words}, registry on loopback"), &samples);
        row("its peak memory, all processes (PSS; docker: its daemon's)", &peaks(tools, &name));
    }
    let name = format!("{}/of1:1", registry.host());
    row(
        "`pull` of what is here already",
        &interleave(tools, rounds * 4, "ms", |tool| tool.time(tool.pull(&name))),
    );
    row("`push` of the one layer", &interleave(tools, rounds, "s", |tool| push(tool, &name)));
    tools.iter().for_each(|tool| tool.remove(&name));
    row("`load` of the same", &interleave(tools, rounds, "s", |tool| load(tool, &archive)));
}

fn seconds(tool: &Tool, command: Option<std::process::Command>) -> Option<f64> {
    Some(tool.time(command)? / 1e3)
}

/// Nothing of the image is left, and what that gave the disk to do is done.
fn empty(tool: &Tool, name: &str) {
    tool.remove(name);
    rustix::fs::sync();
}

/// Leaves the image where it is.
fn peaks(tools: &[Tool], name: &str) -> Vec<Samples> {
    let peak = |tool: &Tool| {
        empty(tool, name);
        let values = tool.pull(name).map(|command| memory::peak(command, tool.daemon_id()));
        Samples { name: tool.name, unit: "MB", values: values.into_iter().collect() }
    };
    tools.iter().map(peak).collect()
}

fn push(tool: &Tool, name: &str) -> Option<f64> {
    let registry = Registry::new();
    let target = format!("{}/pushed:1", registry.host());
    tool.tag(name, &target);
    rustix::fs::sync();
    let took = seconds(tool, tool.push(&target));
    tool.untag(&target);
    took
}

fn load(tool: &Tool, archive: &Path) -> Option<f64> {
    empty(tool, LOADED);
    let took = seconds(tool, tool.load(archive.to_str().unwrap()));
    tool.remove(LOADED);
    took
}
