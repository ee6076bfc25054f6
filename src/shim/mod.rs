//! One process per container: it assembles the root, starts the first process, keeps the log, serves attached
//! clients, records the exit, and releases everything. No async runtime: threads and poll.

pub mod client;
mod error;
mod exec;
mod files;
pub mod launch;
mod life;
pub mod log;
pub mod network;
mod oom;
pub mod protocol;
mod root;
pub mod server;
mod spawn;
pub mod stopping;
pub mod terminal;
mod waiting;

pub use error::{Error, Result};
pub use files::FileServer;
pub use network::ahead::Guess;
pub use network::hub::{ROLE as NETWORK_ROLE, main as network_main};
pub use root::{files_of, rootfs_of, user_namespace};
pub use spawn::{Waiting, spawn};

/// `argv[0]` of a shim.
pub const ROLE: &str = "kelp-shim";

/// Runs the shim role, until its container is gone. The arguments are those of [`spawn`]. Returns the
/// process's exit status.
pub fn main(args: std::env::ArgsOs) -> u8 {
    match waiting::Newborn::from_args(args) {
        Some(shim) => {
            shim.run();
            0
        }
        None => 1,
    }
}
