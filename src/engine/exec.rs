//! `exec`: one more process in a running container.

use super::container::attach::{Attach, Ending};
use super::{Engine, Result};

/// What `exec` was asked for. Fields as in [`super::request::CreateRequest`].
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Never empty.
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
    pub tty: bool,
}

/// `attach: None` is `-d`.
pub fn exec(
    _engine: &Engine,
    _container: &str,
    _request: &ExecRequest,
    _attach: Option<&Attach>,
) -> Result<Ending> {
    todo!()
}
