//! `attach`: this terminal joined to a running container.

use crate::engine::{Engine, Result};

/// Which streams are joined, and how one leaves. Raw mode, window size and signals follow from it.
#[derive(Debug, Clone)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Signals that reach this process are sent on (without a tty).
    pub sig_proxy: bool,
    /// As typed: `ctrl-p,ctrl-q`. Empty: no way out.
    pub detach_keys: String,
}

/// How an attachment, a run or an exec came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process ended with this code (128+n for signal n).
    Exited(u8),
    /// The user detached, or never attached; the process runs on.
    Detached,
}

pub fn attach(_engine: &Engine, _container: &str, _attach: &Attach) -> Result<Ending> {
    todo!()
}
