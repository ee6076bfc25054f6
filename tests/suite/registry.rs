//! The registry client by itself, against a real registry: what `push` is going to be made of.

use kelp::config::Config;
use kelp::oci::{Digest, Reference};
use kelp::registry::runtime::run;
use kelp::registry::{Client, Error, Target, Uploaded};
use serde_json::json;

use crate::harness::{Image, Registry, Sandbox};

fn config(s: &Sandbox) -> Config {
    Config {
        store: s.store(),
        cache: s.work(),
        detach_keys: String::new(),
        stop_timeout: 10,
        registries: Default::default(),
        certificates: Vec::new(),
        credentials: Default::default(),
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

#[test]
fn an_image_uploaded_in_pieces_is_pulled_again() {
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
        let Uploaded::Session(mut upload) = repository.begin_upload(None).await.unwrap() else { panic!() };
        for piece in layer.chunks(layer.len() / 3 + 1) {
            upload = repository.send_chunk(&upload, piece.to_vec()).await.unwrap();
            assert_eq!(repository.upload_status(&upload).await.unwrap().received, upload.received);
        }
        assert_eq!(upload.received, layer.len() as u64);
        repository.finish_upload(&upload, &digest(&layer)).await.unwrap();
        assert!(repository.has_blob(&digest(&layer)).await.unwrap());

        let Uploaded::Session(upload) = repository.begin_upload(None).await.unwrap() else { panic!() };
        let upload = repository.send_chunk(&upload, configuration.clone()).await.unwrap();
        assert!(repository.finish_upload(&upload, &digest(b"something else")).await.is_err());
        let Uploaded::Session(upload) = repository.begin_upload(None).await.unwrap() else { panic!() };
        let upload = repository.send_chunk(&upload, configuration.clone()).await.unwrap();
        repository.finish_upload(&upload, &digest(&configuration)).await.unwrap();

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
        assert_eq!(repository.tags().await.unwrap(), ["1"]);
    })
    .unwrap();
    s.ok(["run", "--rm", "-q", &name, "echo", "here"]).is("here");

    let other: Reference = format!("{}/other:1", registry.host()).parse().unwrap();
    let other = client.repository(&other).unwrap();
    run(async {
        let mounted = other.begin_upload(Some((&digest(&layer), "up/loaded"))).await.unwrap();
        assert!(matches!(mounted, Uploaded::Mounted));
        let missing = other.manifest(&Target::Tag("1".into())).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    })
    .unwrap();
}
