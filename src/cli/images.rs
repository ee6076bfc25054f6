//! `kelp images`.

use clap::Args;
use gotmpl::Value;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::table::{self, Column, Listing};
use super::{complete, human, images_tree, output, template, unbuilt};
use crate::engine::image::images::{self, ImageRow, ImagesQuery};
use crate::engine::image::variants;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Images {
    /// Show all images; only --tree hides any, those without a name
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what matches: before, dangling, label, reference, since, until
    #[arg(short, long, value_name = "KEY=VALUE", add = complete::image_filters())]
    filter: Vec<String>,
    /// Print with a Go template, as `table TEMPLATE`, as `json` or as `raw`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show a branch for each platform that is here of an image
    #[arg(long, conflicts_with_all = ["digests", "format", "no_trunc", "quiet"])]
    tree: bool,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]", add = complete::images())]
    reference: Option<String>,
}

pub(super) const COLUMNS: &[Column] = &[
    Column { field: "Repository", header: "REPOSITORY" },
    Column { field: "Tag", header: "TAG" },
    Column { field: "Digest", header: "DIGEST" },
    Column { field: "ID", header: "IMAGE ID" },
    Column { field: "CreatedSince", header: "CREATED" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "VirtualSize", header: "SIZE" },
    Column { field: "SharedSize", header: "SHARED SIZE" },
    Column { field: "UniqueSize", header: "UNIQUE SIZE" },
    Column { field: "Containers", header: "CONTAINERS" },
];
const PLAIN: &str = "table {{.Repository}}\\t{{.Tag}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}";
const DIGESTS: &str =
    "table {{.Repository}}\\t{{.Tag}}\\t{{.Digest}}\\t{{.ID}}\\t{{.CreatedSince}}\\t{{.Size}}";

/// Of `--format raw`.
const RAW_ID: &str = "image_id: {{.ID}}";
const RAW_DIGEST: &str = "digest: {{.Digest}}";

impl Verb for Images {
    const ABOUT: &'static str = "List images";
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("All tags of one repository", "kelp images debian"),
        ("For a script", "kelp images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::IMAGES;

    fn run(self, context: &Context) -> Outcome {
        let filters = self.filter.iter().map(|f| pair(f)).collect::<Result<_, _>>()?;
        let digests = self.digests || self.format.as_deref().is_some_and(|format| format.contains(".Digest"));
        let query = ImagesQuery { reference: self.reference, filters, digests };
        if self.tree {
            let families = variants::families(context.engine()?, &query, self.all)?;
            output::foreign(&images_tree::text(&families))?;
            return Ok(ExitStatus::Success);
        }
        let rows = images::images(context.engine()?, &query)?;
        let format = match self.format.as_deref() {
            Some("raw") if self.quiet => RAW_ID,
            Some("raw") => {
                let name = ["repository: {{.Repository}}", "tag: {{.Tag}}"];
                let rest = [RAW_ID, "created_at: {{.CreatedAt}}", "virtual_size: {{.Size}}"];
                let digest = self.digests.then_some(RAW_DIGEST);
                &table::raw(name.into_iter().chain(digest).chain(rest))
            }
            Some(format) => format,
            None if self.quiet => "{{.ID}}",
            None if self.digests => DIGESTS,
            None => PLAIN,
        };
        let listing = Listing::parse(format, if self.digests { DIGESTS } else { PLAIN }, COLUMNS)?;
        let now = jiff::Timestamp::now();
        let values = rows.iter().map(|row| value(row, self.no_trunc, now));
        output::foreign(&listing.render(values)?)?;
        Ok(ExitStatus::Success)
    }
}

/// `KEY=VALUE` of a `--filter`.
pub(super) fn pair(filter: &str) -> Result<(String, String), Failure> {
    filter
        .split_once('=')
        .map(|(key, value)| (key.trim().to_lowercase(), value.trim().to_owned()))
        .ok_or_else(|| Failure::Flag(format!("invalid filter `{filter}`: KEY=VALUE is expected")))
}

fn value(row: &ImageRow, no_trunc: bool, now: jiff::Timestamp) -> Value {
    template::map(fields(row, no_trunc, now))
}

/// What a template may name of an image.
pub(super) fn fields(row: &ImageRow, no_trunc: bool, now: jiff::Timestamp) -> Vec<(&'static str, String)> {
    let none = || "<none>".to_owned();
    let hex = row.id.strip_prefix("sha256:").unwrap_or(&row.id);
    let id = if no_trunc { row.id.clone() } else { hex.chars().take(12).collect() };
    let size = human::size(row.size);
    vec![
        ("Repository", row.repository.clone().unwrap_or_else(none)),
        ("Tag", row.tag.clone().unwrap_or_else(none)),
        ("Digest", if row.digest.is_empty() { none() } else { row.digest.clone() }),
        ("ID", id),
        ("CreatedSince", row.created.map_or("N/A".into(), |t| format!("{} ago", human::since(t, now)))),
        ("CreatedAt", row.created.map_or("N/A".into(), human::go_time)),
        ("Size", size.clone()),
        ("VirtualSize", size),
        ("SharedSize", "N/A".into()),
        ("UniqueSize", "N/A".into()),
        ("Containers", "N/A".into()),
    ]
}
