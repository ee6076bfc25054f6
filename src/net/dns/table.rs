//! A table of names in memory that one process writes and others read.
//!
//! A file in memory: a header, then the names as text. The header's first number is odd while the rest is being
//! written and grows with every change, so a reader sees either the table before a change or the one after it. It takes
//! the text only when the number is another one than last time. What a writer that was killed left unfinished is not
//! read: the table before it stands.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::MemfdFlags;

use crate::sys::{self, Context, process};

/// Two numbers of eight bytes: how often it was changed, times two, and the length of the text in bytes.
const HEADER: usize = 16;
/// No text is longer, in bytes: a hundred for each name that thousands of containers have.
const LONGEST: usize = 16 << 20;
/// How often it is tried to read between two changes. A change takes microseconds.
const TRIES: usize = 1000;

type Map = HashMap<Vec<u8>, Vec<IpAddr>>;

/// The writer's side.
#[derive(Debug)]
pub(super) struct Writer {
    file: OwnedFd,
    changes: u64,
}

impl Writer {
    pub(super) fn new() -> sys::Result<Self> {
        let file = rustix::fs::memfd_create("kelp names", MemfdFlags::CLOEXEC).op("memfd_create")?;
        Ok(Self { file, changes: 0 })
    }

    /// The file, for other processes.
    pub(super) fn share(&self) -> sys::Result<OwnedFd> {
        process::duplicate(self.file.as_fd())
    }

    /// One name a line, its addresses behind it.
    pub(super) fn write(&mut self, names: &Map) -> sys::Result<()> {
        let mut text = String::new();
        for (name, addresses) in names {
            text.push_str(&String::from_utf8_lossy(name));
            for address in addresses {
                // Writing to a String cannot fail.
                let _ = write!(text, " {address}");
            }
            text.push('\n');
        }
        self.changes += 1;
        self.put(0, &self.changes.to_le_bytes())?;
        self.put(8, &(text.len() as u64).to_le_bytes())?;
        self.put(HEADER as u64, text.as_bytes())?;
        self.changes += 1;
        self.put(0, &self.changes.to_le_bytes())
    }

    fn put(&self, at: u64, bytes: &[u8]) -> sys::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            done += rustix::io::pwrite(&self.file, &bytes[done..], at + done as u64).op("write the names")?;
        }
        Ok(())
    }
}

/// A reader's side, of a file that another process shares.
#[derive(Debug)]
pub struct Reader {
    file: OwnedFd,
    /// The number of the table that was read last, and that table.
    last: Mutex<(u64, Map)>,
}

impl Reader {
    pub fn new(file: OwnedFd) -> Self {
        Self { file, last: Mutex::default() }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Vec<IpAddr>> {
        let mut last = self.last.lock().ok()?;
        for _ in 0..TRIES {
            let Some((number, length)) = self.header() else { break };
            if number == last.0 {
                break;
            }
            if number % 2 == 0
                && let Some(text) = self.text(length)
                && self.header().is_some_and(|(again, _)| again == number)
            {
                *last = (number, parse(&text));
                break;
            }
            std::thread::yield_now();
        }
        last.1.get(name).cloned()
    }

    fn header(&self) -> Option<(u64, usize)> {
        let mut bytes = [0; HEADER];
        (rustix::io::pread(&self.file, &mut bytes, 0).ok()? == HEADER).then_some(())?;
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        Some((word(0)?, usize::try_from(word(8)?).ok().filter(|n| *n <= LONGEST)?))
    }

    fn text(&self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut have = 0;
        while have < length {
            match rustix::io::pread(&self.file, &mut bytes[have..], (HEADER + have) as u64) {
                Ok(0) | Err(_) => return None,
                Ok(n) => have += n,
            }
        }
        Some(bytes)
    }
}

/// Words that are no addresses are passed over.
fn parse(text: &[u8]) -> Map {
    let line = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(' ');
        let name = words.next()?.as_bytes().to_vec();
        Some((name, words.filter_map(|word| word.parse().ok()).collect()))
    };
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_one_table_or_the_next() {
        let mut writer = Writer::new().unwrap();
        let reader = Reader::new(writer.share().unwrap());
        assert_eq!(reader.find(b"a"), None, "nothing was written yet");
        let of = |n: u8| -> Map {
            let address = IpAddr::from([10, 0, 0, n]);
            (0..200).map(|name| (format!("name{name}").into_bytes(), vec![address])).collect()
        };
        writer.write(&of(0)).unwrap();
        std::thread::scope(|scope| {
            let change = scope.spawn(|| {
                for n in 0..200 {
                    writer.write(&of(n)).unwrap();
                }
            });
            while !change.is_finished() {
                let found = reader.find(b"name7");
                assert!(found.is_some_and(|f| f.len() == 1), "a name is lost while others change");
            }
        });
        assert_eq!(reader.find(b"name199"), Some(vec![[10, 0, 0, 199].into()]));
    }

    #[test]
    fn what_a_dead_writer_left_is_not_read() {
        let mut writer = Writer::new().unwrap();
        let reader = Reader::new(writer.share().unwrap());
        writer.write(&Map::from([(b"a".to_vec(), vec![[10, 0, 0, 1].into()])])).unwrap();
        assert!(reader.find(b"a").is_some());
        writer.put(0, &3u64.to_le_bytes()).unwrap();
        writer.put(8, &u64::MAX.to_le_bytes()).unwrap();
        assert!(reader.find(b"a").is_none_or(|found| found.len() == 1));
        writer.put(8, &5u64.to_le_bytes()).unwrap();
        assert!(reader.find(b"a").is_some());
    }
}
