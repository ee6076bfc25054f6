//! `kelp load`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{escape, output};
use crate::engine::image::load::{self, LoadRequest};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Load {
    /// Read this file instead of stdin
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// Of images for several platforms, take this one: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Show no progress; what was loaded is said all the same
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    const ABOUT: &'static str = "Load images from an archive";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str = "Reads what `save` writes, of docker, podman or kelp: an OCI layout or docker's archive, as a tar file, plain \
        or compressed.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("From a file", "kelp load -i debian.tar.zst"),
        ("From docker", "docker save debian:13 | kelp load"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let request = LoadRequest { input: self.input, platform: self.platform };
        let loaded = load::load(context.engine()?, &request)?;
        for image in loaded {
            output::line(&escape::line(&image.to_string()))?;
        }
        Ok(ExitStatus::Success)
    }
}
