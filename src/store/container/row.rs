//! Between a row of the database and a [`ContainerRecord`].

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ContainerRecord, Phase};

/// The columns of `containers` in the order in which [`record`] reads them; the request comes after them.
pub(super) const COLUMNS: &str = "id, name, created, started, finished, phase, exit_code, oom_killed, error, \
                                  auto_remove, image, image_id, command, layers, labels";

/// As [`COLUMNS`], with no layers.
pub(super) const SHORT: &str = "id, name, created, started, finished, phase, exit_code, oom_killed, error, \
                                auto_remove, image, image_id, command, '[]', labels";

/// The request of a row of `containers`, for a query that needs it.
pub(super) const REQUEST: &str = "(SELECT request FROM requests WHERE requests.seq = containers.seq)";

/// A row of [`COLUMNS`] and the request.
pub(super) fn record(row: &Row<'_>) -> Result<ContainerRecord> {
    Ok(ContainerRecord {
        id: parsed(row, 0)?,
        name: parsed(row, 1)?,
        created: time(row, 2)?.unwrap_or_default(),
        started: time(row, 3)?,
        finished: time(row, 4)?,
        phase: Phase::from_word(row.get_ref(5)?.as_str()?),
        exit_code: row.get(6)?,
        oom_killed: row.get(7)?,
        error: row.get(8)?,
        auto_remove: row.get(9)?,
        image: row.get(10)?,
        image_id: row.get(11)?,
        command: json(row, 12)?,
        layers: json(row, 13)?,
        labels: json(row, 14)?,
        request: row.get(15)?,
    })
}

impl Phase {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Launched => "launched",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "launched" => Self::Launched,
            "exited" => Self::Exited,
            _ => Self::Dead,
        }
    }
}

/// Nanoseconds since the epoch, which fit until the year 2262.
pub(in crate::store) fn nanos(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

pub(in crate::store) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let nanos: Option<i64> = row.get(column)?;
    let time = nanos.map(|n| Timestamp::from_nanosecond(i128::from(n))).transpose();
    time.map_err(|e| Error::FromSqlConversionFailure(column, Type::Integer, e.into()))
}

pub(in crate::store) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|e| Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

pub(in crate::store) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::ToSqlConversionFailure(e.into()))
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|e: T::Err| Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
