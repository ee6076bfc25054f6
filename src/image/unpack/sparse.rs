//! Sparse files: where the stored bytes of an entry belong, in GNU's four ways of saying it.

use super::error::Error;

/// Extents of one file.
pub(super) const MAX_EXTENTS: usize = 1 << 16;
/// Bytes that a file may claim to be long: 8 TiB.
const MAX_FILE: u64 = 8 << 40;

/// `length` bytes of data at `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// The map of one sparse file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// In order, not overlapping, not empty.
    pub extents: Vec<Extent>,
    /// The file's length, holes included.
    pub real_size: u64,
}

impl Map {
    /// Checks that the extents are in order, inside the file, and need exactly the `stored` bytes.
    pub(super) fn new(extents: Vec<Extent>, real_size: u64, stored: u64) -> Result<Self, Error> {
        let bad = |what: &str| Error::Malformed(format!("bad sparse file: {what}"));
        if real_size > MAX_FILE {
            return Err(bad("longer than 8 TiB"));
        }
        let (mut end, mut total) = (0u64, 0u64);
        for extent in &extents {
            let next =
                extent.offset.checked_add(extent.length).ok_or_else(|| bad("an extent beyond all files"))?;
            if extent.offset < end || next > real_size {
                return Err(bad("extents out of order or beyond its end"));
            }
            end = next;
            total += extent.length;
        }
        if total != stored {
            return Err(bad("its map does not match its content"));
        }
        let extents = extents.into_iter().filter(|e| e.length > 0).collect();
        Ok(Self { extents, real_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(extents: &[(u64, u64)], real: u64, stored: u64) -> Result<Map, Error> {
        Map::new(extents.iter().map(|&(offset, length)| Extent { offset, length }).collect(), real, stored)
    }

    #[test]
    fn maps_are_checked() {
        assert_eq!(map(&[(0, 1), (512, 3), (1000, 0)], 1000, 4).unwrap().extents.len(), 2);
        assert!(map(&[(0, 10), (5, 10)], 100, 20).is_err(), "overlap");
        assert!(map(&[(90, 20)], 100, 20).is_err(), "beyond the end");
        assert!(map(&[(u64::MAX, 2)], 100, 2).is_err(), "overflow");
        assert!(map(&[(0, 10)], 100, 9).is_err(), "other content");
        assert!(map(&[], 1 << 60, 0).is_err(), "absurd");
    }
}
