//! What is written about kelp is what kelp does: man pages, completion scripts, `config.toml`, help, README.
//!
//! Generated files are made again by
//! `for p in $(kelp man); do kelp man $p > man/$p.1; done`,
//! `kelp completion bash > completions/kelp.bash`, `zsh > completions/_kelp`, `fish > completions/kelp.fish`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kelp::cli::{self, Shell};
use kelp::config::File;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn assert_same(path: &str, generated: &str, how: &str) {
    assert!(read(path) == generated, "{path} is not what the program generates; make it again: {how}");
}

#[test]
fn man_pages_are_those_that_the_program_prints() {
    let pages = cli::man_pages().unwrap();
    for page in &pages {
        assert_same(&format!("man/{}.1", page.name), &page.text, "kelp man PAGE > man/PAGE.1");
        for section in ["SYNOPSIS", "EXIT STATUS", "EXAMPLES"] {
            let there = page.text.contains(&format!(".SH {section}\n"))
                || page.text.contains(&format!(".SH \"{section}\"\n"));
            assert!(there, "{}: no {section}", page.name);
        }
    }
    let expected: BTreeSet<String> = pages.iter().map(|page| format!("{}.1", page.name)).collect();
    let found: BTreeSet<String> = fs::read_dir(repository("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, expected);
}

/// What `--help` shows as another name of an option stands in the page, too. A name of `kelp container ls` that has
/// another page is looked for there.
#[test]
fn man_pages_have_every_name_of_every_option() {
    fn check(command: &clap::Command, name: &str, seen: &mut usize) {
        for sub in command.get_subcommands() {
            check(sub, &format!("{name}-{}", sub.get_name()), seen);
        }
        let path = repository(&format!("man/{name}.1"));
        let Ok(page) = fs::read_to_string(&path) else { return };
        // The page of a group has commands, not options.
        if command.has_subcommands() && name != "kelp" {
            return;
        }
        for arg in command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()) {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            let long = long.into_iter().map(|long| format!("--{long}"));
            let short = arg.get_short_and_visible_aliases().unwrap_or_default();
            for option in long.chain(short.into_iter().map(|short| format!("-{short}"))) {
                let written = option.replace('-', "\\-");
                let ends = |rest: &str| {
                    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '\\' && !rest.starts_with("\\f"))
                };
                let there = page.match_indices(&written).any(|(at, _)| ends(&page[at + written.len()..]));
                assert!(there, "{}: no {option}", path.display());
                *seen += 1;
            }
        }
    }
    let mut seen = 0;
    check(&cli::command_tree(), "kelp", &mut seen);
    assert!(seen > 100, "{seen}");
}

#[test]
fn completion_scripts_are_those_that_the_program_prints() {
    for (shell, path) in [(Shell::Bash, "kelp.bash"), (Shell::Zsh, "_kelp"), (Shell::Fish, "kelp.fish")] {
        let script = cli::completion_script(shell).unwrap();
        assert_same(&format!("completions/{path}"), &script, "kelp completion SHELL");
    }
}

/// Uncommented, the documented file says what holds without it; every key is in it, each below a sentence.
#[test]
fn config_toml_documents_every_key_and_its_default() {
    let text = read("config/config.toml");
    let is_key = |line: &str| {
        let name: String =
            line.strip_prefix('#').unwrap_or_default().chars().take_while(|c| *c != ' ').collect();
        line.contains(" = ") && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    let keys: Vec<&str> = text.lines().filter(|line| is_key(line)).map(|line| &line[1..]).collect();
    let documented: toml::Table = keys.join("\n").parse().unwrap();
    let names: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    assert_eq!(names, File::KEYS.iter().copied().collect());

    let mut defaults = File::parse(Path::new("config.toml"), &keys.join("\n")).unwrap();
    assert_eq!(defaults.store.take().as_deref(), Some("~/.local/share/kelp"));
    assert_eq!(defaults, File::default());

    // KEYS itself is complete: it is what a file with every field set has.
    let whole = toml::Table::try_from(File { store: Some("/x".into()), ..File::default() }).unwrap();
    assert_eq!(whole.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);

    // The tables that are shown as an example have every key of a table, and are read.
    let example: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
    let example = File::parse(Path::new("config.toml"), &example.join("\n")).unwrap();
    let shown: BTreeSet<String> = example
        .registries
        .values()
        .flat_map(|table| toml::Table::try_from(table).unwrap().into_iter().map(|(key, _)| key))
        .collect();
    let every = kelp::config::RegistryTable {
        mirrors: vec!["x".into()],
        plain_http: Some(true),
        ca: Some("/x".into()),
        client_certificate: Some("/x".into()),
        client_key: Some("/x".into()),
    };
    let every = toml::Table::try_from(every).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(shown, every);

    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        assert!(
            !is_key(line) || at > 0 && lines[at - 1].starts_with("# "),
            "{line} has no sentence above it"
        );
    }
    assert_eq!(
        File::parse(Path::new("config.toml"), &text).unwrap(),
        File::default(),
        "as delivered it sets nothing"
    );
}

#[test]
fn every_command_and_every_flag_has_help() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "{path} has no description");
        for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{path}: {} has no help", arg.get_id());
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()));
        }
    }
    check(&cli::command_tree(), "kelp");
}

/// In code, `kelp WORD` is a command that exists.
#[test]
fn the_readme_speaks_of_commands_that_exist() {
    let readme = read("README.md");
    let tree = cli::command_tree();
    let mut named = BTreeSet::new();
    let mut in_block = false;
    for line in readme.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let is_block = in_block || line.starts_with("    ");
        let code =
            line.split('`').enumerate().filter(|(at, _)| is_block || at % 2 == 1).map(|(_, code)| code);
        for code in code {
            let words: Vec<&str> = code.split_whitespace().collect();
            let calls = words.windows(2).filter(|pair| pair[0] == "kelp").map(|pair| pair[1]);
            named.extend(calls.filter(|w| w.chars().all(|c| c.is_ascii_lowercase())).map(str::to_owned));
        }
    }
    for name in &named {
        assert!(
            tree.find_subcommand(name).is_some(),
            "README.md speaks of `kelp {name}`, which does not exist"
        );
    }
    assert!(named.contains("run"), "README.md does not show `kelp run`");
}
