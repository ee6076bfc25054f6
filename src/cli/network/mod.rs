//! `kelp network …`, one file per command.

mod connect;
mod create;
mod disconnect;
mod exists;
mod inspect;
mod ls;
mod prune;
mod rm;

pub(super) use connect::Connect;
pub(super) use create::Create;
pub(super) use disconnect::Disconnect;
pub(super) use exists::Exists;
pub(super) use inspect::Inspect;
pub(super) use ls::Ls;
pub(super) use prune::Prune;
pub(super) use rm::Rm;
