//! Links the program at a fixed address: a static program that can be loaded anywhere relocates itself at every
//! start, and each shim would keep the 330 KiB of pages that this dirties for itself.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "cargo speaks to build scripts this way")]

fn main() {
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    let is_static = set("CARGO_CFG_TARGET_FEATURE").split(',').any(|f| f == "crt-static");
    if set("CARGO_CFG_TARGET_ENV") == "gnu" && is_static {
        println!("cargo:rustc-link-arg-bins=-static");
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
