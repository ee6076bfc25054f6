//! `kelp kill`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, each};
use super::{complete, output, unbuilt};
use crate::engine;

#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", add = complete::signals())]
    signal: String,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::running())]
    containers: Vec<String>,
}

impl Verb for Kill {
    const ABOUT: &'static str = "Send a signal to one or more running containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Ask a server to read its configuration again", "kelp kill -s HUP web")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::KILL;

    fn run(self, context: &Context) -> Outcome {
        let signal = if self.signal.is_empty() { "KILL" } else { &self.signal };
        engine::options::signal(signal)?;
        let engine = context.engine()?;
        each(&self.containers, |name| {
            engine::container::kill::kill(engine, name, signal)?;
            output::line(name)
        })
    }
}
