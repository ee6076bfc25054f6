//! `kelp completion`: the scripts that shells load. What they offer is answered by the binary itself
//! ([`super::complete`]), so a script never grows old.

use clap::{Args, ValueEnum};
use clap_complete::env::{EnvCompleter, Fish, Zsh};

use super::command::{Exit, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::output;
use crate::error::ExitStatus;

/// A shell that kelp can complete in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Verb for Completion {
    const ABOUT: &'static str = "Print the completion script of a shell";
    const USAGE: &'static str = "bash|zsh|fish";
    const EXAMPLES: &'static [(&'static str, &'static str)] = &[
        ("In ~/.bashrc", "source <(kelp completion bash)"),
        ("In ~/.zshrc", "source <(kelp completion zsh)"),
        ("Once, for fish", "kelp completion fish > ~/.config/fish/completions/kelp.fish"),
    ];
    const EXIT: Exit = Exit::Verb;

    fn run(self, _context: &Context) -> Outcome {
        let script = script(self.shell)
            .map_err(|source| Failure::Io { doing: "write the completion script".into(), source })?;
        output::raw(&script)?;
        Ok(ExitStatus::Success)
    }
}

/// The script itself; what packages install is the same text.
pub fn script(shell: Shell) -> std::io::Result<String> {
    let completer: &dyn EnvCompleter = match shell {
        // clap's own gives up where bash ends a word within an image's name.
        Shell::Bash => return Ok(include_str!("completion.bash").into()),
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    completer.write_registration(crate::config::COMPLETION_VARIABLE, "kelp", "kelp", "kelp", &mut script)?;
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Zsh {
        script += ZSH_AUTOLOADED;
    }
    Ok(script)
}

/// In `$fpath` the script is the body of a function that the first TAB calls: it is to answer that one too.
const ZSH_AUTOLOADED: &str = r#"
if [[ $funcstack[1] == _kelp ]]; then
    _clap_dynamic_completer_kelp "$@"
fi
"#;
