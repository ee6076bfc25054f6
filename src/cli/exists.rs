//! `kelp container exists`.

use clap::Args;

use super::command::{Exit, Verb};
use super::complete;
use super::context::Context;
use super::failure::Outcome;
use crate::engine::container::exists;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Exists {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

impl Verb for Exists {
    const ABOUT: &'static str = "Say by the exit code whether there is such a container";
    const USAGE: &'static str = "CONTAINER";
    const DESCRIPTION: &'static str = "Exits with 0 when there is, running or not, with 1 when there is not, with 125 where that cannot be told: \
        also when the command line makes no sense. Prints nothing but errors.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "Start it, made or not",
        "kelp container exists web && kelp start web || kelp run -d --name web app",
    )];
    const EXIT: Exit = Exit::Answer;

    fn run(self, context: &Context) -> Outcome {
        let there = exists::exists(context.engine()?, &self.container)?;
        Ok(if there { ExitStatus::Success } else { ExitStatus::Failed })
    }
}
