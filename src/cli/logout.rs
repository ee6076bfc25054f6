//! `kelp logout`.

use clap::Args;

use super::command::Verb;
use super::context::Context;
use super::failure::{Outcome, notice};
use super::{complete, escape, output, unbuilt};
use crate::engine::{login, logout};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Registry: HOST[:PORT]; docker.io unless given
    #[arg(value_name = "SERVER", add = complete::logged_in())]
    server: Option<String>,
}

impl Verb for Logout {
    const ABOUT: &'static str = "Log out from a registry";
    const USAGE: &'static str = "[SERVER]";
    const DESCRIPTION: &'static str = "Forgets what `kelp login` (or `docker login`) has kept. Files of podman's are read, never \
        written to; one that has credentials for the registry is named.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[("", "kelp logout registry.example.com")];
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::LOGOUT;

    fn run(self, context: &Context) -> Outcome {
        let server = login::server(self.server.as_deref())?;
        let done = logout::logout(context.config()?, &server)?;
        let server = escape::line(&done.server).into_owned();
        if done.was_in {
            output::line(&format!("Removing login credentials for {server}"))?;
        } else {
            output::line(&format!("Not logged in to {server}"))?;
        }
        if let Some(path) = done.left_in {
            notice(&format!("{} has credentials for {server} too, and kelp uses them", path.display()));
        }
        Ok(ExitStatus::Success)
    }
}
