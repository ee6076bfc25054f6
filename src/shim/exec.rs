//! What a shim does for its clients besides pumping: signals, processes that `exec` adds, changes of its networks.

use std::os::fd::OwnedFd;
use std::time::Duration;

use oci_spec::runtime::Spec;

use super::launch::ExecRequest;
use super::network::change::Changes;
use super::network::way::Way;
use super::protocol::Failure;
use super::server::{ExecForked, Handler};
use super::spawn::refused;
use crate::runtime::from_spec::{self, ExecChanges};
use crate::runtime::init::ProcessStdio;
use crate::runtime::join::{self, Target};
use crate::runtime::plan::Namespaces;
use crate::sys::process;

/// How long a process may take to its exec among others that can stop it. It takes milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The container as later processes need to know it.
#[derive(Debug)]
pub(super) struct Execs<'a> {
    /// The pidfd of the first process.
    pub init: &'a OwnedFd,
    pub namespaces: Namespaces,
    pub spec: Spec,
    pub filter: Option<Vec<u8>>,
    pub changes: Changes<'a>,
}

impl Handler for Execs<'_> {
    fn signal(&mut self, signal: i32) -> Result<(), Failure> {
        process::signal(self.init, signal).map_err(|e| refused("signal the container", &e))
    }

    fn exec(&mut self, request: &[u8], stdio: Vec<OwnedFd>) -> Result<ExecForked, Failure> {
        let request: ExecRequest =
            serde_json::from_slice(request).map_err(|e| refused("read the exec request", &e))?;
        let terminal = request.terminal;
        let stdio = process_stdio(stdio, &request)?;
        let filter = self.filter.clone().filter(|_| !request.privileged);
        let changes = ExecChanges {
            args: request.command,
            env: request.env,
            user: request.user,
            cwd: request.workdir,
            privileged: request.privileged,
            terminal,
        };
        let program = from_spec::exec_process(&self.spec, &changes, filter)
            .map_err(|e| refused("run the command", &e))?;
        let target = Target { first: self.init, namespaces: &self.namespaces };
        let (child, talk) =
            join::start(&target, &program, stdio).map_err(|e| refused("enter the container", &e))?;
        // Nobody else needs to know of it before it may run: its end is seen here, and it dies with this process.
        talk.go().map_err(|e| {
            child.kill();
            refused("start the program", &e)
        })?;
        Ok(ExecForked { pid: child.pid, pidfd: child.pidfd, talk, patience: PATIENCE })
    }

    fn network(&mut self, request: &[u8], way: &mut Way) -> Result<(), Failure> {
        self.changes.apply(request, way)
    }
}

fn process_stdio(stdio: Vec<OwnedFd>, request: &ExecRequest) -> Result<ProcessStdio, Failure> {
    if request.terminal {
        return Ok(ProcessStdio::Terminal { size: request.size });
    }
    match <[OwnedFd; 3]>::try_from(stdio) {
        Ok([stdin, stdout, stderr]) => Ok(ProcessStdio::Pipes { stdin: Some(stdin), stdout, stderr }),
        Err(_) => {
            Err(Failure { status: 125, message: "exec came without stdio".into(), hint: None, taken: None })
        }
    }
}
