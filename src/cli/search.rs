//! `kelp search`.

use clap::Args;
use gotmpl::Value;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::images::pair;
use super::table::{Column, Listing};
use super::{human, output, template, unbuilt};
use crate::engine::search::{self, Hit, SearchQuery};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Search {
    /// Only what matches: stars, is-official, is-automated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// A Go template for each result, `table TEMPLATE`, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Results at most, up to 100; 25 unless given
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
    /// List the tags of the repository TERM
    #[arg(long, conflicts_with = "filter")]
    list_tags: bool,
    /// Show descriptions in full
    #[arg(long)]
    no_trunc: bool,
    /// A word, behind a registry's name and a slash unless it is for Docker Hub
    #[arg(value_name = "TERM")]
    term: String,
}

const COLUMNS: &[Column] = &[
    Column { field: "Name", header: "NAME" },
    Column { field: "Description", header: "DESCRIPTION" },
    Column { field: "StarCount", header: "STARS" },
    Column { field: "IsOfficial", header: "OFFICIAL" },
    Column { field: "IsAutomated", header: "AUTOMATED" },
    Column { field: "Tag", header: "TAG" },
];
const REPOSITORIES: &str = "table {{.Name}}\\t{{.Description}}\\t{{.StarCount}}\\t{{.IsOfficial}}";
const TAGS: &str = "table {{.Name}}\\t{{.Tag}}";
/// Characters of DESCRIPTION.
const DESCRIPTION: usize = 45;

impl Verb for Search {
    const ABOUT: &'static str = "Search Docker Hub for images";
    const USAGE: &'static str = "[OPTIONS] TERM";
    const DESCRIPTION: &'static str = "Another registry is asked when TERM begins with its name. Few answer: with \
        --list-tags, every one does.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("What is well known", "kelp search --filter is-official=true --limit 5 debian"),
        ("Which tags there are", "kelp search --list-tags --limit 100 quay.io/podman/stable"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] =
        &["--authfile", "--cert-dir", "--compatible", "--creds", "--tls-verify"];

    fn run(self, context: &Context) -> Outcome {
        let default = if self.list_tags { TAGS } else { REPOSITORIES };
        let listing = Listing::parse(self.format.as_deref().unwrap_or(default), default, COLUMNS)?;
        let engine = context.engine()?;
        let rows: Vec<Value> = if self.list_tags {
            let (name, tags) = search::tags(engine, &self.term, self.limit)?;
            tags.into_iter().map(|tag| template::map([("Name", name.clone()), ("Tag", tag)])).collect()
        } else {
            let filters = self.filter.iter().map(|f| pair(f)).collect::<Result<_, Failure>>()?;
            let query = SearchQuery { term: self.term.clone(), limit: self.limit, filters };
            search::search(engine, &query)?.iter().map(|hit| self.row(hit)).collect()
        };
        output::foreign(&listing.render(rows.into_iter())?)?;
        Ok(ExitStatus::Success)
    }
}

impl Search {
    fn row(&self, hit: &Hit) -> Value {
        let description = hit.description.replace(['\n', '\r', '\t'], " ");
        let mark = |is: bool| if is { "[OK]".to_owned() } else { String::new() };
        template::map([
            ("Name", hit.name.clone()),
            (
                "Description",
                if self.no_trunc { description } else { human::ellipsis(&description, DESCRIPTION) },
            ),
            ("StarCount", hit.star_count.to_string()),
            ("IsOfficial", mark(hit.is_official)),
            ("IsAutomated", mark(hit.is_automated)),
        ])
    }
}
