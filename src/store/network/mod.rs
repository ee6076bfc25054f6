//! User-defined networks, and the addresses that containers have in them.
//!
//! A network is a row. Nothing runs for it until a container joins. Addresses are leased in one transaction, so that
//! however many start at once no two have the same, and go with the container's row.

mod lease;
mod mac;
mod subnet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

pub use lease::{Idle, Lease, Wanted};
pub use mac::Mac;
pub use subnet::{Number, Subnet};

use super::container::row::{json, nanos, time, to_json};
use super::{Error, Layout, Result, Store};

/// docker's built-in network, a user-defined one but for its name; its row is made when it is first needed.
pub const BRIDGE: &str = "bridge";

/// A network that containers join.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRecord {
    /// 64 lower-case hex digits.
    pub id: String,
    pub name: String,
    pub created: Timestamp,
    pub v4: Subnet<Ipv4Addr>,
    /// `None`: its containers have no IPv6.
    pub v6: Option<Subnet<Ipv6Addr>>,
    /// Addresses that no container is given, and what the user calls each.
    pub reserved: BTreeMap<String, IpAddr>,
    /// No way out of it.
    pub internal: bool,
    /// docker's word for services of a swarm; here it is only shown.
    pub attachable: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

impl NetworkRecord {
    pub fn is_builtin(&self) -> bool {
        self.name == BRIDGE
    }

    /// Of one family.
    fn reserved<A: Number>(&self) -> impl Iterator<Item = A> {
        self.reserved.values().filter_map(|address| A::from_ip(*address))
    }
}

const COLUMNS: &str = "id, name, created, v4, v6, internal, labels, options, reserved, attachable";

fn record(row: &Row<'_>) -> rusqlite::Result<NetworkRecord> {
    let v6: Option<String> = row.get(4)?;
    Ok(NetworkRecord {
        id: row.get(0)?,
        name: row.get(1)?,
        created: time(row, 2)?.unwrap_or_default(),
        v4: json(row, 3)?,
        v6: if v6.is_some() { Some(json(row, 4)?) } else { None },
        internal: row.get(5)?,
        labels: json(row, 6)?,
        options: json(row, 7)?,
        reserved: json(row, 8)?,
        attachable: row.get(9)?,
    })
}

impl Layout {
    /// What the network's process has: its lock and its socket. `id` is 64 hex digits.
    pub fn network_dir(&self, id: &str) -> PathBuf {
        self.root().join("networks").join(super::layout::file_name(id))
    }
}

impl Store {
    /// All networks that have a row, oldest first.
    pub fn networks(&self) -> Result<Vec<NetworkRecord>> {
        self.sql("list networks", self.read_networks())
    }

    fn read_networks(&self) -> rusqlite::Result<Vec<NetworkRecord>> {
        let sql = format!("SELECT {COLUMNS} FROM networks ORDER BY seq");
        self.db.prepare_cached(&sql)?.query_map([], record)?.collect()
    }

    /// By id, by name, by the beginning of an id that no other shares. `NoSuchNetwork`, `AmbiguousPrefix`.
    pub fn find_network(&self, word: &str) -> Result<NetworkRecord> {
        let all = self.networks()?;
        if let Some(found) = all.iter().find(|n| n.id == word).or_else(|| all.iter().find(|n| n.name == word))
        {
            return Ok(found.clone());
        }
        let mut begun = all.into_iter().filter(|n| !word.is_empty() && n.id.starts_with(word));
        match (begun.next(), begun.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Error::NoSuchNetwork(word.into())),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix { what: "network", prefix: word.into() }),
        }
    }

    /// Records the network that `make` comes up with in the light of all there are, before anybody else makes one.
    pub fn create_network<E>(
        &self,
        make: impl FnOnce(&[NetworkRecord]) -> std::result::Result<NetworkRecord, E>,
    ) -> Result<std::result::Result<NetworkRecord, E>> {
        let insert = || {
            let writing = self.begin_writing()?;
            let made = match make(&self.read_networks()?) {
                Ok(made) => made,
                Err(e) => return Ok(Err(e)),
            };
            self.db
                .prepare_cached(&format!(
                    "INSERT INTO networks ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
                ))?
                .execute(params![
                    made.id,
                    made.name,
                    nanos(made.created),
                    to_json(&made.v4)?,
                    made.v6.map(|v6| to_json(&v6)).transpose()?,
                    made.internal,
                    to_json(&made.labels)?,
                    to_json(&made.options)?,
                    to_json(&made.reserved)?,
                    made.attachable,
                ])?;
            writing.commit()?;
            Ok(Ok(made))
        };
        self.sql("record the network", insert())
    }

    /// Forgets the network and what is leased of it. `false`: there is none of that id any more.
    pub fn remove_network(&self, id: &str) -> Result<bool> {
        let remove = || {
            let writing = self.begin_writing()?;
            self.db.prepare_cached("DELETE FROM leases WHERE network = ?1")?.execute([id])?;
            let gone = self.db.prepare_cached("DELETE FROM networks WHERE id = ?1")?.execute([id])?;
            // Whoever joins from now on is told so by the missing directory.
            let _ = std::fs::remove_dir_all(self.network_dir(id));
            writing.commit()?;
            Ok(gone > 0)
        };
        self.sql("forget the network", remove())
    }

    fn network_exists(&self, id: &str) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM networks WHERE id = ?1";
        Ok(self.db.prepare_cached(sql)?.query_row([id], |_| Ok(())).optional()?.is_some())
    }
}
