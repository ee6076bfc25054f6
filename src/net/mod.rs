//! The userspace network: packets of the container's network namespace on one side, sockets of the host on the other.
//!
//! The container is hostile: a packet that is not understood is dropped and counted, never an error, never a panic.

mod config;
mod error;
mod handle;
pub mod publish;
mod stack;

pub use config::{Config, Limits, V4, V6};
pub use error::{Error, Result};
pub use handle::{
    Handle, HostClient, Listener, ListenerId, Protocol, Query, ReplyTo, TakeHostClient, TakeQuery,
};
pub use stack::Stack;
