//! Published ports: the host's sockets, and the short way for clients that are on the host themselves.
//!
//! Such a client needs no packets: the kernel moves the bytes between its connection and one that is opened inside the
//! container's namespace. The container sees it come from the gateway, never from 127.0.0.1, which programs trust.

mod bind;
mod direction;
mod local;

pub use bind::bind;
pub use local::host_clients;
