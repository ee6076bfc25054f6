//! `kelp create`.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::command::{Exit, Verb};
use super::container_options::ContainerOptions;
use super::context::Context;
use super::failure::{Failure, Outcome, notice};
use super::{output, unbuilt};
use crate::engine;
use crate::error::ExitStatus;

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    container: ContainerOptions,
}

impl Verb for Create {
    const ABOUT: &'static str = "Create a container without starting it";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const DESCRIPTION: &'static str = "Makes the container and its writable layer and prints its id. `kelp start` \
        runs it. All options are those of `kelp run`, and are kept with the container.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("Create now, start later", "kelp create --name web -v ./site:/srv:ro debian python3 -m http.server"),
        ("", "kelp start -a web"),
    ];
    const EXIT: Exit = Exit::Verb;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::CREATE;

    fn run(self, context: &Context) -> Outcome {
        let mut request = self.container.request(context)?;
        request.stdin_once = request.interactive;
        self.container.pull_image(context, &request)?;
        let mut cidfile = self.container.cidfile.as_deref().map(CidFile::new).transpose()?;
        let created = engine::container::create::create(context.engine()?, request)?;
        for warning in &created.warnings {
            notice(&format!("warning: {warning}"));
        }
        if let Some(file) = &mut cidfile {
            file.write(created.id.as_str()).map_err(|source| file.failure(source))?;
        }
        output::line(created.id.as_str())?;
        Ok(ExitStatus::Success)
    }
}

/// The file of `--cidfile`: made before the container is, so that a failure makes no container, and gone again when
/// no id came to be written.
#[derive(Debug)]
pub(super) struct CidFile<'a> {
    path: &'a Path,
    file: std::fs::File,
    written: bool,
}

impl<'a> CidFile<'a> {
    pub(super) fn new(path: &'a Path) -> Result<Self, Failure> {
        let file = std::fs::File::create_new(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::Flag(format!(
                "the cidfile {} exists: see that its container is not needed any more, then remove the file",
                path.display()
            )),
            _ => Failure::Io { doing: format!("create the cidfile {}", path.display()), source },
        })?;
        Ok(Self { path, file, written: false })
    }

    pub(super) fn write(&mut self, id: &str) -> std::io::Result<()> {
        self.file.write_all(id.as_bytes())?;
        self.written = true;
        Ok(())
    }

    fn failure(&self, source: std::io::Error) -> Failure {
        Failure::Io { doing: format!("write the cidfile {}", self.path.display()), source }
    }
}

impl Drop for CidFile<'_> {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
