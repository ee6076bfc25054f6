//! pull: what it fetches, what it says, and what `run` and `create` make of it.

use serde_json::json;

use crate::harness::{Act, Format, Image, Layer, Packing, Registry, Sandbox, Server};

/// Two layers, the upper one with a note.
pub(super) fn image(note: &str) -> Image {
    Image::busybox().layer(Layer::default().file("note", 0o644, note.as_bytes()))
}

/// `kelp pull` of what is there already is a HEAD and nothing else.
#[test]
fn says_what_docker_says_and_asks_no_more_than_it_must() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("a/b", "1", &image("hello"));
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let name = format!("{}/a/b:1", front.host());
    let out = s.ok(["pull", &name]);
    out.has("1: Pulling from a/b\n").has(&format!("Digest: {}\n", pushed.digest));
    out.has(&format!("Status: Downloaded newer image for {name}\n{name}\n")).silent();
    let short = &pushed.layers[0].0["sha256:".len()..][..12];
    out.has(&format!("{short}: Pulling fs layer\n")).has(&format!("{short}: Pull complete\n"));
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("hello");

    front.forget();
    let again = s.ok(["pull", &name]);
    again.is(&format!(
        "1: Pulling from a/b\nDigest: {}\nStatus: Image is up to date for {name}\n{name}",
        pushed.digest
    ));
    let seen = front.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("HEAD", "/v2/a/b/manifests/1"));

    front.forget();
    let by_digest = format!("{}/a/b@{}", front.host(), pushed.digest);
    s.ok(["pull", &by_digest]).has("Image is up to date");
    s.ok(["run", "--rm", &by_digest, "cat", "/note"]).is("hello");
    s.ok(["pull", "-q", &name]).is(&name);
    assert_eq!(front.seen().len(), 1, "only the pull by tag asks");
    s.ok(["image", "inspect", "-f", "{{index .RepoDigests 0}}", &name]).is(&by_digest);
}

#[test]
fn a_tag_that_has_moved_is_followed_and_layers_are_fetched_once() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let name = format!("{}/app", front.host());
    registry.push("app", "latest", &image("one"));
    s.ok(["pull", &name]).has("Using default tag: latest").has("Downloaded newer image");
    let moved = registry.push("app", "latest", &image("two"));
    front.forget();
    s.ok(["pull", &name]).has("Already exists").has("Downloaded newer image");
    // The config, and the one layer that is new.
    let blobs: Vec<String> = front.seen().iter().filter(|r| r.is_blob()).map(|r| r.path.clone()).collect();
    assert_eq!(blobs.len(), 2, "{blobs:?}");
    assert!(blobs.iter().any(|path| path.ends_with(&moved.layers[1].0)));
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("two");
}

#[test]
fn every_packing_and_both_formats() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for format in [Format::Oci, Format::Docker] {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let tag = format!("{format:?}-{packing:?}").to_lowercase();
            registry.push_as("app", &tag, &image(&tag), format, packing);
            let name = format!("{}/app:{tag}", registry.host());
            s.ok(["run", "--rm", "-q", &name, "cat", "/note"]).is(&tag).silent();
        }
    }
}

/// An independent witness filled the registry.
#[test]
fn what_skopeo_pushed() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let archive = s.write("image.tar", image("by skopeo").docker_archive("x:1"));
    let to = format!("docker://{}/by/skopeo:1", registry.host());
    // It looks for credentials at a place in /run that other accounts may have made.
    let nobody = s.write("nobody.json", "{}");
    s.program_call("skopeo")
        .env("REGISTRY_AUTH_FILE", &nobody)
        .env("HOME", s.work())
        .args([
            "--tmpdir",
            s.work().to_str().unwrap(),
            "copy",
            "--insecure-policy",
            "--dest-tls-verify=false",
        ])
        .args([format!("docker-archive:{}", archive.display()), to])
        .exits(0);
    let name = format!("{}/by/skopeo:1", registry.host());
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("by skopeo");
    let theirs = s
        .program_call("skopeo")
        .env("REGISTRY_AUTH_FILE", &nobody)
        .env("HOME", s.work())
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
        .args([format!("docker://{name}")])
        .exits(0);
    s.ok(["pull", &name]).has(&format!("Digest: {}", theirs.text()));
}

#[test]
fn an_index_is_a_choice_of_platforms() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let own = registry.push("multi", "own", &image("own"));
    let mut foreign = json!(null);
    let other = registry.push("multi", "other", &image("other"));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let entry = |pushed: &crate::harness::Pushed, arch: &str| {
        json!({ "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size,
                "platform": { "os": "linux", "architecture": arch } })
    };
    foreign["manifests"] = json!([entry(&other, "s390x"), entry(&own, architecture)]);
    foreign["schemaVersion"] = json!(2);
    foreign["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    let index = registry.put_manifest("multi", "latest", &foreign);
    let name = format!("{}/multi", registry.host());
    s.ok(["pull", &name]).has(&format!("Digest: {}", index.digest));
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("own");
    s.ok(["pull", &name]).has("Image is up to date");
    s.exits(1, ["pull", "--platform", "linux/riscv64", &name]).says("no matching manifest for linux/riscv64");
    // The manifest is said to be for s390x, its config is not: two readers could understand it differently.
    s.exits(1, ["pull", "--platform", "linux/s390x", &name]).says("s390x");
    s.exits(1, ["pull", "--platform", "nonsense/", &name]).says("nonsense/");
}

/// The digest of a list is one name for several images: the platform chooses, not the order of the pulls.
#[test]
fn the_digest_of_an_index_means_the_platform() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let (host, other) = if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") };
    let entries = [host, other].map(|architecture| {
        let pushed = registry.push("multi", architecture, &image(architecture).architecture(architecture));
        json!({ "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size,
                "platform": { "os": "linux", "architecture": architecture } })
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    let list = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries });
    let list = registry.put_manifest("multi", "1", &list);
    let (repository, foreign) = (format!("{}/multi", registry.host()), format!("linux/{other}"));
    let name = format!("{repository}@{}", list.digest);
    s.ok(["pull", "-q", &name]);
    s.ok(["pull", "-q", "--platform", &foreign, &name]);
    s.ok(["run", "--rm", "--pull", "never", &name, "cat", "/note"]).is(host);
    s.ok(["image", "inspect", "-f", "{{.Architecture}}", &name]).is(host);
    s.exits(1, ["save", "--platform", "linux/s390x", "-o", "saved", &name]).says("s390x");
    s.ok(["save", "--platform", &foreign, "-o", "saved", &name]);
    let rows = s.ok(["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]);
    let row = format!("{repository} <none> {}", list.digest);
    rows.is(&format!("{row}\n{row}"));
    s.ok(["images"]).has(&format!("{repository}   <none>"));
    s.ok(["rmi", &name]).has(&format!("Untagged: {name}"));
    s.ok(["image", "inspect", "-f", "{{.Architecture}}", &name]).is(other);
}

#[test]
fn all_tags() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for tag in ["1", "2", "three"] {
        registry.push("app", tag, &image(tag));
    }
    let name = format!("{}/app", registry.host());
    let out = s.ok(["pull", "-a", &name]);
    out.has("1: Pulling from app").has("three: Pulling from app");
    out.has(&format!("Status: Downloaded newer image for {name}\n{name}\n")).lacks("Using default tag");
    s.ok(["run", "--rm", &format!("{name}:three"), "cat", "/note"]).is("three");
    s.exits(1, ["pull", "-a", &format!("{name}:1")]).says("--all-tags");
    s.ok(["pull", "-a", "-q", &name]).is(&format!("{name}:1\n{name}:2\n{name}:three"));
}

#[test]
fn run_and_create_bring_in_what_is_missing() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    let name = format!("{}/app:1", registry.host());
    s.exits(125, ["run", "--rm", "--pull", "never", &name, "true"]).says("no such image");
    let out = s.ok(["run", "--rm", &name, "cat", "/note"]);
    out.is("one").says(&format!("Unable to find image '{name}' locally")).says("Downloaded newer image");
    s.ok(["run", "--rm", &name, "cat", "/note"]).silent();

    registry.push("app", "1", &image("two"));
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("one");
    s.ok(["run", "--rm", "--pull", "always", "-q", &name, "cat", "/note"]).is("two").silent();
    registry.push("app", "1", &image("three"));
    let id = s.ok(["create", "--pull", "newer", "--quiet", &name, "cat", "/note"]).text().to_owned();
    s.ok(["start", "-a", &id]).is("three");
    s.ok(["rm", &id]);
    let gone = registry.host();
    drop(registry);
    s.ok(["run", "--rm", "--pull", "newer", &name, "cat", "/note"]).is("three");
    s.exits(125, ["run", "--rm", "--pull", "always", &name, "true"]).says(&format!("cannot reach {gone}"));
    s.exits(125, ["run", "--rm", "--pull", "sometimes", &name, "true"]);
}

#[test]
fn what_is_not_there_is_told_apart() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    let host = registry.host();
    s.exits(1, ["pull", &format!("{host}/app:nope")])
        .says(&format!("manifest for {host}/app:nope not found"));
    s.exits(1, ["pull", &format!("{host}/nothing")]).says("not found");
    s.exits(125, ["run", &format!("{host}/nothing")]).says("not found");
    drop(registry);
    let out = s.exits(69, ["pull", &format!("{host}/app:1")]);
    out.says(&format!("cannot reach {host}")).says("refused");
    s.exits(69, ["pull", "registry.invalid/app:1"]).says("cannot reach registry.invalid");
    s.exits(1, ["pull", "UPPER"]).says("must be lowercase");
    s.exits(1, ["pull", "a@sha256:12"]).says("digest");
}

#[test]
fn layers_that_are_the_same_are_kept_once() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let twice = Layer::default().file("same", 0o644, b"same").bytes();
    let same = || Layer::default().file("same", 0o644, b"same");
    registry.push("app", "1", &Image::busybox().layer(same()).layer(same()));
    registry.push_as("app", "2", &Image::busybox().layer(same()), Format::Docker, Packing::Zstd);
    for tag in ["1", "2"] {
        s.ok(["run", "--rm", "-q", &format!("{}/app:{tag}", registry.host()), "cat", "/same"]).is("same");
    }
    let layers = std::fs::read_dir(s.store().join("layers")).unwrap().count();
    assert_eq!(layers, 2, "{} bytes twice", twice.len());
}

#[test]
fn mirrors_are_asked_first_and_the_registry_last() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    let mirror = Registry::new();
    mirror.push("app", "1", &image("mirrored"));
    let front = Server::start(Some(registry.port()), |_, _| Act::Pass);
    let settings = |mirrors: &str| {
        let text = format!("[registries.\"{}\"]\nmirrors = [{mirrors}]\n", front.host());
        s.write("config/kelp/config.toml", text);
    };
    let pull = |tag: &str| {
        let name = format!("{}/app:{tag}", front.host());
        s.kelp(["pull", &name]).env("XDG_CONFIG_HOME", s.work().join("config"))
    };
    settings(&format!("\"http://127.0.0.1:1\", \"http://{}\"", mirror.host()));
    pull("1").exits(0);
    assert_eq!(front.seen().len(), 0, "{:#?}", front.seen());
    s.ok(["run", "--rm", &format!("{}/app:1", front.host()), "cat", "/note"]).is("mirrored");
    registry.push("app", "2", &image("two"));
    pull("2").exits(0);
    assert!(!front.seen().is_empty());
    settings("\"http://user:pw@127.0.0.1:1\"");
    pull("2").exits(1).says("credentials");
    settings("\"http://mirror.invalid\"");
    pull("2").exits(0);
}

#[test]
fn a_proxy_is_used_and_not_for_this_machine() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    let proxy = Server::start(None, |_, _| Act::Say(crate::harness::Answer::new(502, "")));
    let variable = format!("http://{}", proxy.host());
    let name = format!("{}/app:1", registry.host());
    s.kelp(["pull", &name]).env("HTTP_PROXY", &variable).env("HTTPS_PROXY", &variable).exits(0);
    assert!(proxy.seen().is_empty());
    let call = s.kelp(["pull", "registry.invalid/app:1"]).env("HTTPS_PROXY", &variable);
    call.exits(69).says("registry.invalid");
    let seen = proxy.seen();
    assert!(seen.iter().any(|r| r.method == "CONNECT" && r.path == "registry.invalid:443"), "{seen:#?}");
    proxy.forget();
    s.kelp(["pull", "registry.invalid/app:1"])
        .env("HTTPS_PROXY", &variable)
        .env("NO_PROXY", "registry.invalid")
        .exits(69);
    assert!(proxy.seen().is_empty());
}

#[test]
fn a_terminal_sees_bars_and_keeps_no_half_line() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("one"));
    let name = format!("{}/app:1", registry.host());
    let t = s.terminal(["pull", &name]);
    let seen = t.exits(0);
    assert!(seen.contains("Pull complete") && seen.contains("Status: Downloaded newer image"), "{seen}");
    assert!(seen.ends_with(&format!("{name}\r\n")), "{seen:?}");
}
