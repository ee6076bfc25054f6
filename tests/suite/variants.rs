//! Images that came in a list for several platforms: `--platform` of history, save and rmi, and `images --tree`.

use serde_json::json;

use crate::harness::{Image, Layer, Registry, Sandbox};

const OWN: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A list of two images, both pulled; the one for this machine last, so that it has the name. Gives that name.
fn both(s: &Sandbox, registry: &Registry) -> String {
    let image = |text: &str| Image::busybox().layer(Layer::default().file("note", 0o644, text.as_bytes()));
    let own = registry.push("multi", "own", &image("own"));
    let other = registry.push("multi", "other", &image("the other").architecture("s390x"));
    let entries = [(&other, "s390x"), (&own, OWN)].map(|(pushed, architecture)| {
        json!({ "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size,
                "platform": { "os": "linux", "architecture": architecture } })
    });
    let kind = "application/vnd.oci.image.index.v1+json";
    registry.put_manifest(
        "multi",
        "latest",
        &json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }),
    );
    let name = format!("{}/multi:latest", registry.host());
    s.ok(["pull", "-q", "--platform", "linux/s390x", &name]);
    s.ok(["pull", "-q", &name]);
    name
}

#[test]
fn each_platform_of_a_list_can_be_meant() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let name = both(&s, &registry);
    let sizes =
        |options: &str| s.ok(&format!("history -H=false --format {{{{.Size}}}} {options} {name}")).stdout;
    assert!(sizes("").starts_with("3\n"), "{}", sizes(""));
    assert_eq!(sizes(&format!("--platform linux/{OWN}")), sizes(""));
    assert!(sizes("--platform linux/s390x").starts_with("9\n"));
    s.exits(1, ["history", "--platform", "linux/riscv64", &name]).says("linux/riscv64");
    s.exits(1, ["history", "--platform", "a/b/c/d", &name]).says("platform");

    s.ok(["save", "--platform", "linux/s390x", "-o", "other.tar", &name]);
    s.exits(1, ["save", "--platform", "linux/riscv64", "-o", "none.tar", &name]).says("linux/riscv64");
    let elsewhere = Sandbox::new();
    let saved = std::fs::read(s.work().join("other.tar")).unwrap();
    elsewhere.kelp("load").stdin(saved.clone()).exits(0).is(&format!("Loaded image: {name}"));
    elsewhere.ok(["image", "inspect", "-f", "{{.Architecture}}", &name]).is("s390x");
    let wrong = format!("linux/{OWN}");
    elsewhere.kelp(["load", "--platform", &wrong]).stdin(saved).exits(1).says("s390x");

    s.exits(1, ["rmi", "--platform", "linux/riscv64", &name]).says("linux/riscv64");
    let out = s.ok(["rmi", "--platform", "linux/s390x", &name]);
    out.has("Untagged: ").has("multi@sha256:").lacks(":latest").has("Deleted: sha256:");
    s.ok(["run", "--rm", &name, "cat", "/note"]).is("own");
    s.exits(1, ["rmi", "--platform", "linux/s390x", &name]).says("s390x");
    s.ok(["rmi", "--platform", &wrong, &name]).has(&format!("Untagged: {name}\n"));
    s.ok("images -aq").is("");
}

#[test]
fn a_name_stays_for_what_stays_of_a_list_and_goes_with_all_of_it() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let name = both(&s, &registry);
    // The name is that of the one that goes.
    let out = s.ok(["rmi", "--platform", &format!("linux/{OWN}"), &name]);
    out.has("multi@sha256:").lacks(":latest").has("Deleted: sha256:");
    s.ok(["image", "inspect", "-f", "{{.Architecture}}", &name]).is("s390x");
    s.ok(["create", "--name", "c1", &name, "true"]).says("the image is for linux/s390x");
    s.ok("rm c1");
    s.ok(["rmi", &name]);
    s.ok("images -aq").is("");

    let name = both(&s, &registry);
    s.ok(["rmi", &name]).has(&format!("Untagged: {name}\n"));
    s.ok("images -aq").is("");
}

#[test]
fn the_tree_says_what_is_in_use_and_hides_what_has_no_name() {
    let s = Sandbox::new();
    s.ok("images --tree").is("IMAGE   ID             DISK USAGE   CONTENT SIZE   EXTRA");
    let registry = Registry::new();
    let name = both(&s, &registry);
    s.ok(["create", "--name", "c1", &name, "true"]);
    let s = s.busybox();
    s.ok("tag busybox again:2");
    s.ok(&format!("import -m nameless {}", s.busybox_tar().display()));
    let out = s.ok("images --tree");
    let lines = out.lines();
    let (own, other) = (format!("linux/{OWN}"), "linux/s390x");
    let found = |text: &str| lines.iter().position(|l| l.contains(text)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(found(&name), 1, "{}", out.story());
    assert!(lines[1].trim_end().ends_with(" U"), "{}", out.story());
    assert!(lines[2].starts_with(&format!("├─ {own}")) && lines[2].trim_end().ends_with(" U"));
    assert!(lines[3].starts_with(&format!("└─ {other}")) && !lines[3].trim_end().ends_with(" U"));
    assert_eq!((lines[4], lines[5].trim_end()), ("", "again:2"), "{}", out.story());
    assert!(lines[6].starts_with("busybox:latest ") && lines[7].starts_with(&format!("└─ {own}")));
    out.lacks("<untagged>");
    s.ok("images --tree -a").has("<untagged>");
    s.ok("images --tree --filter dangling=true").has("<untagged>").lacks("busybox");
    s.ok("images --tree busybox").lacks("multi");
    s.exits(1, "images --tree -q").says("--quiet");
}
