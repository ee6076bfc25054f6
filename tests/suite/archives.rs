//! save and load beyond the ordinary: forms of archives, several images, streams, and archives that lie.

use std::fs;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::harness::{Image, Layer, Sandbox};

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layout whose only document is what is given.
fn layout(index: &str) -> Layer {
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    Layer::default().file("oci-layout", 0o644, marker).file("index.json", 0o644, index.as_bytes())
}

/// The archive is refused with these words, and nothing of it is left.
#[track_caller]
fn refused(s: &Sandbox, archive: Vec<u8>, words: &str) {
    let out = s.kelp("load").stdin(archive).exits(1);
    out.says(words);
    assert!(out.stderr.len() < 2000, "{}", out.story());
    assert_eq!(s.ok("images -aq").text(), "");
    for dir in ["layers", "blobs/sha256", "staging"] {
        assert_eq!(fs::read_dir(s.store().join(dir)).unwrap().count(), 0, "left in {dir}");
    }
}

#[test]
fn every_form_comes_back_as_the_same_image() {
    let s = Sandbox::new().busybox();
    s.load(&Image::busybox().layer(Layer::default().file("note", 0o644, b"x")), "two:1");
    let ids = |s: &Sandbox| s.ok("images -q --no-trunc").stdout;
    let before = ids(&s);
    for options in
        ["", "--compress", "--uncompressed", "--format oci-archive", "--format oci-archive --compress -q -m"]
    {
        let archive = s.work().join("all.tar");
        s.ok(&format!("save {options} -o {} two:1 busybox two:1", archive.display())).silent();
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&archive).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "as docker leaves it");
        // stdout gives the same bytes.
        let script = format!("{} save {options} two:1 busybox | cmp - all.tar", s.program().display());
        s.program_call("/bin/sh").args(["-c", &script]).exits(0);
        s.ok("rmi two:1 busybox");
        let compressed = gzip(&fs::read(&archive).unwrap());
        s.kelp("load -q")
            .stdin(compressed)
            .exits(0)
            .has("Loaded image: two:1")
            .has("Loaded image: busybox:latest");
        assert_eq!(ids(&s), before, "{options}");
        s.ok("run --rm two:1 cat /note").is("x");
        s.ok("rmi two:1 busybox");
        s.ok("load -i all.tar");
    }
    s.exits(1, "save --compress --uncompressed two:1").says("--uncompressed");
    s.exits(1, "save -o x.tar --platform linux/s390x two:1").says("s390x");
    assert!(!s.work().join("x.tar").exists());
    s.exits(1, "save -o /no/such/dir/x.tar two:1").says("/no/such/dir");
    s.exits(1, "load --platform linux/s390x -i all.tar").says("s390x");
    s.exits(1, "load -i .").says("directory");
}

#[test]
fn a_repository_is_all_its_tags_and_an_id_none() {
    let s = Sandbox::new().busybox();
    s.ok("tag busybox busybox:2 other");
    let id = s.ok("images -q busybox:2").text().to_owned();
    s.ok("save -o repo.tar busybox");
    s.ok(&format!("save -o id.tar {id}"));
    s.ok("rmi busybox busybox:2 other");
    s.ok("load -i id.tar").has("Loaded image ID: sha256:");
    let out = s.ok("load -i repo.tar");
    out.has("Loaded image: busybox:2").has("Loaded image: busybox:latest").lacks("other");
}

#[test]
fn a_name_that_moves_is_told() {
    let s = Sandbox::new().busybox();
    let old = s.ok("images -q --no-trunc").text().to_owned();
    let out = s.load(&Image::busybox(), "busybox");
    let text = format!(
        "The image busybox:latest already exists, renaming the old one with ID {old} to empty string"
    );
    out.has(&text).has("Loaded image: busybox:latest");
    s.ok("images --filter dangling=true -q --no-trunc").is(&old);
    s.load(&Image::busybox(), "busybox").lacks("renaming");
}

#[test]
fn a_terminal_is_no_place_for_an_archive() {
    let s = Sandbox::new().busybox();
    for (line, words) in [
        ("save busybox", "cowardly refusing to save to a terminal. Use the -o flag or redirect"),
        ("load", "requested load from stdin, but stdin is a terminal"),
    ] {
        let seen = s.terminal(line).exits(1);
        assert!(seen.contains(words), "{line}: {seen}");
    }
}

/// T-digest: a digest is `sha256:` and 64 hex digits, wherever it stands.
#[test]
fn malformed_digests_are_refused() {
    let s = Sandbox::new();
    for digest in [
        "sha256:../../../../etc/passwd",
        &format!("sha512:{HEX}{HEX}"),
        "sha256:12",
        &format!("sha256:{}", HEX.to_uppercase()),
    ] {
        let entry =
            json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 3 });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        refused(&s, layout(&index).bytes(), "digest");
    }
    let member = Layer::default().file("blobs/sha256/../../../escaped", 0o644, b"x");
    refused(&s, member.bytes(), "digest");
    // A blob that is not what its name says.
    let lying = layout("{}").file(&format!("blobs/sha256/{HEX}"), 0o644, b"not empty");
    refused(&s, lying.bytes(), "digest");
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ["sha256:../x"] } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["x:1"], "Layers": [] }]).to_string();
    let archive = Layer::default().file("c.json", 0o644, config.to_string().as_bytes());
    refused(&s, archive.file("manifest.json", 0o644, manifest.as_bytes()).bytes(), "digest");
    for path in ["../../../../etc/passwd", "/etc/passwd", "c.json/../../x"] {
        let manifest = json!([{ "Config": path, "RepoTags": ["x:1"], "Layers": [] }]).to_string();
        refused(&s, Layer::default().file("manifest.json", 0o644, manifest.as_bytes()).bytes(), "missing");
    }
}

/// T-ambig: what two readers understand differently is refused.
#[test]
fn ambiguous_documents_are_refused() {
    let s = Sandbox::new();
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let one = format!(r#"{{"mediaType":"{manifest}","digest":"sha256:{HEX}","size":0}}"#);
    let both = format!(r#"{{"schemaVersion":2,"manifests":[{one}],"layers":[]}}"#);
    refused(&s, layout(&both).bytes(), "ambiguous");
    let lying = format!(r#"{{"schemaVersion":2,"mediaType":"{manifest}","manifests":[{one}]}}"#);
    refused(&s, layout(&lying).bytes(), "media type");
    let twice = format!(r#"{{"schemaVersion":2,"manifests":[{one}],"manifests":[]}}"#);
    refused(&s, layout(&twice).bytes(), "duplicate");
    refused(&s, layout(r#"{"schemaVersion":1,"fsLayers":[]}"#).bytes(), "schema");
    refused(&s, layout(r#"{"schemaVersion":2,"manifests":[]}"#).bytes(), "no image");
    refused(&s, Layer::default().file("x", 0o644, b"").bytes(), "neither");
}

/// T-bigmeta: documents are read within bounds, however large, deep or many.
#[test]
fn oversized_documents_are_refused() {
    let s = Sandbox::new();
    // 200 MB of zeros compress to nothing much; the process must not hold them.
    let huge = gzip(&layout_of_size(200 << 20));
    let out = s.kelp("load").stdin(huge).limit(Duration::from_secs(120)).exits(1);
    out.says("larger than");
    let deep = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}"#, "[".repeat(200_000));
    refused(&s, layout(&deep).bytes(), "not valid");
    let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{HEX}"), "size": 0 });
    let wide = json!({ "schemaVersion": 2, "manifests": vec![entry; 1025] }).to_string();
    refused(&s, layout(&wide).bytes(), "1025");
    // An index that is its own child.
    refused(&s, nested(6), "nested too deep");
    assert_eq!(s.ok("images -aq").text(), "");
}

fn layout_of_size(bytes: usize) -> Vec<u8> {
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    Layer::default().file("oci-layout", 0o644, marker).file("index.json", 0o644, &vec![b' '; bytes]).bytes()
}

/// Indexes within indexes.
fn nested(depth: usize) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let kind = "application/vnd.oci.image.index.v1+json";
    let platform = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut child = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [] }).to_string();
    let mut archive = Layer::default();
    for _ in 0..depth {
        let name = hex(child.as_bytes());
        archive = archive.file(&format!("blobs/sha256/{name}"), 0o644, child.as_bytes());
        let entry = json!({
            "mediaType": kind, "digest": format!("sha256:{name}"), "size": child.len(),
            "platform": { "os": "linux", "architecture": platform },
        });
        child = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [entry] }).to_string();
    }
    archive
        .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", 0o644, child.as_bytes())
        .bytes()
}

/// T-bomb: what expands beyond reason, or beyond the disk, is stopped, and leaves nothing.
#[test]
fn bombs_do_not_go_off() {
    let s = Sandbox::new();
    // A layer of 2 GB of zeros in some 2 MB: a thousand times its size.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(2 << 30);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..2048 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 4 << 20, "{}", bomb.len());
    let out = s.kelp("import - bomb").stdin(bomb).limit(Duration::from_secs(120)).exits(1);
    out.says("expands to more than 250 times");
    assert_eq!(s.ok("images -aq").text(), "");
    for dir in ["layers", "blobs/sha256", "staging"] {
        assert_eq!(fs::read_dir(s.store().join(dir)).unwrap().count(), 0, "left in {dir}");
    }
}

/// What cannot be read is named, wherever it comes from.
#[test]
fn what_is_no_archive_is_named() {
    let s = Sandbox::new();
    s.write("text.tar", b"hello");
    s.write("cut.tar", &Image::busybox().docker_archive("a:1")[..5000]);
    for file in ["text.tar", "cut.tar"] {
        s.exits(1, ["load", "-i", file]).says(file).says("not a valid tar archive");
        s.exits(1, ["import", file]).says(file).says("not a valid tar archive");
    }
    s.kelp("load").stdin("").exits(1).says("standard input").says("it is empty");
    s.kelp("load").stdin("hello").exits(1).says("standard input");
    s.kelp("import -").stdin("hello").exits(1).says("standard input");
    s.write("empty.tar", b"");
    s.exits(1, "load -i empty.tar").says("empty.tar").says("it is empty");
}
