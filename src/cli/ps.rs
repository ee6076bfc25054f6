//! `kelp ps`.

use std::sync::Arc;

use clap::Args;
use gotmpl::Value;
use jiff::Timestamp;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Outcome, notice};
use super::table::{self, Column, Listing};
use super::template::{self, Row};
use super::{complete, human, images, output, port, unbuilt};
use crate::engine::container::ps::{self, Query, Status, Summary};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Show only what matches: ancestor, before, exited, expose, health, id, is-task, label, name,
    /// network, publish, since, status, volume
    #[arg(short, long, value_name = "KEY=VALUE", add = complete::container_filters())]
    filter: Vec<String>,
    /// Print with a Go template, as `table TEMPLATE`, as `json` or as `raw`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show the newest N containers in any state
    #[arg(short = 'n', long, value_name = "N", default_value = "-1", hide_default_value = true,
        value_parser = clap::value_parser!(i64))]
    last: i64,
    /// Show the newest container in any state
    #[arg(short, long)]
    latest: bool,
    /// Show whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

pub(super) const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "CONTAINER ID" },
    Column { field: "Image", header: "IMAGE" },
    Column { field: "Command", header: "COMMAND" },
    Column { field: "CreatedAt", header: "CREATED AT" },
    Column { field: "RunningFor", header: "CREATED" },
    Column { field: "Ports", header: "PORTS" },
    Column { field: "State", header: "STATE" },
    Column { field: "Status", header: "STATUS" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Names", header: "NAMES" },
    Column { field: "Labels", header: "LABELS" },
    Column { field: "Mounts", header: "MOUNTS" },
    Column { field: "LocalVolumes", header: "LOCAL VOLUMES" },
    Column { field: "Networks", header: "NETWORKS" },
    Column { field: "Platform", header: "PLATFORM" },
];
const TABLE: &str =
    "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";
const SIZED: &str = "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}\\t{{.Size}}";

/// Of `--format raw`. docker leaves out the blank before what is empty.
const RAW_ID: &str = "container_id: {{.ID}}";
const RAW: [&str; 8] = [
    "image: {{.Image}}",
    "command: {{.Command}}",
    "created_at: {{.CreatedAt}}",
    "state: {{- pad .State 1 0}}",
    "status: {{- pad .Status 1 0}}",
    "names: {{.Names}}",
    "labels: {{- pad .Labels 1 0}}",
    "ports: {{- pad .Ports 1 0}}",
];
const RAW_SIZE: &str = "size: {{.Size}}";

impl Verb for Ps {
    const ABOUT: &'static str = "List containers";
    const USAGE: &'static str = "[OPTIONS]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("All, with sizes", "kelp ps -as"),
        ("Names and states, for a script", "kelp ps -a --format '{{.Names}} {{.State}}'"),
        ("What failed", "kelp ps -a --filter exited=1"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PS;

    fn run(self, context: &Context) -> Outcome {
        let default = if self.size { SIZED } else { TABLE };
        let format = match self.format.as_deref() {
            Some("raw") if self.quiet => RAW_ID,
            Some("raw") => {
                let size = self.size.then_some(RAW_SIZE);
                &table::raw([RAW_ID].into_iter().chain(RAW).chain(size))
            }
            given if self.quiet => {
                if given.is_some() {
                    notice("warning: --format is ignored, because --quiet is given too");
                }
                "{{.ID}}"
            }
            Some(format) => format,
            None => default,
        };
        let listing = Listing::parse(format, default, COLUMNS)?;
        let json = matches!(listing, Listing::Json);
        let names = |field: &str| format.contains(field);
        let whole_row = format.split("json .").skip(1).any(|rest| !rest.starts_with(char::is_alphabetic));
        let query = Query {
            all: self.all,
            last: if self.latest { Some(1) } else { usize::try_from(self.last).ok().filter(|n| *n > 0) },
            filters: self.filter.iter().map(|f| images::pair(f)).collect::<Result<_, _>>()?,
            details: json || names("Mounts") || names("Networks") || whole_row,
            size: self.size || names(".Size") || whole_row,
        };
        let rows = ps::list(context.engine()?, &query)?;
        let now = Timestamp::now();
        let text = listing.render(rows.iter().map(|row| Line { row, no_trunc: self.no_trunc, now }))?;
        output::foreign(&text)?;
        Ok(ExitStatus::Success)
    }
}

/// One line of the listing.
struct Line<'a> {
    row: &'a Summary,
    no_trunc: bool,
    now: Timestamp,
}

/// docker's fields, in the order of its documentation.
const FIELDS: [&str; 14] = [
    "ID",
    "Image",
    "Command",
    "CreatedAt",
    "RunningFor",
    "Ports",
    "State",
    "Status",
    "Size",
    "Names",
    "Labels",
    "Mounts",
    "LocalVolumes",
    "Networks",
];

impl Line<'_> {
    fn fields(&self) -> Vec<(&'static str, String)> {
        FIELDS.iter().filter_map(|name| Some((*name, self.field(name)?))).collect()
    }
}

/// What a template may name of a container.
pub(super) fn fields(row: &Summary, no_trunc: bool, now: Timestamp) -> Vec<(&'static str, String)> {
    Line { row, no_trunc, now }.fields()
}

impl Row for Line<'_> {
    fn field(&self, name: &str) -> Option<String> {
        let Self { row, no_trunc, now } = *self;
        let cut = |text: String, length: usize| if no_trunc { text } else { human::ellipsis(&text, length) };
        Some(match name {
            "ID" if no_trunc => row.id.as_str().to_owned(),
            "ID" => row.id.short().to_owned(),
            "Image" => row.image.clone(),
            "Command" => format!("\"{}\"", cut(command_line(&row.command), 20)),
            "CreatedAt" => human::go_time(row.created),
            "RunningFor" => format!("{} ago", human::since(row.created, now)),
            "Ports" => port::column(row),
            "State" => state(row.status).to_owned(),
            "Status" => status(row, now),
            "Size" => size(row),
            "Names" => row.name.to_string(),
            "Labels" => row.labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(","),
            "Mounts" => row.mounts.iter().map(|m| cut(m.clone(), 15)).collect::<Vec<_>>().join(","),
            "LocalVolumes" => "0".into(),
            "Networks" => row.network.clone(),
            _ => return None,
        })
    }

    fn whole(&self) -> Value {
        let mut value = template::map_with_labels(self.fields(), self.row.labels.clone());
        if let Value::Map(map) = &mut value {
            // What docker prints for every container that its image store has no manifest of.
            Arc::make_mut(map).insert("Platform".into(), Value::Nil);
        }
        value
    }
}

/// docker puts arguments with blanks into single quotes, whatever they hold.
fn command_line(command: &[String]) -> String {
    let quoted = command
        .iter()
        .enumerate()
        .map(|(at, word)| if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() });
    quoted.collect::<Vec<_>>().join(" ")
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Restarting => "restarting",
        Status::Exited => "exited",
        Status::Dead => "dead",
    }
}

/// docker's STATUS column.
fn status(row: &Summary, now: Timestamp) -> String {
    let ago = |time: Option<Timestamp>| time.map_or_else(|| "N/A".to_owned(), |t| human::since(t, now));
    let code = row.exit_code.unwrap_or_default();
    match row.status {
        Status::Created => "Created".into(),
        Status::Dead => "Dead".into(),
        Status::Running => format!("Up {}", ago(row.started)),
        Status::Paused => format!("Up {} (Paused)", ago(row.started)),
        Status::Restarting => format!("Restarting ({code}) {} ago", ago(row.finished)),
        Status::Exited => format!("Exited ({code}) {} ago", ago(row.finished)),
    }
}

fn size(row: &Summary) -> String {
    match row.size {
        None => "0B".into(),
        Some(size) => format!("{} (virtual {})", human::size(size.writable), human::size(size.total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: Status) -> Summary {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        Summary {
            id: "0123456789abcdef".repeat(4).parse().unwrap(),
            name: "quiet_kelp".parse().unwrap(),
            image: "debian".into(),
            image_id: None,
            command: vec!["sh".into(), "-c".into(), "while sleep 1; do date; done".into()],
            created: at("2026-11-21T09:00:00Z"),
            status,
            started: Some(at("2026-11-21T11:57:00Z")),
            finished: Some(at("2026-11-21T10:00:00Z")),
            exit_code: Some(3),
            labels: [("com.x".to_owned(), "y".to_owned())].into(),
            mounts: vec!["/home/somebody/project".into()],
            network: "none".into(),
            ports: Vec::new(),
            exposed: Vec::new(),
            size: Some(ps::Size { writable: 1090, total: 117_000_000 }),
        }
    }

    fn print(format: &str, status: Status, no_trunc: bool) -> String {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        Listing::parse(format, TABLE, COLUMNS)
            .unwrap()
            .render([Line { row: &row(status), no_trunc, now }].into_iter())
            .unwrap()
    }

    #[test]
    fn looks_like_dockers_table() {
        let expected = "\
CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS         PORTS     NAMES
0123456789ab   debian    \"sh -c 'while sleep …\"   3 hours ago   Up 3 minutes             quiet_kelp
";
        assert_eq!(print("table", Status::Running, false), expected);
    }

    #[test]
    fn words_states_as_docker_does() {
        let cases = [
            (Status::Created, "created Created\n"),
            (Status::Running, "running Up 3 minutes\n"),
            (Status::Paused, "paused Up 3 minutes (Paused)\n"),
            (Status::Exited, "exited Exited (3) 2 hours ago\n"),
            (Status::Restarting, "restarting Restarting (3) 2 hours ago\n"),
            (Status::Dead, "dead Dead\n"),
        ];
        for (status, text) in cases {
            assert_eq!(print("{{.State}} {{.Status}}", status, false), text);
        }
    }

    #[test]
    fn answers_dockers_usual_formats() {
        let cases = [
            ("{{.Names}}", "quiet_kelp\n"),
            ("{{.Label \"com.x\"}}|{{.Labels}}", "y|com.x=y\n"),
            ("{{.Size}}", "1.09kB (virtual 117MB)\n"),
            ("{{.Mounts}} {{.Networks}}", "/home/somebody… none\n"),
            ("{{.CreatedAt}}", "2026-11-21 09:00:00 +0000 UTC\n"),
            ("table {{.Names}}\\t{{.State}}", "NAMES        STATE\nquiet_kelp   running\n"),
            ("table {{.Label \"com.x\"}}\\t{{.ID}}", "x         CONTAINER ID\ny         0123456789ab\n"),
            ("{{json .Names}}", "\"quiet_kelp\"\n"),
        ];
        for (format, text) in cases {
            assert_eq!(print(format, Status::Running, false), text, "{format}");
        }
        assert_eq!(
            print("{{.Command}}", Status::Running, true),
            "\"sh -c 'while sleep 1; do date; done'\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&print("json", Status::Running, false)).unwrap();
        assert_eq!(json["ID"], "0123456789ab");
        assert_eq!(json["LocalVolumes"], "0");
        assert_eq!(
            json,
            serde_json::from_str::<serde_json::Value>(&print("{{json .}}", Status::Running, false)).unwrap()
        );
        // docker 28.2, `ps --format json`.
        let keys = "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Platform Ports RunningFor \
            Size State Status";
        assert!(json.as_object().unwrap().keys().eq(keys.split_whitespace()), "{json}");
        assert_eq!(json["Platform"], serde_json::Value::Null);
    }
}
