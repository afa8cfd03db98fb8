//! A bounded cache in two generations: used entries move to the young one; the old one is dropped as a whole. It is
//! written by hand because an LRU list, as in libraries, costs a write on every hit.

use std::collections::HashMap;
use std::mem;

/// Values by the bytes of a key. A hit costs one or two lookups and no bookkeeping.
pub(super) struct Cache<V> {
    young: HashMap<Box<[u8]>, V>,
    old: HashMap<Box<[u8]>, V>,
    most: usize,
}

impl<V: Clone> Cache<V> {
    /// Holds `most` values in each of two generations.
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), most }
    }

    /// The value of `key`. An entry of the old generation becomes young again.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.put(key, value.clone());
        Some(value)
    }

    /// Adds a value. When the young generation is full, the old one is dropped.
    pub(super) fn put(&mut self, key: Box<[u8]>, value: V) {
        if self.young.len() >= self.most {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Cache;

    fn key(number: u8) -> Box<[u8]> {
        Box::new([number])
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut cache = Cache::new(4);
        for number in 0..40 {
            cache.put(key(number), number);
            assert_eq!(cache.get(&[0]), Some(0), "asked for all the time, after {number}");
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!((cache.get(&[1]), cache.get(&[39])), (None, Some(39)));
        cache.clear();
        assert_eq!(cache.get(&[0]), None);
    }
}
