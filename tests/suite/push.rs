//! push: what it sends, what it says, and what others read of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::json;

use super::pull::image;
use crate::harness::{
    Act, Answer, Image, Layer, Others, PASSWORD, Registry, Sandbox, Server, USER, needs_root,
};

/// An image in the store under a name of the registry.
fn loaded(s: &Sandbox, image: &Image, name: &str) {
    s.kelp("load -q").stdin(image.docker_archive(name)).exits(0);
}

#[test]
fn nothing_is_sent_where_the_digest_cannot_be_written() {
    let s = Sandbox::new().busybox();
    let registry = Registry::new();
    let name = format!("{}/app:1", registry.host());
    s.ok(["tag", "busybox", &name]);
    s.exits(1, ["push", "--digestfile", "no/such/dir", &name]).says("no/such/dir");
    s.exits(1, ["search", "--list-tags", &format!("{}/app", registry.host())]);
}

#[test]
fn says_what_docker_says_and_sends_nothing_twice() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let name = format!("{}/a/b", front.host());
    loaded(&s, &image("hello"), &format!("{name}:latest"));
    let digestfile = s.work().join("digest");
    let out = s.ok(["push", "--digestfile", digestfile.to_str().unwrap(), &name]);
    let digest = std::fs::read_to_string(&digestfile).unwrap();
    out.has(&format!("Using default tag: latest\nThe push refers to repository [{name}]\n")).silent();
    out.has(": Preparing\n").has(": Pushed\n").has(&format!("latest: digest: {digest} size: "));
    let named = s.ok(["image", "inspect", "-f", "{{index .RepoDigests 0}}", &name]);
    named.is(&format!("{name}@{digest}"));

    front.forget();
    s.ok(["push", &name]).has(": Layer already exists\n").lacks("Pushed");
    let methods: Vec<String> = front.seen().iter().map(|r| r.method.clone()).collect();
    assert!(methods.iter().all(|m| m == "HEAD" || m == "PUT"), "{methods:?}");

    s.ok(["push", "-q", &name]).is(&format!("{name}:latest")).silent();
    let there = Sandbox::new();
    there.ok(["run", "--rm", "-q", &format!("{name}@{digest}"), "cat", "/note"]).is("hello");
}

#[test]
fn mounts_what_the_registry_has_elsewhere() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let (name, other) = (format!("{}/one:1", front.host()), format!("{}/two:1", front.host()));
    let pushed = registry.push("one", "1", &image("hello"));
    s.ok(["pull", "-q", &name]);
    s.ok(["tag", &name, &other]);
    front.forget();
    s.ok(["push", &other]).has(": Mounted from one\n").has(&format!("digest: {} size", pushed.digest));
    assert!(front.seen().iter().all(|r| r.method != "PATCH"), "nothing is sent");
    Sandbox::new().ok(["run", "--rm", "-q", &other, "cat", "/note"]).is("hello");
}

#[test]
fn all_tags_and_refusals() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let name = format!("{}/app", registry.host());
    loaded(&s, &image("one"), &format!("{name}:1"));
    loaded(&s, &image("two"), &format!("{name}:2"));
    s.ok(["push", "-a", &name]).has("1: digest: ").has("2: digest: ");
    for (tag, note) in [("1", "one"), ("2", "two")] {
        Sandbox::new().ok(["run", "--rm", "-q", &format!("{name}:{tag}"), "cat", "/note"]).is(note);
    }
    s.exits(1, ["push", "-a", &format!("{name}:1")]).says("tag can't be used with --all-tags/-a");
    s.exits(1, ["push", &format!("{name}:3")]).says("does not exist locally with the tag");
    s.exits(1, ["push", "--platform", "linux/s390x", &format!("{name}:1")]).says("linux/s390x");
    let out = s.exits(69, ["push", &renamed(&s, &name)]);
    // Of no blob: none has a part in it.
    assert!(out.stderr.starts_with("kelp: cannot reach 127.0.0.1:1"), "{}", out.story());
}

/// The image under a name whose registry does not exist.
fn renamed(s: &Sandbox, name: &str) -> String {
    let gone = "127.0.0.1:1/app:1";
    s.ok(["tag", &format!("{name}:1"), gone]);
    gone.into()
}

/// What the front has taken of an upload when it hangs up is not sent again. (docker-registry itself forgets a session
/// whose last answer was lost: then the blob is sent anew.)
#[test]
fn goes_on_where_the_registry_is() {
    let s = Sandbox::new();
    let registry = Arc::new(Registry::new());
    let taken: Mutex<Vec<u8>> = Mutex::default();
    let behind = Arc::clone(&registry);
    let front = Server::start(Some(registry.port()), move |request, _| {
        let mut taken = taken.lock().unwrap();
        let is_mine = request.path.starts_with("/v2/app/blobs/uploads/mine");
        let is_here = |status| {
            let range = format!("0-{}", taken.len().saturating_sub(1));
            Act::Say(
                Answer::new(status, "").with("Location", "/v2/app/blobs/uploads/mine").with("Range", range),
            )
        };
        match (request.method.as_str(), is_mine) {
            ("POST", _) if taken.is_empty() && request.path.contains("uploads") => is_here(202),
            ("PATCH", true) if taken.is_empty() => {
                taken.extend(&request.bytes[..700_000]);
                Act::HangUp
            }
            ("GET", true) => is_here(204),
            ("PATCH", true) => {
                taken.extend(&request.bytes);
                let range = format!("0-{}", taken.len() - 1);
                let answer = Answer::new(202, "").with("Location", "/v2/app/blobs/uploads/mine");
                Act::Say(answer.with("Range", range))
            }
            ("PUT", true) => {
                behind.put_blob("app", &taken);
                Act::Say(Answer::new(201, ""))
            }
            _ => Act::Pass,
        }
    });
    let name = format!("{}/app:1", front.host());
    let layer = Layer::busybox().file("large", 0o644, &noise(3_000_000));
    let image = Image::default().layer(layer);
    registry.put_blob("app", &image.configuration());
    loaded(&s, &image, &name);
    s.ok(["push", &name]).has("Retrying");
    let ranges: Vec<_> =
        front.seen().iter().filter_map(|r| r.header("content-range").map(str::to_owned)).collect();
    assert!(ranges.len() == 1 && ranges[0].starts_with("700000-"), "{ranges:?}");
    Sandbox::new().ok(["run", "--rm", "-q", &name, "stat", "-c", "%s", "/large"]).is("3000000");
}

/// The same against docker-registry: the blob is sent anew, and the push succeeds.
#[test]
fn a_session_that_is_lost_is_begun_anew() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let cuts = AtomicUsize::new(0);
    let front = Server::start(Some(registry.port()), move |request, _| {
        let cut = request.method == "PATCH" && cuts.fetch_add(1, Ordering::Relaxed) < 2;
        if cut { Act::HangUp } else { Act::Pass }
    });
    let name = format!("{}/app:1", front.host());
    loaded(&s, &image("anew"), &name);
    s.ok(["push", &name]).has("Retrying");
    Sandbox::new().ok(["run", "--rm", "-q", &name, "cat", "/note"]).is("anew");
}

fn noise(size: usize) -> Vec<u8> {
    let next = |n: &u32| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1), next).map(|n| n.to_be_bytes()[0]).take(size).collect()
}

/// T-redirect: a session elsewhere is followed, and is shown no credentials.
#[test]
fn a_session_on_another_host_sees_no_credentials() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let elsewhere = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let host = elsewhere.host();
    let front = Server::start(Some(registry.port()), move |request, _| {
        if request.header("authorization").is_none() {
            return Act::Say(Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""));
        }
        if request.method == "POST" { Act::Lead(host.clone()) } else { Act::Pass }
    });
    let name = format!("{}/app:1", front.host());
    loaded(&s, &image("led"), &name);
    s.exits(77, ["push", &name]);
    let docker = s.work().join("docker");
    let login =
        s.kelp(["login", "-u", USER, "--password-stdin", &front.host()]).env("DOCKER_CONFIG", &docker);
    login.stdin(PASSWORD).exits(0);
    s.kelp(["push", &name]).env("DOCKER_CONFIG", &docker).exits(0);
    let there = elsewhere.seen();
    assert!(there.iter().any(|r| r.method == "PATCH"), "{there:?}");
    assert!(there.iter().all(|r| r.header("authorization").is_none()), "{there:?}");
    Sandbox::new().ok(["run", "--rm", "-q", &format!("{}/app:1", registry.host()), "cat", "/note"]).is("led");
}

/// With everything of a list here, the list is pushed and keeps its digest; else one image alone.
#[test]
fn a_list_is_pushed_whole_or_not_at_all() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let image = image(architecture).architecture(architecture);
        let pushed = registry.push("app", architecture, &image);
        entries.push(json!({
            "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size,
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries });
    let list = registry.put_manifest("app", "1", &list);
    let (name, other) = (format!("{}/app:1", registry.host()), format!("{}/other:1", registry.host()));
    s.ok(["pull", "-q", "--platform", "linux/amd64", &name]);
    s.ok(["tag", &name, &other]);
    s.ok(["push", &other]).says("only the image for one platform").lacks(&list.digest);
    s.ok(["pull", "-q", "--platform", "linux/arm64", &name]);
    s.ok(["push", &other]).has(&format!("1: digest: {} size: {}", list.digest, list.size)).silent();
    for platform in ["linux/amd64", "linux/arm64"] {
        Sandbox::new().ok(["pull", "--platform", platform, &other]).has(&list.digest);
    }
    let alone = s.ok(["push", "--platform", "linux/arm64", &other]);
    alone.lacks(&list.digest).has(entries[1]["digest"].as_str().unwrap());
}

#[test]
fn others_read_and_run_it() {
    let s = Sandbox::new();
    let Some(others) = Others::beside(&s) else { return needs_root("others_read_and_run_it") };
    let registry = Registry::new();
    let name = format!("{}/app:1", registry.host());
    loaded(&s, &image("witness"), &name);
    let said = s.ok(["push", &name]);
    let theirs =
        others.skopeo(&format!("inspect --tls-verify=false --format {{{{.Digest}}}} docker://{name}"));
    said.has(theirs.exits(0).text());
    let run = "run --rm --net none --ulimit nofile=256:256 --ulimit nproc=256:256 --tls-verify=false";
    others.podman(&format!("{run} {name} cat /note")).exits(0).is("witness");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let front = Server::start(Some(registry.port()), |request, _| {
        if request.method == "PATCH" { Act::StallAfter(0) } else { Act::Pass }
    });
    let name = format!("{}/app:1", front.host());
    loaded(&s, &image("late"), &name);
    let job = s.kelp(["push", &name]).spawn(false);
    assert!(crate::harness::within(std::time::Duration::from_secs(10), || {
        front.seen().iter().any(|r| r.method == "PATCH")
    }));
    job.signal(Signal::INT);
    let out = job.finish(std::time::Duration::from_secs(10));
    assert_eq!(out.code, 130, "{}", out.story());
    s.ok("system check");
}
