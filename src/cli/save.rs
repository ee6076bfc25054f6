//! `kelp save`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::{complete, unbuilt};
use crate::engine::image::save::{self, ArchiveFormat, SaveRequest};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Save {
    /// docker-archive (an OCI layout that docker reads too) or oci-archive
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", value_parser = ["docker-archive", "oci-archive"])]
    format: String,
    /// Write this file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

impl Verb for Save {
    const ABOUT: &'static str = "Write images into an archive";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("To a file", "kelp save -o debian.tar debian:13"),
        ("To another machine", "kelp save app | ssh host kelp load"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::SAVE;

    fn run(self, context: &Context) -> Outcome {
        if self.output.is_none() && std::io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "an archive is nothing for a terminal: use --output, or redirect stdout".into(),
            ));
        }
        let format = if self.format == "oci-archive" {
            ArchiveFormat::OciArchive
        } else {
            ArchiveFormat::DockerArchive
        };
        let request = SaveRequest { images: self.images, output: self.output, format };
        save::save(context.engine()?, &request)?;
        Ok(ExitStatus::Success)
    }
}
