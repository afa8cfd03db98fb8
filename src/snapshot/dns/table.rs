//! Names by their text: persistent, so that one change of a hundred thousand copies a few nodes, and a reader keeps the
//! version that it has.

use std::fmt;
use std::sync::Arc;

use rpds::HashTrieMapSync;
use std::hash::RandomState;

use super::Name;

/// What is known of each name.
#[derive(Clone)]
pub struct Table<V>(HashTrieMapSync<Name, V, RandomState>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(HashTrieMapSync::new_with_hasher_and_ptr_kind(RandomState::default()))
    }
}

impl<V> Table<V> {
    /// What is known of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// `name` as it is kept, and what is known of it.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<(&Name, &V)> {
        self.0.get_key_value(name)
    }

    /// Every name, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> {
        self.0.iter()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V: Clone> Table<V> {
    /// What is known of `name`, to be changed in this version only.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.0.get_mut(name)
    }

    /// Says what is known of a name, whatever it was.
    pub fn insert(&mut self, name: Name, value: V) {
        self.0.insert_mut(name, value);
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &str) {
        self.0.remove_mut(name);
    }
}

impl<V: Clone + Default> Table<V> {
    /// What is known of `name`, which comes about where it is new.
    pub fn enter(&mut self, name: &Name) -> Option<&mut V> {
        if !self.0.contains_key(&**name) {
            self.0.insert_mut(Arc::clone(name), V::default());
        }
        self.0.get_mut(&**name)
    }
}

impl<V: PartialEq> PartialEq for Table<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}
impl<V: Eq> Eq for Table<V> {}

impl<V: fmt::Debug> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        f.debug_map().entries(sorted).finish()
    }
}

impl<V: Clone> FromIterator<(Name, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (Name, V)>>(entries: I) -> Self {
        let mut table = Self::default();
        entries.into_iter().for_each(|(name, value)| table.insert(name, value));
        table
    }
}
