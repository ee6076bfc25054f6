//! `kelp container prune`, `kelp image prune`, `kelp system prune`.

use std::fmt::Write as _;
use std::io::BufRead;

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::images::pair;
use super::{complete, escape, human, output, unbuilt};
use crate::engine::image::rmi::Removed;
use crate::engine::{container, image, system};
use crate::error::ExitStatus;

/// What every prune takes.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Only what matches: label, label!, until; of images dangling too
    #[arg(long, value_name = "KEY=VALUE", add = complete::prune_filters())]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct PruneContainers {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct PruneImages {
    /// Remove every image that no container was made from, not only those without a tag
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct PruneSystem {
    /// Remove every image that no container was made from, not only those without a tag
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    how: How,
}

const EVERY_IMAGE: &str = "all images without at least one container associated to them";

impl Verb for PruneContainers {
    const ABOUT: &'static str = "Remove all stopped containers";
    const USAGE: &'static str = "[OPTIONS]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("What is older than a day, without a question", "kelp container prune -f --filter until=24h"),
        ("What would go", "kelp container prune --dry-run"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let filters = self.how.filters()?;
        let request = container::prune::PruneRequest { filters, dry_run: self.how.dry_run };
        container::prune::check(&request)?;
        if !self.how.go_on("WARNING! This will remove all stopped containers.\n")? {
            return Ok(ExitStatus::Success);
        }
        let pruned = container::prune::prune(context.engine()?, &request)?;
        output::raw(&self.how.containers(&pruned.containers))?;
        total(pruned.reclaimed)
    }
}

impl Verb for PruneImages {
    const ABOUT: &'static str = "Remove unused images";
    const USAGE: &'static str = "[OPTIONS]";
    const DESCRIPTION: &'static str = "Without --all only images that have no tag. An image that a container was made \
        from stays, whether it runs or not. What interrupted pulls have left to go on with goes too, unless --filter \
        chooses by label or age.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Everything that nothing uses", "kelp image prune -af"),
        ("But what is marked", "kelp image prune -a --filter 'label!=keep'"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PRUNE_IMAGES;

    fn run(self, context: &Context) -> Outcome {
        let filters = self.how.filters()?;
        let request = image::prune::PruneRequest { all: self.all, filters, dry_run: self.how.dry_run };
        image::prune::check(&request)?;
        let what = if self.all { EVERY_IMAGE } else { "all dangling images" };
        if !self.how.go_on(&format!("WARNING! This will remove {what}.\n"))? {
            return Ok(ExitStatus::Success);
        }
        let pruned = image::prune::prune(context.engine()?, &request, &[])?;
        output::raw(&self.how.images(&pruned))?;
        total(pruned.reclaimed)
    }
}

impl Verb for PruneSystem {
    const ABOUT: &'static str = "Remove unused containers and images";
    const USAGE: &'static str = "[OPTIONS]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Back to what runs", "kelp system prune -af")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PRUNE_SYSTEM;

    fn run(self, context: &Context) -> Outcome {
        let filters = self.how.filters()?;
        let request = system::PruneRequest { all: self.all, filters, dry_run: self.how.dry_run };
        system::check_prune(&request)?;
        let images = if self.all { EVERY_IMAGE } else { "all dangling images" };
        let warning = format!("WARNING! This will remove:\n  - all stopped containers\n  - {images}\n\n");
        if !self.how.go_on(&warning)? {
            return Ok(ExitStatus::Success);
        }
        let pruned = system::prune(context.engine()?, &request)?;
        output::raw(&self.how.containers(&pruned.containers.containers))?;
        output::raw(&self.how.images(&pruned.images))?;
        total(pruned.containers.reclaimed + pruned.images.reclaimed)
    }
}

impl How {
    pub(super) fn filters(&self) -> Result<Vec<(String, String)>, Failure> {
        self.filter.iter().map(|f| pair(f)).collect()
    }

    /// Asks, unless there is no need to.
    pub(super) fn go_on(&self, warning: &str) -> Result<bool, Failure> {
        if self.force || self.dry_run {
            return Ok(true);
        }
        output::raw(&format!("{warning}Are you sure you want to continue? [y/N] "))?;
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.map_err(|source| Failure::Io { doing: "read the answer".into(), source })?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    pub(super) fn heading(&self, what: &str) -> String {
        if self.dry_run { format!("{what} that would be deleted:\n") } else { format!("Deleted {what}:\n") }
    }

    fn containers(&self, ids: &[String]) -> String {
        if ids.is_empty() {
            return String::new();
        }
        format!("{}{}\n\n", self.heading("Containers"), ids.join("\n"))
    }

    fn images(&self, pruned: &image::prune::Pruned) -> String {
        let line = |removed: &Removed| match removed {
            Removed::Untagged(name) => format!("untagged: {}\n", escape::line(name)),
            Removed::Deleted(id) => format!("deleted: {id}\n"),
        };
        let mut text = String::new();
        if !pruned.images.is_empty() {
            let lines: String = pruned.images.iter().map(line).collect();
            text = format!("{}{lines}\n", self.heading("Images"));
        }
        if !pruned.downloads.is_empty() {
            let heading = self.heading("Interrupted downloads");
            let _ = write!(text, "{heading}{}\n\n", pruned.downloads.join("\n"));
        }
        text
    }
}

fn total(bytes: u64) -> Outcome {
    output::line(&format!("Total reclaimed space: {}", human::long_size(bytes)))?;
    Ok(ExitStatus::Success)
}
