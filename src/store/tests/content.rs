//! Blobs, layers, images: verified on the way in, kept while needed, gone afterwards.

use std::io::Write;

use super::*;
use crate::store::image::{ImageRecord, Removal};
use crate::store::{Error, userns};

const LIMIT: u64 = 1 << 20;

fn layer(store: &Store, n: u32) -> String {
    let diff_id = format!("sha256:{n:064x}");
    if let Some(stage) = store.stage_layer(Some(&diff_id)).unwrap() {
        std::fs::create_dir(stage.path().join("etc")).unwrap();
        stage.commit(&diff_id, 10).unwrap();
    }
    diff_id
}

fn image(store: &Store, config: &str, layers: &[u32], reference: Option<&str>) -> ImageRecord {
    let _using = store.use_content().unwrap();
    let image = ImageRecord {
        id: store.put_blob(config.as_bytes()).unwrap(),
        manifest: store.put_blob(format!("manifest of {config}").as_bytes()).unwrap(),
        created: Some(Timestamp::now()),
        size: 10,
        layers: layers.iter().map(|n| layer(store, *n)).collect(),
        references: reference.into_iter().map(String::from).collect(),
        config: config.into(),
        blobs: vec![store.put_blob(format!("layer of {config}").as_bytes()).unwrap()],
    };
    store.add_image(&image, reference).unwrap();
    image
}

fn collect(store: &Store) -> usize {
    let gone = store.remove_unreferenced(|path| store.delete_tree(path)).unwrap();
    gone.layers.len() + gone.blobs.len()
}

/// The image with all its names, whatever it is used for.
fn remove(store: &Store, image: &ImageRecord) -> bool {
    let users = store.containers_using_image(&image.id).unwrap().into_iter().map(|c| c.id).collect();
    store.remove_image(&Removal { image, users, untag: Vec::new(), delete: true }).unwrap()
}

#[test]
fn a_blob_with_the_wrong_digest_gets_no_name() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"forged").unwrap();
    let expected = format!("sha256:{:064x}", 1);
    assert!(matches!(writer.commit(Some(&expected)), Err(Error::DigestMismatch { .. })));
    assert!(!store.blob_exists(&expected).unwrap());
    assert_eq!(std::fs::read_dir(store.blobs_dir()).unwrap().count(), 0);
    assert_sound(&store);
}

#[test]
fn blobs_come_back_and_are_bounded() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let digest = store.put_blob(b"hello").unwrap();
    assert_eq!(digest, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(store.put_blob(b"hello").unwrap(), digest);
    assert_eq!(store.read_blob(&digest, LIMIT).unwrap(), b"hello");
    assert!(matches!(store.read_blob(&digest, 4), Err(Error::Malformed { .. })));
    let error = store.read_blob("sha256:../../kelp-store", LIMIT).unwrap_err();
    assert!(matches!(error, Error::MissingContent { .. }), "{error:?}");
    assert_sound(&store);
}

#[test]
fn check_finds_a_flipped_bit_and_what_lost_its_other_half() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = image(&store, "{}", &[1], None);
    let container = create(&store, "half");
    std::fs::File::options().write(true).open(store.blob_path(&made.id)).unwrap().write_all(b"X").unwrap();
    std::fs::remove_dir_all(store.layer_dir(&made.layers[0])).unwrap();
    std::fs::remove_dir_all(store.container_dir(&container.id)).unwrap();
    std::fs::create_dir(store.layers_dir().join("f".repeat(64))).unwrap();
    std::fs::set_permissions(store.events(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let findings = store.check(CheckOptions { blobs: true }).unwrap();
    let about = |path: &Path| findings.iter().filter(|f| f.path == path).count();
    assert_eq!(about(&store.blob_path(&made.id)), 1);
    assert_eq!(about(&store.layer_dir(&made.layers[0])), 1);
    assert_eq!(about(&store.container_dir(&container.id)), 1);
    assert_eq!(about(&store.layers_dir().join("f".repeat(64))), 1);
    assert_eq!(about(&store.events()), 1);
    assert_eq!(findings.len(), 5, "{findings:?}");
}

#[test]
fn images_are_found_by_reference_id_and_prefix() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let made = image(&store, "one", &[1, 2], Some("docker.io/library/one:latest"));
    assert_eq!(store.find_image("docker.io/library/one:latest").unwrap(), made);
    let digits = made.id.strip_prefix("sha256:").unwrap();
    for word in [made.id.as_str(), digits, &digits[..12], &digits[..1], &made.id[..10]] {
        assert_eq!(store.find_image(word).unwrap().id, made.id, "{word}");
    }
    for nothing in ["", "sha256:", "one", "zz", "f%"] {
        assert!(matches!(store.find_image(nothing), Err(Error::NoSuchImage(_))), "{nothing}");
    }
    // Seventeen images: two of them share their first digit.
    (0..16).for_each(|n| drop(image(&store, &format!("other{n}"), &[1], None)));
    let ids: Vec<String> = store.images().unwrap().into_iter().map(|i| i.id).collect();
    let twice = ids.iter().find(|id| ids.iter().filter(|o| o[..8] == id[..8]).count() > 1).unwrap();
    assert!(matches!(store.find_image(&twice[..8]), Err(Error::AmbiguousPrefix { .. })));
}

#[test]
fn a_reference_names_one_image() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let reference = "docker.io/library/app:latest";
    let old = image(&store, "old", &[1], Some(reference));
    let new = image(&store, "new", &[1], Some(reference));
    assert_eq!(store.find_image(reference).unwrap().id, new.id);
    assert!(store.find_image(&old.id).unwrap().references.is_empty());
    store.tag(&old.id, "docker.io/library/app:old").unwrap();
    assert_eq!(store.find_image(&old.id).unwrap().references, ["docker.io/library/app:old"]);
    assert!(!store.untag(&old.id, reference).unwrap(), "it is another image's by now");
    assert!(store.untag(&new.id, reference).unwrap());
    assert!(!store.untag(&new.id, reference).unwrap());
    assert!(store.last_tagged(&new.id).unwrap().is_none());
    assert!(store.last_tagged(&old.id).unwrap().unwrap() <= Timestamp::now());
    assert!(matches!(store.tag(&format!("sha256:{:064}", 0), "x"), Err(Error::NoSuchImage(_))));
    assert_sound(&store);
}

#[test]
fn an_image_without_its_content_is_not_recorded() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let whole = image(&store, "whole", &[1], None);
    let gone = format!("sha256:{:064x}", 99);
    for (what, broken) in [
        ("layer", ImageRecord { layers: vec![gone.clone()], ..whole.clone() }),
        ("blob", ImageRecord { blobs: vec![gone.clone()], ..whole.clone() }),
        ("blob", ImageRecord { manifest: gone.clone(), ..whole.clone() }),
    ] {
        match store.add_image(&broken, Some("x")).unwrap_err() {
            Error::MissingContent { what: missing, digest } => assert_eq!((missing, &digest), (what, &gone)),
            other => panic!("{other:?}"),
        }
    }
    assert!(store.find_image("x").is_err());
    let orphan = ContainerRecord { layers: vec![gone], ..record("orphan") };
    assert!(matches!(store.create_container(&orphan, fill), Err(Error::MissingContent { .. })));
    assert_sound(&store);
}

#[test]
fn content_goes_when_nobody_needs_it() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let first = image(&store, "first", &[1, 2], Some("first"));
    let second = image(&store, "second", &[1, 3], Some("second"));
    let user = ContainerRecord {
        layers: second.layers.clone(),
        image_id: Some(second.id.clone()),
        ..record("user")
    };
    store.create_container(&user, fill).unwrap();
    assert_eq!(collect(&store), 0);
    assert_eq!(store.containers_using_image(&second.id).unwrap().len(), 1);

    assert!(remove(&store, &first));
    assert!(!remove(&store, &first), "it is gone");
    assert_eq!(collect(&store), 1 + 3, "one layer, three blobs");
    assert!(store.layer_dir(&second.layers[0]).exists());

    assert!(remove(&store, &second));
    assert_eq!(collect(&store), 3, "the container stands on the layers");
    store.remove_container(&user.id, |path| store.delete_tree(path)).unwrap();
    assert_eq!(collect(&store), 0, "the last container of an image that is gone takes the layers along");
    assert_eq!(std::fs::read_dir(store.layers_dir()).unwrap().count(), 0);
    assert_sound(&store);
}

#[test]
fn a_removal_holds_only_for_what_it_was_decided_from() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let seen = image(&store, "one", &[1], Some("one"));
    let removal = |image, delete| Removal { image, users: Vec::new(), untag: vec!["one".into()], delete };
    store.tag(&seen.id, "two").unwrap();
    assert!(!store.remove_image(&removal(&seen, true)).unwrap(), "it has another name by now");
    let seen = store.find_image("one").unwrap();
    let user = ContainerRecord { image_id: Some(seen.id.clone()), ..record("user") };
    store.create_container(&user, fill).unwrap();
    assert!(!store.remove_image(&removal(&seen, true)).unwrap(), "a container uses it by now");
    assert_eq!(store.find_image("one").unwrap(), seen, "nothing was done by halves");
    assert!(store.remove_image(&removal(&seen, false)).unwrap());
    assert_eq!(store.find_image("two").unwrap().references, ["two"]);

    let seen = store.find_image("two").unwrap();
    store.remove_container(&user.id, |path| store.delete_tree(path)).unwrap();
    assert!(remove(&store, &seen));
    let late = ContainerRecord { image_id: Some(seen.id), ..record("late") };
    let error = store.create_container(&late, fill).unwrap_err();
    assert!(matches!(error, Error::MissingContent { what: "image", .. }), "{error:?}");
    collect(&store);
    assert_sound(&store);
}

#[test]
fn nobody_in_a_crowd_of_removers_leaves_anything() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let images: Vec<_> = (0..8).map(|n| image(&store, &format!("i{n}"), &[n, n + 1, 50], None)).collect();
    let root = store.root();
    std::thread::scope(|scope| {
        for image in &images {
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                assert!(remove(&store, image));
                collect(&store);
            });
        }
    });
    assert_eq!(std::fs::read_dir(store.layers_dir()).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(store.blobs_dir()).unwrap().count(), 0);
    assert_sound(&store);
}

#[test]
fn nothing_goes_while_content_is_being_added() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let using = store.use_content().unwrap();
    layer(&store, 1);
    assert_eq!(collect(&store), 0);
    drop(using);
    assert_eq!(collect(&store), 1);
}

#[test]
fn many_unpackers_of_one_layer_unpack_it_once() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let unpacked = std::sync::atomic::AtomicUsize::new(0);
    let diff_id = format!("sha256:{:064x}", 5);
    let root = store.root();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = Store::open(root).unwrap();
                if let Some(stage) = store.stage_layer(Some(&diff_id)).unwrap() {
                    unpacked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    stage.commit(&diff_id, 1).unwrap();
                }
            });
        }
    });
    assert_eq!(unpacked.into_inner(), 1);
    assert_sound(&store);
}

#[test]
fn layers_of_sub_ids_and_without_write_permission_come_and_go() {
    if !alone() {
        return;
    }
    use std::os::unix::fs::{PermissionsExt, chown};
    let (_dir, store) = store();
    let diff_id = format!("sha256:{:064x}", 5);
    let sub_ids = userns::id_map(&store).unwrap().has_uid(7);
    for (known, keep) in [(None, true), (Some(diff_id.as_str()), true), (None, false)] {
        let stage = store.stage_layer(known).unwrap().unwrap();
        let root = stage.path();
        let unpack = || -> std::io::Result<()> {
            std::fs::create_dir_all(root.join("home/deep"))?;
            std::fs::set_permissions(root, PermissionsExt::from_mode(0o555))?;
            if sub_ids {
                chown(root.join("home"), Some(7), Some(7))?;
                chown(root, Some(8), Some(8))?;
            }
            Ok(())
        };
        userns::run_inside(&store, || unpack().map_err(|e| e.to_string())).unwrap();
        if keep {
            stage.commit(&diff_id, 1).unwrap();
            assert_sound(&store);
            assert_eq!(collect(&store), 1);
        } else {
            drop(stage);
        }
        assert_sound(&store);
    }
}
