//! `kelp network connect`.

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::container_options::given;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{complete, unbuilt};
use crate::engine::network::connect;
use crate::engine::options::{self, Asked};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Connect {
    /// Another name of the container in the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Set an option of the network's driver: bridge has none
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opt: Vec<String>,
    /// The default route leads through the network of the highest priority; of several, through the first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    gw_priority: i32,
    /// IPv4 address in the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// IPv6 address in the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// Call another container of the network by a name of one's own: NAME[:ALIAS]
    #[arg(long, value_name = "CONTAINER", add = complete::containers())]
    link: Vec<String>,
    /// Of no use: a container has the addresses that its network leases to it
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Name or id of a network
    #[arg(value_name = "NETWORK", add = complete::joinable_networks())]
    network: String,
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::connectable())]
    container: String,
}

impl Verb for Connect {
    const ABOUT: &'static str = "Connect a container to a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK CONTAINER";
    const DESCRIPTION: &'static str = "A running container has the network at once: an interface more, its names known to the others and theirs to it, its \
        /etc/hosts and /etc/resolv.conf to match. One that does not run has it from its next start on. It stays so until \
        `kelp network disconnect`.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Let a running container into a network", "kelp network connect shop web"),
        (
            "Under another name, at an address of its own",
            "kelp network connect --alias db --ip 10.9.0.7 lab pg",
        ),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::NETWORK_CONNECT;

    fn run(self, context: &Context) -> Outcome {
        if let Some(option) = self.driver_opt.iter().find(|option| !option.is_empty()) {
            return Err(Failure::Flag(format!(
                "invalid driver option `{option}`: the bridge driver has none for a single container"
            )));
        }
        if let Some(address) = self.link_local_ip.iter().find(|address| !address.is_empty()) {
            return Err(Failure::Flag(format!(
                "invalid link-local IP address `{address}`: a container sends from the addresses that its network has \
                 leased to it and from no others, so that none passes for another; --ip and --ip6 choose those, and \
                 an IPv6 link-local address is there by itself"
            )));
        }
        let asked = Asked {
            ip: given(&self.ip),
            ip6: given(&self.ip6),
            aliases: &self.alias,
            links: &self.link,
            ..Asked::default()
        };
        let join = options::connection(&self.network, &asked, self.gw_priority)?;
        connect::connect(context.engine()?, &self.container, &join)?;
        Ok(ExitStatus::Success)
    }
}
