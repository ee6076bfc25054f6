//! Recognises the role of this process before any thread exists, and hands over.
#![cfg_attr(target_env = "gnu", no_main)]

kelp::entry!(role);

/// Runs what `argv[0]` says; returns the exit status.
fn role() -> u8 {
    let mut args = std::env::args_os();
    match args.next() {
        Some(role) if role == kelp::shim::ROLE => kelp::shim::main(args),
        Some(role) if role == kelp::shim::NETWORK_ROLE => kelp::shim::network_main(args),
        _ => kelp::cli::main(),
    }
}
