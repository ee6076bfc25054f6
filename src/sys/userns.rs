//! User namespaces: id maps, and who writes them.

/// The ids of a user namespace, seen from outside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap {
    pub uids: Vec<Extent>,
    pub gids: Vec<Extent>,
    pub kind: MapKind,
}

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// What kind of map this user can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// The user's own id as root, and a range of subordinate ids.
    Range,
    /// The user's own id as root, and nothing else.
    Single,
    /// root without a range: every id as itself.
    Identity,
}

impl IdMap {
    pub fn has_uid(&self, inside: u32) -> bool {
        contains(&self.uids, inside)
    }

    pub fn has_gid(&self, inside: u32) -> bool {
        contains(&self.gids, inside)
    }
}

fn contains(extents: &[Extent], inside: u32) -> bool {
    extents.iter().any(|e| inside >= e.inside && u64::from(inside) < u64::from(e.inside) + u64::from(e.count))
}
