//! Round trips to the server, counted.

use super::Case;

pub const CASES: &[Case] = &[];
