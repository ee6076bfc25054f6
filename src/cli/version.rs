//! `kelp version`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{output, template};
use crate::engine::version;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print with a Go template, or as `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

impl Verb for Version {
    const ABOUT: &'static str = "Show the version";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str =
        "In docker's shape: there is no server, so Client and Server are both this program.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("For a script", "kelp version --format '{{.Client.Version}}'")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, _context: &Context) -> Outcome {
        let version = version::version();
        let text = match self.format.as_deref() {
            Some(format) => template::one(format, &serde_json::to_value(&version).unwrap_or_default())?,
            None => {
                let c = &version.client;
                format!(
                    "Version:     {}\nOS/Arch:     {}/{}\nKernel:      {}\n",
                    c.version, c.os, c.arch, version.server.kernel_version
                )
            }
        };
        output::raw(&text)?;
        Ok(ExitStatus::Success)
    }
}
