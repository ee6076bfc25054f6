//! `kelp network inspect`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::context::Context;
use crate::cli::failure::{Outcome, complain};
use crate::cli::inspect::{pretty, text_of};
use crate::cli::{complete, output};
use crate::engine::network::inspect;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Inspect {
    /// Print with a Go template, or as `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// docker's, for services of a swarm: there are none, and nothing more is shown
    #[arg(short, long)]
    #[allow(dead_code, reason = "it changes nothing, with docker neither")]
    verbose: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NETWORK", add = complete::all_networks())]
    names: Vec<String>,
}

impl Verb for Inspect {
    const ABOUT: &'static str = "Show everything about networks";
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const DESCRIPTION: &'static str = "A JSON list in docker's shape. Containers are those that run.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Its addresses", "kelp network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{end}}' shop"),
        ("Who is in it", "kelp network inspect -f '{{range .Containers}}{{.Name}} {{end}}' shop"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        let mut found = Vec::new();
        let mut complaints = Vec::new();
        for name in &self.names {
            match inspect::inspect(engine, name) {
                Ok(network) => found.push(network),
                Err(e) => complaints.push(crate::cli::failure::Failure::from(e).text()),
            }
        }
        match self.format.as_deref() {
            Some(format) if format.trim() != "json" => output::foreign(&text_of(format, &found)?)?,
            Some(_) => output::raw(&format!("{}\n", serde_json::to_string(&found).unwrap_or_default()))?,
            None => output::raw(&pretty(&found))?,
        }
        complain(&complaints.concat());
        Ok(if complaints.is_empty() { ExitStatus::Success } else { ExitStatus::Failed })
    }
}
