//! One process per container: it assembles the root, starts the first process, keeps the log, serves attached
//! clients, records the exit, and releases everything. No async runtime: threads and poll.

pub mod client;
mod error;
pub mod log;
pub mod protocol;
pub mod server;
pub mod terminal;

pub use error::{Error, Result};

use std::process::ExitCode;

/// `argv[0]` of a shim.
pub const ROLE: &str = "kelp-shim";

/// Runs the shim role. The arguments are the store's root and the container's id.
pub fn main(_args: std::env::ArgsOs) -> ExitCode {
    ExitCode::FAILURE
}
