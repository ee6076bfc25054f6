//! docker's option syntax, read into the types of [`super::request`].
//!
//! One function per flag. Each takes the flag's text as typed and answers with the typed value or with
//! [`crate::engine::Error::Invalid`], which names the value and what is allowed. A feature of docker's that kelp does
//! not have is such an error too: nothing is accepted and ignored. [`check()`] holds the rules that span options.
//!
//! Nothing here reads the environment: look-ups come in as a [`Lookup`].

mod check;
mod env;
mod limits;
mod mounts;
mod namespaces;
mod network;
mod networks;
mod ports;
mod process;
mod security;
mod slirp;
mod time;
mod userns;

pub use check::check;
pub use env::{Lookup, annotations, env, labels};
pub use limits::{oom_score_adj, shm_size, size, sysctls, ulimit};
pub use mounts::{mount, tmpfs, volume};
pub use namespaces::{ipc, pid, uts};
pub use network::{HOST_GATEWAY, add_host, dns, dns_option, dns_search, hostname};
pub use networks::{Asked, connection, networks};
pub use ports::{expose, exposed_range, one_port, publish};
pub use process::{detach_keys, platform, rootfs, signal, stop_signal, user, workdir};
pub use security::{SecurityOptions, capabilities, security_opts};
pub use slirp::network;
pub use time::time;
pub use userns::userns;

use super::Error;

fn invalid(what: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Invalid { what, value: value.into(), reason: reason.into() }
}
