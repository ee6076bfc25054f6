//! The terminal of the user: raw mode and the way back from it, its size, the keys that detach.

use std::os::fd::AsFd;
use std::sync::{Mutex, Once};

use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::error::{Error, Result};
use crate::oci::keys;
use crate::sys::Context;

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    isatty(stdin())
}

/// Rows and columns of the terminal on stdin, stdout or stderr, the first that is one.
pub fn size() -> Option<(u16, u16)> {
    [stdin(), stdout(), stderr()]
        .iter()
        .find_map(|fd| tcgetwinsize(fd.as_fd()).ok())
        .map(|size| (size.ws_row, size.ws_col))
}

/// What the terminal on stdin has to become again, while it is raw.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal on stdin in raw mode, until this is dropped or the process panics. A signal that kills must be
/// caught by whoever holds this.
#[derive(Debug)]
pub(super) struct RawMode(());

impl RawMode {
    /// Keys arrive as they are typed, none of them means anything, and nothing is echoed.
    pub(super) fn enter() -> Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        });
        let cooked = tcgetattr(stdin()).op("tcgetattr")?;
        let mut raw = cooked.clone();
        raw.make_raw();
        if let Ok(mut saved) = COOKED.lock() {
            *saved = Some(cooked);
        }
        let guard = Self(());
        tcsetattr(stdin(), OptionalActions::Now, &raw).op("tcsetattr")?;
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was; nothing to do when it is not raw.
fn restore() {
    // Not `lock`: a panic may have come while it was held.
    if let Ok(mut saved) = COOKED.try_lock()
        && let Some(cooked) = saved.take()
    {
        // There is no better idea than to leave it as it is.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &cooked);
    }
}

/// The keys of `--detach-keys`, as bytes. Empty: nothing detaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
}

impl DetachKeys {
    /// docker's syntax, see [`keys::sequence`].
    pub fn parse(text: &str) -> Result<Self> {
        match keys::sequence(text) {
            Ok(sequence) => Ok(Self { sequence }),
            Err(reason) => Err(Error::DetachKeys { keys: text.to_owned(), reason }),
        }
    }
}

/// Looks for the detach keys in what is typed, across reads.
#[derive(Debug)]
pub(super) struct Matcher {
    keys: Vec<u8>,
    /// How many of them have been typed and are held back.
    matched: usize,
}

impl Matcher {
    pub(super) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.sequence.clone(), matched: 0 }
    }

    /// Appends to `out` what is to be passed on; `true`: the sequence is complete, and what follows it is nobody's.
    /// The beginning of a sequence is held back until it turns out to be none.
    pub(super) fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            out.extend_from_slice(typed);
            return false;
        }
        for byte in typed {
            // The held bytes may end in the beginning of another try: aab is found in aaab.
            while self.matched > 0 && self.keys[self.matched] != *byte {
                let shorter = self.shorter();
                out.extend_from_slice(&self.keys[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys[self.matched] == *byte {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }

    /// The longest proper ending of what is held that is a beginning of the sequence too.
    fn shorter(&self) -> usize {
        let held = &self.keys[..self.matched];
        (0..self.matched).rev().find(|n| held.ends_with(&held[..*n])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut matcher = Matcher::new(&DetachKeys::parse(keys).unwrap());
        let mut out = Vec::new();
        let found = reads.iter().any(|read| matcher.filter(read, &mut out));
        (out, found)
    }

    #[test]
    fn keys_are_docker_s() {
        let parse = |text| DetachKeys::parse(text).map(|k| k.sequence);
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(
            parse("a,ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_").unwrap(),
            [97, 0, 27, 28, 29, 30, 31]
        );
        assert!(parse("").unwrap().is_empty());
        for bad in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,,b", "a,", "ctrl-pq", "é"] {
            let error = DetachKeys::parse(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads() {
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"ls\r\x10", b"\x11rest"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10\x11"]), (b"".to_vec(), true));
    }

    #[test]
    fn an_incomplete_sequence_is_passed_on() {
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10\x10", b"y"]), (b"\x10\x10y".to_vec(), false));
        assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed("a,a,b", &[b"aa", b"ab"]), (b"a".to_vec(), true));
        assert_eq!(typed("a,b,a,c", &[b"abab", b"ac"]), (b"ab".to_vec(), true));
        assert_eq!(typed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
