//! The container's own monotonic and boot-time clocks: a time namespace, when the spec asks for one.
//!
//! Such a namespace takes offsets only until a process is in it, and a process that unshares it is not: its children
//! would be. So the first process unshares, writes, and then enters what it has prepared (time_namespaces(7)).

use std::io::Write;

use super::handshake::{Failure, Step};
use super::plan::ClockOffset;
use crate::sys::process;
use crate::sys::{self, Context};

const OFFSETS: &str = "/proc/self/timens_offsets";

/// Moves this process into a time namespace of its own. Before the root is pivoted to: `/proc` is the host's.
pub(super) fn enter_new(offsets: &[ClockOffset]) -> Result<(), Failure> {
    let doing = "make a time namespace";
    process::unshare(libc::CLONE_NEWTIME).step(doing)?;
    write(offsets).map_err(|e| match e.errno() {
        libc::ERANGE => Failure::own("set the clocks' offsets", e)
            .with_hint("a clock can neither go below zero nor beyond some 146 years"),
        _ => Failure::own("set the clocks' offsets", e),
    })?;
    let namespace = process::own_namespace("time_for_children").step(doing)?;
    process::enter(&namespace, libc::CLONE_NEWTIME).step(doing)
}

fn write(offsets: &[ClockOffset]) -> sys::Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let lines: String =
        offsets.iter().map(|o| format!("{} {} {}\n", o.clock.name(), o.seconds, o.nanoseconds)).collect();
    let mut file = std::fs::OpenOptions::new().write(true).open(OFFSETS).op_on("open", OFFSETS)?;
    // In one write, as the kernel wants it.
    file.write_all(lines.as_bytes()).op_on("write", OFFSETS)
}
