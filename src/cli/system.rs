//! `kelp system check`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{escape, output};
use crate::engine::system::{self, CheckOptions};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Read every blob again and compare its digest
    #[arg(long)]
    blobs: bool,
}

impl Verb for Check {
    const ABOUT: &'static str = "Verify the store";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str = "Compares the database with what lies on the disk and prints one line for each \
        thing that is wrong. Changes nothing. Exits with 1 when there was anything to print.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("With all contents", "kelp system check --blobs")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let findings = system::check(context.engine()?, CheckOptions { blobs: self.blobs })?;
        for finding in &findings {
            output::line(&escape::line(&format!("{}: {}", finding.path.display(), finding.text)))?;
        }
        Ok(if findings.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
    }
}
