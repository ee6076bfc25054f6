//! Several `--network`, and what goes with them: `--ip`, `--ip6`, `--mac-address`, `--network-alias`, `--link`.

use std::net::IpAddr;

use super::invalid;
use super::slirp::network;
use crate::engine::request::{Join, NetworkMode};
use crate::engine::{Error, Result};

/// As typed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    pub networks: &'a [String],
    pub ip: Option<&'a str>,
    pub ip6: Option<&'a str>,
    pub mac: Option<&'a str>,
    pub aliases: &'a [String],
    pub links: &'a [String],
}

/// One mode, or any number of user-defined networks; what goes with them is for the first one.
pub fn networks(asked: &Asked<'_>) -> Result<NetworkMode> {
    let mut joins = Vec::new();
    for text in asked.networks.iter().filter(|text| !text.is_empty()) {
        match network(text)? {
            NetworkMode::Networks(more) => joins.extend(more),
            mode if asked.networks.iter().filter(|t| !t.is_empty()).count() == 1 => {
                return alone(mode, asked);
            }
            // docker's words.
            _ => {
                return Err(Error::Network(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                        .into(),
                ));
            }
        }
    }
    let Some(first) = joins.first_mut() else { return alone(NetworkMode::default(), asked) };
    if let Some(ip) = asked.ip {
        set_address(first, "ip", ip, true)?;
    }
    if let Some(ip) = asked.ip6 {
        set_address(first, "ip6", ip, false)?;
    }
    if let Some(mac) = asked.mac {
        first.mac = Some(mac.parse().map_err(|e: &str| invalid("mac-address", mac, e))?);
    }
    for alias in asked.aliases {
        first.aliases.push(checked_alias(alias)?);
    }
    for text in asked.links {
        first.links.push(link(text)?);
    }
    Ok(NetworkMode::Networks(joins))
}

/// `NAME[:ALIAS]`: what the container itself calls another one, and what that is known by.
fn link(text: &str) -> Result<(String, String)> {
    // docker's words.
    let bad = || Error::Network(format!("bad format for links: {text}"));
    let mut parts = text.split(':');
    let (Some(name), alias, None) = (parts.next().filter(|n| !n.is_empty()), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    // docker's own older spelling of names: `/web`, `/me/web`.
    let bare = |word: &str| word.rsplit('/').next().unwrap_or(word).to_ascii_lowercase();
    let (name, alias) = (bare(name), bare(alias.unwrap_or(name)));
    if name.is_empty() || checked_alias(&name).is_err() {
        return Err(bad());
    }
    Ok((checked_alias(&alias)?, name))
}

/// What `network connect` was asked for, besides the network.
pub fn connection(network: &str, asked: &Asked<'_>, priority: i32) -> Result<Join> {
    let mut join = Join { network: network.to_owned(), priority, ..Join::default() };
    if let Some(ip) = asked.ip {
        set_address(&mut join, "ip", ip, true)?;
    }
    if let Some(ip) = asked.ip6 {
        set_address(&mut join, "ip6", ip, false)?;
    }
    for alias in asked.aliases {
        join.aliases.push(checked_alias(alias)?);
    }
    for text in asked.links {
        join.links.push(link(text)?);
    }
    Ok(join)
}

/// docker's words where it has any.
fn alone(mode: NetworkMode, asked: &Asked<'_>) -> Result<NetworkMode> {
    let refuse = |text: &str| Err(Error::Network(text.into()));
    if asked.ip.is_some() || asked.ip6.is_some() {
        return refuse("user specified IP address is supported on user defined networks only");
    }
    if !asked.aliases.is_empty() {
        return refuse("network-scoped aliases are only supported for user-defined networks");
    }
    if !asked.links.is_empty() {
        return refuse(match mode {
            NetworkMode::Host => {
                "conflicting options: host type networking can't be used with links. This would result in undefined \
                 behavior"
            }
            NetworkMode::Container(_) => {
                "conflicting options: container type network can't be used with links. This would result in undefined \
                 behavior"
            }
            _ => {
                "links are supported for user-defined networks only: on the default network containers do not reach each \
                 other (--network bridge, or one of `kelp network create`)"
            }
        });
    }
    if asked.mac.is_some() {
        return refuse(
            "a MAC address is supported on user defined networks only: elsewhere the container's interface carries \
             IP packets, without Ethernet frames and their addresses",
        );
    }
    Ok(mode)
}

/// `NAME[:KEY=VALUE,…]` as podman has it, or docker's `name=NAME,KEY=VALUE,…`.
pub(super) fn join(text: &str) -> Result<Join> {
    let fail = |reason: &str| invalid("network", text, reason);
    let (name, options) = match text.strip_prefix("name=") {
        Some(rest) => rest.split_once(',').map_or((rest, None), |(name, rest)| (name, Some(rest))),
        None => text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest))),
    };
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(sound) {
        return Err(fail("the name of a network is expected"));
    }
    let mut join = Join { network: name.into(), ..Join::default() };
    for option in options.into_iter().flat_map(|o| o.split(',')) {
        let (key, value) =
            option.split_once('=').ok_or_else(|| fail("KEY=VALUE is expected behind the name"))?;
        match key {
            "ip" => match value.parse() {
                Ok(IpAddr::V4(_)) => set_address(&mut join, "ip", value, true)?,
                _ => set_address(&mut join, "ip", value, false)?,
            },
            "ip6" => set_address(&mut join, "ip6", value, false)?,
            "alias" => join.aliases.push(checked_alias(value)?),
            "mac" | "mac-address" => {
                join.mac = Some(value.parse().map_err(|e: &str| invalid("mac-address", value, e))?);
            }
            "gw-priority" => {
                join.priority = value.parse().map_err(|_| fail("gw-priority is a whole number"))?;
            }
            _ => return Err(fail("ip, ip6, alias, mac and gw-priority are allowed behind the name")),
        }
    }
    Ok(join)
}

fn set_address(join: &mut Join, what: &'static str, text: &str, v4: bool) -> Result<()> {
    match text.parse() {
        Ok(IpAddr::V4(a)) if v4 => join.ipv4 = Some(a),
        Ok(IpAddr::V6(a)) if !v4 => join.ipv6 = Some(a),
        _ => {
            return Err(invalid(what, text, format!("an IPv{} address is expected", if v4 { 4 } else { 6 })));
        }
    }
    Ok(())
}

/// A name as a resolver may be asked for it.
fn checked_alias(alias: &str) -> Result<String> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if alias.is_empty() || alias.len() > 253 || !alias.bytes().all(sound) {
        return Err(invalid("network alias", alias, "letters, digits, `-`, `_` and `.` are allowed"));
    }
    Ok(alias.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let podmans = join("shop:ip=10.9.0.7,alias=db,alias=store,mac=02:42:00:00:00:07").unwrap();
        let dockers =
            join("name=shop,ip=10.9.0.7,alias=db,alias=store,mac-address=02:42:00:00:00:07").unwrap();
        assert_eq!(podmans, dockers);
        assert_eq!((podmans.network.as_str(), podmans.aliases.len()), ("shop", 2));
        for bad in
            ["", ":", "a/b", "shop:ip", "shop:ip=x", "shop:ip6=10.0.0.1", "shop:mac=1", "shop:x=1", "name="]
        {
            assert!(join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_and_what_goes_with_them() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let (two, aliases) = (words(&["a", "b"]), words(&["x"]));
        let asked = Asked { networks: &two, ip: Some("10.0.0.9"), aliases: &aliases, ..Asked::default() };
        let NetworkMode::Networks(joins) = networks(&asked).unwrap() else { panic!() };
        assert_eq!((joins[0].ipv4, joins[1].ipv4), (Some([10, 0, 0, 9].into()), None));
        assert_eq!(joins[0].aliases, ["x"]);
        for mixed in [["a", "slirp"], ["none", "a"], ["host", "host"]] {
            assert!(networks(&Asked { networks: &words(&mixed), ..Asked::default() }).is_err(), "{mixed:?}");
        }
        let slirp = words(&["slirp"]);
        for asked in [
            Asked { networks: &slirp, ip: Some("10.0.0.9"), ..Asked::default() },
            Asked { mac: Some("02:42:00:00:00:07"), ..Asked::default() },
            Asked { aliases: &aliases, ..Asked::default() },
        ] {
            assert!(networks(&asked).is_err());
        }
        assert_eq!(networks(&Asked::default()).unwrap(), NetworkMode::default());
    }

    #[test]
    fn links() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(link("web").unwrap(), pair("web", "web"));
        assert_eq!(link("web:DB").unwrap(), pair("db", "web"));
        assert_eq!(link("/web:/me/db").unwrap(), pair("db", "web"));
        for bad in ["", ":", ":a", "a:b:c", "a b", "a:", "a:b c"] {
            assert!(link(bad).is_err(), "{bad}");
        }
        let (web, one) = (["web".to_owned()], ["host".to_owned()]);
        let asked = Asked { networks: &one, links: &web, ..Asked::default() };
        assert!(networks(&asked).is_err_and(|e| e.to_string().contains("can't be used with links")));
        assert!(networks(&Asked { links: &web, ..Asked::default() }).is_err());
    }
}
