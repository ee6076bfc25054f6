//! The registry client by itself, against a real registry: what `push` is made of.

use std::sync::Arc;

use kelp::config::Config;
use kelp::oci::{Digest, Reference};
use kelp::registry::runtime::run;
use kelp::registry::{Arrival, Client, Error, Outgoing, Source, Target};
use serde_json::json;

use crate::harness::{Image, Registry, Sandbox};

fn config(s: &Sandbox) -> Config {
    Config {
        store: s.store(),
        cache: s.work(),
        detach_keys: String::new(),
        stop_timeout: 10,
        snapshotter: kelp::config::Snapshotter::Auto,
        registries: Default::default(),
        certificates: Vec::new(),
        credentials: Default::default(),
    }
}

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }
}

fn outgoing<'a>(digest: &'a Digest, bytes: &[u8], mount_from: Option<&'a str>) -> Outgoing<'a> {
    Outgoing { digest, size: bytes.len() as u64, source: Arc::new(Bytes(bytes.to_vec())), mount_from }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

#[test]
fn an_uploaded_image_is_pulled_again() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let client = Client::new(&config(&s));
    let name = format!("{}/up/loaded:1", registry.host());
    let reference: Reference = name.parse().unwrap();
    let repository = client.repository(&reference).unwrap();
    let image = Image::busybox();
    let (layer, configuration) = (image.layers()[0].clone(), image.configuration());
    run(async {
        assert!(!repository.has_blob(&digest(&layer)).await.unwrap());
        let wrong = Digest::of(b"something else");
        assert!(repository.upload(&outgoing(&wrong, &configuration, None), &mut |_| {}).await.is_err());
        assert!(!repository.has_blob(&wrong).await.unwrap());
        for (bytes, arrival) in
            [(&layer, Arrival::Sent), (&layer, Arrival::Present), (&configuration, Arrival::Sent)]
        {
            let digest = digest(bytes);
            let blob = outgoing(&digest, bytes, None);
            assert_eq!(repository.upload(&blob, &mut |_| {}).await.unwrap(), arrival);
        }
        let one = Digest::of(b"x");
        repository.upload(&outgoing(&one, b"x", None), &mut |_| {}).await.unwrap();
        assert!(repository.has_blob(&one).await.unwrap());

        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": digest(&configuration), "size": configuration.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar",
                         "digest": digest(&layer), "size": layer.len() }],
        });
        let bytes = manifest.to_string().into_bytes();
        repository.put_manifest(&Target::Tag("1".into()), kind, &bytes).await.unwrap();
        let found = repository.manifest(&Target::Tag("1".into())).await.unwrap();
        assert_eq!((found.digest, found.bytes), (digest(&bytes), bytes));
        assert_eq!(repository.tags(None).await.unwrap(), ["1"]);
    })
    .unwrap();
    s.ok(["run", "--rm", "-q", &name, "echo", "here"]).is("here");

    let other: Reference = format!("{}/other:1", registry.host()).parse().unwrap();
    let other = client.repository(&other).unwrap();
    run(async {
        let digest = digest(&layer);
        let blob = outgoing(&digest, &layer, Some("up/loaded"));
        assert_eq!(other.upload(&blob, &mut |_| {}).await.unwrap(), Arrival::Mounted);
        let missing = other.manifest(&Target::Tag("1".into())).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    })
    .unwrap();
}
