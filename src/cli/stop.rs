//! `kelp stop`, and the options it shares with `restart`.

use clap::Args;

use super::command::{Exit, Verb};
use super::container_options::given;
use super::context::Context;
use super::failure::{Failure, Outcome, each};
use super::{complete, output, unbuilt};
use crate::engine;
use crate::engine::container::stop::StopOptions;

/// How a container is stopped.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Signal to send instead of the container's own
    #[arg(short, long, value_name = "SIGNAL", add = complete::signals())]
    signal: Option<String>,
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", value_parser = clap::value_parser!(i64))]
    timeout: Option<i64>,
}

impl StopArgs {
    pub(super) fn options(&self) -> Result<StopOptions, Failure> {
        let signal = given(&self.signal).map(engine::options::stop_signal).transpose()?;
        Ok(StopOptions { timeout: self.timeout, signal })
    }
}

#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    how: StopArgs,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::running())]
    containers: Vec<String>,
}

impl Verb for Stop {
    const ABOUT: &'static str = "Stop one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const DESCRIPTION: &'static str = "Sends the container's stop signal, waits, and kills what is still there. \
        A first process that cannot receive the signal (no handler, as process 1 of its namespace) is not waited for.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Stop, with a minute of patience", "kelp stop -t 60 db"),
        ("Stop all that runs", "kelp stop $(kelp ps -q)"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::STOP;

    fn run(self, context: &Context) -> Outcome {
        let options = self.how.options()?;
        let engine = context.engine()?;
        each(&self.containers, |name| {
            engine::container::stop::stop(engine, name, &options)?;
            output::line(name)
        })
    }
}
