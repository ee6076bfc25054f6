//! The numbers of files: what a program sees as an inode.
//!
//! A number follows from the file below, its device and inode, so it is the same after the kernel forgot a node and
//! asks again, and names linked to one file share it. Only what cannot have such a one is remembered: files that were
//! brought up keep the number that they had, and some inodes leave no room for their device.

use std::collections::HashMap;

use rustix::fs::Stat;

use super::ROOT;

/// Bits of a number that hold the inode; those above hold the device.
const INODE_BITS: u32 = 48;
/// Above all numbers that follow from keys.
const FIRST_FREE: u64 = 1 << 62;

/// A file below, whichever its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    device: u64,
    inode: u64,
}

impl Key {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    pub(super) fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }
}

#[derive(Debug)]
pub(super) struct Numbers {
    /// Those that do not follow from the key.
    kept: HashMap<Key, u64>,
    /// In the order in which they were met.
    devices: Vec<u64>,
    last: u64,
}

impl Numbers {
    pub(super) fn new(root: Key) -> Self {
        Self { kept: HashMap::from([(root, ROOT)]), devices: vec![root.device], last: FIRST_FREE }
    }

    pub(super) fn of(&mut self, key: Key) -> u64 {
        if let Some(number) = self.kept.get(&key) {
            return *number;
        }
        let device = match self.devices.iter().position(|d| *d == key.device) {
            Some(index) => index,
            None => {
                self.devices.push(key.device);
                self.devices.len() - 1
            }
        };
        // Numbers stay small on the first device, for programs that know only 32 bits.
        if key.inode <= ROOT || key.inode >> INODE_BITS != 0 || device >= 1 << 13 {
            let number = self.fresh();
            self.keep(key, number);
            return number;
        }
        ((device as u64) << INODE_BITS) | key.inode
    }

    /// One that follows from no key.
    pub(super) fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The file has this number from now on.
    pub(super) fn keep(&mut self, key: Key, number: u64) {
        self.kept.insert(key, number);
    }

    /// The last name on disk is gone: its inode may come again for something else.
    pub(super) fn forget(&mut self, key: Key) {
        self.kept.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_has_the_roots_number_or_anothers() {
        let mut numbers = Numbers::new(Key::new(7, 2));
        assert_eq!(numbers.of(Key::new(7, 2)), ROOT);
        let mut seen = std::collections::HashSet::from([ROOT]);
        for device in [7, 8] {
            for inode in [0, 1, 50, (1 << 48) - 1, 1 << 48, u64::MAX] {
                let key = Key::new(device, inode);
                let number = numbers.of(key);
                assert!(number > ROOT && seen.insert(number), "{key:?}: {number}");
                assert_eq!(numbers.of(key), number);
            }
        }
        assert_eq!(numbers.of(Key::new(7, 50)), 50, "small on the first device");
    }
}
