//! What every kind of object has in common. Code that treats all kinds alike is written once, over `Kind`, and run for
//! one kind by `of_kind!` or for each by `each_kind!`.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sentence::Mention;
use super::{Item, ItemKind, Key, Map, Model, Scope};

/// Where the objects of a kind are; `kinds!` says it of each.
pub trait Listed: Sized {
    /// Which kind.
    const KIND: ItemKind;
    /// The word for all of them, with underscores: their field of the model, and their table in the store.
    const PLURAL: &'static str;

    /// All objects of this kind.
    fn map(model: &Model) -> &Map<Self>;

    /// The same, to be changed.
    fn map_mut(model: &mut Model) -> &mut Map<Self>;

    /// The object `key` of this kind.
    fn item(key: &Key) -> Item {
        Item { kind: Self::KIND, key: key.clone() }
    }
}

macro_rules! list_kinds {
    ($($(#[$doc:meta])* $kind:ident: $type:ident in $field:ident,)*) => {
        $(impl Listed for super::$type {
            const KIND: ItemKind = ItemKind::$kind;
            const PLURAL: &'static str = stringify!($field);

            fn map(model: &Model) -> &Map<Self> {
                &model.$field
            }

            fn map_mut(model: &mut Model) -> &mut Map<Self> {
                &mut model.$field
            }
        })*
    };
}

super::kinds! { [list_kinds] }

/// A kind of object that a model names by key.
pub trait Kind: Listed + Clone + PartialEq + Serialize + DeserializeOwned + 'static {
    /// The word for one object, in messages and in the audit log.
    const SINGULAR: &'static str;
    /// Their type in ARM, to which actions belong.
    const TYPE: &'static str;

    /// The type to which the actions on the object `key` belong, and where they are judged.
    fn place<'a>(_model: &'a Model, key: &Key) -> (&'a str, Scope) {
        (Self::TYPE, Scope::resource(key, Self::TYPE))
    }

    /// What a file says, as it would replace `live`: what a file has no word for stays as it is there.
    #[must_use]
    fn adopt(&self, _live: &Self) -> Self {
        self.clone()
    }

    /// Fills in what its author did not say and what follows from other objects; `known` are those that it may refer to.
    fn complete(&mut self, _known: &Known<'_>) {}

    /// What needs the object `key`, which cannot be deleted before that. Only users that `stays` count.
    fn users(_model: &Model, _key: &Key, _stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        Vec::new()
    }
}

/// Objects that an author may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The author's own.
    pub own: &'a Model,
    /// Those in force.
    pub live: &'a Model,
}

impl<'a> Known<'a> {
    /// The object `key`: the author's own before one in force.
    pub fn get<K: Kind>(&self, key: &Key) -> Option<&'a K> {
        K::map(self.own).get(key).or_else(|| K::map(self.live).get(key))
    }
}

/// `of_kind!(kind, K => expression)`: the expression where `K` is the type of `kind`.
macro_rules! of_kind {
    ($value:expr, $K:ident => $body:expr) => {
        $crate::model::kinds! { [$crate::model::registry::of_kind_arms] ($value, $K => $body) }
    };
}

macro_rules! of_kind_arms {
    (($value:expr, $K:ident => $body:expr) $($(#[$doc:meta])* $kind:ident: $type:ident in $field:ident,)*) => {{
        #[allow(unused_imports, reason = "not every body asks for both")]
        use $crate::model::registry::{Kind as _, Listed as _};
        match $value {
            $($crate::model::ItemKind::$kind => {
                type $K = $crate::model::$type;
                $body
            })*
        }
    }};
}

/// `each_kind!(K => expression)`: the expression once for each kind, where `K` is its type, in the order of the kinds.
macro_rules! each_kind {
    ($K:ident => $body:expr) => {
        $crate::model::kinds! { [$crate::model::registry::each_kind_blocks] ($K => $body) }
    };
}

macro_rules! each_kind_blocks {
    (($K:ident => $body:expr) $($(#[$doc:meta])* $kind:ident: $type:ident in $field:ident,)*) => {{
        #[allow(unused_imports, reason = "not every body asks for both")]
        use $crate::model::registry::{Kind as _, Listed as _};
        $({
            type $K = $crate::model::$type;
            $body;
        })*
    }};
}

pub(crate) use {each_kind, each_kind_blocks, of_kind, of_kind_arms};

impl ItemKind {
    /// The type of its objects in ARM; a link resource may have another one.
    pub fn arm_type(self) -> &'static str {
        of_kind!(self, K => K::TYPE)
    }

    /// Whether its objects are in resource groups.
    pub fn is_in_groups(self) -> bool {
        !matches!(self, Self::Role | Self::Assignment | Self::ResourceGroup)
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(of_kind!(self, K => K::SINGULAR))
    }
}

impl Model {
    /// Whether there is such an object.
    pub fn has(&self, item: &Item) -> bool {
        of_kind!(item.kind, K => K::map(self).contains_key(&item.key))
    }

    /// Whether `item` is the same here and in `other`.
    pub fn agrees(&self, other: &Self, item: &Item) -> bool {
        of_kind!(item.kind, K => K::map(self).get(&item.key) == K::map(other).get(&item.key))
    }

    /// The keys of every object of one kind.
    pub fn keys_of(&self, kind: ItemKind) -> Vec<&Key> {
        of_kind!(kind, K => K::map(self).keys().collect())
    }

    /// The keys of one kind whose objects differ here and in `after`.
    pub fn changed_keys(&self, after: &Self, kind: ItemKind) -> Vec<Key> {
        of_kind!(kind, K => K::map(self).changes(K::map(after)).into_iter().map(|(key, _)| key.clone()).collect())
    }

    /// Every object, in the order of the kinds.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let of = |kind| self.keys_of(kind).into_iter().map(move |key| Item { kind, key: key.clone() });
        ItemKind::ALL.into_iter().flat_map(of)
    }

    /// Makes `item` what it is in `from`; `None`: there is none.
    pub fn copy(&mut self, from: Option<&Self>, item: &Item) {
        of_kind!(item.kind, K => match from.and_then(|from| K::map(from).get(&item.key)) {
            Some(object) => K::map_mut(self).insert(item.key.clone(), object.clone()),
            None => _ = K::map_mut(self).remove(&item.key),
        });
    }

    /// What is in the resource group `key`, that which depends on other things before those.
    pub fn in_group(&self, key: &Key) -> Vec<Item> {
        let kinds = ItemKind::ALL.into_iter().rev().filter(|kind| *kind != ItemKind::ResourceGroup);
        let of = |kind| {
            let beside = self.keys_of(kind).into_iter().filter(|other| other.is_beside(key));
            beside.map(move |key| Item { kind, key: key.clone() })
        };
        kinds.flat_map(of).collect()
    }

    /// The type of a link resource, also of one that is gone.
    pub fn resource_type(&self, key: &Key) -> Option<&str> {
        let former = || self.former_resources.get(key).map(|former| &former.kind);
        let kind = self.resources.get(key).map(|resource| &resource.kind).or_else(former);
        kind.and_then(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_map_of_the_model_is_one_of_a_kind_or_no_objects_of_their_own() {
        let whole = serde_json::to_value(Model::default()).unwrap();
        let mut fields: BTreeSet<&str> = whole.as_object().unwrap().keys().map(String::as_str).collect();
        each_kind!(K => assert!(fields.remove(K::PLURAL), "no field {}", K::PLURAL));
        assert_eq!(fields, BTreeSet::from(["former_resources", "resource_types"]));
    }

    #[test]
    fn no_two_kinds_have_one_word() {
        let words: BTreeSet<String> = ItemKind::ALL.iter().map(ToString::to_string).collect();
        let types: BTreeSet<&str> = ItemKind::ALL.into_iter().map(ItemKind::arm_type).collect();
        assert_eq!((words.len(), types.len()), (ItemKind::ALL.len(), ItemKind::ALL.len()));
        each_kind!(K => assert_eq!(of_kind!(K::KIND, Same => Same::PLURAL), K::PLURAL));
    }
}
