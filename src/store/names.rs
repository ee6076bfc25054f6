//! Names for containers that were given none: an adjective and a surname, as docker makes them.

use super::id::Name;

/// A name picked by chance. It may be taken: the caller tries again.
pub fn random() -> Name {
    todo!()
}
