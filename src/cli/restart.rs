//! `kelp restart`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, each, warn};
use super::stop::StopArgs;
use super::{complete, output, unbuilt};
use crate::engine;

#[derive(Debug, Args)]
pub(super) struct Restart {
    #[command(flatten)]
    how: StopArgs,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::containers())]
    containers: Vec<String>,
}

impl Verb for Restart {
    const ABOUT: &'static str = "Stop and start one or more containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("Restart at once", "kelp restart -t 0 web")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::RESTART;

    fn run(self, context: &Context) -> Outcome {
        let options = self.how.options()?;
        let engine = context.engine()?;
        each(&self.containers, |name| {
            engine::container::stop::restart(engine, name, &options, &mut warn)?;
            output::line(name)
        })
    }
}
