//! `kelp save`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::complete;
use super::context::Context;
use super::failure::Outcome;
use crate::engine::image::save::{self, ArchiveFormat, LayerForm, SaveRequest};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Save {
    /// docker-archive (an OCI layout that docker reads too) or oci-archive
    #[arg(long, value_name = "FORMAT", default_value = "docker-archive", value_parser = ["docker-archive", "oci-archive"])]
    format: String,
    /// Write layers compressed with gzip
    #[arg(long, conflicts_with = "uncompressed")]
    compress: bool,
    /// Several images may be saved anyway; for podman's scripts
    #[arg(short, long)]
    multi_image_archive: bool,
    /// Write this file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Only images for this platform: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Nothing is printed anyway; for podman's scripts
    #[arg(short, long)]
    quiet: bool,
    /// Write layers uncompressed
    #[arg(long)]
    uncompressed: bool,
    /// Names or ids of images
    #[arg(required = true, value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

impl Verb for Save {
    const ABOUT: &'static str = "Write images into an archive";
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const DESCRIPTION: &'static str = "docker, podman and skopeo read either format. A repository without a tag means \
        all its tags. Layers are written as they are stored, but what is compressed with zstd is written uncompressed: \
        docker before version 23 and skopeo's docker-archive do not take zstd. An oci-archive of an image that a \
        registry knows by its digest is left as it is, and so has that digest.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("To a file", "kelp save -o debian.tar debian:13"),
        ("To another machine", "kelp save app | ssh host kelp load"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let format = if self.format == "oci-archive" {
            ArchiveFormat::OciArchive
        } else {
            ArchiveFormat::DockerArchive
        };
        let layers = match (self.compress, self.uncompressed) {
            (true, _) => LayerForm::Gzip,
            (_, true) => LayerForm::Plain,
            _ => LayerForm::Stored,
        };
        let platform = self.platform;
        let request = SaveRequest { images: self.images, output: self.output, format, layers, platform };
        save::save(context.engine()?, &request)?;
        Ok(ExitStatus::Success)
    }
}
