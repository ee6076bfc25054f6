//! Which directories become a store, which are one, and which are refused.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::store::Error;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file below a directory with its content.
fn snapshot(root: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            files.extend(snapshot(&entry));
        } else {
            files.insert(entry.clone(), fs::read(&entry).unwrap());
        }
    }
    files
}

#[test]
fn a_new_store_is_sound_and_private() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    create(&store, "one");
    assert_sound(&store);
    for path in [store.root().to_owned(), store.layers_dir(), store.blobs_dir(), store.staging_dir()] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    let wal = store.database().with_extension("db-wal");
    for path in [store.database(), wal, store.marker(), store.events()] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_staging_makes_is_spread_over_an_ext4() {
    if !alone() {
        return;
    }
    let (_dir, store) = store();
    let staging = fs::File::open(store.staging_dir()).unwrap();
    let is_ext4 = rustix::fs::fstatfs(&staging).unwrap().f_type == 0xef53;
    let spread = rustix::fs::ioctl_getflags(&staging).is_ok_and(|f| f.contains(rustix::fs::IFlags::TOPDIR));
    assert_eq!(spread, is_ext4);
}

#[test]
fn an_empty_directory_becomes_a_store_and_a_foreign_one_does_not() {
    if !alone() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::File::create(dir.path().join("thesis.tex")).unwrap();
    assert!(matches!(Store::open(dir.path()).unwrap_err(), Error::Foreign { .. }));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(mode(dir.path()), 0o755);

    fs::remove_file(dir.path().join("thesis.tex")).unwrap();
    assert_sound(&Store::open(dir.path()).unwrap());
    assert_eq!(mode(dir.path()), 0o700);
}

#[test]
fn many_first_openers_make_one_store() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    std::thread::scope(|scope| {
        for n in 0..12 {
            let root = &root;
            scope.spawn(move || create(&Store::open(root).unwrap(), &format!("first{n}")));
        }
    });
    let store = Store::open(&root).unwrap();
    assert_eq!(store.containers().unwrap().len(), 12);
    assert_sound(&store);
}

#[test]
fn a_newer_schema_is_refused_and_untouched() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    let store = Store::open(&root).unwrap();
    store.db.pragma_update(None, "user_version", 999).unwrap();
    drop(store);
    for error in [Store::open(&root).unwrap_err(), Store::open_read_only(&root).unwrap_err()] {
        assert!(matches!(error, Error::NewerSchema { found: 999, .. }), "{error:?}");
    }
}

/// A store as the first version made it gains what later ones have, and keeps what it has.
#[test]
fn an_older_schema_is_brought_up_to_date() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    let store = Store::open(&root).unwrap();
    let made = create(&store, "old");
    store
        .db
        .execute_batch(
            "DROP TABLE tags; DROP TABLE layers; DROP TABLE digests; DROP TABLE lists; DROP TABLE networks;
             DROP TABLE leases;",
        )
        .unwrap();
    store
        .db
        .execute_batch(
            "CREATE TABLE tags (reference TEXT PRIMARY KEY, image_id TEXT NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             INSERT INTO layers VALUES ('sha256:00', 7);
             INSERT INTO tags VALUES ('x', 'sha256:11'), ('x@sha256:33', 'sha256:11');
             INSERT INTO images (id, manifest, size, layers, blobs, config)
                VALUES ('sha256:11', 'sha256:33', 0, '[]', '[]', '{}');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(store);
    assert!(Store::open_read_only(&root).unwrap().is_none(), "looking alone migrates nothing");
    let store = Store::open(&root).unwrap();
    assert_eq!(store.find_container("old").unwrap(), made);
    assert_eq!(store.layer_size("sha256:00").unwrap(), 7);
    assert_eq!(store.last_tagged("sha256:11").unwrap(), None);
    assert_eq!(store.find_image("sha256:11").unwrap().references, ["x", "x@sha256:33"]);
    assert_eq!(store.images_by_digest("x@sha256:33").unwrap().len(), 1, "digests have a table of their own");
    store.record_layer("sha256:22", 9).unwrap();
    assert_eq!(store.layer_sizes().unwrap().len(), 2);
}

#[test]
fn a_damaged_database_is_named_and_never_wiped() {
    if !alone() {
        return;
    }
    for (garbage, size) in [(b"not a database at all, but long enough".as_slice(), 4096), (b"", 0)] {
        let (_dir, root) = place();
        drop(Store::open(&root).unwrap());
        let database = root.join("kelp.db");
        let mut bytes = garbage.to_vec();
        bytes.resize(size, b'x');
        fs::remove_file(root.join("kelp.db-wal")).unwrap();
        fs::File::options().write(true).truncate(true).open(&database).unwrap();
        std::io::Write::write_all(&mut fs::File::create(&database).unwrap(), &bytes).unwrap();
        let before = snapshot(&root.join("containers"));

        let error = Store::open(&root).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. } | Error::Malformed { .. }), "{error:?}");
        assert!(error.to_string().contains("kelp.db"), "{error}");
        assert_eq!(fs::read(&database).unwrap(), bytes);
        assert_eq!(snapshot(&root.join("containers")), before);
    }
}

#[test]
fn a_page_of_rubbish_is_found_by_check() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    let store = Store::open(&root).unwrap();
    (0..200).for_each(|n| drop(create(&store, &format!("c{n}"))));
    store.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(store);
    let database = fs::File::options().write(true).open(root.join("kelp.db")).unwrap();
    let pages = database.metadata().unwrap().len() / 4096;
    for page in 20..pages {
        std::os::unix::fs::FileExt::write_all_at(&database, &[0xa5; 4096], page * 4096).unwrap();
    }
    let findings = Store::open(&root).unwrap().check(CheckOptions::default()).unwrap();
    assert!(findings.iter().any(|f| f.text.contains("damaged")), "{findings:?}");
}

#[test]
fn a_lost_database_is_a_loss_and_not_a_new_store() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    drop(Store::open(&root).unwrap());
    fs::remove_file(root.join("kelp.db")).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    assert!(!root.join("kelp.db").exists());
}

#[test]
fn links_within_are_refused_and_a_link_to_the_root_is_followed() {
    if !alone() {
        return;
    }
    let (dir, root) = place();
    drop(Store::open(&root).unwrap());
    symlink(&root, dir.path().join("link")).unwrap();
    assert_eq!(Store::open(&dir.path().join("link")).unwrap().root(), root.canonicalize().unwrap());

    let outside = dir.path().join("outside");
    for piece in ["containers", "layers", "staging", "blobs", "kelp.db", "kelp-store"] {
        fs::rename(root.join(piece), &outside).unwrap();
        symlink(&outside, root.join(piece)).unwrap();
        let error = Store::open(&root).unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. } | Error::Malformed { .. }), "{piece}: {error:?}");
        fs::remove_file(root.join(piece)).unwrap();
        fs::rename(&outside, root.join(piece)).unwrap();
    }
    assert_sound(&Store::open(&root).unwrap());
}

#[test]
fn looking_makes_nothing() {
    if !alone() {
        return;
    }
    let (_dir, root) = place();
    assert!(Store::open_read_only(&root).unwrap().is_none());
    assert!(!root.exists());
    let store = Store::open(&root).unwrap();
    create(&store, "seen");
    let reader = Store::open_read_only(&root).unwrap().unwrap();
    assert_eq!(reader.container_rows().unwrap().len(), 1);
    assert!(reader.create_container(&record("never"), fill).is_err());
    assert_sound(&store);
}

#[test]
fn an_interrupted_making_is_finished() {
    if !alone() {
        return;
    }
    for killed_after in 0..3 {
        let (_dir, root) = place();
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, PermissionsExt::from_mode(0o700)).unwrap();
        let unfinished = r#"{"store":"00112233445566778899aabbccddeeff","ready":false}"#;
        if killed_after > 0 {
            crate::store::atomic::write(&root.join("kelp-store"), unfinished.as_bytes()).unwrap();
        } else {
            fs::File::create(root.join(".kelp-store.77.0")).unwrap();
        }
        if killed_after > 1 {
            fs::DirBuilder::new().mode(0o700).create(root.join("containers")).unwrap();
            fs::File::options().write(true).create_new(true).mode(0o600).open(root.join("kelp.db")).unwrap();
        }
        let store = Store::open(&root).unwrap();
        create(&store, "works");
        drop(store);
        assert_sound(&Store::open(&root).unwrap());
    }
}
