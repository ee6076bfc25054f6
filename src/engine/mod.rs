//! The verbs, one file per noun: typed request in, typed result out. No printing, no command-line parser.

pub mod container;
mod error;
pub mod exec;
mod filter;
pub mod image;
pub mod info;
pub mod login;
pub mod logout;
pub mod manifest;
pub mod network;
pub mod options;
pub mod request;
pub mod search;
pub mod spec;
pub mod system;
pub mod version;

pub use error::{Error, Result};

use crate::config::{self, Config};
use crate::snapshot::{self, Recipe, Snapshotter};
use crate::store::{Layout, Store};

/// One opened store and the settings that the verbs obey.
#[derive(Debug)]
pub struct Engine {
    pub config: Config,
    pub store: Store,
}

impl Engine {
    /// Opens the store that `config` names, making it when nothing is there.
    pub fn open(config: Config) -> Result<Self> {
        let store = Store::open(&config.store)?;
        Ok(Self { config, store })
    }

    /// As [`Self::open`], where the store was found before.
    pub fn open_located(config: Config, layout: Layout) -> Result<Self> {
        let store = Store::open_located(layout)?;
        Ok(Self { config, store })
    }

    /// Who makes this root, as it was asked for, else as the config says. One that does not work here, or not with
    /// this root, is an error; where nobody is asked for, it is passed over.
    pub fn snapshotter(&self, asked: Option<config::Snapshotter>, recipe: &Recipe) -> Result<Snapshotter> {
        let Some(fixed) = fixed(asked.unwrap_or(self.config.snapshotter)) else {
            return Ok(snapshot::choose(&self.store, recipe)?);
        };
        snapshot::require(&self.store, fixed)?;
        fixed.check(recipe)?;
        Ok(fixed)
    }

    /// The last word of a command: leaves to a process of its own what would make the next command slow.
    pub fn farewell(self) {
        self.store.tidy_later();
    }

    /// Opens for looking only: changes nothing on disk. `None` where there is no store.
    pub fn open_read_only(config: Config) -> Result<Option<Self>> {
        Ok(Store::open_read_only(&config.store)?.map(|store| Self { config, store }))
    }
}

/// `None`: whatever works.
fn fixed(snapshotter: config::Snapshotter) -> Option<Snapshotter> {
    match snapshotter {
        config::Snapshotter::Overlay => Some(Snapshotter::Overlay),
        config::Snapshotter::Fuse => Some(Snapshotter::Fuse),
        config::Snapshotter::Copy => Some(Snapshotter::Copy),
        config::Snapshotter::Auto => None,
    }
}
