//! The user's own account in the container's `/etc/passwd` and `/etc/group`, where the image knows nobody of its ids:
//! so that `whoami` has an answer, as with podman.
//!
//! Lines are added to files that the image has, in the container's own layer; none is made. The files are the image's
//! word: found inside the root, regular, read bounded. What cannot be read or written, whoever's it is and whatever it
//! is, stays as it is: the process has its ids without a name, the user is told why it has none, and the container
//! starts. Must be done before anything of the user's is mounted over them.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags};

use super::plan::Account;
use crate::sys::path;
use crate::sys::{self, Context};

/// As in [`super::user`].
const FILE_LIMIT: u64 = 16 << 20;

/// Adds what is missing. Gives what cannot be added, as warnings.
pub(super) fn add(root: &OwnedFd, account: &Account) -> Vec<String> {
    let Account { uid, gid, home, .. } = account;
    let passwd = format!("*:{uid}:{gid}:{}:{home}:/bin/sh", account.name);
    let lines = [
        ("etc/passwd", *uid, &account.name, passwd),
        ("etc/group", *gid, &account.group, format!("x:{gid}:")),
    ];
    let left_out = lines.iter().filter_map(|(file, id, name, rest)| {
        let error = amend(root, file, *id, name, rest).err()?;
        Some(format!("cannot add your account to /{file}, so {id} has no name in the container: {error}"))
    });
    left_out.collect()
}

/// Adds a line for `id` to the file, if it is there and has none: a name, and the `rest`. Where `name` is somebody
/// else's, the number is the name.
fn amend(root: &OwnedFd, file: &str, id: u32, name: &str, rest: &str) -> sys::Result<()> {
    let text = match path::read_in(root, file, FILE_LIMIT) {
        Err(e) if matches!(e.errno(), libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        read => read?,
    };
    let Some(line) = missing(&text, id, name, rest) else { return Ok(()) };
    append(root, file, &line)
}

fn missing(text: &[u8], id: u32, name: &str, rest: &str) -> Option<String> {
    let number = id.to_string();
    let mut taken = false;
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        taken |= fields.next() == Some(name.as_bytes());
        if fields.nth(1) == Some(number.as_bytes()) {
            return None;
        }
    }
    let name = if taken { number.as_str() } else { name };
    let begin = if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" };
    Some(format!("{begin}{name}:{rest}\n"))
}

fn append(root: &OwnedFd, file: &str, line: &str) -> sys::Result<()> {
    // Nothing that blocks: it was a regular file a moment ago, and nobody runs yet who could change that.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = path::open_in(root, file, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&opened).op_on("stat", file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(sys::Error::with_subject("write", file, libc::EINVAL));
    }
    let mut file_at = File::from(opened);
    file_at.write_all(line.as_bytes()).op_on("write", file).inspect_err(|_| {
        // Half a line would be an account of nobody's choice.
        let _ = file_at.set_len(u64::try_from(stat.st_size).unwrap_or_default());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_only_where_the_id_has_none() {
        let line = |text: &str| missing(text.as_bytes(), 1000, "ann", "*:1000:7::/:/bin/sh");
        assert_eq!(line("root:x:0:0::/root:/bin/sh\n").unwrap(), "ann:*:1000:7::/:/bin/sh\n");
        assert_eq!(line("root:x:0:0").unwrap(), "\nann:*:1000:7::/:/bin/sh\n");
        assert_eq!(line("").unwrap(), "ann:*:1000:7::/:/bin/sh\n");
        assert_eq!(line("bob:x:1000:1000::/:/bin/sh\n"), None);
        // A second line for a name would be nobody's.
        assert_eq!(line("ann:x:5:5::/:/bin/sh\n").unwrap(), "1000:*:1000:7::/:/bin/sh\n");
    }
}
