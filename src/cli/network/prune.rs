//! `kelp network prune`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::context::Context;
use crate::cli::failure::Outcome;
use crate::cli::output;
use crate::cli::prune::How;
use crate::engine::network::prune;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    #[command(flatten)]
    how: How,
}

impl Verb for Prune {
    const ABOUT: &'static str = "Remove all unused networks";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str = "Unused is a network in which no container runs.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Without a question", "kelp network prune -f"), ("What would go", "kelp network prune --dry-run")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let request = prune::PruneRequest { filters: self.how.filters()?, dry_run: self.how.dry_run };
        prune::check(&request)?;
        let warning = "WARNING! This will remove all custom networks not used by at least one container.\n";
        if !self.how.go_on(warning)? {
            return Ok(ExitStatus::Success);
        }
        let gone = prune::prune(context.engine()?, &request)?;
        if !gone.is_empty() {
            output::raw(&format!("{}{}\n\n", self.how.heading("Networks"), gone.join("\n")))?;
        }
        Ok(ExitStatus::Success)
    }
}
