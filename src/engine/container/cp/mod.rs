//! `cp`: files into and out of a container, whatever it is doing.
//!
//! The container's side is a job in the user namespace that sees the container's root and the user's binds
//! ([`visit`](crate::runtime::visit)); the host's side is this process. Between them goes a tar archive, which `-`
//! reads or writes as it is. Neither side follows a path of the other's: names are resolved inside their own root by
//! descriptor, so links that a container swaps meanwhile stay inside it.
//!
//! Where things end up is docker's rule: [`place`](crate::image::place).

mod inward;
mod outward;
mod visitor;

use std::ffi::OsString;

use super::held::hold;
use crate::engine::{Engine, Error, Result};

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    Container {
        name: String,
        path: OsString,
    },
    Local(OsString),
    /// `-`: a tar archive.
    Stream,
}

/// What `cp` was asked for.
#[derive(Debug, Clone)]
pub struct CpRequest {
    pub source: Side,
    pub destination: Side,
    /// Keep owners.
    pub archive: bool,
    /// Copy what the source links to, not the link.
    pub follow_link: bool,
}

const BETWEEN: &str = "copying between containers is not supported";
const NEITHER: &str = "must specify at least one container source";

/// Gives the length of the archive that went over, in bytes. The calling process must have one thread.
pub fn cp(engine: &Engine, request: &CpRequest) -> Result<u64> {
    match (&request.source, &request.destination) {
        (Side::Container { .. }, Side::Container { .. }) => Err(Error::Usage(BETWEEN)),
        (Side::Container { name, path }, to) => {
            let held = hold(engine, name, "copy from")?;
            outward::copy(engine, &held, path, to, request)
        }
        (from, Side::Container { name, path }) => {
            let held = hold(engine, name, "copy to")?;
            inward::copy(engine, &held, from, path, request)
        }
        _ => Err(Error::Usage(NEITHER)),
    }
}
