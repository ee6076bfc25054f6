//! pull: what a registry's content may not make kelp do. The T-tests are named after the list of advisories.

use serde_json::{Value, json};

use super::pull::image;
use crate::harness::{Act, Answer, Image, Layer, Packing, Registry, Sandbox, Server, digest, pack};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A registry of the test's own: these blobs, and one document under every tag.
fn liar(media_type: &'static str, document: Vec<u8>, blobs: Vec<Vec<u8>>) -> Server {
    Server::start(None, move |request, _| {
        let all = blobs.iter().chain([&document]);
        let wanted = request.path.rsplit('/').next().unwrap();
        let found = match all.clone().find(|b| digest(b) == wanted) {
            Some(found) => found.clone(),
            None if request.path.contains("/manifests/") && !wanted.contains(':') => document.clone(),
            None => return Act::Say(Answer::new(404, "")),
        };
        let own = digest(&found);
        Act::Say(Answer::new(200, found).with("Content-Type", media_type).with("Docker-Content-Digest", own))
    })
}

fn describe(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// A manifest of `image`'s, changed by `change`, and the blobs that belong to it.
fn manifest(image: &Image, change: impl FnOnce(&mut Value)) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut blobs: Vec<Vec<u8>> = image.layers().iter().map(|l| pack(l, Packing::Gzip)).collect();
    let layers: Vec<Value> = blobs.iter().map(|b| describe(LAYER, b)).collect();
    let config = image.configuration();
    let mut document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, &config), "layers": layers,
    });
    blobs.push(config);
    change(&mut document);
    (document.to_string().into_bytes(), blobs)
}

/// Nothing of it is to be seen, and nothing is kept.
#[track_caller]
fn refused(s: &Sandbox, front: &Server, says: &str) {
    let name = format!("{}/app:1", front.host());
    s.exits(1, ["pull", &name]).says(says);
    assert_eq!(s.ok("images -aq").text(), "");
    s.ok("system check");
    for place in ["staging", "layers", "blobs/sha256"] {
        let left = std::fs::read_dir(s.store().join(place)).unwrap().count();
        assert_eq!(left, 0, "left in {place}");
    }
}

/// T-ambig, and what else two readers could understand differently.
#[test]
fn ambiguous_documents_are_refused() {
    let s = Sandbox::new();
    let both = manifest(&image("x"), |m| m["manifests"] = json!([]));
    refused(&s, &liar(MANIFEST, both.0, both.1), "ambiguous");
    let other = manifest(&image("x"), |m| m["mediaType"] = json!(INDEX));
    refused(&s, &liar(MANIFEST, other.0, other.1), "contradicts");
    let plain = manifest(&image("x"), |_| {});
    refused(&s, &liar(INDEX, plain.0, plain.1), "contradicts");
    let odd = manifest(&image("x"), |m| m["layers"][0]["mediaType"] = json!("application/x-helm"));
    refused(&s, &liar(MANIFEST, odd.0, odd.1), "application/x-helm");
    let one = json!({ "schemaVersion": 1, "fsLayers": [], "name": "app", "tag": "1" }).to_string();
    refused(
        &s,
        &liar("application/vnd.docker.distribution.manifest.v1+prettyjws", one.into(), vec![]),
        "schema 1",
    );
    let fewer = manifest(&image("x"), |m| {
        m["layers"].as_array_mut().unwrap().pop();
    });
    refused(&s, &liar(MANIFEST, fewer.0, fewer.1), "layers");
}

/// T-digest.
#[test]
fn malformed_digests_are_refused_before_anything_is_asked() {
    let s = Sandbox::new();
    for bad in ["sha256:../../../../../etc/passwd", "sha256:ABC", "md5:0123", "sha512:00"] {
        let lie = manifest(&image("x"), |m| m["layers"][0]["digest"] = json!(bad));
        let front = liar(MANIFEST, lie.0, lie.1);
        refused(&s, &front, "digest");
        assert!(front.seen().iter().all(|r| !r.is_blob()), "{bad}");
        let lie = manifest(&image("x"), |m| m["config"]["digest"] = json!(bad));
        refused(&s, &liar(MANIFEST, lie.0, lie.1), "digest");
    }
}

/// What is left of a blob that is shorter than stated cannot be asked for, and is told as what it is.
#[test]
fn a_blob_shorter_than_stated_is_refused() {
    let s = Sandbox::new();
    let lie = manifest(&image("x"), |m| {
        m["layers"][1]["size"] = json!(m["layers"][1]["size"].as_u64().unwrap() + 9)
    });
    let (document, blobs) = lie;
    let server = Server::start(None, move |request, _| {
        if request.header("range").is_some() {
            return Act::Say(Answer::new(416, ""));
        }
        let wanted = request.path.rsplit('/').next().unwrap();
        match blobs.iter().find(|b| digest(b) == wanted) {
            Some(blob) => Act::Say(Answer::new(200, blob.clone())),
            None if request.path.contains("/manifests/") => {
                Act::Say(Answer::new(200, document.clone()).with("Content-Type", MANIFEST))
            }
            None => Act::Say(Answer::new(404, "")),
        }
    });
    refused(&s, &server, "ends before the");
}

/// T-bigmeta.
#[test]
fn documents_without_end_are_not_read() {
    let s = Sandbox::new();
    let huge = vec![b' '; 5 << 20];
    refused(&s, &liar(MANIFEST, huge, vec![]), "bytes");
    let wide = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        vec![describe(MANIFEST, b"x").to_string(); 2000].join(",")
    );
    refused(&s, &liar(INDEX, wide.into_bytes(), vec![]), "2000 manifests");
    let large = manifest(&image("x"), |m| m["config"]["size"] = json!(1u64 << 40));
    refused(&s, &liar(MANIFEST, large.0, large.1), "larger than");
    // Five indexes, one within the other.
    let own = json!({ "os": "linux", "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" } });
    let mut inner = manifest(&image("x"), |_| {});
    for _ in 0..5 {
        let kind = if inner.0.windows(9).any(|w| w == b"manifests") { INDEX } else { MANIFEST };
        let mut entry = describe(kind, &inner.0);
        entry["platform"] = own.clone();
        let outer = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes();
        inner.1.push(std::mem::replace(&mut inner.0, outer));
    }
    refused(&s, &liar("application/octet-stream", inner.0, inner.1), "nested too deep");
}

/// T-verify: whichever byte is another, nothing of it gets a name.
#[test]
fn wrong_bytes_never_get_a_name() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &image("x"));
    for (what, at) in [("/manifests/", 20), ("/blobs/", 0), ("/blobs/", 5), ("/blobs/", 100)] {
        let front = Server::start(Some(registry.port()), move |request, _| {
            if request.method == "GET" && request.path.contains(what) { Act::Flip(at) } else { Act::Pass }
        });
        refused(&s, &front, "");
    }
    let upper = pushed.layers[1].0.clone();
    let front = Server::start(Some(registry.port()), move |request, _| {
        if request.path.ends_with(&upper) { Act::Flip(60) } else { Act::Pass }
    });
    refused(&s, &front, &pushed.layers[1].0);
    let longer = Server::start(None, {
        let lie = manifest(&image("x"), |m| m["layers"][1]["size"] = json!(3));
        let blobs = lie.1.clone();
        move |request, _| {
            let wanted = request.path.rsplit('/').next().unwrap();
            let all = blobs.iter().chain([&lie.0]);
            let found = all.clone().find(|b| digest(b) == wanted).unwrap_or(&lie.0).clone();
            Act::Say(Answer::new(200, found).with("Content-Type", MANIFEST))
        }
    });
    refused(&s, &longer, "more than the 3 bytes");
}

/// T-verify: blob and manifest agree, the config promises another content.
#[test]
fn a_diff_id_that_does_not_match_names_the_layer() {
    let s = Sandbox::new();
    let (promised, delivered) = (image("promised"), image("delivered"));
    let mut lie = manifest(&delivered, |m| {
        m["config"] = describe(CONFIG, &promised.configuration());
    });
    lie.1.push(promised.configuration());
    let layer = digest(&lie.1[1]);
    refused(&s, &liar(MANIFEST, lie.0, lie.1), &format!("layer {layer}"));
}

/// T-bomb.
#[test]
fn a_layer_that_expands_without_measure_is_refused() {
    let s = Sandbox::new();
    // A file of 2 GiB, most of which is a run of zeroes that gzip makes a thousandth of.
    let mut header = tar::Header::new_ustar();
    header.set_path("zeroes").unwrap();
    header.set_size(2 << 30);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, header.as_bytes()).unwrap();
    let zeroes = vec![0u8; 1 << 20];
    for _ in 0..2048 {
        std::io::Write::write_all(&mut bomb, &zeroes).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let mut lie = manifest(&Image::busybox(), |m| m["layers"][0] = describe(LAYER, &bomb));
    lie.1.push(bomb);
    refused(&s, &liar(MANIFEST, lie.0, lie.1), "times its size");
}

/// Layers that name another place are fetched from the registry all the same.
#[test]
fn urls_of_foreign_layers_are_not_followed() {
    let s = Sandbox::new();
    let elsewhere = Server::start(None, |_, _| Act::Say(Answer::new(200, "")));
    let url = format!("http://{}/layer", elsewhere.host());
    let lie = manifest(&Image::busybox().layer(Layer::default().file("n", 0o644, b"1")), |m| {
        m["layers"][1]["urls"] = json!([url]);
    });
    let front = liar(MANIFEST, lie.0, lie.1);
    s.ok(["pull", &format!("{}/app:1", front.host())]);
    assert!(elsewhere.seen().is_empty());
}
