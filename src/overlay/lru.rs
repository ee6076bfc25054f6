//! A bounded map that forgets what was used longest ago. What is in use by somebody else stays alive through its
//! reference count.
//!
//! What is dropped here is handed out: the last reference closes a descriptor, which may take as long as the disk does,
//! and the map is behind a lock.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Room for `limit` values; the oldest eighth goes when it is full.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    values: HashMap<K, (Arc<V>, u64)>,
    clock: u64,
    limit: usize,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { values: HashMap::new(), clock: 0, limit: limit.max(8) }
    }

    pub(super) fn get(&mut self, key: K) -> Option<Arc<V>> {
        self.clock += 1;
        let (value, used) = self.values.get_mut(&key)?;
        *used = self.clock;
        Some(Arc::clone(value))
    }

    #[must_use = "is to be dropped after the lock"]
    pub(super) fn put(&mut self, key: K, value: Arc<V>) -> Vec<Arc<V>> {
        let mut out = Vec::new();
        if self.values.len() >= self.limit && !self.values.contains_key(&key) {
            out = self.shrink(self.limit - self.limit / 8 - 1);
        }
        self.clock += 1;
        out.extend(self.values.insert(key, (value, self.clock)).map(|(old, _)| old));
        out
    }

    #[must_use = "is to be dropped after the lock"]
    pub(super) fn remove(&mut self, key: K) -> Option<Arc<V>> {
        self.values.remove(&key).map(|(value, _)| value)
    }

    /// Keeps the `keep` youngest.
    pub(super) fn shrink(&mut self, keep: usize) -> Vec<Arc<V>> {
        if self.values.len() <= keep {
            return Vec::new();
        }
        let mut ages: Vec<u64> = self.values.values().map(|(_, used)| *used).collect();
        let cut = ages.len() - keep;
        let (_, limit, _) = ages.select_nth_unstable(cut);
        let limit = *limit;
        self.values.extract_if(|_, (_, used)| *used < limit).map(|(_, (value, _))| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut lru = Lru::new(16);
        for n in 0..16 {
            assert!(lru.put(n, Arc::new(n)).is_empty());
        }
        assert!(lru.get(0).is_some());
        assert_eq!(lru.put(16, Arc::new(16)).len(), 3);
        assert!(lru.get(0).is_some(), "used again");
        assert!(lru.get(1).is_none(), "the oldest");
        assert!(lru.get(15).is_some() && lru.get(16).is_some());
        assert!(lru.remove(16).is_some());
        assert!(lru.get(16).is_none());
    }
}
