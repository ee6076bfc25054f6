//! `kelp info`.

use std::fmt::Write;

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{output, template};
use crate::engine::info;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Info {
    /// Print with a Go template, or as `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

impl Verb for Info {
    const ABOUT: &'static str = "Show where kelp keeps things and what the host can do";
    const USAGE: &'static str = "[OPTIONS]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Where is the store?", "kelp info --format '{{.DockerRootDir}}'")];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        let info = info::info(context.engine()?)?;
        let text = match self.format.as_deref() {
            Some(format) => template::one(format, &serde_json::to_value(&info).unwrap_or_default())?,
            None => text(&info),
        };
        output::foreign(&text)?;
        Ok(ExitStatus::Success)
    }
}

fn text(info: &info::Info) -> String {
    let mut out = String::new();
    let mut row = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(out, "{key}: {value}");
    };
    row("Version", &info.server_version);
    row("Store", &info.docker_root_dir);
    row("Containers", &info.containers);
    row(" Running", &info.containers_running);
    row(" Paused", &info.containers_paused);
    row(" Stopped", &info.containers_stopped);
    row("Images", &info.images);
    row("Storage Driver", &info.driver);
    for (driver, status) in &info.driver_status {
        row(&format!(" {driver}"), status);
    }
    row("User Namespace", &info.user_namespace);
    row("Security Options", &info.security_options.join(", "));
    row("Cgroup Driver", &info.cgroup_driver);
    row("Cgroup Version", &info.cgroup_version);
    row("Kernel Version", &info.kernel_version);
    row("Operating System", &info.operating_system);
    row("OSType", &info.os_type);
    row("Architecture", &info.architecture);
    row("CPUs", &info.ncpu);
    row("Total Memory", &super::human::binary_size(info.mem_total));
    row("Name", &info.name);
    for warning in &info.warnings {
        row("WARNING", warning);
    }
    out
}
