//! What a system call was doing when it failed. Displayed as `mount /home/u/x: operation not permitted`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failed system call: the operation, its object if there is one, and the errno.
#[derive(Debug, Clone)]
pub struct Error {
    op: &'static str,
    subject: Option<Box<Path>>,
    errno: i32,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(op: &'static str, errno: i32) -> Self {
        Self { op, subject: None, errno }
    }

    pub fn with_subject(op: &'static str, subject: impl Into<PathBuf>, errno: i32) -> Self {
        Self { op, subject: Some(subject.into().into_boxed_path()), errno }
    }

    /// The calling thread's errno, for the line right after a failed call.
    pub fn last(op: &'static str) -> Self {
        Self::new(op, io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    pub fn errno(&self) -> i32 {
        self.errno
    }

    pub fn has_subject(&self) -> bool {
        self.subject.is_some()
    }

    pub fn op(&self) -> &'static str {
        self.op
    }

    pub fn is(&self, errno: i32) -> bool {
        self.errno == errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = io::Error::from_raw_os_error(self.errno).to_string();
        // std appends " (os error N)", which tells a user nothing.
        let reason = reason.split(" (os error").next().unwrap_or_default().to_lowercase();
        match &self.subject {
            Some(subject) => write!(f, "{} {}: {reason}", self.op, subject.display()),
            None => write!(f, "{}: {reason}", self.op),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        io::Error::from_raw_os_error(e.errno)
    }
}

/// Turns the error types of `std`, `nix` and `rustix` into [`Error`] with the words that only the caller knows.
pub trait Context<T> {
    fn op(self, op: &'static str) -> Result<T>;
    fn op_on(self, op: &'static str, subject: impl AsRef<Path>) -> Result<T>;
}

fn io_errno(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}

macro_rules! context_for {
    ($error:ty, $errno:expr) => {
        impl<T> Context<T> for std::result::Result<T, $error> {
            fn op(self, op: &'static str) -> Result<T> {
                self.map_err(|e| Error::new(op, $errno(&e)))
            }
            fn op_on(self, op: &'static str, subject: impl AsRef<Path>) -> Result<T> {
                self.map_err(|e| Error::with_subject(op, subject.as_ref(), $errno(&e)))
            }
        }
    };
}

context_for!(io::Error, io_errno);
context_for!(nix::Error, |e: &nix::Error| *e as i32);
context_for!(rustix::io::Errno, |e: &rustix::io::Errno| e.raw_os_error());
