//! All commands, by name.

use clap::Command;

use super::command::{Spec, Verb, with_help};
use super::{
    attach, commit, completion, cp, create, df, diff, dispatch, exec, exists, export, history, image_tree,
    images, import, info, inspect, kill, load, login, logout, logs, man, manifest, network, port, prune, ps,
    pull, push, rename, restart, rm, rmi, run, save, search, start, stop, system, tag, version, wait,
};

/// One name under which a command can be called.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) spec: &'static Spec,
    pub(super) hidden: bool,
}

/// A word that only leads to others: `kelp container …`.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// For the man page, as those of a [`Verb`].
    pub(super) examples: &'static [(&'static str, &'static str)],
    pub(super) entries: &'static [Entry],
}

/// Carries one `Spec` per command type, so that all its names share it.
struct Of<V>(std::marker::PhantomData<V>);

impl<V: Verb + 'static> Of<V> {
    const SPEC: &'static Spec = &Spec::of::<V>();
}

const fn entry<V: Verb + 'static>(name: &'static str, aliases: &'static [&'static str]) -> Entry {
    Entry { name, aliases, spec: Of::<V>::SPEC, hidden: false }
}

const fn hidden<V: Verb + 'static>(name: &'static str) -> Entry {
    Entry { name, aliases: &[], spec: Of::<V>::SPEC, hidden: true }
}

pub(super) static COMMANDS: &[Entry] = &[
    entry::<run::Run>("run", &[]),
    entry::<create::Create>("create", &[]),
    entry::<start::Start>("start", &[]),
    entry::<stop::Stop>("stop", &[]),
    entry::<restart::Restart>("restart", &[]),
    entry::<kill::Kill>("kill", &[]),
    entry::<rename::Rename>("rename", &[]),
    entry::<rm::Rm>("rm", &[]),
    entry::<ps::Ps>("ps", &[]),
    entry::<logs::Logs>("logs", &[]),
    entry::<port::Port>("port", &[]),
    entry::<inspect::Inspect>("inspect", &[]),
    entry::<wait::Wait>("wait", &[]),
    entry::<exec::Exec>("exec", &[]),
    entry::<attach::Attach>("attach", &[]),
    entry::<cp::Cp>("cp", &[]),
    entry::<diff::Diff>("diff", &[]),
    entry::<commit::Commit>("commit", &[]),
    entry::<export::Export>("export", &[]),
    entry::<images::Images>("images", &[]),
    entry::<rmi::Rmi>("rmi", &[]),
    entry::<pull::Pull>("pull", &[]),
    entry::<push::Push>("push", &[]),
    entry::<search::Search>("search", &[]),
    entry::<login::Login>("login", &[]),
    entry::<logout::Logout>("logout", &[]),
    entry::<import::Import>("import", &[]),
    entry::<load::Load>("load", &[]),
    entry::<save::Save>("save", &[]),
    entry::<tag::Tag>("tag", &[]),
    entry::<tag::Untag>("untag", &[]),
    entry::<history::History>("history", &[]),
    entry::<version::Version>("version", &[]),
    entry::<info::Info>("info", &[]),
    entry::<completion::Completion>("completion", &[]),
    hidden::<man::Man>("man"),
];

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "container",
        about: "Manage containers",
        examples: &[
            ("What runs, and what has run", "kelp container ls -a"),
            (
                "One container from its making to its end",
                "kelp container create --name job debian /data/job.sh",
            ),
            ("", "kelp container start -a job"),
            ("", "kelp container rm job"),
            ("Remove all that have ended", "kelp container prune -f"),
        ],
        entries: CONTAINER,
    },
    Group {
        name: "image",
        about: "Manage images",
        examples: &[
            ("What is here, and how large it is", "kelp image ls"),
            ("Whether an image is here, for a script", "kelp image exists debian || kelp image pull debian"),
            ("Take it to another machine", "kelp image save -o debian.tar debian"),
            ("Remove what no container uses", "kelp image prune -a -f"),
        ],
        entries: IMAGE,
    },
    Group {
        name: "manifest",
        about: "Manage lists of images for several platforms",
        examples: &[
            (
                "One name for two platforms",
                "kelp manifest create reg.example/app:1 reg.example/app:1-amd64 reg.example/app:1-arm64",
            ),
            ("", "kelp manifest push --rm reg.example/app:1"),
        ],
        entries: MANIFEST,
    },
    Group {
        name: "network",
        about: "Manage networks",
        examples: &[
            ("Two containers that know each other by name", "kelp network create shop"),
            ("", "kelp run -d --network shop --name db postgres"),
            ("", "kelp run -it --rm --network shop debian bash"),
            ("What is in it, and its addresses", "kelp network inspect shop"),
            ("Remove all that nobody uses", "kelp network prune -f"),
        ],
        entries: NETWORK,
    },
    Group {
        name: "system",
        about: "Look after kelp itself",
        examples: &[
            ("How much room the store takes, and how much could be had back", "kelp system df"),
            ("Remove what nobody uses", "kelp system prune -f"),
            ("Look whether the store is whole", "kelp system check"),
        ],
        entries: SYSTEM,
    },
];

static CONTAINER: &[Entry] = &[
    entry::<run::Run>("run", &[]),
    entry::<create::Create>("create", &[]),
    entry::<start::Start>("start", &[]),
    entry::<stop::Stop>("stop", &[]),
    entry::<restart::Restart>("restart", &[]),
    entry::<kill::Kill>("kill", &[]),
    entry::<rename::Rename>("rename", &[]),
    entry::<rm::Rm>("rm", &["remove"]),
    entry::<ps::Ps>("ls", &["list", "ps"]),
    entry::<logs::Logs>("logs", &[]),
    entry::<port::Port>("port", &[]),
    entry::<inspect::InspectContainer>("inspect", &[]),
    entry::<wait::Wait>("wait", &[]),
    entry::<exec::Exec>("exec", &[]),
    entry::<attach::Attach>("attach", &[]),
    entry::<cp::Cp>("cp", &[]),
    entry::<diff::Diff>("diff", &[]),
    entry::<commit::Commit>("commit", &[]),
    entry::<export::Export>("export", &[]),
    entry::<prune::PruneContainers>("prune", &[]),
    entry::<exists::Exists>("exists", &[]),
];

static IMAGE: &[Entry] = &[
    entry::<images::Images>("ls", &["list"]),
    entry::<rmi::Rmi>("rm", &["remove", "rmi"]),
    entry::<pull::Pull>("pull", &[]),
    entry::<push::Push>("push", &[]),
    entry::<search::Search>("search", &[]),
    entry::<import::Import>("import", &[]),
    entry::<load::Load>("load", &[]),
    entry::<save::Save>("save", &[]),
    entry::<tag::Tag>("tag", &[]),
    entry::<tag::Untag>("untag", &[]),
    entry::<history::History>("history", &[]),
    entry::<prune::PruneImages>("prune", &[]),
    entry::<image_tree::Exists>("exists", &[]),
    entry::<image_tree::ShowTree>("tree", &[]),
    entry::<inspect::InspectImage>("inspect", &[]),
];

static MANIFEST: &[Entry] = &[
    entry::<manifest::Create>("create", &[]),
    entry::<manifest::Add>("add", &[]),
    entry::<manifest::Annotate>("annotate", &[]),
    entry::<manifest::Inspect>("inspect", &[]),
    entry::<manifest::Push>("push", &[]),
    entry::<manifest::Remove>("remove", &[]),
    entry::<manifest::Rm>("rm", &[]),
    entry::<manifest::Exists>("exists", &[]),
];

static NETWORK: &[Entry] = &[
    entry::<network::Connect>("connect", &[]),
    entry::<network::Create>("create", &[]),
    entry::<network::Disconnect>("disconnect", &[]),
    entry::<network::Exists>("exists", &[]),
    entry::<network::Inspect>("inspect", &[]),
    entry::<network::Ls>("ls", &["list"]),
    entry::<network::Prune>("prune", &[]),
    entry::<network::Rm>("rm", &["remove"]),
];

static SYSTEM: &[Entry] = &[
    entry::<df::Df>("df", &[]),
    entry::<prune::PruneSystem>("prune", &[]),
    entry::<system::Check>("check", &[]),
    entry::<info::Info>("info", &[]),
];

/// The entry that answers to `word`.
pub(super) fn find(entries: &'static [Entry], word: &str) -> Option<&'static Entry> {
    entries.iter().find(|e| e.name == word || e.aliases.contains(&word))
}

fn build(entry: &Entry, path: &str) -> Command {
    entry.spec.build(entry.name, path).visible_aliases(entry.aliases.iter().copied()).hide(entry.hidden)
}

/// The whole tree as clap knows it: for help, completion, man pages and tests.
pub fn full() -> Command {
    let mut top = dispatch::top();
    for entry in COMMANDS {
        top = top.subcommand(build(entry, &format!("kelp {}", entry.name)));
    }
    for group in GROUPS {
        let mut command = Command::new(group.name)
            .about(group.about)
            .bin_name(format!("kelp {}", group.name))
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .override_usage(format!("kelp {} COMMAND", group.name));
        for entry in group.entries {
            command = command.subcommand(build(entry, &format!("kelp {} {}", group.name, entry.name)));
        }
        top = top.subcommand(with_help(command));
    }
    top
}
