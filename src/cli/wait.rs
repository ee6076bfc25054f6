//! `kelp wait`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, each};
use super::{complete, output, unbuilt};
use crate::engine;

#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::containers())]
    containers: Vec<String>,
}

impl Verb for Wait {
    const ABOUT: &'static str = "Wait until containers have ended, then print their exit codes";
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Wait for a job and act on its exit code", "test \"$(kelp wait job)\" = 0 && echo done")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::WAIT;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(&self.containers, |name| {
            let code = engine::container::wait::wait(engine, name)?;
            output::line(&code.to_string())
        })
    }
}
