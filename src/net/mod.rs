//! The userspace network: packets of the container's network namespace on one side, sockets of the host on the other.
//!
//! What happens to a packet of the container's, in the order in which it passes:
//!
//! 1. `stack` is the loop. It takes a batch of packets from the container's interface, `link`.
//! 2. `packet` reads the IP headers; `fragment` puts together what came in parts.
//! 3. `policy` says where the destination leads: to the host, to the stack itself, or nowhere.
//! 4. `tcp`, `udp` and `ping` turn it into something that a socket of the host does, and what the socket then says
//!    into packets; datagrams go by the `train`. `icmp` tells the container what went wrong.
//! 5. `published` brings clients from outside to the container; `handle` is the way in for other threads.
//!
//! The container is hostile: a packet that is not understood is dropped and counted, never an error, never a panic,
//! and everything that packets can make grow is bounded. Time is a parameter everywhere below `Stack::run`.

mod checksum;
mod config;
mod counters;
pub mod dns;
mod error;
mod fragment;
mod handle;
mod icmp;
mod link;
mod lookout;
mod packet;
mod ping;
mod policy;
pub mod publish;
mod published;
mod slab;
mod stack;
mod tcp;
mod train;
mod udp;

pub use config::{Config, Limits, V4, V6};
pub use counters::Counters;
pub use error::{Error, Result};
pub use handle::{
    Handle, HostClient, Listener, ListenerId, Protocol, Query, ReplyTo, TakeHostClient, TakeQuery,
};
pub use stack::{Stack, Turn};

/// The fuzzer's way to the sender: acknowledgements and time as `bytes` have them. Panics where the sender does not stay
/// sound, or does not mend what was lost.
#[cfg(fuzzing)]
pub fn play_acknowledgements(bytes: &[u8]) {
    tcp::play(bytes);
}

#[cfg(test)]
mod tests;
