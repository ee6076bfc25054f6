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
        Ok(Self::of_extents(read("uid_map")?, read("gid_map")?))
    }

    /// The map of an inner namespace, as the parent of the one of this map sees it.
    #[must_use]
    pub fn within(&self, inner: &Nested) -> Self {
        Self::of_extents(composed(&inner.uids, &self.uids), composed(&inner.gids, &self.gids))
    }

    fn of_extents(uids: Vec<Extent>, gids: Vec<Extent>) -> Self {
        let ids = uids.iter().map(|e| u64::from(e.count)).sum::<u64>();
        let identity = uids.iter().all(|e| e.inside == e.outside) && ids > 1;
        let kind = match (identity, ids) {
            (true, _) => MapKind::Identity,
            (false, 1) => MapKind::Single,
            _ => MapKind::Range,
        };
        Self { uids, gids, kind }
    }

    /// The number in here of the uid that is `outside` out there.
    pub fn uid_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.uids, outside)
    }

    pub fn gid_inside(&self, outside: u32) -> Option<u32> {
        inside(&self.gids, outside)
    }

    /// The number out there of the uid that is `inside` in here.
    pub fn uid_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.uids, inside)
    }

    pub fn gid_outside(&self, inside: u32) -> Option<u32> {
        outside(&self.gids, inside)
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
    outside(extents, inside).is_some()
}

fn outside(extents: &[Extent], inside: u32) -> Option<u32> {
    let of = |e: &Extent| e.outside.checked_add(inside.checked_sub(e.inside).filter(|n| *n < e.count)?);
    extents.iter().find_map(of)
}

fn inside(extents: &[Extent], outside: u32) -> Option<u32> {
    let of = |e: &Extent| e.inside.checked_add(outside.checked_sub(e.outside).filter(|n| *n < e.count)?);
    extents.iter().find_map(of)
}

/// What `inner` has inside, by way of what both have between them, outside of `outer`.
fn composed(inner: &[Extent], outer: &[Extent]) -> Vec<Extent> {
    let mut all = Vec::new();
    for near in inner {
        for far in outer {
            let first = near.outside.max(far.inside);
            let end = |start: u32, count: u32| u64::from(start) + u64::from(count);
            let last = end(near.outside, near.count).min(end(far.inside, far.count));
            let count = last.saturating_sub(u64::from(first));
            if let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) {
                let inside = near.inside + (first - near.outside);
                all.push(Extent { inside, outside: far.outside + (first - far.inside), count });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(these: &[(u32, u32, u32)]) -> Vec<Extent> {
        these.iter().map(|&(inside, outside, count)| Extent { inside, outside, count }).collect()
    }

    #[test]
    fn a_map_within_a_map_leads_to_the_outermost() {
        let shared = extents(&[(0, 1000, 1), (1, 100_000, 10), (11, 300_000, 100)]);
        let shared = IdMap { uids: shared.clone(), gids: shared, kind: MapKind::Range };
        let inner = extents(&[(0, 1, 50), (50, 0, 1), (51, 51, 60)]);
        let map = shared.within(&Nested { uids: inner.clone(), gids: inner });
        let all = [(0, 100_000, 10), (10, 300_000, 40), (50, 1000, 1), (51, 300_040, 60)];
        assert_eq!((map.uids.clone(), map.kind), (extents(&all), MapKind::Range));
        assert_eq!(
            [0, 9, 10, 50, 51].map(|id| map.uid_outside(id)),
            [Some(100_000), Some(100_009), Some(300_000), Some(1000), Some(300_040)]
        );
        assert_eq!([1000, 100_009, 5].map(|id| map.gid_inside(id)), [Some(50), Some(9), None]);
        // Of what the outer map has not, nothing is left.
        let beyond = extents(&[(7, 111, 5)]);
        assert_eq!(shared.within(&Nested { uids: beyond.clone(), gids: beyond }).uids, []);
        let one = extents(&[(1000, 0, 1)]);
        assert_eq!(shared.within(&Nested { uids: one.clone(), gids: one }).kind, MapKind::Single);
    }
}
