//! Lines of a file inside a running container, changed where the file is.
//!
//! For a process that has entered the container's mount namespace, and is about to end. What is there may be the
//! container's own by now: only a regular file in memory is written to, as kelp's own are, and nothing leads out of the
//! container. Other lines stay as they are.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::change::Edit;
use crate::sys::{self, Context, mount};

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: i64 = 0x0102_1994;
/// A longer file is not kelp's, in bytes.
const LONGEST: u64 = 8 << 20;

/// `descriptors` is the calling process's `/proc/self/fd`, from before it entered.
pub(super) fn edit(edit: &Edit, descriptors: &OwnedFd) -> sys::Result<()> {
    let path = Path::new(&edit.path);
    let file = match open(path) {
        // A read-only root makes these files read-only for the container, not for kelp.
        Err(e) if e.is(libc::EROFS) => open_read_only(path, descriptors)?,
        other => other?,
    };
    let stat = rustix::fs::fstat(&file).op_on("stat", path)?;
    let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if !regular || size > LONGEST || mount::fs_type(&file)? != TMPFS {
        return Err(sys::Error::with_subject("edit", path, libc::EPERM));
    }
    let mut text = vec![0; usize::try_from(size).unwrap_or_default()];
    let length = rustix::io::pread(&file, &mut text, 0).op_on("read", path)?;
    text.truncate(length);
    let text = edited(&String::from_utf8_lossy(&text), edit);
    // A reader sees the old lines or the new ones: one write, and then what is left over goes.
    rustix::io::pwrite(&file, text.as_bytes(), 0).op_on("write", path)?;
    rustix::fs::ftruncate(&file, text.len() as u64).op_on("write", path)
}

fn open(path: &Path) -> sys::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).op_on("open", path)
}

/// By a mount of the same file that nobody else sees.
fn open_read_only(path: &Path, descriptors: &OwnedFd) -> sys::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    let copy = mount::clone_tree(place.op_on("open", path)?, "", false)?;
    mount::clear_attributes(&copy, mount::READ_ONLY)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(descriptors, copy.as_raw_fd().to_string(), flags, Mode::empty()).op_on("open", path)
}

/// What is to go goes once for each time that it is named; what is to come stands at the end.
fn edited(text: &str, edit: &Edit) -> String {
    let mut remove = edit.remove.clone();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.retain(|line| match remove.iter().position(|r| r == line) {
        Some(at) => {
            remove.swap_remove(at);
            false
        }
        None => true,
    });
    lines.extend(edit.add.iter().map(String::as_str));
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_stay() {
        let edit = Edit { path: String::new(), remove: vec!["b".into(), "x".into()], add: vec!["c".into()] };
        assert_eq!(edited("a\nb\n\nb\nown", &edit), "a\n\nb\nown\nc\n");
        assert_eq!(edited("", &Edit::default()), "");
    }
}
