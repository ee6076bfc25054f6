//! What a container has in a network.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::NetworkRecord;
use crate::store::container::row::{json, nanos, to_json};
use crate::store::id::ContainerId;
use crate::store::{Error, Result, Store};
use crate::sys::Context;

/// A lease precedes its container's row by less than this.
const MAKING: SignedDuration = SignedDuration::from_mins(10);

/// An Ethernet address of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// docker's choice: locally administered, and as unique as the address.
    fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = &'static str;
    /// Six pairs of hex digits, separated by `:` or `-`: one interface's address, not a group's.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or("six pairs of hex digits are expected")?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| "six pairs of hex digits are expected")?;
        }
        if parts.next().is_some() {
            return Err("six pairs of hex digits are expected");
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err("it is not the address of one interface");
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = &'static str;
    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// What is asked for; `None` leaves the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Option<Mac>,
    pub aliases: Vec<String>,
}

/// What a container has in a network for as long as both exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub network: String,
    pub container: ContainerId,
    pub ipv4: Ipv4Addr,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Mac,
    pub aliases: Vec<String>,
}

const COLUMNS: &str = "network, container, ipv4, ipv6, mac, aliases";

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    let parse = |column: usize, text: &str| {
        text.parse().map_err(|_| {
            rusqlite::Error::FromSqlConversionFailure(
                column,
                rusqlite::types::Type::Text,
                "no address".into(),
            )
        })
    };
    let ipv6: Option<String> = row.get(3)?;
    let ipv6: Option<std::net::IpAddr> = ipv6.map(|text| parse(3, &text)).transpose()?;
    let std::net::IpAddr::V4(ipv4) = parse(2, row.get_ref(2)?.as_str()?)? else {
        return Err(rusqlite::Error::InvalidQuery);
    };
    let container: String = row.get(1)?;
    Ok(Lease {
        network: row.get(0)?,
        container: container.parse().map_err(|e: crate::store::id::InvalidName| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, e.into())
        })?,
        ipv4,
        ipv6: match ipv6 {
            Some(std::net::IpAddr::V6(v6)) => Some(v6),
            _ => None,
        },
        mac: json(row, 4)?,
        aliases: json(row, 5)?,
    })
}

impl Store {
    /// What is leased of the network.
    pub fn leases_of_network(&self, network: &str) -> Result<Vec<Lease>> {
        self.sql("list leases", self.leases("network = ?1", network))
    }

    /// What the container has, in all its networks.
    pub fn leases_of_container(&self, container: &ContainerId) -> Result<Vec<Lease>> {
        self.sql("list leases", self.leases("container = ?1", container.as_str()))
    }

    fn leases(&self, condition: &str, value: &str) -> rusqlite::Result<Vec<Lease>> {
        let sql = format!("SELECT {COLUMNS} FROM leases WHERE {condition} ORDER BY taken");
        self.db.prepare_cached(&sql)?.query_map([value], lease)?.collect()
    }

    /// Gives the container what it wants of the network, or what it has already where that is the same. The
    /// container's row may be yet to come. `AddressTaken`, `NoAddress`, `NoSuchNetwork`.
    pub fn lease_address(
        &self,
        network: &NetworkRecord,
        container: &ContainerId,
        wanted: &Wanted,
    ) -> Result<Lease> {
        let take = || -> rusqlite::Result<Result<Lease>> {
            let writing = self.begin_writing()?;
            if !self.network_exists(&network.id)? {
                return Ok(Err(Error::NoSuchNetwork(network.name.clone())));
            }
            // Made here and not with the network: it is gone once the network is.
            let made =
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.network_dir(&network.id));
            if let Err(e) = made.op_on("create", self.network_dir(&network.id)) {
                return Ok(Err(e.into()));
            }
            self.forget_orphans()?;
            let all = self.leases("network = ?1", &network.id)?;
            let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|l| l.container == *container);
            let made = match choose(network, container, wanted, own.first(), &others) {
                Ok(made) => made,
                Err(e) => return Ok(Err(e)),
            };
            if own.first() != Some(&made) {
                self.write_lease(&made)?;
                writing.commit()?;
            }
            Ok(Ok(made))
        };
        self.sql("lease an address", take())?
    }

    fn write_lease(&self, made: &Lease) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO leases ({COLUMNS}, taken) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            ))?
            .execute(params![
                made.network,
                made.container.as_str(),
                made.ipv4.to_string(),
                made.ipv6.map(|v6| v6.to_string()),
                to_json(&made.mac)?,
                to_json(&made.aliases)?,
                nanos(Timestamp::now()),
            ])?;
        Ok(())
    }

    /// Those whose container was never made.
    fn forget_orphans(&self) -> rusqlite::Result<()> {
        let before = Timestamp::now().checked_sub(MAKING).unwrap_or_default();
        let sql = "DELETE FROM leases WHERE taken < ?1 AND container NOT IN (SELECT id FROM containers)";
        self.db.prepare_cached(sql)?.execute([nanos(before)]).map(|_| ())
    }

    /// The container's making came to nothing. Without a row it keeps no lease.
    pub fn release_unmade(&self, container: &ContainerId) -> Result<()> {
        let release = || {
            let writing = self.begin_writing()?;
            let known = "SELECT 1 FROM containers WHERE id = ?1";
            let known =
                self.db.prepare_cached(known)?.query_row([container.as_str()], |_| Ok(())).optional()?;
            if known.is_none() {
                self.release_all(container)?;
            }
            writing.commit()
        };
        self.sql("release the container's addresses", release())
    }

    /// For within a transaction: the container goes.
    pub(in crate::store) fn release_all(&self, container: &ContainerId) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("DELETE FROM leases WHERE container = ?1")?
            .execute([container.as_str()])
            .map(|_| ())
    }

    /// The container leaves the network. `false`: it was not in it.
    pub fn release(&self, network: &str, container: &ContainerId) -> Result<bool> {
        let release = || {
            let writing = self.begin_writing()?;
            let sql = "DELETE FROM leases WHERE network = ?1 AND container = ?2";
            let gone = self.db.prepare_cached(sql)?.execute([network, container.as_str()])?;
            writing.commit()?;
            Ok(gone > 0)
        };
        self.sql("release an address", release())
    }
}

/// What the container had stays its own where nothing else is wanted.
fn choose(
    network: &NetworkRecord,
    container: &ContainerId,
    wanted: &Wanted,
    own: Option<&Lease>,
    others: &[Lease],
) -> Result<Lease> {
    let refuse = |address: &dyn fmt::Display, reason| {
        Err(Error::NoAddress { network: network.name.clone(), address: address.to_string(), reason })
    };
    let taken = || Err(Error::AddressTaken);
    let taken4: Vec<_> = others.iter().map(|l| l.ipv4).collect();
    let ipv4 = match wanted.ipv4.or(own.map(|l| l.ipv4)) {
        Some(a) if !network.v4.is_for_containers(a) => {
            return refuse(&a, "it is not one of the subnet's for containers");
        }
        Some(a) if taken4.contains(&a) => return taken(),
        Some(a) => a,
        None => match network.v4.lowest_free(&taken4) {
            Some(a) => a,
            None => return refuse(&"", "all are in use"),
        },
    };
    let taken6: Vec<_> = others.iter().filter_map(|l| l.ipv6).collect();
    let ipv6 = match (&network.v6, wanted.ipv6.or(own.and_then(|l| l.ipv6))) {
        (None, Some(a)) => return refuse(&a, "the network has no IPv6"),
        (None, None) => None,
        (Some(v6), Some(a)) if !v6.is_for_containers(a) => {
            return refuse(&a, "it is not one of the subnet's for containers");
        }
        (Some(_), Some(a)) if taken6.contains(&a) => return taken(),
        (Some(_), Some(a)) => Some(a),
        (Some(v6), None) => match v6.lowest_free(&taken6) {
            Some(a) => Some(a),
            None => return refuse(&"", "all are in use"),
        },
    };
    let mac = wanted.mac.or(own.map(|l| l.mac)).unwrap_or_else(|| Mac::of(ipv4));
    if others.iter().any(|l| l.mac == mac) {
        return refuse(&mac, "another container of the network has it");
    }
    let (network, container) = (network.id.clone(), container.clone());
    Ok(Lease { network, container, ipv4, ipv6, mac, aliases: wanted.aliases.clone() })
}
