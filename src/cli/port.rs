//! `kelp port`, and the PORTS column of `kelp ps`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use clap::Args;

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::Outcome;
use super::{complete, output, unbuilt};
use crate::engine::container::port;
use crate::engine::container::ps::Summary;
use crate::engine::options;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Port {
    /// Name or id of a container
    #[arg(value_name = "CONTAINER", add = complete::running())]
    container: String,
    /// Only this port of the container's; tcp unless said otherwise
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl Verb for Port {
    const ABOUT: &'static str = "List port mappings or a specific mapping for the container";
    const USAGE: &'static str = "CONTAINER [PORT[/PROTOCOL]]";
    const DESCRIPTION: &'static str = "One line for each published port: the container's, and where on the host it is \
        reached. With PORT only the latter, and an error when that port is not published.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Everything that is published", "kelp port web"),
        ("Which port of the host -P has chosen", "kelp port web 80"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::PORT;

    fn run(self, context: &Context) -> Outcome {
        let only = self.port.as_deref().map(options::one_port).transpose()?;
        let mut text = String::new();
        for published in port::port(context.engine()?, &self.container, only)? {
            let at = SocketAddr::new(published.host_ip, published.host_port);
            let own = format!("{}/{}", published.container_port, published.protocol.name());
            // Writing to a String cannot fail.
            let _ = match only {
                Some(_) => writeln!(text, "{at}"),
                None => writeln!(text, "{own} -> {at}"),
            };
        }
        output::foreign(&text)?;
        Ok(ExitStatus::Success)
    }
}

/// A port as docker lists it: at which address of the host, if any, and under which number there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    private: u16,
    at: Option<(String, u16)>,
    kind: &'static str,
}

/// docker's PORTS column: a port that has the same number outside goes into a group with its neighbours, the others
/// follow one by one.
pub(super) fn column(row: &Summary) -> String {
    let mut listed: Vec<Listed> = row
        .ports
        .iter()
        .map(|p| Listed {
            private: p.container_port,
            at: Some((shown(p.host_ip), p.host_port)),
            kind: p.protocol.name(),
        })
        .collect();
    let published = |port: u16, kind: &str| listed.iter().any(|l| (l.private, l.kind) == (port, kind));
    let bare: Vec<Listed> = row
        .exposed
        .iter()
        .filter(|(port, protocol)| !published(*port, protocol.name()))
        .map(|(port, protocol)| Listed { private: *port, at: None, kind: protocol.name() })
        .collect();
    listed.extend(bare);
    listed.sort();
    let mut groups: Vec<Group> = Vec::new();
    let (mut closed, mut single) = (Vec::new(), Vec::new());
    for Listed { private, at, kind } in listed {
        let ip = match at {
            Some((ip, public)) if public != private => {
                single.push(format!("{ip}:{public}->{private}/{kind}"));
                continue;
            }
            at => at.map(|(ip, _)| ip),
        };
        match groups.iter_mut().find(|g| g.ip == ip && g.kind == kind) {
            Some(group) if group.last.checked_add(1) == Some(private) => group.last = private,
            Some(group) => {
                closed.push(group.to_string());
                (group.first, group.last) = (private, private);
            }
            None => groups.push(Group { ip, kind, first: private, last: private }),
        }
    }
    closed.extend(groups.iter().map(Group::to_string));
    closed.extend(single);
    closed.join(", ")
}

fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

struct Group {
    ip: Option<String>,
    kind: &'static str,
    first: u16,
    last: u16,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ip, kind, first, last } = self;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match ip {
            Some(ip) => write!(f, "{ip}:{range}->{range}/{kind}"),
            None => write!(f, "{range}/{kind}"),
        }
    }
}
