//! `kelp export`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::complete;
use super::context::Context;
use super::failure::{Failure, Outcome};
use crate::engine::container::export::{self, ExportRequest};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write this file instead of stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

impl Verb for Export {
    const ABOUT: &'static str = "Export a container's filesystem as a tar archive";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const DESCRIPTION: &'static str = "The whole tree with owners, modes, times, links, holes and extended attributes. \
        What is mounted in the container, volumes among it, is not part of it; its mount points are. \
        Sockets are left out.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("To a file", "kelp export -o box.tar box"),
        ("An image of one layer", "kelp export box | kelp import - box:flat"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let request = ExportRequest { container: self.container, output: self.output };
        export::export(context.engine()?, &request).map_err(Failure::streaming)?;
        Ok(ExitStatus::Success)
    }
}
