//! Who a process of the container is: docker's `USER` forms resolved against the image's own files.
//!
//! `/etc/passwd` and `/etc/group` are the image's word, so they are hostile: opened inside the root without a
//! blocking open, regular files only, at most [`FILE_LIMIT`] bytes. A number is a number: it is never looked up as
//! a name, and one beyond 2^31-1 is refused rather than cut, whatever the files say about it.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

use crate::sys::path;

/// Bytes of a passwd or group file; the largest directories of real sites exported to files stay below it.
const FILE_LIMIT: u64 = 16 << 20;

/// docker's largest id.
const LARGEST_ID: u32 = 0x7fff_ffff;

/// Groups of one process: the kernel's `NGROUPS_MAX`.
const GROUP_LIMIT: usize = 65_536;

/// Ids inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// For `setgroups`: the primary group, those of the image's group file, and `--group-add`; no duplicates.
    pub groups: Vec<u32>,
    /// The home directory of the passwd entry, `/` without one.
    pub home: OsString,
}

/// Why a user cannot be used. Displayed as docker words it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoSuchUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoSuchGroup(String),
    #[error("uids and gids must be in range 0-2147483647: `{0}`")]
    OutOfRange(String),
    #[error("/etc/{file} of the container cannot be used: {reason}")]
    File { file: &'static str, reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;

/// Looks up `user` (docker's forms; empty is root) and `additional` groups in `/etc/passwd` and `/etc/group`
/// below `root`, a directory descriptor. Symlinks are followed inside the root, as docker does. A file that cannot be
/// used is an error only where a name or a group has to be looked up in it.
pub fn resolve(root: impl AsFd, user: &str, additional: &[String]) -> Result<Identity> {
    let (user_text, group_text) = user.split_once(':').unwrap_or((user, ""));
    let told = is_number(user_text) && is_number(group_text);
    let unless = |needless: bool, text: Result<Vec<u8>>| match text {
        Err(_) if needless => Ok(Vec::new()),
        text => text,
    };
    let passwd = unless(told, read(&root, "passwd"))?;
    let group = unless(told && additional.iter().all(|g| is_number(g)), read(&root, "group"))?;
    identify(&passwd, &group, user, additional)
}

fn is_number(text: &str) -> bool {
    matches!(id(text), Ok(Id::Number(_)))
}

fn read(root: impl AsFd, name: &'static str) -> Result<Vec<u8>> {
    match path::read_in(root, format!("etc/{name}"), FILE_LIMIT) {
        // An image without the file has no names; docker says the same.
        Err(e) if matches!(e.errno(), libc::ENOENT | libc::ENOTDIR) => Ok(Vec::new()),
        Err(e) => {
            let reason = match e.errno() {
                libc::EINVAL => "it is not a regular file".into(),
                libc::EFBIG => format!("it has more than {FILE_LIMIT} bytes"),
                errno => std::io::Error::from_raw_os_error(errno).to_string(),
            };
            Err(Error::File { file: name, reason })
        }
        Ok(bytes) => Ok(bytes),
    }
}

/// A line of passwd or group as fields; lines that are empty or comments are left out.
fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|b| *b == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(|line| line.split(|b| *b == b':').collect())
}

/// What the user's text may be besides a name.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Id {
    Name,
    Number(u32),
}

/// Decimal digits, optionally signed, are a number, as Go's Atoi has it; out of range is an error and never a name.
fn id(text: &str) -> Result<Id> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Id::Name);
    }
    let number = text.parse::<i64>().ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= LARGEST_ID);
    number.map(Id::Number).ok_or_else(|| Error::OutOfRange(text.to_owned()))
}

/// An id in a file: plain digits in range. A line with anything else defines no one.
fn file_id(field: Option<&&[u8]>) -> Option<u32> {
    let text = std::str::from_utf8(field?).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|n| *n <= LARGEST_ID)
}

fn identify(passwd: &[u8], group: &[u8], user: &str, additional: &[String]) -> Result<Identity> {
    let (user_text, group_text) = user.split_once(':').unwrap_or((user, ""));
    let wanted = if user_text.is_empty() { Id::Number(0) } else { id(user_text)? };
    let entry = lines(passwd).find_map(|fields| {
        let uid = file_id(fields.get(2))?;
        let gid = file_id(fields.get(3)).unwrap_or(0);
        let matches = match wanted {
            Id::Number(number) => uid == number,
            Id::Name => fields[0] == user_text.as_bytes(),
        };
        let home = fields.get(5).copied().unwrap_or_default();
        matches.then(|| (fields[0].to_vec(), uid, gid, home.to_vec()))
    });
    let (name, uid, default_gid, home) = match (entry, wanted) {
        (Some((name, uid, gid, home)), _) => (Some(name), uid, gid, home),
        (None, Id::Number(uid)) => (None, uid, 0, Vec::new()),
        (None, Id::Name) => return Err(Error::NoSuchUser(user_text.to_owned())),
    };
    let mut groups = Vec::new();
    let gid = if group_text.is_empty() {
        // The image's memberships count only where no group was named.
        groups.push(default_gid);
        if let Some(name) = &name {
            groups.extend(memberships(group, name));
        }
        default_gid
    } else {
        let gid = find_group(group, group_text)?;
        groups.push(gid);
        gid
    };
    for text in additional {
        groups.push(find_group(group, text)?);
    }
    let mut seen = std::collections::HashSet::new();
    groups.retain(|g| seen.insert(*g));
    if groups.len() > GROUP_LIMIT {
        let reason = format!("the user is in more than {GROUP_LIMIT} groups");
        return Err(Error::File { file: "group", reason });
    }
    let home = if home.is_empty() { OsString::from("/") } else { OsStr::from_bytes(&home).to_owned() };
    Ok(Identity { uid, gid, groups, home })
}

fn memberships(group: &[u8], user: &[u8]) -> Vec<u32> {
    let in_it = |fields: &Vec<&[u8]>| {
        fields.get(3).is_some_and(|members| members.split(|b| *b == b',').any(|m| m.trim_ascii() == user))
    };
    lines(group).filter(in_it).filter_map(|fields| file_id(fields.get(2))).collect()
}

/// A number is taken as it is, whether or not the file has it; a name must be there.
fn find_group(group: &[u8], text: &str) -> Result<u32> {
    if let Id::Number(gid) = id(text)? {
        return Ok(gid);
    }
    lines(group)
        .filter(|fields| fields[0] == text.as_bytes())
        .find_map(|fields| file_id(fields.get(2)))
        .ok_or_else(|| Error::NoSuchGroup(text.to_owned()))
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
