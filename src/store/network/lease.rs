//! What a container has in a network.
//!
//! A lease outlives the run of its container, so that the container has the same address when it starts again. One that
//! does not run gives its lease up where another container can have no address otherwise, unless it was told which
//! address to have: then it keeps it for as long as it exists.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use super::{Mac, NetworkRecord, Number, Subnet};
use crate::store::container::row::{json, nanos, to_json};
use crate::store::id::ContainerId;
use crate::store::{Error, Result, Store};
use crate::sys::Context;

/// A lease precedes its container's row by less than this.
const MAKING: SignedDuration = SignedDuration::from_mins(10);

/// What is asked for; `None` leaves the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Option<Mac>,
    pub aliases: Vec<String>,
}

/// What a container has in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub network: String,
    pub container: ContainerId,
    pub ipv4: Ipv4Addr,
    pub ipv6: Option<Ipv6Addr>,
    pub mac: Mac,
    pub aliases: Vec<String>,
    /// One of the addresses was asked for.
    pub asked: bool,
}

/// What becomes of the leases of containers that do not run, where nothing else is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    Keep,
    GiveUp,
}

const COLUMNS: &str = "network, container, ipv4, ipv6, mac, aliases, asked";

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
        asked: row.get(6)?,
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
    /// container's row may be yet to come, and whoever starts it has its life lock: then nobody else is given the lease
    /// before the container has ended. `AddressTaken`, `MacTaken`,
    /// `AddressesExhausted`, `NoAddress`, `NoSuchNetwork`.
    pub fn lease_address(
        &self,
        network: &NetworkRecord,
        container: &ContainerId,
        wanted: &Wanted,
        idle: Idle,
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
            let (own, mut others): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|l| l.container == *container);
            let mut idlers = None;
            let made = loop {
                let refused = match choose(network, container, wanted, own.first(), &others) {
                    Ok(made) => break made,
                    Err(e) => e,
                };
                let idlers = match (idle, &mut idlers) {
                    (Idle::Keep, _) => return Ok(Err(refused)),
                    (Idle::GiveUp, Some(known)) => known,
                    (Idle::GiveUp, none) => none.insert(self.idlers(&network.id)?),
                };
                let Some(idler) = in_the_way(&refused, wanted, idlers) else { return Ok(Err(refused)) };
                others.retain(|l| l.container != idler);
                idlers.retain(|l| l.container != idler);
                self.forget_lease(&network.id, &idler)?;
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
                "INSERT OR REPLACE INTO leases ({COLUMNS}, taken) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
            ))?
            .execute(params![
                made.network,
                made.container.as_str(),
                made.ipv4.to_string(),
                made.ipv6.map(|v6| v6.to_string()),
                to_json(&made.mac)?,
                to_json(&made.aliases)?,
                made.asked,
                nanos(Timestamp::now()),
            ])?;
        Ok(())
    }

    /// Leases that may be given up, that of the container first which ended longest ago. A container that is being
    /// started may be recorded as ended still, but then its life lock is held.
    fn idlers(&self, network: &str) -> rusqlite::Result<Vec<Lease>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM leases JOIN (SELECT id, phase, coalesce(finished, created) AS idle FROM containers)
                ON id = container WHERE network = ?1 AND NOT asked AND phase <> 'launched' ORDER BY idle"
        );
        let mut idlers: Vec<Lease> =
            self.db.prepare_cached(&sql)?.query_map([network], lease)?.collect::<rusqlite::Result<_>>()?;
        idlers.retain(|idler| matches!(self.life_lock_held(&idler.container), Ok(false)));
        Ok(idlers)
    }

    fn forget_lease(&self, network: &str, container: &ContainerId) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM leases WHERE network = ?1 AND container = ?2";
        Ok(self.db.prepare_cached(sql)?.execute([network, container.as_str()])? > 0)
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
            let gone = self.forget_lease(network, container)?;
            writing.commit()?;
            Ok(gone)
        };
        self.sql("release an address", release())
    }
}

/// The container whose lease is given up, of `idlers`, for what was `refused`.
fn in_the_way(refused: &Error, wanted: &Wanted, idlers: &[Lease]) -> Option<ContainerId> {
    let holds = |l: &&Lease| {
        let four = wanted.ipv4 == Some(l.ipv4);
        four || wanted.ipv6.is_some() && wanted.ipv6 == l.ipv6 || wanted.mac == Some(l.mac)
    };
    let idler = match refused {
        Error::AddressTaken | Error::MacTaken { .. } => idlers.iter().find(holds),
        Error::AddressesExhausted { .. } => idlers.first(),
        _ => None,
    };
    idler.map(|l| l.container.clone())
}

/// What the container had stays its own where nothing else is wanted.
fn choose(
    network: &NetworkRecord,
    container: &ContainerId,
    wanted: &Wanted,
    own: Option<&Lease>,
    others: &[Lease],
) -> Result<Lease> {
    let taken: Vec<_> = others.iter().map(|l| l.ipv4).chain(network.reserved()).collect();
    let ipv4 = address(network, &network.v4, (wanted.ipv4, own.map(|l| l.ipv4)), &taken)?;
    let ipv6 = match (&network.v6, wanted.ipv6) {
        (None, Some(a)) => return Err(refusal(network, &a, "the network has no IPv6")),
        (None, None) => None,
        (Some(v6), wanted) => {
            let taken: Vec<_> = others.iter().filter_map(|l| l.ipv6).chain(network.reserved()).collect();
            Some(address(network, v6, (wanted, own.and_then(|l| l.ipv6)), &taken)?)
        }
    };
    let is_taken = |mac: &Mac| others.iter().any(|l| l.mac == *mac);
    let mac = match (wanted.mac, own.map(|l| l.mac)) {
        (Some(mac), _) if is_taken(&mac) => {
            return Err(Error::MacTaken { network: network.name.clone(), mac: mac.to_string() });
        }
        (Some(mac), _) => mac,
        (None, Some(mac)) if !is_taken(&mac) => mac,
        // Somebody may have asked for the one that goes with the address.
        (None, _) => Mac::of(ipv4).find(|mac| !is_taken(mac)).ok_or(Error::AddressTaken)?,
    };
    Ok(Lease {
        network: network.id.clone(),
        container: container.clone(),
        ipv4,
        ipv6,
        mac,
        aliases: wanted.aliases.clone(),
        asked: wanted.ipv4.is_some() || wanted.ipv6.is_some(),
    })
}

/// The address that is wanted, or else what the container has, or else the lowest that is free.
fn address<A: Number>(
    network: &NetworkRecord,
    subnet: &Subnet<A>,
    (wanted, own): (Option<A>, Option<A>),
    taken: &[A],
) -> Result<A> {
    match wanted.or(own) {
        Some(a) if !subnet.is_for_containers(a) => {
            Err(refusal(network, &a, "it is not one of the subnet's for containers"))
        }
        Some(a) if taken.contains(&a) => Err(Error::AddressTaken),
        Some(a) => Ok(a),
        None => subnet.lowest_free(taken).ok_or_else(|| Error::AddressesExhausted {
            family: if A::BITS == 32 { "IPv4" } else { "IPv6" },
            network: network.name.clone(),
            id: network.id.clone(),
        }),
    }
}

fn refusal(network: &NetworkRecord, address: &dyn fmt::Display, reason: &'static str) -> Error {
    Error::NoAddress { network: network.name.clone(), address: address.to_string(), reason }
}
