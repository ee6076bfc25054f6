//! `kelp rmi`.

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome, each};
use super::{complete, escape, output};
use crate::engine::Engine;
use crate::engine::image::rmi::{self, RmiOptions};

#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// Remove all images, under all their names
    #[arg(short, long, conflicts_with_all = ["images", "platform"])]
    all: bool,
    /// Remove an image with several names, or one that stopped containers were made from, all the same
    #[arg(short, long)]
    force: bool,
    /// An image that is not here is no error
    #[arg(short, long)]
    ignore: bool,
    /// Do not delete untagged parents; kelp keeps none, so this changes nothing
    #[arg(long)]
    no_prune: bool,
    /// Of images that came in a list, remove those for these platforms only: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Names or ids of images
    #[arg(required_unless_present = "all", value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

impl Verb for Rmi {
    const ABOUT: &'static str = "Remove one or more images";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const DESCRIPTION: &'static str = "Takes the name away, and with its last name the image. Layers go when neither \
        an image nor a container stands on them. An image that a container was made from stays, unless the container \
        is stopped and --force is given; of one that runs, --force takes the name only. With --force an image that is \
        not here is told and no error.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Remove one", "kelp rmi debian:12"),
        ("Remove it under all its names", "kelp rmi -f 7ae93cbbd4b3"),
        ("Remove all without a name", "kelp rmi $(kelp images -q --filter dangling=true)"),
        ("Remove everything", "kelp rmi -af"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let images = if self.all { rmi::all(engine)? } else { self.images.clone() };
        let platforms: Vec<Option<&str>> = match self.platform.as_slice() {
            [] => vec![None],
            some => some.iter().map(|platform| Some(platform.as_str())).collect(),
        };
        each(&images, |name| platforms.iter().try_for_each(|platform| self.remove(engine, name, *platform)))
    }
}

impl Rmi {
    fn remove(&self, engine: &Engine, name: &str, platform: Option<&str>) -> Result<(), Failure> {
        let options = RmiOptions { force: self.force, every_name: self.all, platform };
        let removed = match rmi::rmi(engine, name, options) {
            // With --all, another command was quicker.
            Err(e) if e.is_missing() && (self.ignore || self.all) => return Ok(()),
            Err(e) if e.is_missing() && self.force => {
                Failure::from(e).report();
                return Ok(());
            }
            other => other?,
        };
        for line in removed {
            output::line(&escape::line(&line.to_string()))?;
        }
        Ok(())
    }
}
