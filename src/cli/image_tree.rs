//! `kelp image tree`, `kelp image exists`.

use std::fmt::Write;

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{complete, human, output};
use crate::engine::image::resolve;
use crate::engine::image::tree::{self, Tree};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct ShowTree {
    /// Show the images that stand on this one instead
    #[arg(long)]
    whatrequires: bool,
    /// Name or id of an image
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
}

#[derive(Debug, Args)]
pub(super) struct Exists {
    /// Name or id of an image
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
}

impl Verb for ShowTree {
    const ABOUT: &'static str = "Show the layers of an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const DESCRIPTION: &'static str =
        "The lowest layer first; behind each, the images that end with it. The words are podman's.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("The layers of one", "kelp image tree app"),
        ("What keeps me from removing debian?", "kelp image tree --whatrequires debian:13"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let trees = if self.whatrequires {
            tree::dependents(engine, &self.image)?
        } else {
            vec![tree::tree(engine, &self.image)?]
        };
        let texts: Vec<String> = trees.iter().map(text).collect();
        output::foreign(&texts.join("\n"))?;
        Ok(ExitStatus::Success)
    }
}

impl Verb for Exists {
    const ABOUT: &'static str = "Say by the exit code whether an image is here";
    const USAGE: &'static str = "IMAGE";
    const DESCRIPTION: &'static str = "Exits with 0 when it is, with 1 when it is not, with 125 where that cannot be told: \
        also when the command line makes no sense. Prints nothing but errors.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("In a script", "kelp image exists app || kelp load -i app.tar")];
    const EXIT: Exit = Exit::Answer;

    fn run(self, context: &Context) -> Outcome {
        match resolve::resolve(context.engine()?, &self.image) {
            Ok(_) => Ok(ExitStatus::Success),
            Err(e) if e.is_missing() => Ok(ExitStatus::Failed),
            Err(e) => Err(e.into()),
        }
    }
}

fn text(tree: &Tree) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "Image ID: {}", short(&tree.id));
    let _ = writeln!(out, "Tags:     [{}]", tree.tags.join(" "));
    let _ = writeln!(out, "Size:     {}", human::long_size(tree.size));
    if tree.layers.is_empty() {
        out.push_str("No Image Layers\n");
        return out;
    }
    out.push_str("Image Layers\n");
    for (at, layer) in tree.layers.iter().enumerate() {
        let branch = if at + 1 == tree.layers.len() { "└──" } else { "├──" };
        let _ = write!(out, "{branch} ID: {} Size: {}", short(&layer.id), human::long_size(layer.size));
        if !layer.top_of.is_empty() {
            let _ = write!(out, " Top Layer of: [{}]", layer.top_of.join(" "));
        }
        out.push('\n');
    }
    out
}

fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}
