//! Recognises the role of this process before any thread exists, and hands over.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    match args.next() {
        Some(role) if role == kelp::shim::ROLE => kelp::shim::main(args),
        Some(role) if role == kelp::shim::NETWORK_ROLE => kelp::shim::network_main(args),
        _ => kelp::cli::main(),
    }
}
