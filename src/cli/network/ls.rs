//! `kelp network ls`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::context::Context;
use crate::cli::failure::Outcome;
use crate::cli::images::pair;
use crate::cli::table::{Column, Listing};
use crate::cli::{complete, human, output, template, unbuilt};
use crate::engine::network::Shown;
use crate::engine::network::ls;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Ls {
    /// Show only what matches: dangling, driver, id, label, name, scope, type
    #[arg(short, long, value_name = "KEY=VALUE", add = complete::network_filters())]
    filter: Vec<String>,
    /// Print with a Go template, as `table TEMPLATE` or as `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
}

const COLUMNS: &[Column] = &[
    Column { field: "ID", header: "NETWORK ID" },
    Column { field: "Name", header: "NAME" },
    Column { field: "Driver", header: "DRIVER" },
    Column { field: "Scope", header: "SCOPE" },
    Column { field: "IPv4", header: "IPV4" },
    Column { field: "IPv6", header: "IPV6" },
    Column { field: "Internal", header: "INTERNAL" },
    Column { field: "Labels", header: "LABELS" },
    Column { field: "CreatedAt", header: "CREATED AT" },
];
const PLAIN: &str = "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}";

impl Verb for Ls {
    const ABOUT: &'static str = "List networks";
    const USAGE: &'static str = "[OPTIONS]";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Those that I made", "kelp network ls --filter type=custom"),
        ("For a script", "kelp network ls --format '{{.Name}} {{.Internal}}'"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::NETWORK_LS;

    fn run(self, context: &Context) -> Outcome {
        let filters = self.filter.iter().map(|f| pair(f)).collect::<Result<Vec<_>, _>>()?;
        let networks = ls::list(context.engine()?, &filters)?;
        let format = self.format.as_deref().unwrap_or(if self.quiet { "{{.ID}}" } else { PLAIN });
        let listing = Listing::parse(format, PLAIN, COLUMNS)?;
        let values = networks
            .iter()
            .map(|network| template::map_with_labels(fields(network, self.no_trunc), network.labels.clone()));
        output::foreign(&listing.render(values)?)?;
        Ok(ExitStatus::Success)
    }
}

fn fields(network: &Shown, no_trunc: bool) -> Vec<(&'static str, String)> {
    let labels: Vec<String> = network.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let record = network.record.as_ref();
    vec![
        ("ID", if no_trunc { network.id.clone() } else { network.id.chars().take(12).collect() }),
        ("Name", network.name.clone()),
        ("Driver", network.driver.into()),
        ("Scope", "local".into()),
        ("IPv4", true.to_string()),
        ("IPv6", network.has_ipv6().to_string()),
        ("Internal", record.is_some_and(|r| r.internal).to_string()),
        ("Labels", labels.join(",")),
        ("CreatedAt", human::go_time(network.created)),
    ]
}
