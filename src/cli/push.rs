//! `kelp push`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::command::{Exit, Verb, without_signatures};
use super::context::Context;
use super::failure::{Failure, Outcome, complain};
use super::progress::{Lines, Shown};
use super::pull::is_untagged;
use super::{complete, escape, output, unbuilt};
use crate::engine::image::push::{self, PushRequest, Step};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Push {
    /// Push every tag of the repository that is here
    #[arg(short, long)]
    all_tags: bool,
    /// Write the digest of what was pushed to this file
    #[arg(long, value_name = "FILE", conflicts_with = "all_tags", value_hint = clap::ValueHint::FilePath)]
    digestfile: Option<PathBuf>,
    /// Do without signatures of Docker Content Trust: always so, digests are verified all the same
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = without_signatures)]
    disable_content_trust: bool,
    /// Push the image for this platform alone, not the list it came in: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the image's name and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// What to push: its name says where to
    #[arg(value_name = "NAME[:TAG]", add = complete::images_and_registries())]
    name: String,
}

impl Verb for Push {
    const ABOUT: &'static str = "Upload an image to a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const DESCRIPTION: &'static str = "The name says where the image goes: `kelp tag` gives it one. What the registry \
        has already is not sent, what it has in another repository is taken from there, and an upload that broke off \
        goes on where the registry says.\n\n\
        An image has the digest that it was pulled with. One that came in a list for several platforms goes with the \
        whole list when all of it is here, else alone. Layers are sent as they are stored.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("To a registry of one's own", "kelp tag app registry.example.com/team/app:1.4"),
        ("", "kelp push registry.example.com/team/app:1.4"),
        ("For a script that goes on by digest", "kelp push -q --digestfile digest localhost:5000/app"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PUSH;

    fn run(self, context: &Context) -> Outcome {
        let request = PushRequest { name: self.name, all_tags: self.all_tags, platform: self.platform };
        let mut shown = if self.quiet { Shown::Nothing } else { Shown::choose(Lines::Stdout) };
        if !self.quiet && !request.all_tags && is_untagged(&request.name) {
            output::line("Using default tag: latest")?;
        }
        let quiet = self.quiet;
        self.digestfile.as_deref().map(can_write).transpose()?;
        let pushed = push::push(context.engine()?, &request, &mut |step| {
            if let (Step::Alone { list, image }, false) = (&step, quiet) {
                complain(&format!(
                    "Info: not all of the list {list} is here: only the image for one platform is pushed, as {image}\n"
                ));
            }
            shown.push(&step);
        })?;
        shown.end()?;
        if let (Some(path), Some((_, last))) = (&self.digestfile, pushed.last()) {
            write_digest(path, last.digest.as_str())?;
        }
        if quiet && let Some((reference, _)) = pushed.last() {
            let name = if request.all_tags { reference.repository() } else { reference.to_string() };
            output::line(&escape::line(&name))?;
        }
        Ok(ExitStatus::Success)
    }
}

/// Refuses before anything is sent what could not be written after it.
pub(super) fn can_write(path: &Path) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let failure = |source| Failure::Io { doing: format!("write the digest to {}", path.display()), source };
    opened.map(|_| ()).map_err(failure)
}

pub(super) fn write_digest(path: &Path, digest: &str) -> Result<(), Failure> {
    let doing = || format!("write the digest to {}", path.display());
    let mut file = std::fs::File::create(path).map_err(|source| Failure::Io { doing: doing(), source })?;
    std::io::Write::write_all(&mut file, digest.as_bytes())
        .map_err(|source| Failure::Io { doing: doing(), source })
}
