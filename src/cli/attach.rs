//! `kelp attach`.

use clap::Args;

use super::command::{Exit, Verb, switch};
use super::context::Context;
use super::failure::{Outcome, checked_keys, notice};
use super::{complete, unbuilt};
use crate::engine::container::attach::{self, Ending};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Attach {
    /// Keys that detach, instead of the container's own
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Leave stdin alone
    #[arg(long)]
    no_stdin: bool,
    /// Send signals on to the container
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = switch)]
    sig_proxy: bool,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::running())]
    container: String,
}

impl Verb for Attach {
    const ABOUT: &'static str = "Join this terminal to a running container";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const DESCRIPTION: &'static str =
        "ctrl-p ctrl-q (see --detach-keys) leaves again, the container runs on.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Look without taking part", "kelp attach --no-stdin --sig-proxy=false web")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::LATEST;

    fn run(self, context: &Context) -> Outcome {
        let how = attach::Attach {
            stdin: !self.no_stdin,
            stdout: true,
            stderr: true,
            sig_proxy: self.sig_proxy,
            detach_keys: checked_keys(self.detach_keys)?,
        };
        Ok(status(attach::attach(context.engine()?, &self.container, &how)?))
    }
}

/// The exit status after an attachment. Whoever sees one that the program has not given is told why.
pub(super) fn status(ending: Ending) -> ExitStatus {
    match ending {
        Ending::Exited(code) => ExitStatus::Container(code),
        Ending::Lost(code) => {
            notice("the container's shim was killed or died, and the container with it");
            ExitStatus::Container(code)
        }
        Ending::Detached => ExitStatus::Success,
        Ending::OutputClosed => ExitStatus::OutputClosed,
    }
}
