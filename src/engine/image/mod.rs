//! The verbs on images, one file each, and how a word on the command line becomes an image.

pub mod history;
pub mod images;
pub mod import;
pub mod inspect;
pub mod load;
pub mod prune;
pub mod pull;
pub mod push;
pub mod resolve;
pub mod rmi;
pub mod save;
pub mod tag;
pub mod tree;
pub mod variants;

use super::Result;
use crate::store::Store;

/// Carries out `add` while nothing it brings in can be collected. What it brought and no image needs goes at once,
/// as does what a failure, or an earlier command that was killed, left without an image: nobody can name it.
pub(in crate::engine) fn adding<T>(store: &Store, add: impl FnOnce() -> Result<T>) -> Result<T> {
    store.set_room_aside();
    let collect = || store.remove_unreferenced(|path| store.delete_tree(path));
    collect()?;
    let added = with_content(store, add);
    match added {
        Ok(added) => {
            collect()?;
            Ok(added)
        }
        Err(error) => {
            // The failure is what the user has to know; what cannot be deleted either is left to the next command.
            let _ = collect();
            Err(error)
        }
    }
}

/// Carries out `work` while nothing that is in the store can be collected.
fn with_content<T>(store: &Store, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let in_use = store.use_content()?;
    let done = work();
    drop(in_use);
    done
}
