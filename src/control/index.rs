//! An index of endpoints for listings. It is derived from the state. The cost of updating it for one endpoint does not
//! grow with the number of endpoints.

use jiff::Timestamp;
use rpds::RedBlackTreeSetSync;

use crate::model::state::ControlState;
use crate::model::{Key, Map, Principal};
use crate::snapshot::ConnectionState;

/// A sorted set. Cloning it costs one reference count.
type Keys = RedBlackTreeSetSync<Key>;

/// The index. Cloning it costs a few reference counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pending: RedBlackTreeSetSync<(Timestamp, Key)>,
    /// Pending requests by resource and requester.
    asking: RedBlackTreeSetSync<(Key, Principal, Key)>,
    /// Expiring approvals by their end.
    ending: RedBlackTreeSetSync<(Timestamp, Key)>,
    by_resource: Map<Keys>,
    by_vnet: Map<Keys>,
    /// Endpoints by their names without the group, in lower case.
    by_name: RedBlackTreeSetSync<(Box<str>, Key)>,
}

impl Index {
    /// The index of `state`.
    pub(super) fn of(state: &ControlState) -> Self {
        let mut index = Self::default();
        state.model.endpoints.keys().for_each(|key| index.enter(key, state));
        index
    }

    /// Updates the entries of the endpoint `key`.
    pub(super) fn follow(&mut self, key: &Key, before: &ControlState, after: &ControlState) {
        self.leave(key, before);
        self.enter(key, after);
    }

    /// Endpoints with a pending connection, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Key> {
        self.pending.iter().map(|(_, key)| key)
    }

    /// Pending endpoints of the requester `who` for `resource`.
    pub(super) fn asking<'a>(&'a self, resource: &'a Key, who: &'a Principal) -> impl Iterator<Item = &'a Key> {
        let from = (resource.clone(), who.clone(), Key::of("", "", ""));
        let same = move |(of, by, _): &&(Key, Principal, Key)| of == resource && by == who;
        self.asking.range(from..).take_while(same).map(|(_, _, key)| key)
    }

    /// When the next approval expires.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ending.first().map(|(at, _)| *at)
    }

    /// Endpoints whose approval has expired at `now`, in order of expiry.
    pub(super) fn over(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.ending.iter().take_while(move |(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// Endpoints bound to `resource`, by name.
    pub(super) fn bound_to(&self, resource: &Key) -> impl Iterator<Item = &Key> {
        self.by_resource.get(resource).into_iter().flatten()
    }

    /// Endpoints in `vnet`, by name.
    pub(super) fn within(&self, vnet: &Key) -> impl Iterator<Item = &Key> {
        self.by_vnet.get(vnet).into_iter().flatten()
    }

    /// Endpoints named `name` in any group; case does not matter.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Key> {
        let name: Box<str> = name.to_lowercase().into();
        let from = (name.clone(), Key::of("", "", ""));
        self.by_name.range(from..).take_while(move |(other, _)| *other == name).map(|(_, key)| key)
    }

    fn enter(&mut self, key: &Key, state: &ControlState) {
        let Some((key, endpoint)) = state.model.endpoints.entry(key) else { return };
        add(&mut self.by_resource, &endpoint.resource, key);
        add(&mut self.by_vnet, &endpoint.vnet, key);
        self.by_name.insert_mut(by_name(key));
        if let Some((since, asked)) = waiting(key, &endpoint.resource, state) {
            self.pending.insert_mut((since, key.clone()));
            self.asking.insert_mut(asked);
        }
        if let Some(at) = end(key, state) {
            self.ending.insert_mut((at, key.clone()));
        }
    }

    fn leave(&mut self, key: &Key, state: &ControlState) {
        let Some(endpoint) = state.model.endpoints.get(key) else { return };
        remove(&mut self.by_resource, &endpoint.resource, key);
        remove(&mut self.by_vnet, &endpoint.vnet, key);
        self.by_name.remove_mut(&by_name(key));
        if let Some((since, asked)) = waiting(key, &endpoint.resource, state) {
            self.pending.remove_mut(&(since, key.clone()));
            self.asking.remove_mut(&asked);
        }
        if let Some(at) = end(key, state) {
            self.ending.remove_mut(&(at, key.clone()));
        }
    }
}

fn by_name(key: &Key) -> (Box<str>, Key) {
    (key.name.to_lowercase().into(), key.clone())
}

/// A pending connection: when it was requested, and who requests which resource.
fn waiting(key: &Key, resource: &Key, state: &ControlState) -> Option<(Timestamp, (Key, Principal, Key))> {
    let connection = state.connections.get(key).filter(|one| one.state == ConnectionState::Pending)?;
    let asked = (resource.clone(), connection.requester.principal.clone(), key.clone());
    Some((connection.created_at, asked))
}

/// When the approval of a connection expires.
fn end(key: &Key, state: &ControlState) -> Option<Timestamp> {
    state.connections.get(key)?.ends_at
}

fn add(places: &mut Map<Keys>, place: &Key, key: &Key) {
    if let Some(keys) = places.get_mut(place) {
        keys.insert_mut(key.clone());
    } else {
        places.insert(place.clone(), Keys::new_sync().insert(key.clone()));
    }
}

fn remove(places: &mut Map<Keys>, place: &Key, key: &Key) {
    let Some(keys) = places.get_mut(place) else { return };
    keys.remove_mut(key);
    if keys.is_empty() {
        places.remove(place);
    }
}

#[cfg(test)]
mod tests;
