//! A network namespace made before it is known which container will want it.

use std::os::fd::OwnedFd;

use super::{Slirp, addresses, tun};
use crate::store::container::network::Addresses;
use crate::sys;
use crate::sys::link::{self, NewNamespace, Tun};

/// What a container will most likely want. A wrong guess costs time, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// No namespace.
    Nothing,
    /// A namespace without a way out.
    Empty,
    /// The default network.
    Slirp,
}

impl Guess {
    /// Every word that [`Self::word`] says.
    const ALL: [Self; 3] = [Self::Nothing, Self::Empty, Self::Slirp];

    /// For a command line.
    pub(in crate::shim) fn word(self) -> &'static str {
        match self {
            Self::Nothing => "no-network",
            Self::Empty => "own-network",
            Self::Slirp => "slirp",
        }
    }

    pub(in crate::shim) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|guess| guess.word() == word)
    }
}

/// A namespace in the making, and what it was furnished with.
#[derive(Debug)]
pub(in crate::shim) struct Ahead {
    tun: Option<Tun>,
    namespace: NewNamespace,
}

/// A namespace, and the descriptor of its TUN device where it has one.
#[derive(Debug)]
pub(in crate::shim) struct Made {
    pub namespace: OwnedFd,
    pub tun: Option<OwnedFd>,
}

/// Begins to make what is guessed.
pub(in crate::shim) fn begin(guess: Guess) -> sys::Result<Option<Ahead>> {
    let tun = match guess {
        Guess::Nothing => return Ok(None),
        Guess::Empty => None,
        Guess::Slirp => {
            let slirp = Slirp::default();
            Some(tun(&slirp, &addresses::choose(&slirp)))
        }
    };
    let namespace = link::new_namespace(tun.clone())?;
    Ok(Some(Ahead { tun, namespace }))
}

/// The namespace that is wanted after all: the one that was guessed, or another one. With `user`, one that belongs to
/// that user namespace, which nobody guesses.
pub(in crate::shim) fn settle(
    ahead: Option<Ahead>,
    wanted: Option<(&Slirp, &Addresses)>,
    user: Option<&OwnedFd>,
) -> sys::Result<Made> {
    let wanted = wanted.map(|(slirp, addresses)| tun(slirp, addresses));
    let network = match (ahead, user) {
        (ahead, Some(user)) => {
            forget(ahead);
            link::new_namespace_within(user, wanted.as_ref())
        }
        (Some(ahead), None) if ahead.tun == wanted => ahead.namespace.finish(),
        (other, None) => {
            forget(other);
            link::new_namespace(wanted)?.finish()
        }
    }?;
    Ok(Made { namespace: network.namespace, tun: network.tun })
}

/// Nobody wants it. That it could not be made is nobody's concern either.
pub(in crate::shim) fn forget(ahead: Option<Ahead>) {
    drop(ahead.map(|ahead| ahead.namespace.finish()));
}
