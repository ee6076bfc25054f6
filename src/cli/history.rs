//! `kelp history`.

use clap::Args;
use gotmpl::Value;
use jiff::Timestamp;

use super::command::{Exit, Verb, switch};
use super::context::Context;
use super::failure::Outcome;
use super::table::{Column, Listing};
use super::{complete, human, output, template};
use crate::engine::image::history::{self, Step};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct History {
    /// Print with a Go template, as `table TEMPLATE` or as `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print sizes and dates for people; `false` gives bytes and exact times
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = switch, action = clap::ArgAction::Set)]
    human: bool,
    /// Show everything in full
    #[arg(long)]
    no_trunc: bool,
    /// Of an image that came in a list, show the one for this platform: OS[/ARCH[/VARIANT]]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Name or id of an image
    #[arg(value_name = "IMAGE", add = complete::images())]
    image: String,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "IMAGE" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "CreatedBy", header: "CREATED BY" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Comment", header: "COMMENT" },
];
const HUMAN: &str = "table {{.ID}}\\t{{.CreatedSince}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}";
const EXACT: &str = "table {{.ID}}\\t{{.CreatedAt}}\\t{{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}";
/// Characters of CREATED BY, and of COMMENT.
const CREATED_BY: usize = 45;

impl Verb for History {
    const ABOUT: &'static str = "Show the history of an image";
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const DESCRIPTION: &'static str = "The steps that made the image, newest first, as its configuration tells them, and \
        what each added to its size. Only the image itself has an id; the steps below it are `<missing>`.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Every instruction in full", "kelp history --no-trunc debian:13"),
        ("Sizes in bytes, for a script", "kelp history -H=false --format '{{.Size}} {{.CreatedBy}}' app"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let steps = history::history(context.engine()?, &self.image, self.platform.as_deref())?;
        let default = if self.human { HUMAN } else { EXACT };
        let format = match self.format.as_deref() {
            Some(format) => format,
            None if self.quiet => "{{.ID}}",
            None => default,
        };
        let listing = Listing::parse(format, default, COLUMNS)?;
        let now = Timestamp::now();
        output::foreign(&listing.render(steps.iter().map(|step| self.value(step, now)))?)?;
        Ok(ExitStatus::Success)
    }
}

impl History {
    fn value(&self, step: &Step, now: Timestamp) -> Value {
        let id = match &step.id {
            None => "<missing>".into(),
            Some(id) if self.no_trunc => id.clone(),
            Some(id) => id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect(),
        };
        // Nobody made anything before the epoch: it stands for "not told".
        let created = step.created.filter(|time| time.as_second() > 0);
        let at = created.map_or("N/A".into(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        let since = match created {
            _ if !self.human => at.clone(),
            Some(time) => format!("{} ago", human::since(time, now)),
            None => "N/A".into(),
        };
        let by = step.created_by.replace('\t', " ");
        template::map([
            ("ID", id),
            ("CreatedAt", at),
            ("CreatedSince", since),
            ("CreatedBy", if self.no_trunc { by } else { human::ellipsis(&by, CREATED_BY) }),
            ("Size", if self.human { human::size(step.size) } else { step.size.to_string() }),
            ("Comment", step.comment.clone()),
        ])
    }
}
