//! Images and their references in the database. Every change is on the disk when its function returns.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{ImageRecord, Removal};
use crate::store::container::row::{json, nanos, time, to_json};
use crate::store::{Error, Result, Store};

const SELECT: &str = "SELECT id, manifest, created, size, layers, blobs, config,
    (SELECT json_group_array(reference ORDER BY reference) FROM
        (SELECT reference FROM tags WHERE image_id = images.id
         UNION ALL SELECT reference FROM digests WHERE image_id = images.id)) FROM images";

/// What one image is called, as [`SELECT`] lists it.
const NAMES: &str = "SELECT reference FROM tags WHERE image_id = ?1
    UNION ALL SELECT reference FROM digests WHERE image_id = ?1 ORDER BY reference";

/// What an image needs and the store does not have: `layer` or `blob`, and the digest.
const MISSING: &str =
    "SELECT 'layer', value FROM json_each(?1) WHERE value NOT IN (SELECT diff_id FROM layers)
    UNION ALL SELECT 'blob', value FROM json_each(?2) WHERE value NOT IN (SELECT digest FROM blobs)
    UNION ALL SELECT 'blob', ?3 WHERE ?3 NOT IN (SELECT digest FROM blobs)
    UNION ALL SELECT 'blob', ?4 WHERE ?4 NOT IN (SELECT digest FROM blobs) LIMIT 1";

const TAG: &str = "INSERT INTO tags (reference, image_id, tagged) VALUES (?1, ?2, ?3)
    ON CONFLICT (reference) DO UPDATE SET image_id = excluded.image_id, tagged = excluded.tagged";

fn record(row: &Row<'_>) -> rusqlite::Result<ImageRecord> {
    Ok(ImageRecord {
        id: row.get(0)?,
        manifest: row.get(1)?,
        created: time(row, 2)?,
        size: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
        layers: json(row, 4)?,
        blobs: json(row, 5)?,
        config: row.get(6)?,
        references: json(row, 7)?,
    })
}

impl Store {
    /// Records an image whose layers and blobs are in place (`MissingContent` otherwise), and what else it is
    /// called: `reference` moves here from whatever had it, `image.references` is not looked at. An image that
    /// is there already gains the reference. Durable when it returns.
    pub fn add_image(&self, image: &ImageRecord, reference: Option<&str>) -> Result<()> {
        self.durably("record the image", || {
            let (layers, blobs) = (to_json(&image.layers)?, to_json(&image.blobs)?);
            let missing: Option<(String, String)> = self
                .db
                .prepare_cached(MISSING)?
                .query_row([&layers, &blobs, &image.manifest, &image.id], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            if let Some((what, digest)) = missing {
                let what = if what == "layer" { "layer" } else { "blob" };
                return Ok(Err(Error::MissingContent { what, digest }));
            }
            self.db
                .prepare_cached(
                    "INSERT OR IGNORE INTO images (id, manifest, created, size, layers, blobs, config)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    image.id,
                    image.manifest,
                    image.created.map(nanos),
                    i64::try_from(image.size).unwrap_or(i64::MAX),
                    layers,
                    blobs,
                    image.config,
                ])?;
            if let Some(reference) = reference {
                self.give_name(&image.id, reference)?;
            }
            Ok(Ok(()))
        })
    }

    /// All images, newest first.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        self.list_images(&format!("{SELECT} ORDER BY created DESC, seq DESC"), [])
    }

    /// By full reference, by id, or by the beginning of an id that no other shares, with or without `sha256:`.
    /// The caller has normalised references. `NoSuchImage`, `AmbiguousPrefix`.
    pub fn find_image(&self, name_or_id: &str) -> Result<ImageRecord> {
        let none = || Error::NoSuchImage(name_or_id.into());
        let by_reference = format!(
            "{SELECT} WHERE id IN (SELECT image_id FROM tags WHERE reference = ?1
             UNION ALL SELECT image_id FROM digests WHERE reference = ?1) ORDER BY seq DESC LIMIT 1"
        );
        if let Some(image) = self.one(&by_reference, [name_or_id], record)? {
            return Ok(image);
        }
        let digits = name_or_id.strip_prefix("sha256:").unwrap_or(name_or_id);
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(hex) {
            return Err(none());
        }
        let by_prefix = format!("{SELECT} WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
        let mut found = self.list_images(&by_prefix, [format!("sha256:{digits}")])?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(none()),
            (Some(_), false) => Err(Error::AmbiguousPrefix { what: "image", prefix: name_or_id.into() }),
        }
    }

    /// `reference` names the image `id` from here on, and no other; `repository@digest` may name others too.
    /// `NoSuchImage`.
    pub fn tag(&self, id: &str, reference: &str) -> Result<()> {
        self.durably("tag the image", || {
            if !self.db.prepare_cached("SELECT 1 FROM images WHERE id = ?1")?.exists([id])? {
                return Ok(Err(Error::NoSuchImage(id.into())));
            }
            self.give_name(id, reference)?;
            Ok(Ok(()))
        })
    }

    /// Remembers that a registry has the image `id` under `repository@digest`. The document of that digest is a blob
    /// of the store. `NoSuchImage`.
    pub fn add_repo_digest(&self, id: &str, repository: &str, digest: &str) -> Result<()> {
        self.tag(id, &format!("{repository}@{digest}"))
    }

    /// Every image that a registry called `repository@digest`: one for each platform that was pulled.
    pub fn images_by_digest(&self, reference: &str) -> Result<Vec<ImageRecord>> {
        let sql = format!(
            "{SELECT} WHERE id IN (SELECT image_id FROM digests WHERE reference = ?1) ORDER BY seq DESC"
        );
        self.list_images(&sql, [reference])
    }

    /// The image `id` is made of another manifest and its blobs from here on: what was pulled last is what is saved
    /// and pushed. All of them are in the store, and the caller adds content.
    pub fn set_manifest(&self, id: &str, manifest: &str, blobs: &[String]) -> Result<()> {
        self.durably("record the image's manifest", || {
            let sql = "UPDATE images SET manifest = ?2, blobs = ?3 WHERE id = ?1";
            self.db.prepare_cached(sql)?.execute(params![id, manifest, to_json(&blobs)?])?;
            Ok(Ok(()))
        })
    }

    /// Whether the image had such a reference.
    pub fn untag(&self, id: &str, reference: &str) -> Result<bool> {
        self.durably("untag the image", || Ok(Ok(self.drop_name(id, reference)?)))
    }

    /// The images whose manifest has this digest.
    pub fn images_of_manifest(&self, digest: &str) -> Result<Vec<ImageRecord>> {
        self.list_images(&format!("{SELECT} WHERE manifest = ?1"), [digest])
    }

    /// When a name was last given to the image; `None` for one without names, or from an older store.
    pub fn last_tagged(&self, id: &str) -> Result<Option<Timestamp>> {
        let sql = "SELECT max(tagged) FROM tags WHERE image_id = ?1";
        Ok(self.one(sql, [id], |row| time(row, 0))?.flatten())
    }

    /// Carries a removal out, whole. `false`, and nothing is done, when names or containers of the image are no
    /// longer those that the decision was made from. Containers keep their layers; what nobody needs any more goes
    /// with [`Store::remove_unreferenced`].
    pub fn remove_image(&self, removal: &Removal<'_>) -> Result<bool> {
        let id = &removal.image.id;
        self.durably("forget the image", || {
            if self.texts(NAMES, id)? != removal.image.references {
                return Ok(Ok(false));
            }
            let users = self.texts("SELECT id FROM containers WHERE image_id = ?1", id)?;
            let known = |user: &String| removal.users.iter().any(|known| known.as_str() == user);
            if removal.delete && !users.iter().all(known) {
                return Ok(Ok(false));
            }
            for reference in &removal.untag {
                self.drop_name(id, reference)?;
            }
            if !removal.delete {
                return Ok(Ok(true));
            }
            self.db.prepare_cached("DELETE FROM tags WHERE image_id = ?1")?.execute([id])?;
            self.db.prepare_cached("DELETE FROM digests WHERE image_id = ?1")?.execute([id])?;
            Ok(Ok(self.db.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute([id])? > 0))
        })
    }

    /// A tag moves here from whatever had it; a digest may name several images, one for each platform.
    fn give_name(&self, id: &str, reference: &str) -> rusqlite::Result<()> {
        match reference.split_once('@') {
            None => self.db.prepare_cached(TAG)?.execute(params![reference, id, nanos(Timestamp::now())])?,
            Some((_, digest)) => {
                let sql = "INSERT OR IGNORE INTO digests VALUES (?1, ?2, ?3)";
                self.db.prepare_cached(sql)?.execute([reference, id, digest])?
            }
        };
        Ok(())
    }

    /// Whether the image had it.
    fn drop_name(&self, id: &str, reference: &str) -> rusqlite::Result<bool> {
        let sql = match reference.contains('@') {
            false => "DELETE FROM tags WHERE reference = ?1 AND image_id = ?2",
            true => "DELETE FROM digests WHERE reference = ?1 AND image_id = ?2",
        };
        Ok(self.db.prepare_cached(sql)?.execute([reference, id])? > 0)
    }

    fn texts(&self, sql: &str, parameter: &str) -> rusqlite::Result<Vec<String>> {
        self.db.prepare_cached(sql)?.query_map([parameter], |row| row.get(0))?.collect()
    }

    fn list_images(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<ImageRecord>> {
        let list = || self.db.prepare_cached(sql)?.query_map(params, record)?.collect();
        self.sql("list images", list())
    }
}
