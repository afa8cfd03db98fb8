//! The key of an object: unique, and compared without case, as in Azure.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Weak};

use dashmap::DashMap;
use serde::{Deserialize, Serialize};

/// The default subscription and resource group.
pub const DEFAULT: &str = "default";

/// Subscription, resource group and name: unique per kind of object, compared without case.
///
/// Shown as `group/name`, with the subscription in front unless it is `default`. Cloning it costs one reference count.
/// Keys with the same spelling share one text, because each endpoint is named in many places.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key(Arc<KeyParts>);

/// The parts of a [`Key`], as written.
#[derive(Debug)]
pub struct KeyParts {
    /// Owning subscription.
    pub subscription: String,
    /// Resource group within the subscription.
    pub group: String,
    /// Name within the group.
    pub name: String,
    /// All three parts in lower case, so that a comparison does not allocate.
    folded: String,
    /// Its hash in [`KNOWN`].
    hash: u64,
}

/// All living keys by a hash of their spelling. If two have the same hash, only the later one.
static KNOWN: LazyLock<DashMap<u64, Weak<KeyParts>>> = LazyLock::new(DashMap::new);

/// Hashes the spelling of a key.
static WRITTEN: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::default);

impl Drop for KeyParts {
    fn drop(&mut self) {
        KNOWN.remove_if(&self.hash, |_, known| known.strong_count() == 0);
    }
}

impl Key {
    /// The key of `name` in `group` of the default subscription.
    pub fn new(group: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(DEFAULT, group, name)
    }

    /// A placeholder for an unreadable reference. No object has this key.
    pub fn nowhere() -> Self {
        Self::new("-", "-")
    }

    /// The key of an object without a resource group: a role or an assignment.
    pub fn global(name: impl Into<String>) -> Self {
        Self::of("", "", name)
    }

    /// The key of `name` in `group` of `subscription`.
    pub fn of(subscription: impl Into<String>, group: impl Into<String>, name: impl Into<String>) -> Self {
        let (subscription, group, name) = (subscription.into(), group.into(), name.into());
        let hash = WRITTEN.hash_one((&subscription, &group, &name));
        // A separate statement, so that the map is not borrowed when a key is dropped.
        let known = KNOWN.get(&hash).and_then(|known| known.upgrade());
        if let Some(known) = known
            && (&known.subscription, &known.group, &known.name) == (&subscription, &group, &name)
        {
            return Self(known);
        }
        let folded = format!("{subscription}/{group}/{name}").to_lowercase();
        let parts = Arc::new(KeyParts { subscription, group, name, folded, hash });
        KNOWN.insert(hash, Arc::downgrade(&parts));
        Self(parts)
    }

    /// The key of the resource group `group`.
    pub fn of_group(subscription: &str, group: &str) -> Self {
        Self::of(subscription, group, group)
    }

    /// Resolves `text` relative to `self`: `name`, `group/name` or `subscription/group/name`.
    #[must_use]
    pub fn beside(&self, text: &str) -> Self {
        let parts: Vec<&str> = text.splitn(3, '/').collect();
        match parts.as_slice() {
            [subscription, group, name] => Self::of(*subscription, *group, *name),
            [group, name] => Self::of(&*self.subscription, *group, *name),
            _ => Self::of(&*self.subscription, &*self.group, text),
        }
    }

    /// Whether `other` is in the same resource group.
    pub fn is_beside(&self, other: &Self) -> bool {
        let group = |key: &Self| key.folded.rsplit_once('/').map_or(0, |(group, _)| group.len());
        let (own, theirs) = (group(self), group(other));
        self.folded[..own] == other.folded[..theirs]
    }

    /// `subscription/group/name` in lower case: one text per key, for the store.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

impl Deref for Key {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.folded == other.folded
    }
}
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.folded.cmp(&other.folded) }
    }
}
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            return f.pad(&self.name);
        }
        if self.subscription.eq_ignore_ascii_case(DEFAULT) {
            return f.pad(&format!("{}/{}", self.group, self.name));
        }
        f.pad(&format!("{}/{}/{}", self.subscription, self.group, self.name))
    }
}
impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}
impl TryFrom<String> for Key {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            _ if parts.iter().any(|part| part.is_empty()) => Err(format!("`{text}` has an empty part")),
            [name] => Ok(Self::global(*name)),
            [group, name] => Ok(Self::new(*group, *name)),
            [subscription, group, name] => Ok(Self::of(*subscription, *group, *name)),
            _ => Err(format!("`{text}` is not of the form group/name or subscription/group/name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_tell_keys_apart_and_subscriptions_do() {
        assert_eq!(Key::of("A", "Default", "Orders"), Key::of("a", "default", "orders"));
        assert_ne!(Key::of("a", "default", "orders"), Key::of("b", "default", "orders"));
        assert!(Key::of("a", "RÉSEAU", "x").is_beside(&Key::of("A", "réseau", "y")));
        assert!(!Key::of("a", "g", "x").is_beside(&Key::of("a", "gh", "x")));
        assert!(!Key::of("a", "g", "x").is_beside(&Key::of("b", "g", "x")));
    }

    #[test]
    fn keys_share_their_text_as_long_as_they_are_written_alike() {
        let (one, same, other) = (Key::new("x", "shared"), Key::new("x", "shared"), Key::new("x", "Shared"));
        assert!(Arc::ptr_eq(&one.0, &same.0) && !Arc::ptr_eq(&one.0, &other.0));
        assert_eq!((one.name.as_str(), other.name.as_str()), ("shared", "Shared"));
        let hash = one.hash;
        drop((one, same));
        assert!(!KNOWN.contains_key(&hash), "a key that nobody holds any more is forgotten");
    }

    #[test]
    fn threads_that_make_and_drop_one_key_at_once_agree_on_it() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let (one, two) = (Key::new("y", "raced"), Key::new("y", "raced"));
                        assert_eq!((one.name.as_str(), &one), ("raced", &two));
                    }
                });
            }
        });
        assert!(!KNOWN.contains_key(&WRITTEN.hash_one(("default", "y", "raced"))));
    }

    #[test]
    fn a_key_reads_what_it_shows() {
        for key in [Key::new("default", "orders"), Key::of("tenant", "shop", "orders"), Key::global("Reader")] {
            assert_eq!(Key::try_from(key.to_string()), Ok(key));
        }
        for bad in ["/orders", "a//b", "a/b/c/d", ""] {
            assert!(Key::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_reference_is_read_beside_the_object_that_makes_it() {
        let home = Key::of("tenant", "shop", "orders");
        assert_eq!(home.beside("db"), Key::of("tenant", "shop", "db"));
        assert_eq!(home.beside("core/db"), Key::of("tenant", "core", "db"));
        assert_eq!(home.beside("other/core/db"), Key::of("other", "core", "db"));
    }
}
