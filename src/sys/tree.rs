//! Removing a directory tree, descriptor by descriptor.

use std::os::fd::AsFd;
use std::path::Path;

use super::Result;

/// Removes `name` in `parent` and everything below it. Follows no link and crosses no mount. What is not there
/// needs no removing. On failure as much as possible is gone, and the first failure is told.
pub fn remove_tree(_parent: impl AsFd, _name: &Path) -> Result<()> {
    todo!()
}
