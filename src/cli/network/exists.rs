//! `kelp network exists`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Outcome};
use crate::engine::network;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Exists {
    /// Name or id of a network
    #[arg(value_name = "NETWORK", add = complete::all_networks())]
    network: String,
}

impl Verb for Exists {
    const ABOUT: &'static str = "Say by the exit code whether there is such a network";
    const USAGE: &'static str = "NETWORK";
    const DESCRIPTION: &'static str = "Exits with 0 when there is, with 1 when there is not, with 125 where that cannot be told. Prints nothing but \
        errors.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Make it once", "kelp network exists shop || kelp network create shop")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        match network::exists(context.engine()?, &self.network) {
            Ok(true) => Ok(ExitStatus::Success),
            Ok(false) => Ok(ExitStatus::Failed),
            Err(e) => {
                Failure::from(e).report();
                Ok(ExitStatus::Own)
            }
        }
    }
}
