//! The verbs on containers, one file each.

pub mod attach;
pub mod create;
pub(in crate::engine) mod find;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod prune;
pub mod ps;
pub mod rm;
pub mod run;
pub mod start;
pub mod stop;
pub(in crate::engine) mod stored;
pub mod wait;
