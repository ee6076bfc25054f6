//! Man pages: clap_mangen's text, and the sections that are written by hand beside each command.
//!
//! `kelp man` (hidden) lists the pages, `kelp man kelp-run` prints one. `tests/docs.rs` holds `man/` against them.

use std::io;

use clap::{Arg, Args, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::command::{Exit, Spec, Verb};
use super::context::Context;
use super::failure::{Failure, Outcome};
use super::output;
use super::tree::{self, Entry, Group};
use crate::error::ExitStatus;

/// How roff's writer begins: an apostrophe that is not taken for a quotation mark.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// One page: `kelp-run` and its roff text.
#[derive(Debug)]
pub struct Page {
    pub name: String,
    pub text: String,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Name of a page; without one, all names are listed
    page: Option<String>,
}

impl Verb for Man {
    const ABOUT: &'static str = "Print a man page";
    const USAGE: &'static str = "[PAGE]";
    const EXAMPLES: &'static [(&'static str, &'static str)] =
        &[("Write them all", "for p in $(kelp man); do kelp man $p > man/$p.1; done")];

    fn run(self, _context: &Context) -> Outcome {
        let pages = pages().map_err(|source| Failure::Io { doing: "write a man page".into(), source })?;
        match self.page {
            None => {
                for page in pages {
                    output::line(&page.name)?;
                }
            }
            Some(name) => match pages.iter().find(|p| p.name == name) {
                Some(page) => output::raw(&page.text)?,
                None => return Err(Failure::Usage(format!("there is no page {name}"))),
            },
        }
        Ok(ExitStatus::Success)
    }
}

/// Every page, in the order of the tree. Two names of one command share a page.
pub fn pages() -> io::Result<Vec<Page>> {
    let mut pages = vec![top_page()?];
    for entry in visible(tree::COMMANDS) {
        pages.push(command_page(entry, &format!("kelp {}", entry.name))?);
    }
    for group in tree::GROUPS {
        pages.push(group_page(group)?);
        for entry in visible(group.entries).filter(|e| twin(e).is_none()) {
            pages.push(command_page(entry, &format!("kelp {} {}", group.name, entry.name))?);
        }
    }
    Ok(pages)
}

fn visible(entries: &'static [Entry]) -> impl Iterator<Item = &'static Entry> {
    entries.iter().filter(|e| !e.hidden)
}

/// The top-level command that is the same as this one of a group.
fn twin(entry: &Entry) -> Option<&'static Entry> {
    visible(tree::COMMANDS).find(|top| top.spec.about == entry.spec.about)
}

fn render(
    name: &str,
    command: &Command,
    body: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> io::Result<Page> {
    let mut text = Vec::new();
    let source = concat!("kelp ", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .title(name.to_uppercase())
        .section("1")
        .source(source)
        .manual("kelp");
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    body(&mut text)?;
    // Every part that is rendered by itself begins with the definition of the apostrophe; once is enough.
    let text = String::from_utf8_lossy(&text).replace(APOSTROPHE, "");
    Ok(Page { name: name.to_owned(), text: format!("{APOSTROPHE}{text}") })
}

fn command_page(entry: &Entry, path: &str) -> io::Result<Page> {
    let name = path.replace(' ', "-");
    let command = entry.spec.build(entry.name, path);
    let options = clap_mangen::Man::new(command.clone().mut_args(with_aliases));
    render(&name, &command, |text| {
        synopsis(path, entry.spec.usage, text)?;
        section("DESCRIPTION", &paragraphs(entry.spec), text)?;
        options.render_options_section(text)?;
        examples(entry.spec.examples, text)?;
        exit_status(entry.spec.exit, text)?;
        section("SEE ALSO", &[vec![bold("kelp"), roman("(1)")]], text)
    })
}

/// clap_mangen leaves out an option's other names: they are put where `--help` has them.
fn with_aliases(arg: Arg) -> Arg {
    let long = arg.get_visible_aliases().unwrap_or_default().into_iter().map(|name| format!("--{name}"));
    let short = arg.get_visible_short_aliases().unwrap_or_default().into_iter().map(|c| format!("-{c}"));
    let names: Vec<String> = short.chain(long).collect();
    let word = match names.len() {
        0 => return arg,
        1 => "alias",
        _ => "aliases",
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [{word}: {}]", names.join(", ")))
}

fn paragraphs(spec: &Spec) -> Vec<Vec<Inline>> {
    let text =
        if spec.description.is_empty() { format!("{}.", spec.about) } else { spec.description.to_owned() };
    text.split("\n\n").map(|p| vec![roman(p)]).collect()
}

fn group_page(group: &Group) -> io::Result<Page> {
    let path = format!("kelp {}", group.name);
    let command = Command::new(group.name).about(group.about);
    render(&path.replace(' ', "-"), &command, |text| {
        synopsis(&path, "COMMAND", text)?;
        let mut roff = Roff::new();
        roff.control("SH", ["COMMANDS"]);
        for entry in visible(group.entries) {
            let page = match twin(entry) {
                Some(top) => format!("kelp-{}", top.name),
                None => format!("kelp-{}-{}", group.name, entry.name),
            };
            listed(&mut roff, entry, &page);
        }
        roff.to_writer(text)?;
        examples(group.examples, text)?;
        codes(OF_GROUP, text)?;
        section("SEE ALSO", &[vec![bold("kelp"), roman("(1)")]], text)
    })
}

fn top_page() -> io::Result<Page> {
    let command = super::dispatch::top();
    let options = clap_mangen::Man::new(command.clone());
    render("kelp", &command, |text| {
        synopsis("kelp", "[OPTIONS] COMMAND", text)?;
        let description = "kelp runs Linux containers for one user, without root and without a daemon. The words are \
            docker's. Everything it keeps lies under the user's home.";
        section("DESCRIPTION", &[vec![roman(description)]], text)?;
        options.render_options_section(text)?;
        let mut roff = Roff::new();
        roff.control("SH", ["COMMANDS"]);
        for entry in visible(tree::COMMANDS) {
            listed(&mut roff, entry, &format!("kelp-{}", entry.name));
        }
        for group in tree::GROUPS {
            roff.control("TP", []);
            roff.text([bold(format!("kelp-{}", group.name)), roman("(1)")]);
            roff.text([roman(group.about)]);
        }
        roff.to_writer(text)?;
        examples(super::run::Run::EXAMPLES, text)?;
        exit_status(Exit::Container, text)?;
        files(text)
    })
}

fn listed(roff: &mut Roff, entry: &Entry, page: &str) {
    roff.control("TP", []);
    roff.text([bold(page), roman("(1)")]);
    roff.text([roman(entry.spec.about)]);
}

fn synopsis(path: &str, usage: &str, text: &mut Vec<u8>) -> io::Result<()> {
    section("SYNOPSIS", &[vec![bold(path), roman(" "), roman(usage)]], text)
}

fn section(title: &str, paragraphs: &[Vec<Inline>], text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text(paragraph.clone());
    }
    roff.to_writer(text)
}

fn examples(examples: &[(&str, &str)], text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (what, command) in examples {
        if !what.is_empty() {
            roff.control("PP", []);
            roff.text([roman(format!("{what}:"))]);
        }
        roff.control("IP", []);
        roff.text([roman(*command)]);
    }
    roff.to_writer(text)
}

/// What the codes of a group's commands have in common.
const OF_GROUP: &[(&str, &str)] = &[
    ("0", "All went well."),
    ("1", "What was asked could not be done, or the command is unknown."),
    ("125", FLAG),
    ("other", "What the page of the command says."),
];

/// What 125 is of commands whose failures are 1, and of those whose failures it is.
const FLAG: &str = "A flag is unknown or has no valid value, or the configuration makes no sense.";
const FAILED: &str = "kelp itself failed, or a flag is unknown or has no valid value.";

fn exit_status(exit: Exit, text: &mut Vec<u8>) -> io::Result<()> {
    let closed =
        ("141", "Whoever read standard output has gone (| head), and kelp with it; a container runs on.");
    let rows: &[(&str, &str)] = match exit {
        Exit::Verb => &[
            ("0", "All went well. Attached to a container, its own exit code instead."),
            (
                "1",
                "What was asked could not be done, for one of the arguments at least, or words are missing or too many.",
            ),
            ("125", FLAG),
            closed,
        ],
        Exit::Answer => &[
            ("0", "It is here."),
            ("1", "It is not here."),
            ("125", "It cannot be told, or the command line makes no sense."),
        ],
        Exit::Registry => &[
            ("0", "All went well."),
            (
                "1",
                "What was asked could not be done: there is no such image, for example, or words are missing or too many.",
            ),
            (
                "69",
                "The registry could not be reached, broke off again and again, or limits how often it is asked.",
            ),
            ("76", "The registry's certificate is not trusted."),
            ("77", "The registry denies access."),
            ("125", FLAG),
            ("128+n", "kelp was interrupted by signal n."),
        ],
        Exit::Exec => &[
            ("1", "There is no such container, it does not run, or words are missing."),
            ("125", FAILED),
            ("126", "The command was found and cannot be executed."),
            ("127", "The command was not found."),
            ("128+n", "The command was ended by signal n."),
            closed,
            ("other", "The exit code of the command."),
        ],
        Exit::Container => &[
            ("1", "Words of the command line are missing or contradict each other: nothing was begun."),
            ("125", FAILED),
            ("126", "The command was found and cannot be executed."),
            ("127", "The command was not found."),
            ("128+n", "The command was ended by signal n."),
            closed,
            ("other", "The exit code of the command."),
        ],
    };
    codes(rows, text)
}

fn codes(rows: &[(&str, &str)], text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(*code)]);
        roff.text([roman(*meaning)]);
    }
    roff.to_writer(text)
}

fn files(text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (file, meaning) in [
        ("$XDG_CONFIG_HOME/kelp/config.toml", "Settings; ~/.config where the variable is not set."),
        ("$XDG_DATA_HOME/kelp", "The store; ~/.local/share where the variable is not set."),
        ("$XDG_CACHE_HOME/kelp", "May be deleted at any time; ~/.cache where the variable is not set."),
    ] {
        roff.control("TP", []);
        roff.text([italic(file)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(text)
}
