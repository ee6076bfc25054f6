//! `-p` and `--expose`, in docker's spellings.

use std::net::IpAddr;

use super::invalid;
use crate::engine::Result;
use crate::shim::network::Publish;
use crate::store::container::network::Protocol;

/// `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]`, or `target=…,published=…,protocol=…`. A range of the
/// container's ports goes with one of as many of the host's; a single one takes the first free port of the host's.
pub fn publish(spec: &str) -> Result<Vec<Publish>> {
    let spec = if spec.contains('=') { long(spec)? } else { spec.to_owned() };
    let fail = |reason: String| invalid("port specification", &spec, reason);
    let (ports, protocol) = protocol_of(&spec).map_err(fail)?;
    let (rest, container) = split_last(ports);
    if container.is_empty() {
        return Err(fail("no port specified".into()));
    }
    let (first, last) = range(container)
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| fail(format!("invalid containerPort: {container}")))?;
    let (ip, host) = match rest {
        None => ("", ""),
        Some(rest) => match split_last(rest) {
            (None, host) => ("", host),
            (Some(ip), host) => (ip, host),
        },
    };
    let host_ip = address(ip).map_err(fail)?;
    let host = match host {
        "" => None,
        text => Some(range(text).ok_or_else(|| fail(format!("invalid hostPort: {text}")))?),
    };
    let one = |container_port, host_ports| Publish { protocol, host_ip, host_ports, container_port };
    match host {
        // docker's other word for any port.
        None | Some((0, 0)) => Ok((first..=last).map(|port| one(port, None)).collect()),
        Some(host) if first == last => Ok(vec![one(first, Some(host))]),
        Some((low, high)) if high - low == last - first => {
            Ok((first..=last).zip(low..=high).map(|(port, host)| one(port, Some((host, host)))).collect())
        }
        Some((low, high)) => Err(fail(format!(
            "invalid ranges specified for container and host Ports: {first}-{last} and {low}-{high}"
        ))),
    }
}

/// `PORT[-PORT][/PROTOCOL]`.
pub fn expose(spec: &str) -> Result<Vec<(u16, Protocol)>> {
    let (first, last, protocol) = exposed_range(spec)?;
    Ok((first..=last).map(|port| (port, protocol)).collect())
}

/// The same as its first and its last port.
pub fn exposed_range(spec: &str) -> Result<(u16, u16, Protocol)> {
    let fail = |reason: String| invalid("exposed port", spec, reason);
    let (ports, protocol) = protocol_of(spec).map_err(fail)?;
    let (first, last) = range(ports).ok_or_else(|| fail(format!("invalid port: {ports}")))?;
    Ok((first, last, protocol))
}

/// `PORT[/PROTOCOL]`.
pub fn one_port(spec: &str) -> Result<(u16, Protocol)> {
    match expose(spec)?.as_slice() {
        [one] => Ok(*one),
        _ => Err(invalid("port", spec, "a single one is expected")),
    }
}

/// docker's long form as the short one.
fn long(spec: &str) -> Result<String> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for part in spec.split(',') {
        match part.split_once('=') {
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            _ => return Err(invalid("publish", spec, "target, published and protocol are allowed")),
        }
    }
    Ok(if published.is_empty() {
        format!("{target}/{protocol}")
    } else {
        format!("{published}:{target}/{protocol}")
    })
}

fn protocol_of(spec: &str) -> std::result::Result<(&str, Protocol), String> {
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok((ports, Protocol::Tcp)),
        "udp" => Ok((ports, Protocol::Udp)),
        "sctp" => Err("SCTP needs a kernel module of root's on both sides; tcp and udp are allowed".into()),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

/// At the last colon outside brackets.
fn split_last(text: &str) -> (Option<&str>, &str) {
    match text.rfind(':').filter(|at| !text[*at..].contains(']')) {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    }
}

fn address(text: &str) -> std::result::Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == bare.is_some() => Ok(Some(ip)),
        // As good as a typing error: nobody can tell where it ends.
        Ok(ip) if ip.is_ipv6() => {
            Err(format!("invalid IP address: {text}: an IPv6 address stands in brackets, [{text}]"))
        }
        _ => Err(format!("invalid IP address: {text}")),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok())?;
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last && (first > 0 || last == 0)).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(spec: &str) -> (Option<String>, Option<(u16, u16)>, u16, Protocol) {
        let all = publish(spec).unwrap();
        assert_eq!(all.len(), 1, "{spec}");
        (all[0].host_ip.map(|ip| ip.to_string()), all[0].host_ports, all[0].container_port, all[0].protocol)
    }

    #[test]
    fn dockers_spellings() {
        assert_eq!(one("80"), (None, None, 80, Protocol::Tcp));
        assert_eq!(one("8080:80/udp"), (None, Some((8080, 8080)), 80, Protocol::Udp));
        assert_eq!(
            one("127.0.0.1:8080:80"),
            (Some("127.0.0.1".into()), Some((8080, 8080)), 80, Protocol::Tcp)
        );
        assert_eq!(one("127.0.0.1::80"), (Some("127.0.0.1".into()), None, 80, Protocol::Tcp));
        assert_eq!(one("[::1]:8080:80/TCP"), (Some("::1".into()), Some((8080, 8080)), 80, Protocol::Tcp));
        assert_eq!(one("8000-9000:80"), (None, Some((8000, 9000)), 80, Protocol::Tcp));
        assert_eq!(one("0:80"), (None, None, 80, Protocol::Tcp));
        assert_eq!(one("published=8080,target=80,protocol=udp"), one("8080:80/udp"));
        let range = publish("8000-8002:80-82").unwrap();
        assert_eq!(range.len(), 3);
        assert_eq!((range[2].host_ports, range[2].container_port), (Some((8002, 8002)), 82));
        assert_eq!(publish("3000-3005").unwrap().len(), 6);
        assert_eq!(expose("80-81/udp").unwrap(), [(80, Protocol::Udp), (81, Protocol::Udp)]);
    }

    #[test]
    fn what_makes_no_sense() {
        for bad in [
            "",
            ":",
            "x",
            "80/",
            "80/icmp",
            "80/sctp",
            "8080:",
            "x:80",
            "1.2.3:1:80",
            "::1:8080:80",
            "99999",
            "8000-8001:80-82",
            "82-80",
            "-1:80",
            "80-",
            "0",
            "0-5:80",
            "[1.2.3.4]:1:80",
            "mode=host",
            "+80",
        ] {
            assert!(publish(bad).is_err_and(|e| !e.to_string().is_empty()), "{bad}");
        }
        assert!(publish("8080:").unwrap_err().to_string().contains("no port specified"));
        assert!(publish("8000-8001:80-82").unwrap_err().to_string().contains("invalid ranges specified"));
        assert!(expose("0/x").is_err());
    }
}
