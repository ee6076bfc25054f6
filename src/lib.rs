//! kelp runs Linux containers for one user: no root, no daemon, one binary, all state under the home.
//!
//! What happens on `kelp run alpine`, each room in the order in which it acts:
//!
//! 1. [`cli`] turns words into a typed request. It alone prints and chooses exit statuses.
//! 2. [`config`] reads the environment and `config.toml`, once, into one immutable value.
//! 3. [`engine`] carries out the verb: it finds the image, writes the record, hands it to the shim, attaches.
//! 4. [`image`] knows content: references to digests, archives to layers, unpacked once by diff-id;
//!    [`registry`] is its way to the network, [`oci`] the vocabulary of foreign formats.
//! 5. [`store`] makes the container exist: a row in the database, a directory, a lock.
//! 6. [`snapshot`] says how layers and a fresh writable layer become a root file system; where the kernel cannot
//!    make one of them, [`overlay`] does.
//! 7. [`shim`], one per container, was forked at the mere sight of the command and has got ready meanwhile; it is
//!    handed the container, outlives the command, and owns the container until it is gone.
//! 8. [`runtime`] executes the plan in the container's first process: namespaces, mounts, pivot,
//!    capabilities, seccomp, exec.
//! 9. [`net`] turns the packets of the container's network namespace into sockets of the host, and back.
//! 10. [`sys`] makes every system call, and holds the only `unsafe`.
//!
//! Which room may name which is a table in `tests/architecture.rs`, which fails on an arrow it does not hold.

pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
pub mod image;
pub mod net;
pub mod oci;
pub mod overlay;
pub mod registry;
pub mod runtime;
pub mod shim;
pub mod snapshot;
pub mod store;
pub mod sys;
