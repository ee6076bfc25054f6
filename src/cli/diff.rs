//! `kelp diff`.

use std::io::{IsTerminal, Write};

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::{complete, escape, unbuilt};
use crate::engine::container::diff::{self, Change};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

impl Verb for Diff {
    const ABOUT: &'static str = "Inspect changes to files or directories on a container's filesystem";
    const USAGE: &'static str = "CONTAINER";
    const DESCRIPTION: &'static str = "One line for each path: A was added, C was changed, D was deleted. A directory \
        has changed when something in it has. Volumes and other mounts do not count.\n\nOf a container of `--rootfs` \
        the changes are those to that directory, as it is now. Where that is put together of several parts, as `/` \
        is, files made in the root itself are not kept and not shown; with `:rw` there is nothing to compare with.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("What an installation has left", "kelp diff box")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::DIFF;

    fn run(self, context: &Context) -> Outcome {
        let changes = diff::diff(context.engine()?, &self.container)?;
        let on_terminal = std::io::stdout().is_terminal();
        let mut text = Vec::new();
        for Change { kind, path } in changes {
            text.extend_from_slice(&[diff::letter(kind), b' ']);
            if on_terminal {
                text.extend_from_slice(escape::line(&String::from_utf8_lossy(&path)).as_bytes());
            } else {
                text.extend_from_slice(&path);
            }
            text.push(b'\n');
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&text).and_then(|()| out.flush()).map_err(Failure::stdout)?;
        Ok(ExitStatus::Success)
    }
}
