//! Every raw system call, and the only `unsafe` of the crate.
//!
//! Functions take `impl AsFd` and return `OwnedFd`; no raw descriptor leaves this room. Failures are one type,
//! [`Error`], which says what was tried, on what, and with which errno. Nothing here knows what a container is.
#![allow(unsafe_code, reason = "the one room that talks to the kernel")]

pub mod bridge;
pub mod content;
pub mod entry;
mod error;
pub mod flags;
pub mod fuse;
pub mod guard;
pub mod inet;
pub mod kernel;
pub mod limits;
pub mod link;
pub mod memory;
pub mod mode;
pub mod mount;
mod netlink;
pub mod overlay;
pub mod path;
pub mod poll;
pub mod process;
pub mod program;
pub mod pty;
pub mod random;
pub mod sched;
pub mod seccomp;
mod settled;
pub mod signal;
mod small;
pub mod socket;
pub mod space;
pub mod transparent;
pub mod tree;
pub mod tun;
pub mod usage;
pub mod userns;
pub mod vfork;
pub mod whiteout;

pub use error::{Context, Error, Result};
pub use small::read_small;
