//! The verbs, one file per noun: typed request in, typed result out. No printing, no command-line parser.

pub mod container;
mod error;
pub mod exec;
pub mod image;
pub mod options;
pub mod request;
pub mod spec;
pub mod system;

pub use error::{Error, Result};

use crate::config::Config;
use crate::store::Store;

/// One opened store and the settings that the verbs obey.
#[derive(Debug)]
pub struct Engine {
    pub config: Config,
    pub store: Store,
}
