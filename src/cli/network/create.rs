//! `kelp network create`.

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::command::{Exit, Verb};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{output, unbuilt};
use crate::engine::network::create::{self, CreateNetwork};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Driver: bridge is the only one
    #[arg(short, long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Address of the gateway, one for each subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Let nothing out, names included
    #[arg(long)]
    internal: bool,
    /// Lease addresses from this part of the subnet
    #[arg(long, value_name = "ADDRESS/BITS")]
    ip_range: Vec<String>,
    /// Give containers IPv6 too
    #[arg(long)]
    ipv6: bool,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Set an option of the driver's: com.docker.network.driver.mtu
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Addresses of the network, one block of each family
    #[arg(long, value_name = "ADDRESS/BITS")]
    subnet: Vec<String>,
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    name: String,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a network";
    const USAGE: &'static str = "[OPTIONS] NETWORK";
    const DESCRIPTION: &'static str = "Containers in one network reach each other by address and by name. Without \
        --subnet, a block is taken that no other network and no route of the host's has.\n\nmacvlan and ipvlan put \
        containers on the host's own link, which only root may; overlay joins several daemons. Published ports (-p) \
        do what they are mostly wanted for.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("A network for a few services", "kelp network create shop"),
        ("With addresses of your own, and IPv6", "kelp network create --subnet 10.9.0.0/24 --ipv6 lab"),
        ("From which nothing gets out", "kelp network create --internal vault"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::NETWORK_CREATE;

    fn run(self, context: &Context) -> Outcome {
        let id = create::create(
            context.engine()?,
            &CreateNetwork {
                name: self.name,
                driver: self.driver.filter(|d| !d.is_empty()),
                subnets: self.subnet,
                gateways: self.gateway,
                ranges: self.ip_range,
                internal: self.internal,
                ipv6: self.ipv6,
                labels: pairs(&self.label),
                options: options(&self.opt)?,
            },
        )?;
        output::line(&id)?;
        Ok(ExitStatus::Success)
    }
}

fn pairs(list: &[String]) -> BTreeMap<String, String> {
    list.iter()
        .map(|text| text.split_once('=').map_or((text.clone(), String::new()), |(k, v)| (k.into(), v.into())))
        .collect()
}

fn options(list: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    match list.iter().find(|text| !text.contains('=')) {
        Some(bad) => Err(Failure::Usage(format!("invalid option `{bad}`: KEY=VALUE is expected"))),
        None => Ok(pairs(list)),
    }
}
