//! How a container's packets travel: by a process of its own, or by those of the networks that it is in.

use std::os::fd::{AsFd, BorrowedFd};

use super::member::Membership;
use super::process::Carrier;

#[derive(Debug)]
pub enum Way {
    Own(Carrier),
    Networks(Vec<Membership>),
}

impl Way {
    /// Each is readable once a process is lost.
    pub fn watched(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Own(carrier) => vec![carrier.pidfd().as_fd()],
            Self::Networks(memberships) => memberships.iter().map(Membership::watched).collect(),
        }
    }

    /// One is lost: another one takes its place. `false` when that is of no use.
    pub fn renew(&mut self) -> bool {
        match self {
            Self::Own(carrier) => carrier.renew(),
            Self::Networks(memberships) => memberships.iter_mut().all(Membership::renew),
        }
    }

    /// Its own process, which is this one's child.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Own(carrier) => Some(carrier.pid()),
            Self::Networks(_) => None,
        }
    }

    /// Whether something of the host's is taken as long as it lives.
    pub fn holds_ports(&self) -> bool {
        match self {
            Self::Own(carrier) => carrier.holds_ports(),
            Self::Networks(memberships) => memberships.iter().any(Membership::holds_ports),
        }
    }

    /// Sees it ended, and with it its ports closed.
    pub fn end(self) {
        match self {
            Self::Own(carrier) => carrier.end(),
            Self::Networks(memberships) => memberships.into_iter().for_each(Membership::end),
        }
    }
}
