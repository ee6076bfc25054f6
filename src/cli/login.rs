//! `kelp login`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome, complain};
use super::{complete, output, unbuilt};
use crate::config::credentials::Credential;
use crate::engine::login::{self, Kept};
use crate::error::ExitStatus;

/// Bytes of a password on stdin.
const MAX_PASSWORD: u64 = 1 << 20;
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or access token; others on this machine can see it, --password-stdin is better
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Registry: HOST[:PORT]; docker.io unless given
    #[arg(value_name = "SERVER", add = complete::registries())]
    server: Option<String>,
}

impl Verb for Login {
    const ABOUT: &'static str = "Log in to a registry";
    const USAGE: &'static str = "[OPTIONS] [SERVER]";
    const DESCRIPTION: &'static str = "Shows name and password to the registry, and keeps them when it accepts them: with the \
        credential helper that `credsStore` or `credHelpers` of docker's config.json names, otherwise in that file \
        ($DOCKER_CONFIG/config.json, ~/.docker/config.json, or $REGISTRY_AUTH_FILE), readable by you alone. What docker \
        and podman have kept is used without another login.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Asks for name and password", "kelp login"),
        ("From a script", "kelp login -u ci --password-stdin registry.example.com < token"),
    ];
    const EXIT: Exit = Exit::Registry;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::LOGIN;

    fn run(self, context: &Context) -> Outcome {
        let config = context.config()?;
        let server = login::server(self.server.as_deref())?;
        if self.password.is_some() {
            complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
        }
        if self.username.is_none()
            && self.password.is_none()
            && !self.password_stdin
            && let Some(known) = login::existing(config, &server)?
        {
            complain("Authenticating with existing credentials...\n");
            if login::login(config, &server, known).is_ok() {
                output::line("Login Succeeded")?;
                return Ok(ExitStatus::Success);
            }
            complain("Login did not succeed, error: the existing credentials are refused\n");
        }
        let (user, password) = self.ask()?;
        let kept = login::login(config, &server, Credential::Password { user, password })?;
        if let Kept::File(path) = kept {
            complain(&format!(
                "WARNING! Your credentials are stored unencrypted in '{}'.\n\
                 Configure a credential helper to remove this warning. See\n\
                 https://docs.docker.com/go/credential-store/\n\n",
                super::escape::line(&path.display().to_string())
            ));
        }
        output::line("Login Succeeded")?;
        Ok(ExitStatus::Success)
    }
}

impl Login {
    /// Name and password, from wherever they come.
    fn ask(self) -> Result<(String, String), Failure> {
        if self.password_stdin {
            let Some(user) = self.username.filter(|u| !u.is_empty()) else {
                return Err(Failure::Usage("--password-stdin needs --username".into()));
            };
            let mut password = String::new();
            io::stdin().take(MAX_PASSWORD).read_to_string(&mut password).map_err(unreadable)?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            return checked(user, password);
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return checked(user.clone(), password.clone());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "cannot ask for a password without a terminal: use --username and --password-stdin".into(),
            ));
        }
        let user = match self.username {
            Some(user) => user,
            None => line("Username: ")?,
        };
        let password = match self.password {
            Some(password) => password,
            None => hidden_line("Password: ")?,
        };
        checked(user, password)
    }
}

fn checked(user: String, password: String) -> Result<(String, String), Failure> {
    if user.is_empty() || user.contains(':') {
        return Err(Failure::Usage("a username is needed, without a colon in it".into()));
    }
    if password.is_empty() {
        return Err(Failure::Usage("a password is needed".into()));
    }
    Ok((user, password))
}

fn unreadable(source: io::Error) -> Failure {
    Failure::Io { doing: "read standard input".into(), source }
}

fn prompt(text: &str) {
    complain(text);
    let _ = io::stderr().flush();
}

fn line(question: &str) -> Result<String, Failure> {
    prompt(question);
    let mut answer = String::new();
    io::stdin().lock().take(4096).read_line(&mut answer).map_err(unreadable)?;
    Ok(answer.trim().to_owned())
}

/// A line that is not shown. Keys that would raise a signal are read like any other, so that the terminal is always
/// put back.
fn hidden_line(question: &str) -> Result<String, Failure> {
    prompt(question);
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(|e| unreadable(e.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|e| unreadable(e.into()))?;
    let typed = typed_line(&mut stdin.lock());
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    complain("\n");
    match typed.map_err(unreadable)? {
        Some(bytes) => String::from_utf8(bytes)
            .map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))),
        None => Err(Failure::Reported(ExitStatus::Interrupted(2))),
    }
}

/// `None`: Ctrl-C.
fn typed_line(keys: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut typed = Vec::new();
    let mut key = [0];
    while keys.read(&mut key)? == 1 && typed.len() < 4096 {
        match key[0] {
            b'\n' | b'\r' | CTRL_D => break,
            CTRL_C => return Ok(None),
            erase if BACKSPACE.contains(&erase) => {
                typed.pop();
            }
            key => typed.push(key),
        }
    }
    Ok(Some(typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_edited_and_ctrl_c_ends() {
        let typed = |keys: &[u8]| typed_line(&mut &keys[..]).unwrap();
        assert_eq!(typed(b"secrex\x7ft\nrest"), Some(b"secret".to_vec()));
        assert_eq!(typed(b"sec\x03ret\n"), None);
        assert_eq!(typed(b"s\x04"), Some(b"s".to_vec()));
        assert_eq!(typed(b""), Some(Vec::new()));
    }
}
