//! User namespaces: which ids this user may map, and who writes the maps.
//!
//! Ranges come from `/etc/subuid` and `/etc/subgid` (subuid(5)), or from `getsubids` where an account lives in a
//! directory service. They are written by `newuidmap` and `newgidmap`, which carry the privilege that this
//! user lacks; both run side by side. Sources: user_namespaces(7), newuidmap(1).

mod nested;
mod ranges;
mod writer;

pub use nested::{Nested, become_own_root, enter_nested, enter_owner_of, make_within};
pub use ranges::{Account, Wanted, WhyNoRange, account, wanted};
pub use writer::Writers;

use super::Result;

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

    pub fn is_single(&self) -> bool {
        self.kind == MapKind::Single
    }

    /// Root inside is root of the machine: every id there is stands for itself.
    pub fn has_real_root(&self) -> bool {
        let all = Extent { inside: 0, outside: 0, count: u32::MAX };
        self.kind == MapKind::Identity && self.uids == [all]
    }

    pub fn has_gid(&self, inside: u32) -> bool {
        contains(&self.gids, inside)
    }

    /// The map of the user namespace that `pid` is in, as that namespace's parent sees it.
    pub fn of_process(pid: u32) -> Result<Self> {
        let read = |name: &str| -> Result<Vec<Extent>> {
            let path = format!("/proc/{pid}/{name}");
            let text = super::read_small(path.as_ref())?;
            Ok(String::from_utf8_lossy(&text).lines().filter_map(Extent::parse).collect())
        };
        let (uids, gids) = (read("uid_map")?, read("gid_map")?);
        let ids = |extents: &[Extent]| extents.iter().map(|e| u64::from(e.count)).sum::<u64>();
        let identity = uids.iter().all(|e| e.inside == e.outside) && ids(&uids) > 1;
        let kind = match (identity, ids(&uids)) {
            (true, _) => MapKind::Identity,
            (false, 1) => MapKind::Single,
            _ => MapKind::Range,
        };
        Ok(Self { uids, gids, kind })
    }
}

impl Extent {
    /// One line of `/proc/PID/uid_map`: inside, outside, count.
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { inside: next()?, outside: next()?, count: next()? })
    }
}

fn contains(extents: &[Extent], inside: u32) -> bool {
    extents.iter().any(|e| inside >= e.inside && u64::from(inside) < u64::from(e.inside) + u64::from(e.count))
}
