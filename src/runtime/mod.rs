//! From an OCI runtime spec to a running process.
//!
//! [`plan`] decides everything before the fork, as pure data; [`init`] executes it step by step in the
//! container's first process, [`join`] does the same for one more process in a running container. Knows no
//! images, no store and no network stack.

mod account;
pub mod capabilities;
mod clocks;
mod dev;
pub mod from_spec;
pub mod handshake;
pub mod init;
mod inner;
pub mod join;
mod mounts;
pub mod plan;
mod program;
mod protect;
mod reaper;
pub mod rlimits;
mod rootfs;
pub mod seccomp;
pub mod sysctl;
mod texts;
pub mod user;
pub mod visit;
