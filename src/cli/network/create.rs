//! `kelp network create`.

use std::collections::BTreeMap;

use clap::Args;

use crate::cli::command::{Exit, Verb, switch};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::{output, unbuilt};
use crate::engine::network::create::{self, CreateNetwork};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Shown by `inspect`, as docker does it: any container may be connected to any network
    #[arg(long)]
    attachable: bool,
    /// An address that no container is given, and a name for it
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
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
    /// Who gives addresses: default is the only one
    #[arg(long, value_name = "DRIVER")]
    ipam_driver: Option<String>,
    /// Give containers IPv4: every network does
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = with_ipv4)]
    #[allow(dead_code, reason = "it cannot be anything else")]
    ipv4: bool,
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
        (
            "With an address for a machine that is no container",
            "kelp network create --subnet 10.9.0.0/24 --aux-address printer=10.9.0.5 lab",
        ),
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
                reserved: self.aux_address,
                ipam_driver: self.ipam_driver.filter(|d| !d.is_empty()),
                internal: self.internal,
                attachable: self.attachable,
                ipv6: self.ipv6,
                labels: pairs(&self.label),
                options: options(&self.opt)?,
            },
        )?;
        output::line(&id)?;
        Ok(ExitStatus::Success)
    }
}

/// `--ipv4`, which is docker's default and all that there is here.
fn with_ipv4(text: &str) -> Result<bool, String> {
    if switch(text)? {
        return Ok(true);
    }
    Err("containers in a network always have IPv4; --ipv6 gives them IPv6 too".into())
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
