//! Fields that a file cannot express: they stay as they are in the live object, and do not count as a difference.

use std::collections::BTreeSet;

use crate::model::registry::{Kind as _, each_kind};
use crate::model::state::{Connection, ControlState, Item, ItemKind};
use crate::model::{Model, PrivateEndpoint};

impl PrivateEndpoint {
    /// This object of a file as it will replace `live`, whose connection is `connection`. A live decision that agrees
    /// with the file is no change.
    pub(super) fn beside(&self, live: &Self, connection: Option<&Connection>) -> Self {
        let mut updated = self.adopt(live);
        let stands = connection.filter(|connection| self.status == Some(connection.state));
        if stands.is_some_and(|connection| connection.description == self.reason) {
            (updated.status, updated.reason) = (live.status, live.reason.clone());
        }
        updated
    }
}

/// The objects of the file `said` that differ from the live ones.
pub fn differing(live: &ControlState, said: &Model) -> BTreeSet<Item> {
    let mut others = BTreeSet::new();
    each_kind!(K => for (key, one) in K::map(said) {
        let same = K::map(&live.model).get(key).is_some_and(|now| one.adopt(now) == *now);
        if !same {
            others.insert(Item { kind: K::KIND, key: key.clone() });
        }
    });
    // A live decision that agrees with the file is no difference.
    others.retain(|item| {
        let (one, now) = (said.endpoints.get(&item.key), live.model.endpoints.get(&item.key));
        let found = one.zip(now).filter(|_| item.kind == ItemKind::Endpoint);
        found.is_none_or(|(one, now)| one.beside(now, live.connections.get(&item.key)) != *now)
    });
    others
}
