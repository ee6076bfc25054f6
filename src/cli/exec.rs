//! `kelp exec`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::container_options::given;
use super::context::Context;
use super::failure::{Failure, Outcome, checked_keys};
use super::{complete, unbuilt};
use crate::engine::container::attach::Attach;
use crate::engine::exec::{self, ExecRequest};
use crate::engine::options;

#[derive(Debug, Args)]
pub(super) struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set an environment variable, or hand on the caller's
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Give the process all capabilities that the user namespace has
    #[arg(long)]
    privileged: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run as this user: NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Name or id of a container, then the command and its arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "CONTAINER", add = complete::running())]
    words: Vec<String>,
}

impl Verb for Exec {
    const ABOUT: &'static str = "Run one more command in a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const DESCRIPTION: &'static str = "The command has the same protections as the container's first process, its \
        environment and, unless -u is given, its user. Options end at the container's name.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("A second shell", "kelp exec -it web sh"),
        ("As another user, elsewhere", "kelp exec -u postgres -w /tmp db pg_dump -f dump.sql app"),
    ];
    const EXIT: Exit = Exit::Exec;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::EXEC;

    fn run(self, context: &Context) -> Outcome {
        let config = context.config()?;
        let Some((container, command)) = self.words.split_first().filter(|(_, command)| !command.is_empty())
        else {
            return Err(Failure::Usage("`kelp exec` needs a container and a command".into()));
        };
        if self.tty && self.interactive && !self.detach && !std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "the input device is not a TTY: leave out -t, or run kelp in a terminal".into(),
            ));
        }
        let detach_keys = checked_keys(self.detach_keys)?;
        let request = ExecRequest {
            command: command.to_vec(),
            env: options::env(&self.env_file, &self.env, &|name| config.variable(name))?,
            user: given(&self.user).map(options::user).transpose()?,
            workdir: given(&self.workdir).map(options::workdir).transpose()?,
            privileged: self.privileged,
            tty: self.tty,
        };
        let attach =
            Attach { stdin: self.interactive, stdout: true, stderr: true, sig_proxy: true, detach_keys };
        let attach = (!self.detach).then_some(&attach);
        Ok(super::attach::status(exec::exec(context.engine()?, container, &request, attach)?))
    }
}
