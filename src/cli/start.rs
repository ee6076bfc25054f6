//! `kelp start`.

use clap::Args;

use super::command::{Exit, Verb, switch};
use super::context::Context;
use super::failure::{Failure, Outcome, checked_keys, each, warn};
use super::{attach, complete, output, unbuilt};
use crate::engine;
use crate::engine::container::attach::Attach;

#[derive(Debug, Args)]
pub(super) struct Start {
    /// Attach to stdout and stderr, and send signals on
    #[arg(short, long)]
    attach: bool,
    /// Keys that detach, instead of the container's own
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Attach to stdin
    #[arg(short, long)]
    interactive: bool,
    /// Send signals on to the container
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = switch)]
    sig_proxy: bool,
    /// Names or ids of containers
    #[arg(required = true, value_name = "CONTAINER", add = complete::stopped())]
    containers: Vec<String>,
}

impl Verb for Start {
    const ABOUT: &'static str = "Start one or more stopped containers";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Start two", "kelp start web db"), ("Start one and take part in it", "kelp start -ai shell")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::START;

    fn run(self, context: &Context) -> Outcome {
        if !self.attach && !self.interactive {
            let engine = context.engine()?;
            return each(&self.containers, |name| {
                engine::container::start::start(engine, name, None, &mut warn)?;
                output::line(name)
            });
        }
        let [container] = self.containers.as_slice() else {
            return Err(Failure::Usage("one container at a time can be started and attached to".into()));
        };
        let attach = Attach {
            stdin: self.interactive,
            stdout: true,
            stderr: true,
            sig_proxy: self.sig_proxy,
            detach_keys: checked_keys(self.detach_keys)?,
        };
        let ending = engine::container::start::start(context.engine()?, container, Some(&attach), &mut warn)?;
        Ok(attach::status(ending))
    }
}
