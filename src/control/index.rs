//! What listings are answered from without a walk over every endpoint. It follows from the decisions, and moves on
//! with each change of one endpoint at a cost that does not grow with their number.

use jiff::Timestamp;
use rpds::RedBlackTreeSetSync;

use crate::model::state::ControlState;
use crate::model::{Key, Map, Principal};
use crate::snapshot::ConnectionState;

/// Names in order. A clone is a counter.
type Keys = RedBlackTreeSetSync<Key>;

/// Endpoints by what they are listed by. A clone costs a few counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pending: RedBlackTreeSetSync<(Timestamp, Key)>,
    /// The same by what is asked for, and who asks.
    asking: RedBlackTreeSetSync<(Key, Principal, Key)>,
    /// Approvals that end by themselves, by when.
    ending: RedBlackTreeSetSync<(Timestamp, Key)>,
    by_resource: Map<Keys>,
    by_vnet: Map<Keys>,
    /// By what they are called within their group, in lower case.
    by_name: RedBlackTreeSetSync<(Box<str>, Key)>,
}

impl Index {
    /// The index of `decisions`.
    pub(super) fn of(state: &ControlState) -> Self {
        let mut index = Self::default();
        state.model.endpoints.keys().for_each(|key| index.enter(key, state));
        index
    }

    /// Takes over what became of the endpoint `key`.
    pub(super) fn follow(&mut self, key: &Key, before: &ControlState, after: &ControlState) {
        self.leave(key, before);
        self.enter(key, after);
    }

    /// Endpoints whose connection waits for its owner, the oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Key> {
        self.pending.iter().map(|(_, key)| key)
    }

    /// Endpoints by which `who` waits for the owner of `resource`.
    pub(super) fn asking<'a>(&'a self, resource: &'a Key, who: &'a Principal) -> impl Iterator<Item = &'a Key> {
        let from = (resource.clone(), who.clone(), Key::of("", "", ""));
        let same = move |(of, by, _): &&(Key, Principal, Key)| of == resource && by == who;
        self.asking.range(from..).take_while(same).map(|(_, _, key)| key)
    }

    /// When the next approval ends by itself.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ending.first().map(|(at, _)| *at)
    }

    /// Endpoints whose approval is over at `now`, in the order in which they ended.
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

    /// Endpoints called `name` without regard to case, of any group.
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

/// When a connection was asked for that nobody has decided about, and who asks for what.
fn waiting(key: &Key, resource: &Key, state: &ControlState) -> Option<(Timestamp, (Key, Principal, Key))> {
    let connection = state.connections.get(key).filter(|one| one.state == ConnectionState::Pending)?;
    let asked = (resource.clone(), connection.requester.principal.clone(), key.clone());
    Some((connection.created_at, asked))
}

/// When the approval of a connection ends by itself.
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
