//! `kelp rename`.

use clap::Args;

use super::command::{Exit, Verb};
use super::complete;
use super::context::Context;
use super::failure::Outcome;
use crate::engine::container::rename;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Rename {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    name: String,
}

impl Verb for Rename {
    const ABOUT: &'static str = "Rename a container";
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const DESCRIPTION: &'static str = "In the networks that a running container is in, the others find it by its new name at once, and by the old one \
        no longer. Its host name stays.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[(
        "Put another container in the place of the first",
        "kelp rename web web-old && kelp rename web-new web",
    )];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        rename::rename(context.engine()?, &self.container, &self.name)?;
        Ok(ExitStatus::Success)
    }
}
