//! The ids of a container with a user namespace of its own: maps within the one that all of the user's containers
//! share, who its process is by default, and who the container's passwd has to know.
//!
//! In the shared namespace the user is root and his subordinate ids come after. `keep-id` only gives them other
//! numbers: the user his own, and to those up to it the next lower ones. So every number of the container's is one of
//! the shared namespace's too, and an image's files are stored under the same numbers whichever namespace they are
//! seen from.

use std::path::{Component, Path};

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::{Config, built};
use crate::engine::request::{CreateRequest, MountRequest, RootfsSource, UsernsMode};
use crate::engine::{Error, Result};
use crate::runtime::plan;
use crate::store::userns::{self, Extent, IdMap};

/// What a container's own user namespace is like.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    pub uids: Vec<LinuxIdMapping>,
    pub gids: Vec<LinuxIdMapping>,
    /// Who the process is where neither the user nor the image says it, and the account that is his on the host.
    resident: Option<Resident>,
}

#[derive(Debug, Clone)]
struct Resident {
    uid: u32,
    gid: u32,
    name: String,
    group: String,
    /// Of the host.
    home: Option<std::path::PathBuf>,
}

/// The ids of `request`, where `shared` are those of the namespace that all containers share. `None`: the same.
pub fn of(request: &CreateRequest, shared: &IdMap) -> Result<Option<Ids>> {
    let refused =
        |reason: String| Error::Invalid { what: "USER mode", value: request.userns.words(), reason };
    match request.userns {
        UsernsMode::Host => Ok(None),
        UsernsMode::NoMap => {
            let without = |extents: &[Extent]| -> Result<Vec<LinuxIdMapping>> {
                match highest(extents) {
                    0 => Err(refused(format!("there is no other id than yours: {MORE}"))),
                    highest => maps(&[(0, 1, highest)]),
                }
            };
            Ok(Some(Ids { uids: without(&shared.uids)?, gids: without(&shared.gids)?, resident: None }))
        }
        UsernsMode::KeepId { uid, gid, size } => {
            let (own_uid, own_gid) = (outside(&shared.uids), outside(&shared.gids));
            let resident = resident(own_uid, own_gid, uid, gid)?;
            let kept = |extents: &[Extent], own: u32, what: &str| -> Result<Vec<LinuxIdMapping>> {
                let highest = highest(extents).min(size.unwrap_or(u32::MAX));
                // Alone, any number will do.
                if own > highest && highest > 0 {
                    let more = if size.is_some() { "a larger size" } else { MORE };
                    return Err(refused(format!(
                        "{what} {own} is beyond the container's {what}s, 0 to {highest}: choose another number \
                         (keep-id:{what}=N), or {more}"
                    )));
                }
                if highest == 0 { maps(&[(own, 0, 1)]) } else { maps(&kept(own, highest)) }
            };
            Ok(Some(Ids {
                uids: kept(&shared.uids, resident.uid, "uid")?,
                gids: kept(&shared.gids, resident.gid, "gid")?,
                resident: Some(resident),
            }))
        }
    }
}

const MORE: &str = "get yourself a larger range in /etc/subuid and /etc/subgid, then stop all containers";

/// Inside, in the shared namespace, how many: of the ids up to `highest`, with its root as `own`.
fn kept(own: u32, highest: u32) -> [(u32, u32, u32); 3] {
    [(0, 1, own), (own, 0, 1), (own + 1, own + 1, highest - own)]
}

fn maps(extents: &[(u32, u32, u32)]) -> Result<Vec<LinuxIdMapping>> {
    let some = extents.iter().filter(|(_, _, count)| *count > 0);
    some.map(|(inside, shared, count)| {
        let map = LinuxIdMappingBuilder::default().container_id(*inside).host_id(*shared).size(*count);
        built(map.build())
    })
    .collect()
}

/// The last of the ids that follow each other from 0 on.
fn highest(extents: &[Extent]) -> u32 {
    let mut extents = extents.to_vec();
    extents.sort_by_key(|e| e.inside);
    let mut next = 0u32;
    for extent in &extents {
        if extent.inside > next {
            break;
        }
        next = next.max(extent.inside.saturating_add(extent.count));
    }
    // Map and number of the last one have to fit into 31 bits, as docker has it.
    next.saturating_sub(1).min(i32::MAX.cast_unsigned())
}

/// What root of the shared namespace is on the host.
fn outside(extents: &[Extent]) -> u32 {
    extents.iter().find(|e| e.inside == 0).map_or(0, |e| e.outside)
}

/// podman's: the host's account under its own number, a nameless one under another.
fn resident(own_uid: u32, own_gid: u32, uid: Option<u32>, gid: Option<u32>) -> Result<Resident> {
    let account = match (uid, gid) {
        (None, None) => userns::account(own_uid, own_gid).map_err(crate::store::Error::from)?,
        _ => None,
    };
    let (uid, gid) = (uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
    let group = account.as_ref().and_then(|a| a.group.clone()).unwrap_or_else(|| gid.to_string());
    let (name, home) = match account {
        Some(account) => (account.name, Some(account.home)),
        None => (uid.to_string(), None),
    };
    Ok(Resident { uid, gid, name, group, home })
}

impl Ids {
    /// `UID:GID` of the process, where nobody says another.
    pub(super) fn user(&self) -> Option<String> {
        self.resident.as_ref().map(|r| format!("{}:{}", r.uid, r.gid))
    }

    /// For the container's passwd and group. The home is the host's where that is mounted, else the working
    /// directory, as podman has it. A directory of the host's that is written through keeps its own files as they are.
    pub(super) fn account(&self, request: &CreateRequest, cwd: &Path) -> Option<plan::Account> {
        let resident = self.resident.as_ref().filter(|_| !is_hosts_own(request))?;
        let mounted = |home: &&Path| {
            let binds = request.mounts.iter().filter(|m| matches!(m, MountRequest::Bind { .. }));
            binds.into_iter().any(|m| m.target() != Path::new("/") && home.starts_with(m.target()))
        };
        let plain = |home: &&Path| home.components().next() == Some(Component::RootDir);
        let home = resident.home.as_deref().filter(plain).filter(mounted).unwrap_or(cwd);
        let text = home.to_str().filter(|t| !t.chars().any(|c| c == ':' || c.is_control()));
        Some(plan::Account {
            name: resident.name.clone(),
            uid: resident.uid,
            group: resident.group.clone(),
            gid: resident.gid,
            home: text.unwrap_or("/").to_owned(),
        })
    }

    /// The groups that may ping, first and last. The kernel compares them as the host has them, where the user's own
    /// is the lowest.
    pub(super) fn pingers(&self) -> Option<(u32, u32)> {
        let last = self.gids.iter().map(|m| m.container_id() + (m.size() - 1)).max()?;
        Some((self.resident.as_ref().map_or(0, |r| r.gid), last))
    }

    /// Whether some number is another one in the shared namespace: then the image's files need other owners than they
    /// are stored with.
    pub fn are_shifted(&self) -> bool {
        let alone = |maps: &[LinuxIdMapping]| maps.len() == 1 && maps[0].size() == 1;
        let same = |maps: &[LinuxIdMapping]| maps.iter().all(|m| m.container_id() == m.host_id());
        let easy = |maps: &[LinuxIdMapping]| alone(maps) || same(maps);
        !(easy(&self.uids) && easy(&self.gids))
    }
}

/// Whether the root is a directory of the host that is shown as it is.
pub fn is_hosts_own(request: &CreateRequest) -> bool {
    matches!(request.rootfs, RootfsSource::Directory { write_through: true, .. })
}

/// Who the process is: the user's word, else the image's, else the resident.
pub(super) fn user_of(request: &CreateRequest, image: Option<&Config>, ids: Option<&Ids>) -> String {
    let from_image = || image.and_then(|c| c.user().clone()).filter(|user| !user.is_empty());
    let given = request.user.clone().or_else(from_image);
    given.or_else(|| ids.and_then(Ids::user)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::userns::MapKind;

    fn shared(count: u32) -> IdMap {
        let ids = vec![
            Extent { inside: 0, outside: 1000, count: 1 },
            Extent { inside: 1, outside: 100_000, count },
        ];
        IdMap { uids: ids.clone(), gids: ids, kind: MapKind::Range }
    }

    fn request(mode: &str) -> CreateRequest {
        CreateRequest { userns: crate::engine::options::userns(mode).unwrap(), ..CreateRequest::default() }
    }

    fn lines(maps: &[LinuxIdMapping]) -> Vec<(u32, u32, u32)> {
        maps.iter().map(|m| (m.container_id(), m.host_id(), m.size())).collect()
    }

    #[test]
    fn the_user_keeps_his_number_and_all_others_are_there() {
        let ids = of(&request("keep-id:uid=1000,gid=7"), &shared(65536)).unwrap().unwrap();
        assert_eq!(lines(&ids.uids), [(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64536)]);
        assert_eq!(lines(&ids.gids), [(0, 1, 7), (7, 0, 1), (8, 8, 65529)]);
        assert_eq!((ids.user().unwrap().as_str(), ids.pingers()), ("1000:7", Some((7, 65536))));
        assert!(ids.are_shifted());
        let last = of(&request("keep-id:uid=10,gid=0,size=10"), &shared(65536)).unwrap().unwrap();
        assert_eq!(lines(&last.uids), [(0, 1, 10), (10, 0, 1)]);
        assert_eq!(lines(&last.gids), [(0, 0, 1), (1, 1, 10)]);
    }

    #[test]
    fn a_number_that_is_not_there_is_refused() {
        let beyond = of(&request("keep-id:uid=11,gid=0,size=10"), &shared(65536)).unwrap_err().to_string();
        assert!(beyond.contains("uid 11") && beyond.contains("0 to 10"), "{beyond}");
        assert!(of(&request("keep-id:uid=65537,gid=0"), &shared(65536)).is_err());
    }

    #[test]
    fn alone_one_has_any_number() {
        let one = vec![Extent { inside: 0, outside: 1000, count: 1 }];
        let single = IdMap { uids: one.clone(), gids: one, kind: MapKind::Single };
        let ids = of(&request("keep-id:uid=123456,gid=5"), &single).unwrap().unwrap();
        assert_eq!(lines(&ids.uids), [(123_456, 0, 1)]);
        assert!(!ids.are_shifted());
        assert!(of(&request("nomap"), &single).unwrap_err().to_string().contains("/etc/subuid"));
    }

    #[test]
    fn nomap_leaves_the_user_out() {
        let ids = of(&request("nomap"), &shared(65536)).unwrap().unwrap();
        assert_eq!(lines(&ids.uids), [(0, 1, 65536)]);
        assert!(ids.user().is_none() && ids.are_shifted());
        assert!(of(&request("host"), &shared(65536)).unwrap().is_none());
    }
}
