//! The verbs on containers, one file each.

pub mod attach;
pub mod commit;
mod config;
pub mod cp;
pub mod create;
pub mod diff;
pub mod exists;
pub mod export;
pub(in crate::engine) mod find;
mod held;
mod holder;
pub mod inspect;
pub mod kill;
pub mod logs;
pub(in crate::engine) mod network;
mod origin;
pub mod port;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod rm;
pub mod run;
pub mod start;
pub mod stop;
pub(in crate::engine) mod stored;
pub mod wait;
