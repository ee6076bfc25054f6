//! `kelp network rm`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::context::Context;
use crate::cli::failure::{Outcome, each, notice};
use crate::cli::{complete, output, unbuilt};
use crate::engine::network::rm;

#[derive(Debug, Args)]
pub(in crate::cli) struct Rm {
    /// A network that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NETWORK", add = complete::made_networks())]
    names: Vec<String>,
}

impl Verb for Rm {
    const ABOUT: &'static str = "Remove one or more networks";
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const DESCRIPTION: &'static str = "A network in which a container runs stays. A stopped container whose network is gone does not start any \
        more.";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Remove one", "kelp network rm shop"), ("All that nobody uses", "kelp network prune -f")];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::NETWORK_RM;

    fn run(self, context: &Context) -> Outcome {
        let engine = context.engine()?;
        each(&self.names, |name| {
            if rm::rm(engine, name, self.force)? {
                return output::line(name);
            }
            notice(&format!("network {name} not found"));
            Ok(())
        })
    }
}
