//! `kelp logs`.

use std::io::{self, Write};

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{complete, unbuilt};
use crate::engine::container::logs::{self, LogsOptions, Stream};
use crate::engine::options;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Show what the log's options put before each line, as docker does: there are none, so it is a space
    #[arg(long)]
    details: bool,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Nothing older than this: a time, Unix seconds, or a duration back from now (42m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only so many lines from the end, or all
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// Nothing younger than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::containers())]
    container: String,
}

impl Verb for Logs {
    const ABOUT: &'static str = "Print what a container has written";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const DESCRIPTION: &'static str =
        "What the container wrote to its stdout goes to stdout, the rest to stderr.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("The last ten lines, and what follows", "kelp logs -f -n 10 web"),
        ("The last hour, with times", "kelp logs -t --since 1h web"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::LOGS;

    fn run(self, context: &Context) -> Outcome {
        let options = LogsOptions {
            follow: self.follow,
            timestamps: self.timestamps,
            details: self.details,
            tail: tail(&self.tail),
            since: self.since.as_deref().map(|t| options::time("--since", t)).transpose()?,
            until: self.until.as_deref().map(|t| options::time("--until", t)).transpose()?,
        };
        let mut stdout = io::stdout().lock();
        let mut stderr = io::stderr().lock();
        let mut reader_left = false;
        logs::logs(context.engine()?, &self.container, &options, &mut |stream, bytes| {
            let written = match stream {
                Stream::Stdout => stdout.write_all(bytes).and_then(|()| stdout.flush()),
                Stream::Stderr => stderr.write_all(bytes),
            };
            reader_left = matches!(&written, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
            written
        })?;
        Ok(if reader_left { ExitStatus::OutputClosed } else { ExitStatus::Success })
    }
}

/// docker's reading of `--tail`: what is no number, or a negative one, means all.
fn tail(text: &str) -> Option<u64> {
    text.parse().ok()
}
