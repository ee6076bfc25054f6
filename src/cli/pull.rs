//! `kelp pull`, and what `run` and `create` show of the same.

use clap::Args;

use super::command::{Exit, Verb, without_signatures};
use super::context::Context;
use super::failure::{Failure, Outcome, complain};
use super::progress::{Lines, Shown};
use super::{complete, escape, output, unbuilt};
use crate::engine::image::pull::{self, PullPolicy, PullRequest, Pulled, Step};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Pull every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Do without signatures of Docker Content Trust: always so, digests are verified all the same
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = without_signatures)]
    disable_content_trust: bool,
    /// Of images for several platforms, take this one: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the image's name and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// What to pull
    #[arg(value_name = "NAME[:TAG|@DIGEST]", add = complete::images_and_registries())]
    name: String,
}

impl Verb for Pull {
    const ABOUT: &'static str = "Download an image from a registry";
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const DESCRIPTION: &'static str = "A name without a registry is docker.io's, one without a tag is `latest`. What is here \
        already is not fetched again, and a transfer that was interrupted, by whatever, goes on where it stopped.\n\n\
        Everything is verified: TLS certificates, and the digest of every document, blob and unpacked layer. Plain HTTP \
        is spoken with this machine only, and with registries that config.toml allows it for. Credentials are those \
        of `kelp login`, docker and podman.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("From docker.io", "kelp pull debian:13"),
        ("By digest, for another platform", "kelp pull --platform linux/arm64 quay.io/app/web@sha256:…"),
        ("Every tag of a registry on this machine", "kelp pull -a localhost:5000/app"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PULL;

    fn run(self, context: &Context) -> Outcome {
        let request = PullRequest {
            name: self.name,
            // As docker reads it.
            platform: self.platform.filter(|platform| !platform.is_empty()),
            all_tags: self.all_tags,
            insecure: false,
        };
        let engine = context.engine()?;
        if !self.quiet && !request.all_tags && is_untagged(&request.name) {
            output::line("Using default tag: latest")?;
        }
        let mut shown = if self.quiet { Shown::Nothing } else { Shown::choose(Lines::Stdout) };
        let pulled = pull::pull(engine, &request, &mut |step| shown.step(&step))?;
        shown.end()?;
        if self.quiet {
            for image in &pulled {
                output::line(&image.reference.to_string())?;
            }
        } else {
            conclude(&pulled, request.all_tags)?;
        }
        Ok(ExitStatus::Success)
    }
}

/// Whether a tag is left to the default.
pub(super) fn is_untagged(name: &str) -> bool {
    name.parse::<crate::oci::Reference>().is_ok_and(|r| r.digest().is_none())
        && !name.rsplit('/').next().unwrap_or_default().contains(':')
}

/// docker's last words.
fn conclude(pulled: &[Pulled], all: bool) -> Result<(), Failure> {
    let Some(last) = pulled.last() else { return Ok(()) };
    let is_new = pulled.iter().any(|image| image.is_new);
    let (name, full) = match all {
        true => (last.reference.familiar_repository(), last.reference.repository()),
        false => (last.reference.familiar(), last.reference.to_string()),
    };
    let what = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    output::line(&escape::line(&format!("Status: {what} {name}")))?;
    output::line(&escape::line(&full))
}

/// For `run` and `create`: everything on stderr, as docker has it.
pub(super) fn ensure(
    context: &Context,
    name: &str,
    platform: Option<&str>,
    policy: PullPolicy,
    quiet: bool,
) -> Result<(), Failure> {
    let mut shown = Shown::Nothing;
    let mut begun = false;
    let mut is_new = Vec::new();
    let missing = &mut |reference: &crate::oci::Reference| {
        if !quiet {
            complain(&format!("Unable to find image '{}' locally\n", reference.familiar()));
        }
    };
    let watch = &mut |step: Step<'_>| {
        if quiet {
            return;
        }
        if !begun {
            begun = true;
            shown = Shown::choose(Lines::Stderr);
        }
        shown.step(&step);
        if let Step::Pulled(image) = &step {
            is_new.push((*image).clone());
        }
    };
    pull::ensure(context.engine()?, name, platform, policy, missing, watch)?;
    shown.end()?;
    for image in is_new {
        let what = if image.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        complain(&format!("Status: {what} {}\n", escape::line(&image.reference.familiar())));
    }
    Ok(())
}
