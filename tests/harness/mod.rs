//! What every integration test stands on: [`Sandbox`] is a home of its own for one test, with an account to run
//! as, a time limit on every command and a check at the end that nothing is left.

pub mod account;
mod command;
mod fixtures;
mod http;
mod image;
pub mod laptop;
mod others;
mod processes;
mod registry;
mod sandbox;
#[cfg(test)]
mod selftest;
pub mod talk;
mod terminal;
mod usage;

pub use command::{Job, Out};
pub use fixtures::Release;
pub use http::{Act, Answer, Curt, Server, call};
pub use image::{BUSYBOX, Image, Layer, digest};
pub use laptop::Laptop;
pub use others::Others;
pub use processes::status_field;
pub use registry::{Authority, Format, PASSWORD, Packing, Pushed, Registry, USER, pack, token_server};
pub use sandbox::Sandbox;
pub use terminal::Terminal;

use std::time::{Duration, Instant};

/// Asks `condition` again and again until it holds or `limit` is over; whether it held.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A test that only root can carry out says so where it is not root. CI runs as root, and runs it.
pub fn needs_root(test: &str) {
    eprintln!("NOT RUN: {test} needs root");
}

/// Words as a shell would split them: blanks separate, `'…'` and `"…"` keep together. No escapes, no variables.
pub fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, open) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (None, c) => word.push(c),
        }
    }
    assert!(quote.is_none(), "unclosed quote in: {line}");
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}
