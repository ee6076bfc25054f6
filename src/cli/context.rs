//! What commands share: the settings and the open store, each made when it is first asked for.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;

use super::failure::Failure;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::container::run::{Expected, Guess};

/// Lives until the process ends: what is in it needs no goodbye of its own but [`Context::farewell`].
#[derive(Debug, Default)]
pub(super) struct Context {
    config: OnceCell<Config>,
    engine: OnceCell<Engine>,
    /// The container that `run` will make, once its shim is on its way.
    expected: RefCell<Option<Expected>>,
}

impl Context {
    pub(super) fn config(&self) -> Result<&Config, Failure> {
        match self.config.get() {
            Some(config) => Ok(config),
            None => {
                let config = Config::load()?;
                Ok(self.config.get_or_init(|| config))
            }
        }
    }

    /// Opens the store, making it when there is none.
    pub(super) fn engine(&self) -> Result<&Engine, Failure> {
        match self.engine.get() {
            Some(engine) => Ok(engine),
            None => {
                let config = self.config()?.clone();
                let found = self.expected.borrow().as_ref().and_then(|e| e.layout().cloned());
                let engine = match found {
                    Some(layout) => Engine::open_located(config, layout),
                    None => Engine::open(config),
                }?;
                Ok(self.engine.get_or_init(|| engine))
            }
        }
    }

    /// Starts the shim of a container to be.
    pub(super) fn expect_container(&self, guess: Guess) {
        let expected = self.config().ok().and_then(|config| Expected::soon(config, guess).ok());
        *self.expected.borrow_mut() = expected;
    }

    /// Its shim ends.
    pub(super) fn expect_nothing(&self) {
        drop(self.expected.take());
    }

    /// The container that was expected, or one that is from now on.
    pub(super) fn expected_container(&self, guess: Guess) -> Result<Expected, Failure> {
        match self.expected.take() {
            Some(expected) => Ok(expected),
            None => Ok(Expected::soon(self.config()?, guess)?),
        }
    }

    /// To be called when the command has said all that it has to say.
    pub(super) fn farewell(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.farewell();
        }
    }

    /// Where relative paths of the command line begin; empty where the directory has been removed, which is nothing to
    /// those that name none.
    pub(super) fn cwd(&self) -> Result<PathBuf, Failure> {
        match std::env::current_dir() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(PathBuf::new()),
            other => {
                other.map_err(|source| Failure::Io { doing: "read the current directory".into(), source })
            }
        }
    }
}
