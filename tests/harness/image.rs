//! Images with every byte under control, good and evil: layers entry by entry, configs field by field.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The statically linked busybox of the machine; `tests/setup` installs it.
pub const BUSYBOX: &str = "/bin/busybox";
/// This machine, as images call it.
const HOST: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A layer in the making. Entries keep their order, and nothing is checked: evil is the point.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    owner: (u64, u64),
}

/// An image: layers, lowest first, and the `config` section of its configuration.
#[derive(Debug, Clone, Default)]
pub struct Image {
    architecture: Option<&'static str>,
    layers: Vec<Vec<u8>>,
    config: serde_json::Map<String, Value>,
}

impl Default for Layer {
    fn default() -> Self {
        Self { tar: Builder::new(Vec::new()), owner: (0, 0) }
    }
}

impl Layer {
    /// `/bin` with busybox and a link for each of its commands, and what a root file system has beside it.
    pub fn busybox() -> Self {
        let busybox =
            fs::read(BUSYBOX).unwrap_or_else(|e| panic!("{BUSYBOX}: {e}: run tests/setup as root first"));
        let list = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap().stdout;
        let mut layer = Self::default();
        for dir in ["bin", "etc", "proc", "sys", "dev", "usr", "usr/bin", "var", "home"] {
            layer = layer.dir(dir, 0o755);
        }
        layer = layer.dir("tmp", 0o1777).dir("root", 0o700).file("bin/busybox", 0o755, &busybox);
        for command in String::from_utf8(list).unwrap().lines().filter(|c| *c != "busybox") {
            layer = layer.symlink(&format!("bin/{command}"), "busybox");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nwww-data:x:33:33::/var:/bin/sh\n\
                      app:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        let group = "root:x:0:\ndaemon:x:1:\nadm:x:4:app\nwww-data:x:33:\nextra:x:44:app,www-data\napp:x:1000:\n\
                     nogroup:x:65534:\n";
        layer.file("etc/passwd", 0o644, passwd.as_bytes()).file("etc/group", 0o644, group.as_bytes())
    }

    /// Who owns the entries that follow.
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, "", mode, &[])
    }

    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", mode, content)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, 0o777, &[])
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, 0o644, &[])
    }

    /// Any entry, its name written as it is: absolute, with `..`, whatever. At most 100 bytes each.
    pub fn entry(mut self, kind: EntryType, path: &str, target: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.tar.append(&header, content).unwrap();
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

impl Image {
    pub fn busybox() -> Self {
        Self::default().layer(Layer::busybox())
    }

    pub fn layer(self, layer: Layer) -> Self {
        self.archive(layer.bytes())
    }

    /// An archive that was made elsewhere, as the next layer.
    pub fn archive(mut self, bytes: Vec<u8>) -> Self {
        self.layers.push(bytes);
        self
    }

    /// For another machine than this one.
    pub fn architecture(mut self, name: &'static str) -> Self {
        self.architecture = Some(name);
        self
    }

    /// One field of the configuration: `User`, `Env`, `Labels` …
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.config.insert(field.to_owned(), value);
        self
    }

    /// The layers' archives, lowest first.
    pub fn layers(&self) -> &[Vec<u8>] {
        &self.layers
    }

    pub fn configuration(&self) -> Vec<u8> {
        let ids: Vec<String> = self.layers.iter().map(|l| digest(l)).collect();
        json!({
            "architecture": self.architecture.unwrap_or(HOST),
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": ids },
        })
        .to_string()
        .into_bytes()
    }

    /// What `docker save` writes.
    pub fn docker_archive(&self, tag: &str) -> Vec<u8> {
        self.docker_archive_with(tag, <[u8]>::to_vec)
    }

    /// As [`Self::docker_archive`], each layer as `stored` makes it.
    pub fn docker_archive_with(&self, tag: &str, stored: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let config = self.configuration();
        let config_name = format!("{}.json", hex(&config));
        let mut names = Vec::new();
        let mut archive = Layer::default().file(&config_name, 0o644, &config);
        for (n, layer) in self.layers.iter().enumerate() {
            names.push(format!("layer{n}.tar"));
            archive = archive.file(&names[n], 0o644, &stored(layer));
        }
        let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
        archive.file("manifest.json", 0o644, manifest.to_string().as_bytes()).bytes()
    }

    /// An OCI image layout, with the tag as its reference name.
    pub fn oci_layout(&self, tag: &str) -> Vec<u8> {
        let config = self.configuration();
        let describe = |kind: &str, bytes: &[u8]| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len() });
        let layers: Vec<Value> = self.layers.iter().map(|l| describe("layer.v1.tar", l)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("config.v1+json", &config),
            "layers": layers,
        })
        .to_string()
        .into_bytes();
        let mut entry = describe("manifest.v1+json", &manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        let mut archive = Layer::default()
            .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("index.json", 0o644, index.as_bytes());
        for blob in self.layers.iter().chain([&config, &manifest]) {
            archive = archive.file(&format!("blobs/sha256/{}", hex(blob)), 0o644, blob);
        }
        archive.bytes()
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
