//! `kelp import`.

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{output, unbuilt};
use crate::engine::image::import::{self, ImportRequest, ImportSource};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Leave a comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// A tar archive, plain or compressed: a file, an http(s) URL, or - for stdin
    #[arg(value_name = "FILE|URL|-", value_hint = ValueHint::FilePath)]
    source: String,
    /// What to call the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl Verb for Import {
    const ABOUT: &'static str = "Make an image from a tar archive of a root file system";
    const USAGE: &'static str = "[OPTIONS] FILE|URL|- [REPOSITORY[:TAG]]";
    const DESCRIPTION: &'static str = "Prints the id of the new image. Owners, modes, times, links and extended \
        attributes are kept; device nodes are left out.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("What debootstrap made", "kelp import -c 'CMD [\"bash\"]' rootfs.tar.zst debian:13"),
        ("From another tool", "docker export box | kelp import - box"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::IMPORT;

    fn run(self, context: &Context) -> Outcome {
        let source = match self.source.as_str() {
            "-" => ImportSource::Stdin,
            url if url.starts_with("http://") || url.starts_with("https://") => {
                ImportSource::Url(self.source)
            }
            path => ImportSource::File(path.into()),
        };
        let request = ImportRequest {
            source,
            reference: self.reference,
            changes: self.change,
            message: self.message,
            platform: self.platform,
        };
        output::line(&import::import(context.engine()?, &request)?)?;
        Ok(ExitStatus::Success)
    }
}
