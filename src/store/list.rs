//! Lists of images under a name: what `manifest` makes before it is pushed.
//!
//! The document is an index as it will be in the registry. Its images are images of the store, and are not kept by it.

use rusqlite::OptionalExtension;

use super::{Result, Store};

impl Store {
    /// The document of the list, JSON; `None` where there is none of that name. `reference` is full.
    pub fn image_list(&self, reference: &str) -> Result<Option<String>> {
        let read = || {
            let sql = "SELECT document FROM lists WHERE reference = ?1";
            self.db.prepare_cached(sql)?.query_row([reference], |row| row.get(0)).optional()
        };
        self.sql("read a list of images", read())
    }

    /// Full references of all lists.
    pub fn image_lists(&self) -> Result<Vec<String>> {
        self.digests("SELECT reference FROM lists ORDER BY reference")
    }

    /// Makes `change` of the list (`None`: it is not there), and keeps what that gives (`None`: nothing) before anybody
    /// else changes it. On the disk when it returns.
    pub fn change_image_list<T>(
        &self,
        reference: &str,
        change: impl FnOnce(Option<String>) -> (Option<String>, T),
    ) -> Result<T> {
        self.durably("record a list of images", || {
            let sql = "SELECT document FROM lists WHERE reference = ?1";
            let known = self.db.prepare_cached(sql)?.query_row([reference], |row| row.get(0)).optional()?;
            let (new, result) = change(known);
            match new {
                Some(document) => self
                    .db
                    .prepare_cached("INSERT OR REPLACE INTO lists VALUES (?1, ?2)")?
                    .execute([reference, &document])?,
                None => {
                    self.db.prepare_cached("DELETE FROM lists WHERE reference = ?1")?.execute([reference])?
                }
            };
            Ok(Ok(result))
        })
    }
}
