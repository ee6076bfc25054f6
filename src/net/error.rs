//! Why a network cannot be. What happens to single packets and connections is no error: it is counted.

use crate::sys;

/// Why a stack cannot be made or cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("an MTU of {0} is too small: {1} at least")]
    Mtu(u16, u16),
    /// The container's interface is gone, which is no failure when its namespace is.
    #[error("the container's network interface is gone")]
    Gone,
    #[error(transparent)]
    System(#[from] sys::Error),
}

pub type Result<T> = std::result::Result<T, Error>;
