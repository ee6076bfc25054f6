//! `kelp network disconnect`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Outcome;
use crate::engine::network::disconnect;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Disconnect {
    /// Also from a network that does not exist any more
    #[arg(short, long)]
    force: bool,
    /// Name or id of a network
    #[arg(value_name = "NETWORK", add = complete::all_networks())]
    network: String,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::connected())]
    container: String,
}

impl Verb for Disconnect {
    const ABOUT: &'static str = "Disconnect a container from a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const DESCRIPTION: &'static str = "A running container loses the interface, its address and its names there at once, and its connections by way of it. \
        Ports that were published by way of the network are published by way of the next one that leads out. The last network \
        may be left too: then nothing but lo is there.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Take a container out of a network", "kelp network disconnect shop web"),
        ("Forget a network that was removed", "kelp network disconnect -f shop web"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, context: &Context) -> Outcome {
        disconnect::disconnect(context.engine()?, &self.network, &self.container, self.force)?;
        Ok(ExitStatus::Success)
    }
}
