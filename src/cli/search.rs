//! `kelp search`.

use clap::Args;
use gotmpl::Value;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::images::pair;
use super::table::{Column, Listing};
use super::template::Row;
use super::{complete, human, output, template, unbuilt};
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
    #[arg(value_name = "TERM", add = complete::repositories())]
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
    const DESCRIPTION: &'static str = "Another registry is asked when TERM begins with its name, and its catalog is \
        looked through when it does not search. Some registries give out neither; with --list-tags, every one answers. \
        Whoever has logged in is searched for with name and password.";
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
        let text = if self.list_tags {
            let (name, tags) = search::tags(engine, &self.term, self.limit)?;
            let rows = tags.into_iter().map(|tag| template::map([("Name", name.clone()), ("Tag", tag)]));
            listing.render(rows)?
        } else {
            let filters = self.filter.iter().map(|f| condition(f)).collect::<Result<_, Failure>>()?;
            let query = SearchQuery { term: self.term, limit: self.limit, filters };
            let hits = search::search(engine, &query)?;
            listing.render(hits.into_iter().map(|hit| Line { hit, no_trunc: self.no_trunc }))?
        };
        output::foreign(&text)?;
        Ok(ExitStatus::Success)
    }
}

/// `KEY=VALUE`; a key of docker's that is true or not may stand alone, as podman has it.
fn condition(filter: &str) -> Result<(String, String), Failure> {
    match filter {
        "is-official" | "is-automated" => Ok((filter.into(), "true".into())),
        other => pair(other),
    }
}

/// One result as a template sees it.
struct Line {
    hit: Hit,
    no_trunc: bool,
}

impl Line {
    fn description(&self) -> String {
        let whole = self.hit.description.replace(['\n', '\r', '\t'], " ");
        if self.no_trunc { whole } else { human::ellipsis(&whole, DESCRIPTION) }
    }

    /// What is true is marked where it is read by people, and a word in JSON.
    fn fields(&self, truth: impl Fn(bool) -> &'static str) -> [(&'static str, String); 5] {
        [
            ("Name", self.hit.name.clone()),
            ("Description", self.description()),
            ("StarCount", self.hit.star_count.to_string()),
            ("IsOfficial", truth(self.hit.is_official).into()),
            ("IsAutomated", truth(self.hit.is_automated).into()),
        ]
    }
}

impl Row for Line {
    fn field(&self, name: &str) -> Option<String> {
        let fields = self.fields(|is| if is { "[OK]" } else { "" });
        fields.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn whole(&self) -> Value {
        template::map(self.fields(|is| if is { "true" } else { "false" }))
    }
}
