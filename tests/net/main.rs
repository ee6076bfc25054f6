//! The network stack in a small world: a container, the host it runs on, and a machine far away, each a network
//! namespace with a real kernel in it.
//!
//! The world is made without privilege, in a user namespace. One process plays all parts: a thread is where its network
//! namespace is. Needs `unshare` (util-linux) and `ip` (iproute2).

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has to fail, and says where")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "the fences of src/ are not the tests'")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod checks;
mod floods;
mod recovery;
mod weather;
mod world;

use std::process::{Command, ExitCode};

/// Says to this program that it is in its namespaces.
const INSIDE: &str = "--inside";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    if args.get(1).is_some_and(|a| a == INSIDE) {
        checks::run(args.get(2).map(String::as_str));
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().skip(1).find(|a| !a.starts_with('-'));
    let status = Command::new("unshare")
        .args(["-rn", "--"])
        .arg(std::env::current_exe().unwrap())
        .arg(INSIDE)
        .args(filter)
        .status()
        .unwrap_or_else(|e| panic!("unshare (util-linux): {e}"));
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
