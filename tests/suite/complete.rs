//! TAB: what is offered depends on what exists.

use crate::harness::Sandbox;

/// What bash would offer for the last of these words.
fn offered(s: &Sandbox, words: &[&str]) -> Vec<String> {
    let line = ["--", "kelp"].iter().chain(words).map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let call = s.kelp(line).env("COMPLETE", "bash").env("_CLAP_IFS", "\n");
    let out = call.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).exits(0);
    out.lines().into_iter().map(str::to_owned).collect()
}

fn has(offered: &[String], word: &str) -> bool {
    offered.iter().any(|o| o == word)
}

#[test]
fn containers_are_offered_by_state() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name up busybox sleep 1000");
    s.ok("create --name down busybox true");
    let (stop, start, rm) =
        (offered(&s, &["stop", ""]), offered(&s, &["start", ""]), offered(&s, &["rm", ""]));
    assert!(has(&stop, "up") && !has(&stop, "down"), "{stop:?}");
    assert!(has(&start, "down") && !has(&start, "up"), "{start:?}");
    assert!(has(&rm, "down"), "{rm:?}");
    let exec = offered(&s, &["exec", "u"]);
    assert!(has(&exec, "up") && !has(&exec, "down"), "{exec:?}");
}

#[test]
fn images_verbs_and_flags_are_offered() {
    let s = Sandbox::new().busybox();
    let images = offered(&s, &["run", "--rm", "busy"]);
    assert!(images.iter().any(|i| i.starts_with("busybox")), "{images:?}");
    assert!(has(&offered(&s, &["rmi", ""]), "busybox") || has(&offered(&s, &["rmi", ""]), "busybox:latest"));
    let roots = offered(&s, &["run", "--rootfs", "/us"]);
    assert!(has(&roots, "/usr/"), "{roots:?}");
    let verbs = offered(&s, &["re"]);
    assert!(has(&verbs, "restart"), "{verbs:?}");
    let flags = offered(&s, &["run", "--entr"]);
    assert!(has(&flags, "--entrypoint"), "{flags:?}");
    let values = offered(&s, &["run", "--network", ""]);
    assert!(has(&values, "none") && has(&values, "host"), "{values:?}");
}

/// As docker does it: names where a name can stand, flags where one was begun.
#[test]
fn flags_are_offered_to_those_who_begin_one() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name up busybox sleep 1000");
    assert_eq!(offered(&s, &["stop", ""]), ["up"]);
    assert_eq!(offered(&s, &["exec", "up", ""]), [""; 0]);
    assert!(has(&offered(&s, &["stop", "--"]), "--timeout"));
    assert!(offered(&s, &[""]).iter().all(|word| !word.starts_with('-')));
    let fish = s.kelp(["--", "kelp", "stop", ""]).env("COMPLETE", "fish").exits(0);
    assert_eq!(fish.lines(), ["up\tbusybox"]);
}

#[test]
fn what_the_line_names_already_is_not_offered_again() {
    let s = Sandbox::new().busybox();
    for name in ["co1", "co2", "stop"] {
        s.ok(["run", "-d", "--name", name, "busybox", "sleep", "1000"]);
    }
    s.ok("tag busybox other:1");
    s.ok("network create n1");
    s.ok("network create n2");
    for verb in [&["stop"][..], &["kill"], &["rm"], &["restart"], &["wait"], &["container", "inspect"]] {
        let line = [verb, &["co1", ""]].concat();
        let names = offered(&s, &line);
        assert!(has(&names, "co2") && has(&names, "stop") && !has(&names, "co1"), "{line:?}: {names:?}");
    }
    assert!(has(&offered(&s, &["container", "stop", ""]), "stop"));
    assert_eq!(offered(&s, &["stop", "-t", "3", "co1", "-s", "co2", "stop", ""]), ["co2"]);
    assert_eq!(offered(&s, &["-D", "stop", "--", "co1", "stop", "c"]), ["co2"]);
    assert_eq!(offered(&s, &["rmi", "busybox", ""]), ["other:1"]);
    assert_eq!(offered(&s, &["network", "rm", "n1", ""]), ["n2"]);
    let inspected = offered(&s, &["inspect", "co1", "n1", "other:1", ""]);
    assert!(has(&inspected, "co2") && has(&inspected, "n2") && !has(&inspected, "other:1"), "{inspected:?}");
    // One name only, or the name of something else: all are offered.
    assert!(has(&offered(&s, &["tag", "busybox", "o"]), "other:1"));
    s.ok("network create co1");
    assert!(has(&offered(&s, &["network", "disconnect", "-f", "slirp", "c"]), "co1"));
}

#[test]
fn image_commands_offer_images_and_filters() {
    let s = Sandbox::new().busybox();
    s.ok("tag busybox reg.example/x/y:2");
    for words in [
        &["tag", ""][..],
        &["untag", ""],
        &["history", ""],
        &["save", ""],
        &["image", "tree", ""],
        &["image", "exists", ""],
        &["image", "inspect", ""],
    ] {
        let images = offered(&s, words);
        assert!(has(&images, "busybox:latest") && has(&images, "reg.example/x/y:2"), "{words:?}: {images:?}");
    }
    assert!(has(&offered(&s, &["image", "pr"]), "prune") && has(&offered(&s, &["system", "d"]), "df"));
    assert!(has(&offered(&s, &["image", "prune", "--filter", ""]), "until="));
    assert!(has(&offered(&s, &["images", "--filter", ""]), "until="));
}

#[test]
fn registries_that_are_known_are_offered() {
    let s = Sandbox::new().busybox();
    let configuration = s.home().join(".config/kelp");
    std::fs::create_dir_all(&configuration).unwrap();
    std::fs::write(
        configuration.join("config.toml"),
        "[registries.\"lan.example:5000\"]\nplain-http = true\n",
    )
    .unwrap();
    let docker =
        s.write("docker/config.json", r#"{"auths":{"https://index.docker.io/v1/":{},"q.example/team":{}}}"#);
    let directory = docker.parent().unwrap().to_str().unwrap().to_owned();
    let offered = |words: &[&str]| {
        let line = ["--", "kelp"].iter().chain(words).map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let call =
            s.kelp(line).env("COMPLETE", "bash").env("_CLAP_IFS", "\n").env("DOCKER_CONFIG", &directory);
        let out = call.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).exits(0);
        out.lines().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["login", ""]), ["docker.io", "lan.example:5000", "q.example"]);
    assert_eq!(offered(&["logout", ""]), ["docker.io", "q.example"]);
    assert_eq!(offered(&["search", "q"]), ["q.example/"]);
    for verb in ["pull", "push"] {
        let words = ["busybox:latest", "docker.io/", "lan.example:5000/", "q.example/"];
        assert_eq!(offered(&[verb, ""]), words, "{verb}");
    }
}

#[test]
fn completion_changes_nothing_and_needs_no_store() {
    let s = Sandbox::new();
    offered(&s, &["stop", ""]);
    assert!(!s.store().exists());
}

/// What bash has on its line after `typed` and a TAB, in a bash that has loaded the script.
fn after_tab(s: &Sandbox, typed: &str) -> String {
    let script = format!(
        "source <({kelp} completion bash)\nkelp() {{ {kelp} \"$@\"; }}\n\
         COMP_LINE=$1 COMP_POINT=${{#1}} COMP_TYPE=9\n\
         # As readline does: blanks end a word, and each run of its other breaks is one.\n\
         mapfile -t COMP_WORDS < <(grep -oE '[:=@]+|[^:=@[:space:]]+' <<<\"$1\")\n\
         [[ $1 == *' ' ]] && COMP_WORDS+=('')\n\
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         compopt() {{ :; }}\n_kelp\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        kelp = s.program().display()
    );
    s.program_call("/bin/bash").args(["-c", &script, "bash", typed]).exits(0).stdout
}

/// zsh reads the script as the function `_kelp` at the first TAB.
#[test]
fn zsh_answers_the_first_tab() {
    let s = Sandbox::new().busybox();
    s.ok("run -d --name up busybox sleep 1000");
    let script = s.work().join("_kelp");
    std::fs::write(&script, s.ok("completion zsh").stdout).unwrap();
    let zsh = format!(
        "compdef() {{ : }}; _describe() {{ print -l ${{(P)argv[-1]}} }}; kelp() {{ {} \"$@\" }}; \
         fpath=({} $fpath); autoload -U _kelp; words=(kelp stop ''); CURRENT=3; _kelp",
        s.program().display(),
        s.work().display()
    );
    assert_eq!(s.program_call("zsh").args(["-f", "-c", &zsh]).exits(0).stdout, "up:busybox\n");
}

#[test]
fn bash_completes_within_what_it_takes_for_several_words() {
    let s = Sandbox::new().busybox();
    s.ok("tag busybox 127.0.0.1:5000/team/zz:1");
    s.ok("tag busybox zz:one");
    assert_eq!(after_tab(&s, "kelp rmi zz:"), "one\n");
    assert_eq!(after_tab(&s, "kelp rmi zz:o"), "one\n");
    assert_eq!(after_tab(&s, "kelp rmi 127.0.0.1:5000/te"), "5000/team/zz:1\n");
    assert_eq!(after_tab(&s, "kelp run --pull=ne"), "never\nnewer\n");
    assert_eq!(after_tab(&s, "kelp images --filter=dang"), "dangling=false\ndangling=true\n");
    assert_eq!(after_tab(&s, "kelp images -f dangling=t"), "true\n");
    assert_eq!(after_tab(&s, "kelp rmi zz"), "zz:one\n");
}

/// Those that can come into the network that was typed, and those that are in it.
#[test]
fn containers_are_offered_by_network() {
    let s = Sandbox::new().busybox();
    s.ok("network create shop");
    s.ok("run -d --name inside --network shop busybox sleep 1000");
    s.ok("create --name outside busybox true");
    s.ok("create --name none --network none busybox true");
    assert_eq!(offered(&s, &["network", "connect", "shop", ""]), ["outside"]);
    assert_eq!(offered(&s, &["network", "connect", "--alias", "x", "shop", ""]), ["outside"]);
    assert_eq!(offered(&s, &["network", "disconnect", "shop", ""]), ["inside"]);
    let networks = offered(&s, &["network", "connect", ""]);
    assert!(has(&networks, "shop") && has(&networks, "bridge") && !has(&networks, "host"), "{networks:?}");
    assert!(has(&offered(&s, &["rename", ""]), "outside"));
}
