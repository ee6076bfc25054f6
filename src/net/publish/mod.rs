//! Published ports: the host's sockets, and the short way for clients that are on the host themselves.

mod bind;

pub use bind::bind;
