//! Reads the log: the last lines, a stretch of time, and what is still to come.
//!
//! Nothing is held but a block: the last lines are found by reading backwards, a time by bisection. Bytes that
//! are no record (a torn one that could not be cut off) are passed over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, inotify};

use super::{HEADER, MAX_CONTENT, Stream};
use crate::shim::error::Result;
use crate::shim::{client, protocol};
use crate::sys::{self, Context};

/// How much is read at once; more than the longest record.
const BLOCK: usize = 64 * 1024;

const LONGEST: usize = HEADER + MAX_CONTENT + 1;

/// How long a follower sleeps at most where inotify is not to be had.
const PATIENCE: Duration = Duration::from_millis(200);

/// Which part of the log, and in which form.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Go on until the container ends.
    pub follow: bool,
    /// Each line begins with its time and a space.
    pub timestamps: bool,
    /// Each line's text follows its attributes, of which there are none, and a space.
    pub details: bool,
    /// The last so many lines.
    pub tail: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// One record, borrowed from the block it was read in.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shim) struct Record<'a> {
    /// 30 bytes that sort as the time does.
    time: &'a [u8],
    pub(in crate::shim) stream: Stream,
    /// What the container printed: with the line feed, where there was one.
    pub(in crate::shim) bytes: &'a [u8],
    ends_line: bool,
}

impl<'a> Record<'a> {
    /// `line` includes its line feed.
    pub(in crate::shim) fn parse(line: &'a [u8]) -> Option<Self> {
        let (header, content) = line.split_at_checked(HEADER)?;
        let (content, _) = content.split_at_checked(content.len().checked_sub(1)?)?;
        let stream = match &header[31..38] {
            b"stdout " => Stream::Stdout,
            b"stderr " => Stream::Stderr,
            _ => return None,
        };
        let ends_line = match &header[38..] {
            b"F " => true,
            b"P " => false,
            _ => return None,
        };
        let bytes = if ends_line { &line[HEADER..] } else { content };
        let time_ok = header[29] == b'Z' && header[30] == b' ' && header[19] == b'.';
        time_ok.then_some(Self { time: &header[..30], stream, bytes, ends_line })
    }
}

/// Reads whole lines between `from` and `to`, a block at a time. `each` is handed the lines of one block and says
/// whether to go on. Returns the offset after the last line that was handed out.
pub(in crate::shim) fn blocks(
    file: BorrowedFd<'_>,
    from: u64,
    to: u64,
    mut each: impl FnMut(&[u8]) -> Result<bool>,
) -> Result<u64> {
    let mut at = from;
    let mut buffer = Vec::new();
    while at < to {
        buffer.resize(BLOCK.min(usize::try_from(to - at).unwrap_or(BLOCK)), 0);
        let have = read_at(file, at, &mut buffer)?;
        match buffer[..have].iter().rposition(|b| *b == b'\n') {
            Some(last) => {
                at += last as u64 + 1;
                if !each(&buffer[..=last])? {
                    break;
                }
            }
            // No record is that long: this is not ours, and the next line feed may bring us back.
            None if have == BLOCK => at += have as u64,
            None => break,
        }
    }
    Ok(at)
}

/// Fills `buffer` from an offset as far as the file goes.
fn read_at(file: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> sys::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match rustix::io::pread(file, &mut buffer[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(sys::Error::new("read log", e.raw_os_error())),
        }
    }
    Ok(have)
}

/// Where the last `lines` lines begin. A line that has not ended yet is one. Where pieces of two streams are
/// interleaved, a line may lose pieces that lie before the beginning of the others.
fn tail_start(file: BorrowedFd<'_>, size: u64, lines: u64) -> Result<u64> {
    let mut left = lines;
    let mut end = size;
    // Whether a later record of the stream was seen: a piece before it is part of a counted line.
    let mut seen = [false; 2];
    let mut buffer = vec![0; BLOCK];
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - from).unwrap_or(0);
        let block = &mut buffer[..length];
        let have = read_at(file, from, block)?;
        let block = &buffer[..have];
        // The first line of a block may have begun before it, so it waits for the next one.
        let first = match (from, block.iter().position(|b| *b == b'\n')) {
            (0, _) => 0,
            (_, Some(at)) if at + 1 < have => at + 1,
            _ => {
                // One line over the whole block is none of ours.
                end = from;
                continue;
            }
        };
        let mut line_end = have;
        while line_end > first {
            let before = &block[first..line_end - 1];
            let line_start = before.iter().rposition(|b| *b == b'\n').map_or(first, |at| first + at + 1);
            if let Some(record) = Record::parse(&block[line_start..line_end]) {
                let seen = &mut seen[usize::from(record.stream == Stream::Stderr)];
                if record.ends_line || !*seen {
                    if left == 0 {
                        return Ok(from + line_end as u64);
                    }
                    left -= 1;
                }
                *seen = true;
            }
            line_end = line_start;
        }
        end = from + first as u64;
    }
    Ok(0)
}

/// Where the first record not older than `time` (30 bytes) begins, by bisection.
fn time_start(file: BorrowedFd<'_>, size: u64, time: &[u8]) -> Result<u64> {
    let (mut low, mut high) = (0, size);
    let mut buffer = vec![0; 2 * LONGEST];
    // All records that begin before `low` are older; the one sought begins before or at `high`.
    while high - low > LONGEST as u64 {
        let middle = low + (high - low) / 2;
        let have = read_at(file, middle, &mut buffer)?;
        let Some((offset, record)) = first_record(&buffer[..have]) else {
            high = middle;
            continue;
        };
        let begins = middle + offset as u64;
        if begins >= high {
            high = middle;
        } else if record.time < time {
            low = begins + 1;
        } else {
            high = begins.min(high - 1);
        }
    }
    // `low` may point into a record; its rest is no record and is passed over.
    let mut found = None;
    let mut at = low;
    blocks(file, low, size, |block| {
        for line in block.split_inclusive(|b| *b == b'\n') {
            if Record::parse(line).is_some_and(|r| r.time >= time) {
                found = Some(at);
                return Ok(false);
            }
            at += line.len() as u64;
        }
        Ok(true)
    })?;
    Ok(found.unwrap_or(size))
}

/// The first record that begins in `bytes` after a line feed, and where.
fn first_record(bytes: &[u8]) -> Option<(usize, Record<'_>)> {
    let mut at = bytes.iter().position(|b| *b == b'\n')? + 1;
    for line in bytes[at..].split_inclusive(|b| *b == b'\n') {
        if line.ends_with(b"\n")
            && let Some(record) = Record::parse(line)
        {
            return Some((at, record));
        }
        at += line.len();
    }
    None
}

/// A time in the form of a record's, so that bytes compare as times do.
fn key(time: Timestamp) -> Vec<u8> {
    let nanos = time.subsec_nanosecond().max(0);
    format!("{}.{nanos:09}Z", time.strftime("%Y-%m-%dT%H:%M:%S")).into_bytes()
}

/// Prints records in the form that was asked for.
struct Printer<'a> {
    timestamps: bool,
    details: bool,
    until: Option<Vec<u8>>,
    /// Whether the last record of the stream left its line open.
    open: [bool; 2],
    text: Vec<u8>,
    out: &'a mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
}

impl Printer<'_> {
    /// Prints the lines of a block, neighbours of one stream at once. `false`: no more is wanted.
    fn block(&mut self, block: &[u8]) -> Result<bool> {
        let mut stream = Stream::Stdout;
        for line in block.split_inclusive(|b| *b == b'\n') {
            let Some(record) = Record::parse(line) else { continue };
            if self.until.as_deref().is_some_and(|until| record.time > until) {
                self.flush(stream)?;
                return Ok(false);
            }
            if record.stream != stream {
                if !self.flush(stream)? {
                    return Ok(false);
                }
                stream = record.stream;
            }
            let open = &mut self.open[usize::from(stream == Stream::Stderr)];
            if self.timestamps && !*open {
                self.text.extend_from_slice(record.time);
                self.text.push(b' ');
            }
            if self.details && !*open {
                self.text.push(b' ');
            }
            *open = !record.ends_line;
            self.text.extend_from_slice(record.bytes);
        }
        self.flush(stream)
    }

    fn flush(&mut self, stream: Stream) -> Result<bool> {
        if self.text.is_empty() {
            return Ok(true);
        }
        let written = (self.out)(stream, &self.text);
        self.text.clear();
        match written {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(libc::EIO);
                let name = if stream == Stream::Stdout { "standard output" } else { "standard error" };
                Err(sys::Error::with_subject("write to", name, errno).into())
            }
        }
    }
}

/// Hands the log of the container whose directory this is to `out`, in order. A container that never ran has none.
/// A broken pipe of `out` ends the reading in peace.
pub fn read(
    container: &Path,
    query: &Query,
    out: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let path = container.join(super::FILE);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(e) => return Err(sys::Error::with_subject("open", path, e.raw_os_error()).into()),
    };
    // Watched before the first look at the size, so that nothing falls in between.
    let mut follower = if query.follow { Some(Follower::new(container, &path)?) } else { None };
    let size = size_of(&file)?;
    let mut at = match query.tail {
        Some(lines) => tail_start(file.as_fd(), size, lines)?,
        None => 0,
    };
    if let Some(since) = query.since {
        at = at.max(time_start(file.as_fd(), size, &key(since))?);
    }
    let until = query.until.map(key);
    let Query { timestamps, details, .. } = *query;
    let mut printer = Printer { timestamps, details, until, open: [false; 2], text: Vec::new(), out };
    loop {
        // Asked before the size: what was printed before the end is then surely seen.
        let ended = follower.as_ref().is_none_or(|f| f.ended);
        let size = size_of(&file)?;
        let mut wanted = true;
        at = blocks(file.as_fd(), at, size, |block| {
            wanted = printer.block(block)?;
            Ok(wanted)
        })?;
        let over = query.until.is_some_and(|until| Timestamp::now() > until);
        match &mut follower {
            Some(follower) if wanted && !ended && !over => follower.wait(query.until)?,
            _ => return Ok(()),
        }
    }
}

fn size_of(file: &OwnedFd) -> Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(file).op("stat log")?.st_size).unwrap_or(0))
}

/// Wakes up when the log grows, and knows when the container has ended.
struct Follower {
    /// Where the host has no watch to spare, time has to do.
    watch: Option<OwnedFd>,
    shim: Option<OwnedFd>,
    ended: bool,
}

impl Follower {
    fn new(container: &Path, log: &Path) -> Result<Self> {
        let shim = match client::connect(container) {
            Ok(socket) => {
                let asked = protocol::send(socket.as_fd(), protocol::Request::Wait.encode(), &[], true);
                asked.is_ok().then_some(socket)
            }
            Err(crate::shim::Error::Gone) => None,
            Err(e) => return Err(e),
        };
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        let watch = watch.filter(|w| inotify::add_watch(w, log, inotify::WatchFlags::MODIFY).is_ok());
        let ended = shim.is_none();
        Ok(Self { watch, shim, ended })
    }

    /// Sleeps until there may be more, the container has ended, or `until` has come.
    fn wait(&mut self, until: Option<Timestamp>) -> Result<()> {
        let Some(shim) = &self.shim else { return Ok(()) };
        let mut fds = vec![PollFd::new(shim, PollFlags::IN)];
        fds.extend(self.watch.as_ref().map(|w| PollFd::new(w, PollFlags::IN)));
        let left = until.map(|u| u.duration_since(Timestamp::now()).unsigned_abs());
        let patience = if self.watch.is_none() { Some(PATIENCE) } else { None };
        let timeout = match (left, patience) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // A moment more than asked, or the loop would spin through the last fraction of it.
        let timeout = timeout.and_then(|t| (t + Duration::from_millis(1)).try_into().ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(sys::Error::new("poll", e.raw_os_error()).into()),
        }
        // The shim says but one thing to those who wait.
        self.ended = !fds[0].revents().is_empty();
        if let Some(watch) = &self.watch {
            let mut events = [0; 4096];
            while matches!(rustix::io::read(watch, &mut events), Ok(n) if n > 0) {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::log::Writer;

    fn shown(dir: &Path, query: &Query) -> String {
        let mut text = Vec::new();
        read(dir, query, &mut |_, bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Records of one a second, long enough for several blocks.
    fn log_of(dir: &Path, lines: usize) -> Vec<String> {
        let mut text = String::new();
        let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut expected = Vec::new();
        for n in 0..lines {
            let time = start + jiff::SignedDuration::from_secs(i64::try_from(n).unwrap());
            let line = format!("{n} {}\n", "x".repeat(n % 97));
            text += &format!("{} stdout F {line}", String::from_utf8(key(time)).unwrap());
            expected.push(line);
        }
        Writer::open(dir).unwrap();
        let file = std::fs::File::create(dir.join("log")).unwrap();
        std::io::Write::write_all(&mut { file }, text.as_bytes()).unwrap();
        expected
    }

    #[test]
    fn the_last_lines_and_a_stretch_of_time_are_exact() {
        let dir = tempfile::tempdir().unwrap();
        let lines = log_of(dir.path(), 5000);
        for tail in [0, 1, 2, 700, 701, 3333, 4999, 5000, 6000] {
            let query = Query { tail: Some(tail as u64), ..Query::default() };
            assert!(shown(dir.path(), &query) == lines[5000 - tail.min(5000)..].concat(), "tail {tail}");
        }
        let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        for second in [0, 1, 2, 499, 2500, 4998, 4999] {
            let time = start + jiff::SignedDuration::from_secs(i64::try_from(second).unwrap());
            let since = Query { since: Some(time), ..Query::default() };
            assert!(shown(dir.path(), &since) == lines[second..].concat(), "since {second}");
            let until = Query { until: Some(time), ..Query::default() };
            assert!(shown(dir.path(), &until) == lines[..=second].concat(), "until {second}");
        }
        let later = Query { since: Some(start + jiff::SignedDuration::from_hours(99)), ..Query::default() };
        assert_eq!(shown(dir.path(), &later), "");
    }

    #[test]
    fn a_line_in_pieces_is_one_line_with_one_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path()).unwrap();
        for piece in ["first\n", "se", "cond", "\n", "open"] {
            log.write(Stream::Stdout, piece.as_bytes());
        }
        assert_eq!(shown(dir.path(), &Query { tail: Some(2), ..Query::default() }), "second\nopen");
        let stamped = shown(dir.path(), &Query { timestamps: true, ..Query::default() });
        let lines: Vec<_> = stamped.lines().map(|l| (l.as_bytes()[29], &l[31..])).collect();
        assert_eq!(lines, [(b'Z', "first"), (b'Z', "second"), (b'Z', "open")]);
        let details = shown(dir.path(), &Query { details: true, ..Query::default() });
        assert_eq!(details, " first\n second\n open");
    }
}
