//! The verbs on images, one file each, and how a word on the command line becomes an image.

pub mod images;
pub mod import;
pub mod inspect;
pub mod load;
pub mod pull;
pub mod resolve;
pub mod rmi;
pub mod save;

use super::Result;
use crate::store::Store;

/// Carries out `add` while nothing it brings in can be collected. What a failure, or an earlier command that was
/// killed, left without an image goes: nobody can name it.
fn adding<T>(store: &Store, add: impl FnOnce() -> Result<T>) -> Result<T> {
    let collect = || store.remove_unreferenced(|path| store.delete_tree(path));
    collect()?;
    let in_use = store.use_content()?;
    let added = add();
    drop(in_use);
    if added.is_err() {
        // The failure is what the user has to know; what cannot be deleted either is left to the next command.
        let _ = collect();
    }
    added
}
