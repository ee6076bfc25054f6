//! `kelp network …`, one file per command.

mod create;
mod exists;
mod inspect;
mod ls;
mod prune;
mod rm;

pub(super) use create::Create;
pub(super) use exists::Exists;
pub(super) use inspect::Inspect;
pub(super) use ls::Ls;
pub(super) use prune::Prune;
pub(super) use rm::Rm;
