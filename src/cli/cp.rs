//! `kelp cp`.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::{Args, ValueHint};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome, complain};
use super::{escape, human, unbuilt};
use crate::engine::container::cp::{self, CpRequest, Side};
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Keep the owners of files
    #[arg(short, long)]
    archive: bool,
    /// Copy what the source links to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of the host, or - for a tar archive on stdin
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    source: OsString,
    /// The same; - writes a tar archive to stdout
    #[arg(value_name = "DESTINATION", value_hint = ValueHint::AnyPath)]
    destination: OsString,
}

impl Verb for Cp {
    const ABOUT: &'static str = "Copy files/folders between a container and the local filesystem";
    const USAGE: &'static str =
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       kelp cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const DESCRIPTION: &'static str = "The container may run, have ended, or never have run. Its files are its root file \
        system and what is bound into it; tmpfs, /proc, /sys, /dev and what its processes have mounted are not there, as \
        with docker.\n\nA file or directory that is copied onto a directory lands in it; DIR/. copies what is in DIR. What \
        is there already is replaced, but never a directory by a file or the reverse. The destination's parent must \
        be there. A local path with a colon is told by ./ before it.\n\nIn the container, files belong to its root; with \
        --archive to whom they belong on the host, as the container sees that: what is yours is root's, and what belongs \
        to users that no container can have is root's too. On the host they are yours, without set-user-ID \
        and set-group-ID bits; with --archive they keep the container's owners, which here are your \
        subordinate ids. An archive from stdin, plain or compressed, is unpacked with the owners it names.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Into a container", "kelp cp site/. web:/srv/www"),
        ("Out of it", "kelp cp web:/var/log/httpd ."),
        ("From one to another", "kelp cp a:/data - | kelp cp - b:/"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::CP;

    fn run(self, context: &Context) -> Outcome {
        for (what, value) in [("source", &self.source), ("destination", &self.destination)] {
            if value.is_empty() {
                return Err(Failure::Usage(format!("{what} can not be empty")));
            }
        }
        let shown = self.destination.to_string_lossy().into_owned();
        let to_stream = self.destination == "-";
        let request = CpRequest {
            source: side(self.source)?,
            destination: side(self.destination)?,
            archive: self.archive,
            follow_link: self.follow_link,
        };
        let bytes = cp::cp(context.engine()?, &request).map_err(Failure::streaming)?;
        if !self.quiet && !to_stream && std::io::stdout().is_terminal() {
            let size = human::long_size(bytes);
            complain(&format!("Successfully copied {size} to {}\n", escape::line(&shown)));
        }
        Ok(ExitStatus::Success)
    }
}

/// docker's rule: what begins with `/` or `.` is of the host, otherwise what stands before a colon is a container.
fn side(typed: OsString) -> Result<Side, Failure> {
    if typed == "-" {
        return Ok(Side::Stream);
    }
    let bytes = typed.as_bytes();
    let colon = bytes.iter().position(|b| *b == b':').filter(|at| *at > 0);
    let Some(colon) = colon.filter(|_| !Path::new(&typed).is_absolute() && bytes[0] != b'.') else {
        return Ok(Side::Local(typed));
    };
    let name = OsStr::from_bytes(&bytes[..colon]).to_string_lossy().into_owned();
    let path = OsString::from_vec(bytes[colon + 1..].to_vec());
    if path.is_empty() {
        return Err(Failure::Usage(format!("the path in container {name} is empty")));
    }
    Ok(Side::Container { name, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        let of = |text: &str| side(text.into()).unwrap();
        let container = |name: &str, path: &str| Side::Container { name: name.into(), path: path.into() };
        assert_eq!(of("web:/a:b"), container("web", "/a:b"));
        assert_eq!(of("web:a"), container("web", "a"));
        assert_eq!(of("-"), Side::Stream);
        for local in ["a", "./web:/a", "/web:/a", ".web:x", ":x", "../a:b"] {
            assert_eq!(of(local), Side::Local(local.into()), "{local}");
        }
        assert!(side("web:".into()).is_err());
    }
}
