//! `kelp rmi`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, each};
use super::{complete, escape, output, unbuilt};
use crate::engine::image::rmi::{self, RmiOptions};

#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// Remove an image with several names, or one that stopped containers were made from, all the same
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents; kelp keeps none, so this changes nothing
    #[arg(long)]
    no_prune: bool,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

impl Verb for Rmi {
    const ABOUT: &'static str = "Remove one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const DESCRIPTION: &'static str = "Takes the name away, and with its last name the image. Layers go when neither \
        an image nor a container stands on them. An image that a container was made from stays, unless the container \
        is stopped and --force is given; of one that runs, --force takes the name only.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Remove one", "kelp rmi debian:12"),
        ("Remove it under all its names", "kelp rmi -f 7ae93cbbd4b3"),
        ("Remove all without a name", "kelp rmi $(kelp images -q --filter dangling=true)"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::RMI;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(&self.images, |name| {
            for removed in rmi::rmi(engine, name, RmiOptions { force: self.force })? {
                output::line(&escape::line(&removed.to_string()))?;
            }
            Ok(())
        })
    }
}
