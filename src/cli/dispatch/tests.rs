//! docker's forms of the command line, as people and scripts type them.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(|w| if w == "''" { "" } else { w }.into()).collect()
}

/// Parses a whole line as `run` would.
fn parsed(line: &str) -> Result<ArgMatches, Failure> {
    let words = words(line);
    let start = Start::find(&words)?;
    parse(start.entry, &start.path, &words[start.rest..])
}

fn command(line: &str) -> Vec<String> {
    parsed(line).unwrap().get_many::<String>("words").unwrap().cloned().collect()
}

fn many(line: &str, id: &str) -> Vec<String> {
    parsed(line).unwrap().get_many::<String>(id).unwrap_or_default().cloned().collect()
}

fn flag(line: &str, id: &str) -> bool {
    parsed(line).unwrap().get_flag(id)
}

#[test]
fn the_tree_is_sound() {
    tree::full().debug_assert();
}

#[test]
fn options_end_at_the_image() {
    assert_eq!(command("run debian ls -l"), ["debian", "ls", "-l"]);
    assert_eq!(command("run debian --rm -it --help"), ["debian", "--rm", "-it", "--help"]);
    assert_eq!(command("run --rm debian sh -c -- x"), ["debian", "sh", "-c", "--", "x"]);
    assert_eq!(command("run debian -- ls"), ["debian", "--", "ls"]);
    assert_eq!(command("run -- debian ls"), ["debian", "ls"]);
    assert_eq!(command("exec -it web ls -it"), ["web", "ls", "-it"]);
    assert_eq!(command("run -e A=1 debian -e B=2"), ["debian", "-e", "B=2"]);
    assert!(!flag("run debian --rm", "rm"));
}

#[test]
fn short_flags_cluster() {
    for line in [
        "run -itd debian",
        "run -dit debian",
        "run -i -t -d debian",
        "run --interactive --tty --detach debian",
    ] {
        for id in ["interactive", "tty", "detach"] {
            assert!(flag(line, id), "{line} {id}");
        }
    }
    assert_eq!(many("run -ite A=1 debian", "env"), ["A=1"]);
    assert_eq!(many("run -itv/a:/b debian", "volume"), ["/a:/b"]);
    assert!(flag("ps -aq", "all") && flag("ps -aq", "quiet"));
    assert_eq!(many("logs -fn10 web", "tail"), ["10"]);
}

#[test]
fn values_come_in_dockers_forms() {
    assert_eq!(many("run --name=web debian", "name"), ["web"]);
    assert_eq!(many("run --net host debian", "network"), ["host"]);
    assert_eq!(many("run --network=a --net b debian", "network"), ["a", "b"], "there may be several");
    assert_eq!(many("run --name=a --name b debian", "name"), ["b"], "the last one wins");
    assert_eq!(many("run -e A -e B=2 --env C=3 debian", "env"), ["A", "B=2", "C=3"]);
    assert_eq!(many("run --entrypoint '' debian", "entrypoint"), [""]);
    assert_eq!(many("run --oom-score-adj -500 debian", "oom_score_adj"), ["-500"]);
    assert_eq!(parsed("stop -t -1 web").unwrap().get_one::<i64>("timeout"), Some(&-1));
    assert_eq!(parsed("stop --time 3 web").unwrap().get_one::<i64>("timeout"), Some(&3));
    assert_eq!(many("run -h box debian", "hostname"), ["box"]);
    assert_eq!(many("ps -f status=exited --filter name=a", "filter"), ["status=exited", "name=a"]);
    assert_eq!(many("rm -f a b c", "containers"), ["a", "b", "c"]);
    assert_eq!(many("rm a -f b", "containers"), ["a", "b"]);
}

#[test]
fn switches_take_gos_truth_values() {
    assert!(flag("run --rm=true debian", "rm"));
    assert!(!flag("run --rm=false debian", "rm"));
    assert!(flag("run -it --rm=1 -d=F debian", "rm"));
    assert!(!flag("run -it --rm=1 -d=F debian", "detach"));
    assert!(flag("run -it --rm=1 -d=F debian", "tty"));
    assert!(!flag("run -d=false debian", "detach"));
    assert!(flag("run -itd=false debian", "tty") && !flag("run -itd=false debian", "detach"));
    assert!(flag("exec -i=1 web true", "interactive") && !flag("exec -t=f web true", "tty"));
    assert!(flag("ps -a=true", "all") && !flag("rm -f=0 web", "force"));
    assert!(parsed("run -d=maybe debian").is_err());
    assert!(flag("attach web", "sig_proxy"));
    assert!(!flag("attach --sig-proxy=false web", "sig_proxy"));
    assert!(parsed("run --rm=maybe debian").is_err());
}

#[test]
fn content_trust_can_only_be_disabled() {
    for verb in ["pull", "push", "run", "create"] {
        for value in ["", "=true", "=1"] {
            assert!(parsed(&format!("{verb} --disable-content-trust{value} x")).is_ok(), "{verb} {value}");
        }
        let failure = parsed(&format!("{verb} --disable-content-trust=false x")).unwrap_err();
        assert_eq!(failure.status(Exit::Registry), ExitStatus::Own);
        assert!(failure.to_string().contains("Notary"), "{failure}");
    }
}

#[test]
fn groups_lead_to_the_same_commands() {
    for (line, path) in [
        ("container ls -a", "kelp container ls"),
        ("container list -a", "kelp container list"),
        ("container ps -a", "kelp container ps"),
        ("image ls", "kelp image ls"),
        ("image rm x", "kelp image rm"),
        ("system check", "kelp system check"),
        ("-D ps", "kelp ps"),
        ("--debug container inspect x", "kelp container inspect"),
    ] {
        let words = words(line);
        let start = Start::find(&words).unwrap();
        assert_eq!(start.path, path);
        assert!(parse(start.entry, &start.path, &words[start.rest..]).is_ok(), "{line}");
    }
    assert!(Start::find(&words("-D ps")).unwrap().debug);
}

/// docker 28's codes, of the same words.
#[test]
fn nonsense_is_bad_usage() {
    let words = [
        "frobnicate",
        "run",
        "rm",
        "create",
        "pull",
        "pull a b",
        "images a b",
        "tag a",
        "load x",
        "container frob",
        "image frob",
        "logs a b",
        "run -d",
        "completion tcsh",
        "login -p x --password-stdin host",
        "build .",
    ];
    let flags = [
        "run --frobnicate debian",
        "ps --frob",
        "ps -zz",
        "pull --nope",
        "pull --nope a b",
        "--frob ps",
        "-x",
        "stop -t x web",
        "run --name",
        "run -e",
        "images --filter",
        "run --rm=maybe debian",
        "run --memory 1g debian",
        "-H tcp://x ps",
    ];
    let status = |line: &str, exit| match parsed(line) {
        Ok(_) => panic!("{line} was understood"),
        Err(failure) => failure.status(exit),
    };
    for exit in [Exit::Verb, Exit::Registry, Exit::Container, Exit::Exec] {
        for line in words {
            assert_eq!(status(line, exit), ExitStatus::Failed, "{line}");
        }
        for line in flags {
            assert_eq!(status(line, exit), ExitStatus::Own, "{line}");
        }
    }
    for line in ["image exists", "image exists a b", "image exists --nope a", "container exists"] {
        assert_eq!(status(line, Exit::Answer), ExitStatus::Own, "{line}");
    }
}

/// docker's answer to `docker container`.
#[test]
fn a_group_alone_is_a_question() {
    for line in ["", "container", "image"] {
        let failure = parsed(line).err().unwrap();
        assert_eq!(failure.status(Exit::Verb), ExitStatus::Success, "{line}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in
        ["--help", "-h", "--version", "-v", "run --help", "ps -h", "container --help", "container ls --help"]
    {
        let Err(failure) = parsed(line) else { panic!("{line} was taken for a command") };
        assert_eq!(failure.status(Exit::Verb), ExitStatus::Success, "{line}");
    }
}

#[test]
fn what_is_not_built_is_said_with_every_way_to_write_it() {
    for (line, text) in [
        ("run --memory 64m debian", "--memory is not built yet"),
        ("run --memory=64m debian", "--memory is not built yet"),
        ("run -m 64m debian", "-m is not built yet"),
        ("run -itc 5 debian", "-c is not built yet"),
        ("run -m64m debian", "-m is not built yet"),
        ("run --runtime=runc debian", "--runtime is not built yet"),
        ("pull --tls-verify=false debian", "--tls-verify is not built yet"),
        ("rm -l web", "-l is not built yet"),
        ("build .", "kelp build is not built yet"),
        ("-H tcp://x ps", "-H is not built yet"),
    ] {
        assert_eq!(parsed(line).unwrap_err().to_string(), text, "{line}");
    }
    let text = parsed("run --restart=always debian").unwrap_err().to_string();
    assert!(text.contains("restart policies other than `no` are not built yet"), "{text}");
    assert_eq!(command("run debian --memory 64m"), ["debian", "--memory", "64m"], "the command's own");
}
