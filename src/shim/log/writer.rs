//! Appends to the log, one write for what one read brought, and survives a full disk.
//!
//! Output that cannot be written is counted and dropped, never waited for: a container does not stand still
//! because a disk is full. As soon as there is room again, a line on stderr says how much is missing and why.
//!
//! A disk is full for the log while there is still a little room: what stops and removes a container that never stops
//! printing needs some.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{Mode, OFlags};

use super::{HEADER, MAX_CONTENT, Stream};
use crate::sys::space::Space;
use crate::sys::{Context, Result};

/// Bytes of the disk that no log takes.
const KEPT_FREE: u64 = 4 << 20;
/// After so many bytes, or so long, the disk is asked again: others write to it as well.
const ASKED_EVERY: (u64, SignedDuration) = (4 << 20, SignedDuration::from_millis(100));

/// Formatted records are written out when there are this many bytes of them.
const BATCH: usize = 64 * 1024;

/// The log of a running container. Its shim is the only writer.
#[derive(Debug)]
pub struct Writer {
    file: OwnedFd,
    /// Where the next record goes.
    end: u64,
    batch: Vec<u8>,
    clock: Clock,
    lost: Option<Lost>,
    /// Bytes that may be written before the disk is asked for room, and when it was asked.
    allowance: (u64, Timestamp),
}

/// Output that did not reach the disk.
#[derive(Debug, Clone, Copy)]
struct Lost {
    bytes: u64,
    errno: rustix::io::Errno,
}

impl Writer {
    /// Opens `dir/log`, made with mode 0600 when missing; output is appended. A record that a crash tore is cut off.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(super::FILE);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).op_on("open", &path)?;
        let size = u64::try_from(rustix::fs::fstat(&file).op_on("stat", &path)?.st_size).unwrap_or(0);
        let end = whole_records(file.as_fd(), size).op_on("read", &path)?;
        if end != size {
            rustix::fs::ftruncate(&file, end).op_on("truncate", &path)?;
        }
        Ok(Self {
            file,
            end,
            batch: Vec::new(),
            clock: Clock::default(),
            lost: None,
            allowance: (0, Timestamp::MIN),
        })
    }

    /// Records what was read from one stream.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.write_at(Timestamp::now(), stream, bytes);
    }

    fn write_at(&mut self, now: Timestamp, stream: Stream, bytes: &[u8]) {
        self.clock.set(now);
        let mut notice = self.put_notice();
        let mut header = self.clock.header(stream);
        let mut rest = bytes;
        while !rest.is_empty() {
            let window = &rest[..rest.len().min(MAX_CONTENT + 1)];
            let (content, flag, used) = match window.iter().position(|b| *b == b'\n') {
                Some(at) => (&window[..at], b'F', at + 1),
                None => {
                    let piece = &window[..window.len().min(MAX_CONTENT)];
                    (piece, b'P', piece.len())
                }
            };
            header[HEADER - 2] = flag;
            self.batch.extend_from_slice(&header);
            self.batch.extend_from_slice(content);
            self.batch.push(b'\n');
            rest = &rest[used..];
            if self.batch.len() >= BATCH {
                self.flush(std::mem::take(&mut notice));
            }
        }
        self.flush(notice);
    }

    /// What is missing is said now, since no more output will come. Where even that does not fit, it stays unsaid.
    pub fn finish(&mut self) {
        self.clock.set(Timestamp::now());
        let notice = self.put_notice();
        self.flush(notice);
    }

    /// The log file, readable too.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The length of the log, in bytes: where the next record will begin.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Puts the record about lost output at the head of an empty batch; its length, 0 for none.
    fn put_notice(&mut self) -> usize {
        let Some(lost) = self.lost else { return 0 };
        let why = crate::sys::Error::new("write", lost.errno.raw_os_error());
        self.batch.extend_from_slice(&self.clock.header(Stream::Stderr));
        let text = format!("kelp: {} bytes of output are missing from the log: {why}\n", lost.bytes);
        self.batch.extend_from_slice(text.as_bytes());
        self.batch.len()
    }

    /// Takes the batch from the allowance, of which no more than half of what is free is given at once. A notice alone
    /// is short enough for the room that is kept.
    fn has_room(&mut self, notice: usize) -> bool {
        let length = self.batch.len() as u64;
        if notice == self.batch.len() {
            return true;
        }
        let (bytes, since) = self.allowance;
        if bytes < length || self.clock.last.duration_since(since) > ASKED_EVERY.1 {
            let free = Space::around(&self.file).map_or(u64::MAX, |space| space.bytes);
            self.allowance = ((free.saturating_sub(KEPT_FREE) / 2).min(ASKED_EVERY.0), self.clock.last);
        }
        self.allowance.0.checked_sub(length).map(|left| self.allowance.0 = left).is_some()
    }

    /// Writes the batch out. `notice`: as long a record about earlier losses may stand at its head.
    fn flush(&mut self, notice: usize) {
        let mut done = 0;
        let mut failure = if self.has_room(notice) { None } else { Some(rustix::io::Errno::NOSPC) };
        while failure.is_none() && done < self.batch.len() {
            match rustix::io::write(&self.file, &self.batch[done..]) {
                Ok(0) => failure = Some(rustix::io::Errno::IO),
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => failure = Some(errno),
            }
        }
        let kept = self.batch[..done].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.end += kept as u64;
        let noticed = self.lost.is_some() && notice > 0 && kept >= notice;
        if noticed {
            self.lost = None;
        }
        if let Some(errno) = failure {
            if kept < done {
                // Should this fail too, the torn record is one that no reader takes for a record.
                let _ = rustix::fs::ftruncate(&self.file, self.end);
            }
            let skip = if self.lost.is_some() { kept.max(notice.min(self.batch.len())) } else { kept };
            let bytes = content_bytes(&self.batch[skip..]);
            let before = self.lost.map_or(0, |l| l.bytes);
            self.lost = Some(Lost { bytes: before + bytes, errno });
        }
        self.batch.clear();
    }
}

/// How much output these whole records hold.
fn content_bytes(records: &[u8]) -> u64 {
    let of = |record: &[u8]| match record.get(HEADER - 2) {
        Some(b'F') => record.len() - HEADER,
        Some(_) => (record.len() - HEADER).saturating_sub(1),
        None => 0,
    };
    records.split_inclusive(|b| *b == b'\n').map(|record| of(record) as u64).sum()
}

/// Where the last whole record of a file of this size ends.
fn whole_records(file: BorrowedFd<'_>, size: u64) -> rustix::io::Result<u64> {
    let length = size.min((HEADER + MAX_CONTENT + 1) as u64);
    let mut tail = vec![0; usize::try_from(length).unwrap_or(0)];
    let from = size - length;
    let mut have = 0;
    while have < tail.len() {
        match rustix::io::pread(file, &mut tail[have..], from + have as u64)? {
            0 => break,
            n => have += n,
        }
    }
    Ok(tail[..have].iter().rposition(|b| *b == b'\n').map_or(from, |at| from + at as u64 + 1))
}

/// Time as it stands in a record. Formatting a date costs more than writing a line, so it is done once a second.
#[derive(Debug)]
struct Clock {
    last: Timestamp,
    second: i64,
    text: [u8; HEADER],
}

impl Default for Clock {
    fn default() -> Self {
        Self { last: Timestamp::MIN, second: i64::MIN, text: *b"0000-00-00T00:00:00.000000000Z stdout F " }
    }
}

impl Clock {
    /// Goes on to `now`, or stands still where the host's clock was set back.
    fn set(&mut self, now: Timestamp) {
        self.last = self.last.max(now);
        if self.second != self.last.as_second() {
            self.second = self.last.as_second();
            let text = self.last.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            // A year beyond 9999 does not fit, and stays what it was.
            if text.len() == 19 {
                self.text[..19].copy_from_slice(text.as_bytes());
            }
        }
        let mut nanos = self.last.subsec_nanosecond().unsigned_abs();
        for digit in self.text[20..29].iter_mut().rev() {
            *digit = b'0' + u8::try_from(nanos % 10).unwrap_or(0);
            nanos /= 10;
        }
    }

    fn header(&self, stream: Stream) -> [u8; HEADER] {
        let mut header = self.text;
        header[31..37].copy_from_slice(stream.as_str().as_bytes());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lines_and_pieces_become_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path()).unwrap();
        log.write_at(at("2026-11-21T10:00:00.123456789Z"), Stream::Stdout, b"one\n\ntwo");
        log.write_at(at("2026-11-21T10:00:01.000000001Z"), Stream::Stderr, b"bad\n");
        log.write_at(at("2026-11-21T09:00:00Z"), Stream::Stdout, b"\n");
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let expected = "2026-11-21T10:00:00.123456789Z stdout F one\n\
                        2026-11-21T10:00:00.123456789Z stdout F \n\
                        2026-11-21T10:00:00.123456789Z stdout P two\n\
                        2026-11-21T10:00:01.000000001Z stderr F bad\n\
                        2026-11-21T10:00:01.000000001Z stdout F \n";
        assert_eq!(text, expected);
        assert_eq!(log.end(), expected.len() as u64);
    }

    #[test]
    fn long_lines_are_cut_and_a_line_of_just_the_limit_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path()).unwrap();
        let exact = [&[b'x'; MAX_CONTENT][..], b"\n"].concat();
        let longer = [&[b'y'; MAX_CONTENT + 1][..], b"\n"].concat();
        log.write(Stream::Stdout, &exact);
        log.write(Stream::Stdout, &longer);
        let bytes = std::fs::read(dir.path().join("log")).unwrap();
        let records: Vec<_> = bytes.split_inclusive(|b| *b == b'\n').map(|r| (r[38], r.len() - 41)).collect();
        assert_eq!(records, [(b'F', MAX_CONTENT), (b'P', MAX_CONTENT), (b'F', 1)]);
    }

    #[test]
    fn a_torn_record_is_cut_off_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        Writer::open(dir.path()).unwrap().write(Stream::Stdout, b"whole\n");
        let path = dir.path().join("log");
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.clone();
        bytes.extend_from_slice(b"2026-11-21T10:00:0");
        std::fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), &bytes).unwrap();
        assert_eq!(Writer::open(dir.path()).unwrap().end(), whole.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    /// Runs in a process of its own, since the limit on file sizes stands in for the full disk: the kernel
    /// answers a write beyond it as it answers one on a full disk, with a short write and then an error.
    #[test]
    fn a_full_disk_loses_output_and_says_so() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        const MARK: &str = "kelp-full-disk-test-child";
        if !std::env::args().any(|a| a == MARK) {
            let name = "shim::log::writer::tests::a_full_disk_loses_output_and_says_so";
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture", "--test-threads=1", "--skip", MARK])
                .output()
                .unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
            return;
        }
        crate::sys::signal::ignore_file_size_signal().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path()).unwrap();
        log.write(Stream::Stdout, b"before\n");
        let old = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(150), maximum: old.maximum }).unwrap();
        log.write(Stream::Stdout, b"kept, and all that fits\nlost one\nlost two\n");
        log.write(Stream::Stderr, b"lost three");
        setrlimit(Resource::Fsize, old).unwrap();
        // More than is written at once: only the first part has the notice at its head.
        let lines = b"after\n".repeat(4000);
        setrlimit(Resource::Fsize, Rlimit { current: Some(log.end()), maximum: old.maximum }).unwrap();
        log.write(Stream::Stdout, &lines);
        setrlimit(Resource::Fsize, old).unwrap();
        log.write(Stream::Stdout, b"after\n");
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let contents: Vec<_> = text.lines().map(|l| &l[31..]).collect();
        assert_eq!(
            contents,
            [
                "stdout F before",
                "stdout F kept, and all that fits",
                "stderr F kelp: 24028 bytes of output are missing from the log: write: file too large",
                "stdout F after",
            ]
        );
        assert_eq!(log.end(), text.len() as u64);
    }
}
