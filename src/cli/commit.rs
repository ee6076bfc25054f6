//! `kelp commit`.

use clap::Args;

use super::command::{Exit, Verb, switch};
use super::context::Context;
use super::failure::{Outcome, warn};
use super::{complete, output, unbuilt};
use crate::engine::container::commit::{self, CommitRequest, Pause};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Commit {
    /// Who made the image
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Leave a comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container's processes run meanwhile
    #[arg(long)]
    no_pause: bool,
    /// Pause a running container meanwhile: takes a control group, so only false is taken for one that runs
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch, overrides_with = "no_pause")]
    pause: Option<bool>,
    /// Only the id is printed anyway; for podman's scripts
    #[arg(short, long)]
    quiet: bool,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
    /// What to call the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl Verb for Commit {
    const ABOUT: &'static str = "Create a new image from a container's changes";
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const DESCRIPTION: &'static str = "Prints the id of the new image: that of the container with one layer more, which \
        holds what `kelp diff` shows, and with the container's command, environment, labels and so on as its defaults. \
        What is mounted in the container is not part of it. A container that has changed nothing adds no layer.\n\n\
        docker pauses a running container meanwhile, with the freezer of the container's control group. kelp makes no \
        control groups yet: it says on stderr that the container runs on, and commits all the same; `--pause=false` says \
        that this is meant, and `--pause` is an error for a container that runs. Stop it first where the image has to be \
        of one moment.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Keep what was installed", "kelp commit -m 'with curl' box box:curl"),
        ("With another command", "kelp commit -c 'CMD [\"httpd\", \"-f\"]' -c 'EXPOSE 80' box web"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::COMMIT;

    fn run(self, context: &Context) -> Outcome {
        let pause = match (self.pause, self.no_pause) {
            (Some(false), _) | (None, true) => Pause::No,
            (Some(true), _) => Pause::Yes,
            (None, false) => Pause::Unsaid,
        };
        let request = CommitRequest {
            container: self.container,
            reference: self.reference,
            author: self.author,
            message: self.message,
            changes: self.change,
            pause,
        };
        let done = commit::commit(context.engine()?, &request)?;
        warn(&done.warnings);
        output::line(&done.id)?;
        Ok(ExitStatus::Success)
    }
}
