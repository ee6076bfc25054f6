//! `kelp commit`: what a container has made of its image becomes an image, here and elsewhere.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Image, Layer, Others, Sandbox, needs_root, within};

fn image() -> Image {
    let layer = Layer::default()
        .dir("srv", 0o755)
        .file("srv/gone", 0o644, b"x")
        .dir("srv/replaced", 0o755)
        .file("srv/replaced/old", 0o644, b"x")
        .file("srv/tool", 0o755, b"#!");
    Image::busybox()
        .layer(layer)
        .set("Env", json!(["PATH=/bin", "A=1"]))
        .set("Entrypoint", json!(["/bin/sh", "-c"]))
        .set("Cmd", json!(["true"]))
        .set("User", "0:0".into())
        .set("WorkingDir", "/srv".into())
        .set("ExposedPorts", json!({ "80/tcp": {} }))
        .set("Volumes", json!({ "/data": {} }))
        .set("Labels", json!({ "from": "image" }))
        .set("StopSignal", "SIGINT".into())
        .set("OnBuild", json!(["RUN true"]))
        .set("Healthcheck", json!({ "Test": ["CMD", "true"], "Interval": 5_000_000_000_i64 }))
}

const DEEDS: &str = "rm gone; rm -r replaced; mkdir replaced; touch replaced/new; chown 33:44 tool; chmod 4750 tool; \
    ln tool second; ln -s tool link; mkfifo pipe; dd if=/dev/zero of=holes bs=1 count=1 seek=5000000 2>/dev/null; \
    touch -d '2001-02-03 04:05:06' holes";

/// What a container of the image sees.
const LOOK: &str = "ls /srv /srv/replaced; stat -c '%n %u:%g %a %h' tool second; readlink link; \
    stat -c '%s %Y' holes; test -p pipe && echo pipe";
const SEEN: &str = "/srv:\nholes\nlink\npipe\nreplaced\nsecond\ntool\n\n/srv/replaced:\nnew\n\
    tool 33:44 4750 2\nsecond 33:44 4750 2\ntool\n5000001 981173106\npipe";

const CHANGES: &[&str] = &[
    "ENV B=2 A=3",
    "LABEL k=v",
    "EXPOSE 81/udp",
    "VOLUME /more",
    "WORKDIR sub",
    "USER 5",
    "ONBUILD RUN x",
    "CMD [\"echo\", \"hi\"]",
];

fn sandbox() -> Sandbox {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    s.ok(["run", "--name", "box", "-e", "C=4", "-l", "of=box", "image:1", DEEDS]);
    s
}

#[test]
fn the_new_image_runs_with_what_was_changed() {
    let s = sandbox();
    let out = s.ok(["commit", "-a", "somebody", "-m", "words", "box", "new:1"]);
    let id = out.silent().text().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(s.ok("images -q --no-trunc new:1").text(), id);
    s.ok(["run", "--rm", "new:1", LOOK]).is(SEEN);
    let seen = &s.json("image inspect new:1")[0];
    assert_eq!((&seen["Author"], &seen["Comment"]), (&json!("somebody"), &json!("words")));
    s.ok(["history", "--format", "{{.CreatedBy}}|{{.Comment}}", "new:1"]).has("words");
    // A container of it has changed nothing.
    s.ok("create --name again new:1");
    s.ok("diff again").is("");
    s.ok("system check");
    // Nor does it depend on the container or on the name of its image.
    s.ok("rm again box");
    s.ok("rmi image:1");
    s.ok(["run", "--rm", "new:1", LOOK]).is(SEEN);
}

#[test]
fn nothing_changed_is_no_layer() {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    s.ok("create --name box image:1");
    let id = s.ok("commit box").text().to_owned();
    let layers = |name: &str| s.json(["image", "inspect", name])[0]["RootFS"]["Layers"].clone();
    assert_eq!(layers(&id), layers("image:1"));
    s.ok(["run", "--rm", &id, "cat gone"]).is("x");
}

#[test]
fn a_running_container_runs_on_and_that_is_said() {
    let s = Sandbox::new();
    s.load(&image(), "image:1");
    s.ok(["run", "-d", "--name", "box", "image:1", "touch /srv/made; while :; do date > /srv/now; done"]);
    assert!(within(Duration::from_secs(20), || s.ok("diff box").stdout.contains("/srv/made")));
    s.ok("commit box one").says("box runs on while it is committed");
    for options in ["--pause=false", "-p=false", "--no-pause"] {
        s.ok(format!("container commit {options} box two").as_str()).silent();
    }
    for options in ["--pause", "-p", "--pause=true"] {
        s.exits(1, format!("commit {options} box three").as_str()).says("takes a control group");
    }
    assert_eq!(s.field("box", ".State.Status"), "running");
    s.ok("run --rm two 'test -f made'");
    s.ok("rm -f box");
    s.ok("commit --help").has("--pause");
}

#[test]
fn wrong_words_are_told_and_make_nothing() {
    let s = sandbox();
    let before = s.ok("images -aq").stdout;
    s.exits(1, "commit nobody").says("no such container: nobody");
    s.exits(1, "commit box UPPER").says("UPPER");
    s.exits(1, ["commit", "-c", "RUN true", "box"]).says("not a valid change command");
    s.exits(1, ["commit", "-c", "ENV", "box"]).says("ENV");
    s.exits(1, "commit").says("CONTAINER");
    s.exits(125, "commit --squash box").says("--squash is not built yet");
    let root = s.busybox_dir("root");
    s.ok(["create", "--name", "rooted", "--rootfs", root.to_str().unwrap(), "true"]);
    s.exits(1, "commit rooted").says("not made from an image").says("kelp export rooted | kelp import");
    s.ok(["run", "--name", "strange", "image:1", "touch /srv/.wh.x"]);
    s.exits(1, "commit strange").says("/srv/.wh.x cannot be in an image");
    assert_eq!(s.ok("images -aq").stdout, before);
    s.ok("system check");
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(s) = Sandbox::with_small_disk("size=64m") else {
        return needs_root("a_full_disk_leaves_nothing");
    };
    s.load(&Image::busybox(), "busybox");
    s.ok(["run", "--name", "box", "busybox", "sh", "-c", "head -c 20000000 /dev/urandom > /big"]);
    s.exits(1, "commit box new").says("do not fit on the disk");
    s.ok("rm box");
    assert_eq!(s.ok("images -q").lines().len(), 1);
    s.ok("system check");
}

/// The part of a configuration that a container has from its image.
fn effective(config: &Value) -> Value {
    let keys = [
        "User",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Volumes",
        "StopSignal",
        "Healthcheck",
        "Labels",
        "ExposedPorts",
        "OnBuild",
    ];
    keys.iter().map(|key| ((*key).to_owned(), config[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn docker_commits_the_same_and_takes_ours() {
    let s = sandbox();
    let test = "docker_commits_the_same_and_takes_ours";
    let Some(others) = Others::beside(&s) else { return needs_root(test) };
    let Some(docker) = others.docker() else { return };
    let archive = s.write("image.tar", image().docker_archive("image:1"));
    docker.call("load -i").args([&archive]).exits(0);
    docker
        .call("create --name box -e C=4 -l of=box --ulimit nofile=1000:1000 image:1")
        .args([DEEDS])
        .exits(0);
    for (number, changes) in [&[][..], CHANGES, &["ENTRYPOINT [\"/bin/busybox\"]"]].iter().enumerate() {
        let options: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
        let name = format!("new:{number}");
        docker.call("commit -a somebody -m words").args(options.iter().chain(&["box", &name])).exits(0);
        let words = ["commit", "-a", "somebody", "-m", "words"].iter().chain(&options);
        s.ok(words.chain(&["box", name.as_str()]).copied().collect::<Vec<_>>().as_slice());
        let theirs = docker.call("image inspect").args([&name]).exits(0);
        let theirs: Value = serde_json::from_str(theirs.text()).unwrap();
        let ours = s.json(["image", "inspect", &name]);
        assert_eq!(effective(&ours[0]["Config"]), effective(&theirs[0]["Config"]), "{changes:?}");
        assert_eq!(ours[0]["Author"], theirs[0]["Author"]);
        assert_eq!(ours[0]["Comment"], theirs[0]["Comment"]);
    }
    s.ok("save -o ours.tar new:0");
    docker.call("rmi new:0").exits(0);
    docker.call("load -i").args([s.work().join("ours.tar")]).exits(0).has("new:0");
    docker.call("create --name ours new:0").exits(0);
    let archive = others.dir().join("exported.tar");
    docker.call("export -o").args([archive.to_str().unwrap(), "ours"]).exits(0);
    let list = others.call("/usr/bin/tar", "--numeric-owner -tvf exported.tar").exits(0);
    list.has("-rwsr-x--- 33/44").has("srv/replaced/new").lacks("srv/gone").lacks("srv/replaced/old");
}

#[test]
fn podman_runs_what_is_committed() {
    let s = sandbox();
    let Some(others) = Others::beside(&s) else { return needs_root("podman_runs_what_is_committed") };
    s.ok("commit box new:1");
    s.ok("save --format oci-archive -o new.tar new:1");
    others.podman("load -i").args([s.work().join("new.tar")]).exits(0);
    let run = "run --rm --network none --ulimit nofile=1000:1000 --ulimit nproc=4000:4000 new:1";
    others.podman(run).args([LOOK]).exits(0).is(SEEN);
    others.skopeo(&format!("inspect --config docker-archive:{}", s.work().join("new.tar").display())).run();
}
