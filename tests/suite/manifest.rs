//! manifest: lists made here, pushed whole, read by others.

use serde_json::json;

use base64::Engine as _;

use super::pull::image;
use crate::harness::{Format, Others, Packing, Registry, Sandbox, digest};

const OTHER: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
const HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

#[test]
fn a_list_is_made_pushed_and_pulled_by_platform() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for (tag, architecture) in [("host", HOST), ("other", OTHER)] {
        let archive = image(tag).architecture(architecture).docker_archive(&format!("{tag}:1"));
        s.kelp("load -q").stdin(archive).exits(0);
    }
    let list = format!("{}/app:1", registry.host());
    s.ok(["manifest", "create", &list, "host:1"]).is(&format!("Created manifest list {list}"));
    s.exits(1, ["manifest", "create", &list, "host:1"]).says("--amend");
    s.ok(["manifest", "create", "--amend", &list, "other:1"]);
    s.ok(["manifest", "exists", &list]);
    let shown = s.json(["manifest", "inspect", &list]);
    assert_eq!(shown["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms: Vec<_> = shown["manifests"].as_array().unwrap().iter().map(|m| &m["platform"]).collect();
    assert_eq!(
        platforms,
        [&json!({"os": "linux", "architecture": HOST}), &json!({"os": "linux", "architecture": OTHER})]
    );

    let digest = s.ok(["manifest", "push", "-q", &list]).text().to_owned();
    for (platform, note) in [(HOST, "host"), (OTHER, "other")] {
        let there = Sandbox::new();
        let platform = format!("linux/{platform}");
        there.ok(["pull", "--platform", &platform, &list]).has(&digest);
        if note == "host" {
            there.ok(["run", "--rm", &list, "cat", "/note"]).is(note);
        }
    }
    s.ok(["push", &list]).has(&format!("digest: {digest} size: "));
    s.ok(["manifest", "push", "--purge", &list]).has(&digest);
    s.exits(1, ["manifest", "exists", &list]);
    s.exits(1, ["manifest", "rm", &list]).says("there is no list of this name");
    assert_eq!(s.json(["manifest", "inspect", &list])["manifests"], shown["manifests"], "the registry's");
    s.ok("system check");
}

#[test]
fn images_are_added_annotated_and_taken_out() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let there = registry.push("app", "here", &image("pulled"));
    let name = format!("{}/app:here", registry.host());
    s.ok("manifest create l");
    s.ok(["manifest", "add", "l", &format!("docker://{name}")]);
    s.ok(["manifest", "annotate", "--arch", "arm", "--variant", "v7", "--annotation", "a=b", "l", &name]);
    let entry = &s.json("manifest inspect l")["manifests"][0];
    assert_eq!(entry["digest"], json!(there.digest));
    assert_eq!(entry["platform"], json!({"os": "linux", "architecture": "arm", "variant": "v7"}));
    assert_eq!(entry["annotations"], json!({"a": "b"}));
    s.exits(1, ["manifest", "annotate", "--arch", "arm", "l", &format!("sha256:{}", "0".repeat(64))]);
    s.ok(["manifest", "remove", "l", &there.digest]);
    assert_eq!(s.json("manifest inspect l")["manifests"], json!([]));

    s.ok(["manifest", "add", "l", &name]);
    s.ok(["rmi", &name]);
    // The list keeps nothing: the image is here, or where the list goes.
    s.exits(1, ["manifest", "push", "l", &format!("{}/elsewhere:1", registry.host())])
        .says(&format!("the image {} of the list is not here any more", there.digest));
    s.ok(["manifest", "push", "l", &format!("{}/app:again", registry.host())]);
    s.ok(["pull", "-q", &format!("{}/app:again", registry.host())]);
    // A script's variable that is not set says nothing, as with docker.
    s.ok(["manifest", "annotate", "--arch", "", "--os", "", "--variant", "", "l", &there.digest]);
    assert_eq!(s.json("manifest inspect l")["manifests"][0]["platform"]["architecture"], json!(HOST));
    s.exits(1, "rmi l").says("is a list of images").says("kelp manifest rm");
    let out = s.exits(1, "rmi nothing");
    assert!(
        out.stderr.contains("no such image: nothing:latest") && !out.stderr.contains("pull"),
        "{}",
        out.story()
    );
    s.exits(1, ["untag", &format!("{}/app:again", registry.host()), "nope"])
        .says("no such name: nope:latest");
    s.ok("manifest rm l");
    s.exits(1, "manifest rm l").says("there is no list of this name");
    s.ok("manifest rm --ignore l");
}

/// What a registry has for several platforms is taken as a whole.
#[test]
fn all_of_a_list_is_added() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let pushed = registry.push("app", architecture, &image(architecture).architecture(architecture));
        entries.push(json!({
            "mediaType": pushed.media_type, "digest": pushed.digest, "size": pushed.size,
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    registry.put_manifest(
        "app",
        "1",
        &json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }),
    );
    s.ok("manifest create --annotation org.example.List=a=b l");
    s.exits(125, "manifest create --annotation =b k").says("KEY=VALUE");
    s.ok(["manifest", "add", "--all", "l", &format!("{}/app:1", registry.host())]);
    let list = s.json("manifest inspect l");
    assert_eq!(list["manifests"], json!(entries));
    assert_eq!(list["annotations"], json!({ "org.example.List": "a=b" }));
    let said = "--os windows --os-version 10.0.1 --os-features win32k,x --features sse4";
    s.ok(&format!("manifest annotate {said} l {}", entries[1]["digest"].as_str().unwrap()));
    let platform = json!({ "os": "windows", "architecture": "arm64", "os.version": "10.0.1",
                           "os.features": ["win32k", "x"], "features": ["sse4"] });
    assert_eq!(s.json("manifest inspect l")["manifests"][1]["platform"], platform);
}

/// docker's `-v`: as its client 28 prints it, field by field.
#[test]
fn inspect_tells_of_each_image() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let host = registry.host();
    let oci = registry.push("app", "oci", &image("x"));
    let docker = registry.push_as("app", "docker", &image("x"), Format::Docker, Packing::Gzip);
    for (tag, key, pushed) in [("oci", "OCIManifest", &oci), ("docker", "SchemaV2Manifest", &docker)] {
        let name = format!("{host}/app:{tag}");
        let told = s.json(["manifest", "inspect", "-v", &name]);
        assert_eq!(told["Ref"], json!(name));
        assert_eq!(told["Descriptor"]["digest"], json!(pushed.digest));
        assert_eq!(told["Descriptor"]["size"], json!(pushed.size));
        assert_eq!(told["Descriptor"]["platform"], json!({ "os": "linux", "architecture": HOST }));
        let raw = base64::engine::general_purpose::STANDARD.decode(told["Raw"].as_str().unwrap()).unwrap();
        assert_eq!(digest(&raw), pushed.digest);
        assert_eq!(told[key], serde_json::from_slice::<serde_json::Value>(&raw).unwrap());
        // Debian's docker is older than OCI's manifests, and than the raw bytes.
        if let (Some(others), "docker") = (Others::beside(&s), tag) {
            let theirs =
                others.call("/usr/bin/docker", &format!("manifest inspect -v --insecure {name}")).exits(0);
            let mut ours = told.clone();
            ours.as_object_mut().unwrap().remove("Raw");
            assert_eq!(ours, serde_json::from_str::<serde_json::Value>(&theirs.stdout).unwrap());
        }
    }
    let list = format!("{host}/app:list");
    s.ok(["manifest", "create", &list, &format!("{host}/app:oci")]);
    let here = s.json(["manifest", "inspect", "--verbose", &list]);
    assert_eq!(here[0]["Ref"], json!(format!("{list}@{}", oci.digest)));
    let one = s.json(["manifest", "inspect", &list, &format!("{host}/app:oci")]);
    assert_eq!(one, here[0]["OCIManifest"]);
    assert_eq!(s.json(["manifest", "inspect", "-v", &list, &oci.digest]), here[0]);
    s.exits(1, ["manifest", "inspect", &list, &docker.digest]).says("the list does not have it");
    s.exits(1, ["manifest", "inspect", "nothing", &oci.digest]).says("no list of this name");
    s.exits(1, "manifest inspect a b c");
    s.ok(["manifest", "push", "--purge", &list]);
    assert_eq!(s.json(["manifest", "inspect", "-v", &list]), here, "of the registry");
}
