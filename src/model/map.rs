//! Persistent maps for the model: a change among a hundred thousand objects copies a few nodes, a reader keeps its
//! version, and a refused change is simply dropped.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Peekable;
#[cfg(test)]
use std::ops::Index;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Key;

/// Objects sorted by key. Cloning it costs one reference count.
pub struct Map<V, K: Ord = Key>(RedBlackTreeMapSync<K, Arc<V>>);

impl<V, K: Ord> Clone for Map<V, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V, K: Ord> Default for Map<V, K> {
    fn default() -> Self {
        Self(RedBlackTreeMapSync::new_sync())
    }
}

impl<V, K: Ord> Map<V, K> {
    /// The object named `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(|value| &**value)
    }

    /// The shared object named `key`.
    pub fn share(&self, key: &K) -> Option<Arc<V>> {
        self.0.get(key).cloned()
    }

    /// The key as it was first written, and the object.
    pub fn entry(&self, key: &K) -> Option<(&K, &V)> {
        self.0.get_key_value(key).map(|(key, value)| (key, &**value))
    }

    /// Whether there is an object named `key`.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Removes an object, and returns whether there was one.
    pub fn remove(&mut self, key: &K) -> bool {
        self.0.remove_mut(key)
    }

    /// Objects in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, &**value))
    }

    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// At most `each_way` keys before `key`, and as many from it on.
    pub fn around(&self, key: &K, each_way: usize) -> Vec<&K> {
        let before = self.0.range(..key).rev().take(each_way);
        before.chain(self.0.range(key..).take(each_way)).map(|(key, _)| key).collect()
    }

    /// Objects in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(|value| &**value)
    }

    /// A cursor that follows ascending keys.
    pub fn walk(&self) -> Walk<impl Iterator<Item = (&K, &V)>> {
        Walk(self.iter().peekable())
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Finds keys in ascending order, in one or two steps each, where a search takes one step for every doubling of the
/// map.
pub struct Walk<I: Iterator>(Peekable<I>);

impl<'a, V: 'a, K: Ord + 'a, I: Iterator<Item = (&'a K, &'a V)>> Walk<I> {
    /// The next object whose key comes before `key`.
    pub fn next_before(&mut self, key: &K) -> Option<(&'a K, &'a V)> {
        self.0.next_if(|(next, _)| *next < key)
    }

    /// The object named `key`. Skips those before it.
    pub fn get(&mut self, key: &K) -> Option<&'a V> {
        while self.next_before(key).is_some() {}
        self.0.next_if(|(next, _)| *next == key).map(|(_, value)| value)
    }
}

impl<I: Iterator> fmt::Debug for Walk<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").finish_non_exhaustive()
    }
}

impl<I: Iterator> Iterator for Walk<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
}

impl<V: PartialEq, K: Ord> Map<V, K> {
    /// The differences to `after`: new and changed objects, and `None` for deleted ones. Shared objects are recognised
    /// by their address.
    pub fn changes<'a>(&'a self, after: &'a Self) -> Vec<(&'a K, Option<&'a V>)> {
        let (mut old, mut new) = (self.0.iter().peekable(), after.0.iter().peekable());
        let mut changes = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let before = if order.is_le() { old.next() } else { None };
            match (before, if order.is_ge() { new.next() } else { None }) {
                (Some((_, x)), Some((_, y))) if Arc::ptr_eq(x, y) || x == y => {}
                (_, Some((key, value))) => changes.push((key, Some(&**value))),
                (Some((key, _)), None) => changes.push((key, None)),
                (None, None) => {}
            }
        }
    }
}

impl<V, K: Ord + Clone> Map<V, K> {
    /// Creates or replaces an object. An existing one keeps the spelling of its key.
    pub fn insert(&mut self, key: K, value: V) {
        let first = self.0.get_key_value(&key).map(|(first, _)| first.clone());
        self.0.insert_mut(first.unwrap_or(key), Arc::new(value));
    }
}

impl<V: Clone, K: Ord + Clone> Map<V, K> {
    /// The object named `key` for changing. It is copied first if another version shares it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }
}

/// For tests. Other code uses [`Map::get`], which cannot panic.
#[cfg(test)]
impl<V, K: Ord + fmt::Display> Index<&K> for Map<V, K> {
    type Output = V;

    #[allow(clippy::panic, reason = "indexing says that the key is there, as for every map")]
    fn index(&self, key: &K) -> &V {
        self.get(key).unwrap_or_else(|| panic!("no object named {key}"))
    }
}

impl<V: PartialEq, K: Ord> PartialEq for Map<V, K> {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(other.0.iter());
        self.len() == other.len() && pairs.all(|((a, x), (b, y))| a == b && (Arc::ptr_eq(x, y) || x == y))
    }
}
impl<V: Eq, K: Ord> Eq for Map<V, K> {}

impl<V: fmt::Debug, K: Ord + fmt::Debug> fmt::Debug for Map<V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V, K: Ord + Clone> FromIterator<(K, V)> for Map<V, K> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<V, K: Ord + Clone> Extend<(K, V)> for Map<V, K> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        entries.into_iter().for_each(|(key, value)| self.insert(key, value));
    }
}

impl<'a, V, K: Ord> IntoIterator for &'a Map<V, K> {
    type Item = (&'a K, &'a V);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl<V: Serialize, K: Ord + Serialize> Serialize for Map<V, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>, K: Ord + Clone + Deserialize<'de>> Deserialize<'de> for Map<V, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::collections::BTreeMap::deserialize(deserializer).map(|entries| entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_as_it_was_when_another_changes() {
        let key = |n: u32| Key::new("default", format!("n{n}"));
        let before: Map<u32> = (0..1_000).map(|n| (key(n), n)).collect();
        let mut after = before.clone();
        after.insert(key(7), 70);
        assert!(after.remove(&key(8)) && !after.remove(&key(8)));
        *after.get_mut(&key(9)).unwrap() = 90;
        assert_eq!((before[&key(7)], before[&key(8)], before[&key(9)], before.len()), (7, 8, 9, 1_000));
        assert_eq!((after[&key(7)], after.get(&key(8)), after[&key(9)], after.len()), (70, None, 90, 999));
        assert_ne!(before, after);
        assert!(before.changes(&before.clone()).is_empty());
        let new = Key::new("default", "new");
        after.insert(new.clone(), 1);
        assert_eq!(
            before.changes(&after),
            [(&key(7), Some(&70)), (&key(8), None), (&key(9), Some(&90)), (&new, Some(&1))]
        );
    }

    #[test]
    fn an_object_keeps_the_spelling_of_its_first_write() {
        let mut map: Map<u32> = Map::default();
        map.insert(Key::new("Shop", "Orders"), 1);
        map.insert(Key::new("shop", "ORDERS"), 2);
        let (key, value) = map.entry(&Key::new("SHOP", "orders")).unwrap();
        assert_eq!((key.to_string().as_str(), *value, map.len()), ("Shop/Orders", 2, 1));
        // A key written again after its end is a new one.
        assert!(map.remove(&Key::new("shop", "orders")));
        map.insert(Key::new("shop", "ORDERS"), 3);
        assert_eq!(map.keys().next().unwrap().to_string(), "shop/ORDERS");
    }

    #[test]
    fn a_walk_finds_what_comes_later_and_nothing_that_it_has_passed() {
        let map: Map<u32, u32> = (0..1_000).filter(|n| n % 7 != 0).map(|n| (n, n)).collect();
        let mut walk = map.walk();
        assert_eq!(
            [1, 6, 7, 8, 8, 3, 999].map(|n| walk.get(&n).is_some()),
            [true, true, false, true, false, false, true]
        );
        assert_eq!(walk.next(), None);
        let mut walk = map.walk();
        assert!(walk.get(&7).is_none());
        assert_eq!([walk.next_before(&9), walk.next_before(&9), walk.next()], [Some((&8, &8)), None, Some((&9, &9))]);
    }
}
