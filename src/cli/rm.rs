//! `kelp rm`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, each, notice};
use super::{complete, output, unbuilt};
use crate::engine;
use crate::engine::container::rm::RmOptions;

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Kill a running container first; one that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes too: without volumes it has none
    #[arg(short, long)]
    volumes: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::containers())]
    containers: Vec<String>,
}

impl Verb for Rm {
    const ABOUT: &'static str = "Remove one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const DESCRIPTION: &'static str = "Removes the container, its writable layer and its log. Images stay.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Remove one, running or not", "kelp rm -f web"),
        ("Remove all that have ended", "kelp rm $(kelp ps -aq --filter status=exited)"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::RM;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(&self.containers, |name| {
            if engine::container::rm::rm(engine, name, RmOptions { force: self.force })? {
                return output::line(name);
            }
            // No failure, as with docker, and not done either.
            notice(&format!("no such container: {name}"));
            Ok(())
        })
    }
}
