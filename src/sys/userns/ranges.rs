//! Which ids a user may map, decided before any namespace exists.

use std::path::{Path, PathBuf};

use super::{Extent, IdMap, MapKind};
use crate::sys::{Context, Error, Result};

/// Where the two set-uid helpers are looked for. A fixed list: what runs with privilege is not chosen by `PATH`.
const HELPER_DIRS: &[&str] =
    &["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/run/wrappers/bin"];
/// `/etc/subuid` and `/etc/passwd` are read up to this size.
const MAX_FILE: u64 = 16 << 20;

/// The map to make, and how.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub map: IdMap,
    /// `newuidmap`, `newgidmap`; `None` when this process writes the maps itself.
    pub helpers: Option<(PathBuf, PathBuf)>,
    /// Why the map has no range, for the notice.
    pub lacking: Option<WhyNoRange>,
}

/// Why a user gets a single id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyNoRange {
    #[error("{0} is not installed")]
    NoHelper(&'static str),
    #[error("{} is neither set-uid root nor has file capabilities", .0.display())]
    HelperNotPrivileged(PathBuf),
    #[error("{file} has no range for user {user}")]
    NoRange { file: &'static str, user: String },
    #[error("user id {0} has no name in /etc/passwd, and ranges are given to names")]
    NoName(u32),
}

/// Decides the map for the calling process's user.
pub fn wanted() -> Result<Wanted> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    match range_map(uid, gid)? {
        Ok((map, helpers)) => Ok(Wanted { map, helpers: Some(helpers), lacking: None }),
        Err(_) if uid == 0 => Ok(Wanted { map: identity()?, helpers: None, lacking: None }),
        Err(why) => Ok(Wanted { map: single(uid, gid), helpers: None, lacking: Some(why) }),
    }
}

fn single(uid: u32, gid: u32) -> IdMap {
    let one = |outside| vec![Extent { inside: 0, outside, count: 1 }];
    IdMap { uids: one(uid), gids: one(gid), kind: MapKind::Single }
}

/// Every id that exists where this process runs, as itself.
fn identity() -> Result<IdMap> {
    let own = IdMap::of_process(std::process::id())?;
    let itself = |extents: Vec<Extent>| {
        extents.into_iter().map(|e| Extent { outside: e.inside, ..e }).collect::<Vec<_>>()
    };
    Ok(IdMap { uids: itself(own.uids), gids: itself(own.gids), kind: MapKind::Identity })
}

type RangeMap = std::result::Result<(IdMap, (PathBuf, PathBuf)), WhyNoRange>;

fn range_map(uid: u32, gid: u32) -> Result<RangeMap> {
    let Some(user) = user_name(uid)? else { return Ok(Err(WhyNoRange::NoName(uid))) };
    let uids = match sub_ids("/etc/subuid", &["getsubids", &user], &user, uid)? {
        Some(ranges) => ranges,
        None => return Ok(Err(WhyNoRange::NoRange { file: "/etc/subuid", user })),
    };
    let gids = match sub_ids("/etc/subgid", &["getsubids", "-g", &user], &user, uid)? {
        Some(ranges) => ranges,
        None => return Ok(Err(WhyNoRange::NoRange { file: "/etc/subgid", user })),
    };
    let helpers = match (privileged_helper("newuidmap"), privileged_helper("newgidmap")) {
        (Ok(u), Ok(g)) => (u, g),
        (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
    };
    let map = IdMap { uids: with_self(uid, &uids), gids: with_self(gid, &gids), kind: MapKind::Range };
    Ok(Ok((map, helpers)))
}

/// The user's own id as 0, then the ranges one after another from 1 on.
fn with_self(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for &(outside, count) in ranges {
        let count = count.min(u32::MAX - inside);
        // newuidmap refuses a map in which an outer id occurs twice.
        let overlaps = extents.iter().any(|e| {
            u64::from(outside) < u64::from(e.outside) + u64::from(e.count)
                && u64::from(e.outside) < u64::from(outside) + u64::from(count)
        });
        if count == 0 || overlaps {
            continue;
        }
        extents.push(Extent { inside, outside, count });
        inside = inside.saturating_add(count);
    }
    extents
}

/// An account of the host, as passwd(5) and group(5) have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub home: PathBuf,
    /// The name of its group; `None` where that has none.
    pub group: Option<String>,
}

/// The host's account of these ids; `None` where the user has no name.
pub fn account(uid: u32, gid: u32) -> Result<Option<Account>> {
    let Some(fields) = entry("/etc/passwd", "passwd", uid)? else { return Ok(None) };
    let group = entry("/etc/group", "group", gid)?.and_then(|fields| fields.into_iter().next());
    let mut fields = fields.into_iter();
    let name = fields.next().unwrap_or_default();
    let home = fields.nth(4).unwrap_or_default();
    Ok(Some(Account { name, home: home.into(), group }))
}

fn user_name(uid: u32) -> Result<Option<String>> {
    Ok(entry("/etc/passwd", "passwd", uid)?.and_then(|fields| fields.into_iter().next()))
}

/// The line of `id` in `file`, as fields, else what `getent` knows (LDAP, systemd-userdb).
fn entry(file: &str, database: &str, id: u32) -> Result<Option<Vec<String>>> {
    let local = read_bounded(Path::new(file))?;
    if let Some(fields) = entry_in(&local, id) {
        return Ok(Some(fields));
    }
    let answer = run(&["getent", database, &id.to_string()]);
    Ok(answer.and_then(|text| entry_in(&text, id)))
}

/// The number is the third field of both passwd and group.
fn entry_in(text: &str, id: u32) -> Option<Vec<String>> {
    let id = id.to_string();
    text.lines().find_map(|line| {
        let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        (*fields.get(2)? == id && !fields[0].is_empty()).then_some(fields)
    })
}

fn sub_ids(file: &str, ask: &[&str], user: &str, uid: u32) -> Result<Option<Vec<(u32, u32)>>> {
    let text = read_bounded(Path::new(file))?;
    let ranges = ranges_in(&text, user, uid);
    if !ranges.is_empty() {
        return Ok(Some(ranges));
    }
    // Only a directory service knows more than the file; asking costs a process.
    let nss = read_bounded(Path::new("/etc/nsswitch.conf"))?;
    if !nss.lines().any(|l| l.trim_start().starts_with("subid:")) {
        return Ok(None);
    }
    let ranges = run(ask).map(|text| ranges_in_answer(&text)).unwrap_or_default();
    Ok((!ranges.is_empty()).then_some(ranges))
}

/// Lines `NAME-OR-UID:FIRST:COUNT` of subuid(5).
fn ranges_in(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (owner == user || owner == uid).then_some(range)
        })
        .collect()
}

/// Lines `0: NAME FIRST COUNT` of getsubids(1).
fn ranges_in_answer(text: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.split_whitespace().skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(range).collect()
}

fn privileged_helper(name: &'static str) -> std::result::Result<PathBuf, WhyNoRange> {
    use std::os::unix::fs::MetadataExt;
    let found = HELPER_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|p| p.exists());
    let Some(path) = found else { return Err(WhyNoRange::NoHelper(name)) };
    let set_uid_root = std::fs::metadata(&path).is_ok_and(|m| m.uid() == 0 && m.mode() & 0o4000 != 0);
    let mut value = [0u8; 64];
    let has_caps = rustix::fs::getxattr(&path, "security.capability", &mut value).is_ok();
    // root needs no set-uid bit: it has the capability already.
    if set_uid_root || has_caps || rustix::process::geteuid().is_root() {
        Ok(path)
    } else {
        Err(WhyNoRange::HelperNotPrivileged(path))
    }
}

fn run(command: &[&str]) -> Option<String> {
    let output = std::process::Command::new(command.first()?)
        .args(&command[1..])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A missing file is an empty one.
fn read_bounded(path: &Path) -> Result<String> {
    use std::io::Read;
    let file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other.op_on("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).op_on("read", path)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::with_subject("read", path, libc::EFBIG));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_by_number() {
        let text = "bob:100000:65536\n1000:200000:10\nalice:1:2\nbroken\nbob:x:3\n";
        assert_eq!(ranges_in(text, "bob", 1000), [(100_000, 65536), (200_000, 10)]);
        assert!(ranges_in(text, "carol", 7).is_empty());
    }

    #[test]
    fn overlapping_ranges_are_mapped_once() {
        let map = with_self(1000, &[(100_000, 10), (100_005, 10), (1000, 1)]);
        assert_eq!(map.len(), 2);
        assert_eq!(map[1], Extent { inside: 1, outside: 100_000, count: 10 });
    }

    #[test]
    fn lines_of_passwd_and_group() {
        let text = "root:x:0:0::/root:/bin/sh\n:x:7:7\nbroken\nbob:x:7:8:Bob:/home/bob:/bin/sh\n";
        let bob = entry_in(text, 7).unwrap();
        assert_eq!((bob[0].as_str(), bob[5].as_str()), ("bob", "/home/bob"));
        assert_eq!(entry_in(text, 8), None);
    }

    #[test]
    fn answers_of_getsubids() {
        assert_eq!(
            ranges_in_answer("0: bob 100000 65536\n1: bob 300000 1\n"),
            [(100_000, 65536), (300_000, 1)]
        );
    }
}
