//! The rules that span several options.

use crate::engine::Result;
use crate::engine::request::CreateRequest;

/// Checks a complete request; to be called once by `create`, before anything is made.
pub fn check(_request: &CreateRequest) -> Result<()> {
    todo!()
}
