//! `kelp run`.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::Args;

use super::command::{Exit, Verb, switch};
use super::container_options::ContainerOptions;
use super::context::Context;
use super::create::CidFile;
use super::failure::{Failure, Outcome, checked_keys, warn};
use super::{attach, output, unbuilt};
use crate::engine;
use crate::engine::container::attach::Attach;
use crate::engine::container::run::{Guess, RunOptions};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach: a letter, or ctrl- and one of a-z @ [ \ ] ^ _, separated by commas
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Send signals on to the container
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = switch)]
    sig_proxy: bool,
    #[command(flatten)]
    container: ContainerOptions,
}

impl Verb for Run {
    const ABOUT: &'static str = "Create a container and run a command in it";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const DESCRIPTION: &'static str = "Creates a container from IMAGE, starts it, and stays attached until it ends, \
        unless -d is given.\n\n\
        Options end at the image: everything behind it belongs to the command. With --rootfs the first word is a \
        directory of the host, which the container sees under a throw-away writable layer; `/` is allowed.\n\n\
        A container does not depend on the command that started it. When its output cannot be passed on, because \
        the reader of a pipe has gone (`kelp run IMAGE CMD | head`) or a disk is full, kelp ends and the container \
        runs on, as with docker; `kelp logs` has all of its output. Signals are sent on to the container's first \
        process, which hears none that it has no handler for: the third SIGINT or SIGTERM ends kelp itself, and the \
        container runs on.";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("A shell that leaves nothing behind", "kelp run -it --rm debian bash"),
        ("In the background, then in the log", "kelp run -d --name job -v ./data:/data debian /data/job.sh"),
        ("", "kelp logs -f job"),
        ("A sandbox of this very machine; what it writes is thrown away", "kelp run -it --rm --rootfs / sh"),
        (
            "As yourself, with the files of this directory yours on both sides",
            "kelp run -it --rm --userns keep-id -v .:/src -w /src debian bash",
        ),
        (
            "As somebody in the image, with a limit and a read-only root",
            "kelp run --rm -u 1000:1000 --read-only --tmpfs /tmp --ulimit nofile=1024 debian id",
        ),
    ];
    const EXIT: Exit = Exit::Container;
    const UNBUILT: &'static [unbuilt::Flag] = unbuilt::CREATE;

    /// Nearly every `run` makes a container, and a word that ends with one of these is most likely its network.
    fn ahead(context: &Context, words: &[OsString]) {
        let any = |meant: fn(&[u8]) -> bool| words.iter().any(|w| meant(w.as_encoded_bytes()));
        if !words.is_empty() && !any(|w| w == b"--help") {
            let guess = match () {
                () if any(|w| w.ends_with(b"host")) || any(has_own_users) => Guess::Nothing,
                () if any(|w| w.ends_with(b"none")) || names_network(words) => Guess::Empty,
                () => Guess::Slirp,
            };
            context.expect_container(guess);
        }
    }

    fn run(self, context: &Context) -> Outcome {
        let options = &self.container;
        if self.detach && !options.attach.is_empty() {
            return Err(Failure::Usage("--attach and --detach contradict each other".into()));
        }
        let attach = if self.detach { None } else { Some(self.attach()?) };
        if options.tty && !self.detach && options.interactive && !std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "the input device is not a TTY: leave out -t, or run kelp in a terminal".into(),
            ));
        }
        let mut request = options.request(context)?;
        request.stdin_once = options.interactive && !self.detach;
        request.detach_keys.clone_from(&self.detach_keys);

        if options.pulls(context, &request)? {
            // No shim waits for a download: this one ends.
            context.expect_nothing();
            options.pull_image(context, &request)?;
        }
        let mut cidfile = options.cidfile.as_deref().map(CidFile::new).transpose()?;
        let shim = context.expected_container(request.guess())?;
        let (id, ending) = engine::container::run::run(
            shim,
            context.engine()?,
            request,
            RunOptions { attach },
            &mut |created, warnings| {
                warn(warnings);
                cidfile.as_mut().map_or(Ok(()), |file| file.write(created.as_str()))
            },
        )?;
        if self.detach {
            output::line(id.as_str())?;
        }
        Ok(attach::status(ending))
    }
}

/// Whether a word is the mode of a user namespace of the container's own, to which its network would belong.
fn has_own_users(word: &[u8]) -> bool {
    let mode = word.strip_prefix(b"--userns=").unwrap_or(word);
    mode == b"nomap" || mode.starts_with(b"keep-id")
}

/// Whether a network is named that is not in user space by itself.
fn names_network(words: &[OsString]) -> bool {
    let texts = || words.iter().map(|w| w.to_str().unwrap_or_default());
    let values = texts().zip(texts().skip(1)).filter(|(flag, _)| ["--network", "--net"].contains(flag));
    let joined = texts().filter_map(|w| w.strip_prefix("--network=").or(w.strip_prefix("--net=")));
    values.map(|(_, value)| value).chain(joined).any(|value| !value.starts_with("slirp"))
}

impl Run {
    /// docker's rule: stdout and stderr unless `-a` says otherwise, stdin with `-i`.
    fn attach(&self) -> Result<Attach, Failure> {
        let options = &self.container;
        Ok(Attach {
            stdin: options.interactive && options.attaches("stdin", true),
            stdout: options.attaches("stdout", true),
            stderr: options.attaches("stderr", true),
            sig_proxy: self.sig_proxy,
            detach_keys: checked_keys(self.detach_keys.clone())?,
        })
    }
}
