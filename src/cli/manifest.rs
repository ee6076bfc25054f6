//! `kelp manifest`: lists of images for several platforms.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::progress::{Lines, Shown};
use super::push::{can_write, write_digest};
use super::{complete, escape, output, unbuilt};
use crate::engine::manifest::{
    self,
    inspect::{self, Question},
};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Of images that a registry has for several platforms, take every one
    #[arg(long)]
    all: bool,
    /// Add to a list that exists
    #[arg(short, long)]
    amend: bool,
    /// An annotation of the list itself
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Also ask registries that speak no TLS, over plain HTTP. Certificates are verified all the same
    #[arg(long)]
    insecure: bool,
    /// Name of the list
    #[arg(value_name = "LIST")]
    list: String,
    /// Its images; what is not here is pulled
    #[arg(value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

/// What can be said of an image.
#[derive(Debug, Args)]
struct Said {
    /// Operating system
    #[arg(long)]
    os: Option<String>,
    /// Architecture, in Go's words: amd64, arm64, …
    #[arg(long)]
    arch: Option<String>,
    /// Variant of the architecture
    #[arg(long)]
    variant: Option<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Features of the operating system that are needed
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Features of the processor that are needed
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// An annotation
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
}

impl Said {
    fn annotate(self) -> Result<manifest::Annotate, Failure> {
        // An empty value is none, as with docker: a script's variable that is not set.
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let all = |list: Vec<String>| list.into_iter().filter(|text| !text.is_empty()).collect();
        Ok(manifest::Annotate {
            os: said(self.os),
            architecture: said(self.arch),
            variant: said(self.variant),
            os_version: said(self.os_version),
            os_features: all(self.os_features),
            features: all(self.features),
            annotations: annotations(&self.annotation)?,
        })
    }
}

fn annotations(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let invalid = |text: &str| Failure::Flag(format!("invalid annotation `{text}`: KEY=VALUE is expected"));
    let split = |text: &String| {
        let (key, value) =
            text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| invalid(text))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().map(split).collect()
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Of images that a registry has for several platforms, add every one
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    said: Said,
    /// Name of the list
    #[arg(value_name = "LIST", add = complete::lists())]
    list: String,
    /// What is added; what is not here is pulled
    #[arg(required = true, value_name = "IMAGE", add = complete::images())]
    images: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Annotate {
    #[command(flatten)]
    said: Said,
    /// Name of the list
    #[arg(value_name = "LIST", add = complete::lists())]
    list: String,
    /// An image of it, by name, id, or the digest of its manifest
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Also ask registries that speak no TLS, over plain HTTP. Certificates are verified all the same
    #[arg(long)]
    insecure: bool,
    /// Tell platform, digest and the manifest's own bytes of each image
    #[arg(short, long)]
    verbose: bool,
    /// Name of a list or of something in a registry; before it, the list here whose image it is
    #[arg(required = true, num_args = 1..=2, value_name = "NAME", add = complete::lists())]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Push {
    /// Push the images too. Always so: a list of what the registry lacks is refused by it
    #[arg(long, hide = true)]
    all: bool,
    /// Write the digest of the list to this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    digestfile: Option<PathBuf>,
    /// Also push to a registry that speaks no TLS, over plain HTTP. Certificates are verified all the same
    #[arg(long)]
    insecure: bool,
    /// Remove the list here when it is pushed
    #[arg(short, long, visible_alias = "rm")]
    purge: bool,
    /// Print the digest and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Name of the list
    #[arg(value_name = "LIST", add = complete::lists())]
    list: String,
    /// Where it goes; to its own name unless given
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// A list that is not there is no error
    #[arg(short, long)]
    ignore: bool,
    /// Names of lists
    #[arg(required = true, value_name = "LIST", add = complete::lists())]
    lists: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Name of the list
    #[arg(value_name = "LIST", add = complete::lists())]
    list: String,
    /// An image of it, by name, id, or the digest of its manifest
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a list of images for several platforms";
    const USAGE: &'static str = "[OPTIONS] LIST [IMAGE...]";
    const DESCRIPTION: &'static str = "The list is kept here until `kelp manifest push` sends it and its images. It does \
        not keep its images: one that is removed here has to be where the list is pushed to.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("", "kelp manifest create localhost:5000/app:1 app:amd64 app:arm64"),
        ("", "kelp manifest push localhost:5000/app:1"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = &["--tls-verify"];

    fn run(self, context: &Context) -> Outcome {
        let request = manifest::NewList {
            name: self.list,
            images: self.images,
            all: self.all,
            amend: self.amend,
            annotations: annotations(&self.annotation)?,
            insecure: self.insecure,
        };
        let name = manifest::create(context.engine()?, &request)?;
        output::line(&escape::line(&format!("Created manifest list {name}")))?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Add {
    const ABOUT: &'static str = "Add images to a list";
    const USAGE: &'static str = "[OPTIONS] LIST IMAGE [IMAGE...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("", "kelp manifest add localhost:5000/app:1 app:riscv64"),
        ("Everything that another list has", "kelp manifest add --all localhost:5000/app:1 debian:13"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] =
        &["--artifact", "--authfile", "--cert-dir", "--creds", "--tls-verify"];

    fn run(self, context: &Context) -> Outcome {
        let said = self.said.annotate()?;
        let digest = manifest::add(context.engine()?, &self.list, &self.images, self.all, &said)?;
        output::line(digest.as_str())?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Annotate {
    const ABOUT: &'static str = "Say which platform an image of a list is for";
    const USAGE: &'static str = "[OPTIONS] LIST IMAGE";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("", "kelp manifest annotate --arch arm --variant v7 localhost:5000/app:1 app:armhf")];
    const UNBUILT: &'static [unbuilt::Flag] = &["--index", "--subject"];

    fn run(self, context: &Context) -> Outcome {
        let said = self.said.annotate()?;
        manifest::annotate(context.engine()?, &self.list, &self.image, &said)?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show a list, or what a registry has under a name";
    const USAGE: &'static str = "[OPTIONS] [LIST] NAME";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Which platforms there are", "kelp manifest inspect debian:13"),
        ("One image of a list that is here", "kelp manifest inspect localhost:5000/app:1 app:arm64"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = &["--authfile", "--tls-verify"];

    fn run(self, context: &Context) -> Outcome {
        let (name, list) = match self.names.as_slice() {
            [list, name] => (name.clone(), Some(list.clone())),
            names => (names.concat(), None),
        };
        let question = Question { list, name, insecure: self.insecure };
        let doing = |e: serde_json::Error| Failure::Io { doing: "read a manifest".into(), source: e.into() };
        let value: serde_json::Value = if self.verbose {
            serde_json::to_value(inspect::verbose(context.engine()?, &question)?).map_err(doing)?
        } else {
            serde_json::from_slice(&inspect::inspect(context.engine()?, &question)?).map_err(doing)?
        };
        output::foreign(&format!("{}\n", serde_json::to_string_pretty(&value).map_err(doing)?))?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Push {
    const ABOUT: &'static str = "Push a list and its images to a registry";
    const USAGE: &'static str = "[OPTIONS] LIST [DESTINATION]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("And forget it", "kelp manifest push --purge localhost:5000/app:1")];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = &[
        "--add-compression",
        "--authfile",
        "--cert-dir",
        "--compression-format",
        "--compression-level",
        "--creds",
        "--force-compression",
        "--format",
        "-f",
        "--remove-signatures",
        "--sign-by",
        "--sign-by-sigstore",
        "--tls-verify",
    ];

    fn run(self, context: &Context) -> Outcome {
        let mut shown = if self.quiet { Shown::Nothing } else { Shown::choose(Lines::Stdout) };
        let engine = context.engine()?;
        self.digestfile.as_deref().map(can_write).transpose()?;
        let (purge, insecure) = (self.purge, self.insecure);
        let destination = self.destination.as_deref();
        let pushed = manifest::push(engine, &self.list, destination, purge, insecure, &mut |step| {
            shown.push(&step);
        })?;
        shown.end()?;
        if let Some(path) = &self.digestfile {
            write_digest(path, pushed.digest.as_str())?;
        }
        // docker's whole output, and the last line of podman's.
        output::line(pushed.digest.as_str())?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Rm {
    const ABOUT: &'static str = "Remove lists, not their images";
    const USAGE: &'static str = "[OPTIONS] LIST [LIST...]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("", "kelp manifest rm localhost:5000/app:1")];
    fn run(self, context: &Context) -> Outcome {
        for list in &self.lists {
            if !self.ignore || manifest::exists(context.engine()?, list)? {
                manifest::rm(context.engine()?, list)?;
            }
        }
        Ok(ExitStatus::Success)
    }
}

impl Verb for Remove {
    const ABOUT: &'static str = "Take an image out of a list";
    const USAGE: &'static str = "LIST IMAGE";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("", "kelp manifest remove localhost:5000/app:1 app:armhf")];

    fn run(self, context: &Context) -> Outcome {
        let digest = manifest::remove(context.engine()?, &self.list, &self.image)?;
        output::line(digest.as_str())?;
        Ok(ExitStatus::Success)
    }
}

#[derive(Debug, Args)]
pub(super) struct Exists {
    /// Name of a list
    #[arg(value_name = "LIST", add = complete::lists())]
    list: String,
}

impl Verb for Exists {
    const ABOUT: &'static str = "Say by the exit status whether a list is here";
    const USAGE: &'static str = "LIST";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("", "kelp manifest exists localhost:5000/app:1")];
    const EXIT: Exit = Exit::Answer;

    fn run(self, context: &Context) -> Outcome {
        let there = manifest::exists(context.engine()?, &self.list)?;
        Ok(if there { ExitStatus::Success } else { ExitStatus::Failed })
    }
}
