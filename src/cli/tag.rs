//! `kelp tag`, `kelp untag`.

use clap::Args;

use super::command::{Exit, Verb};
use super::complete;
use super::context::Context;
use super::failure::Outcome;
use crate::engine::image::tag;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Tag {
    /// Name or id of an image
    #[arg(value_name = "SOURCE", add = complete::images())]
    source: String,
    /// Names that it gets, beside those it has
    #[arg(required = true, value_name = "TARGET[:TAG]", add = complete::images())]
    targets: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Untag {
    /// Name or id of an image
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
    /// Names of it; without any, all of them
    #[arg(value_name = "NAME[:TAG]", add = complete::images())]
    names: Vec<String>,
}

impl Verb for Tag {
    const ABOUT: &'static str = "Give an image another name";
    const USAGE: &'static str = "SOURCE[:TAG] TARGET[:TAG] [TARGET[:TAG]...]";
    const DESCRIPTION: &'static str =
        "A name means one image: a target that another image has is taken from it.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("For a registry", "kelp tag app registry.example.com/team/app:1.4"),
        ("From an id", "kelp tag 7ae93cbbd4b3 app:old"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        tag::tag(context.engine()?, &self.source, &self.targets)?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Untag {
    const ABOUT: &'static str = "Take names away from an image";
    const USAGE: &'static str = "IMAGE [NAME[:TAG]...]";
    const DESCRIPTION: &'static str =
        "The image stays, also without any name; `kelp image prune` removes those.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("One name", "kelp untag app app:1.4"), ("All of them", "kelp untag app")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        tag::untag(context.engine()?, &self.image, &self.names)?;
        Ok(ExitStatus::Success)
    }
}
