//! Values between the logic and the protocol: attributes and times, each way.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use rustix::fs::{Stat, Timespec};

use super::attr::{Attr, Time};
use super::create::Maker;

/// Seconds from 1970 within which a time is passed on: no file system has one that is farther.
const LATEST: i64 = 1 << 60;

pub(super) fn maker(req: &Request, umask: u32) -> Maker {
    Maker { uid: req.uid(), gid: req.gid(), umask }
}

pub(super) fn kind_of(kind: rustix::fs::FileType) -> FileType {
    match kind {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    let stat: &Stat = &attr.stat;
    FileAttr {
        ino: INodeNo(attr.id),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
        atime: system_time(stat.st_atime, stat.st_atime_nsec),
        mtime: system_time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: system_time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind_of(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or_default(),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: kernel_device(stat.st_rdev),
        blksize: u32::try_from(stat.st_blksize).unwrap_or(4096),
        flags: 0,
    }
}

/// A time of the host. One that `SystemTime` cannot hold, or that `fuser` could not turn back, becomes the nearest.
fn system_time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let seconds = seconds.clamp(-LATEST, LATEST);
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance };
    whole + Duration::from_nanos(nanoseconds.min(999_999_999))
}

/// A device number as the kernel encodes it in 32 bits.
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

/// What stands for "no such name".
pub(super) fn nothing() -> FileAttr {
    FileAttr { ino: INodeNo(0), ..directory(0) }
}

/// As much as the kernel reads of `.` and `..`.
pub(super) fn directory(id: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// What can be told of a name whose object cannot be looked at.
pub(super) fn unseen(id: u64, kind: rustix::fs::FileType) -> FileAttr {
    FileAttr { kind: kind_of(kind), ..directory(id) }
}

/// `fuser` reads a time before 1970 as if its nanoseconds, too, went backwards; this undoes it.
pub(super) fn time_asked(time: TimeOrNow) -> Time {
    let TimeOrNow::SpecificTime(time) = time else { return Time::Now };
    let (negative, distance) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (false, after),
        Err(before) => (true, before.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    Time::At(Timespec {
        tv_sec: if negative { -seconds } else { seconds },
        tv_nsec: i64::from(distance.subsec_nanos()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_far() {
        assert_eq!(system_time(-1, 5), UNIX_EPOCH - Duration::from_secs(1) + Duration::from_nanos(5));
        for seconds in [i64::MIN, i64::MIN + 1, -LATEST, i64::MAX] {
            for nanoseconds in [0, 999_999_999, u64::MAX] {
                let time = system_time(seconds, nanoseconds);
                let Time::At(back) = time_asked(TimeOrNow::SpecificTime(time)) else {
                    panic!("a time is given")
                };
                assert!(back.tv_sec.abs() <= LATEST);
            }
        }
    }
}
