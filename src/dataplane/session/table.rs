//! The session table of one worker: an index of cache-line buckets over an arena of sessions.

#![allow(clippy::inline_always, reason = "a hit is one function")]

use super::arena::{Arena, Store, prefetch};
use super::hash::Secrets;
use super::index::{Candidate, Hash, Index};
use super::rare::Rare;
use super::{Addresses, Direction, FlowKey, Hit, Pair, Phase, Session, Slot};
use crate::dataplane::counters::Probes;
use crate::snapshot::{EndpointId, Protocol};
use crate::wire::Address;

/// Sessions of one worker, found by the key of either direction.
#[derive(Debug)]
pub struct Table {
    pub(super) index: Index,
    arena: Arena<Session>,
    /// Consumer, endpoint, NAT and backend address of sessions with an IPv6 side.
    wide: Store<[Address; 4]>,
    /// What few sessions need.
    rare: Store<Rare>,
    /// Most recent session per endpoint; its list runs through the sessions.
    heads: Vec<Slot>,
    secrets: Secrets,
    capacity: u32,
}

impl Table {
    /// A table for at most `capacity` sessions. `seeds` make its hash unpredictable to senders; they
    /// come from the system's random numbers.
    #[must_use]
    pub fn new(capacity: u32, seeds: [u64; 2]) -> Self {
        let capacity = capacity.clamp(1, 1 << 28);
        Self {
            index: Index::new(capacity),
            arena: Arena::with_capacity(capacity),
            wide: Store::new(),
            rare: Store::new(),
            heads: Vec::new(),
            secrets: Secrets::new(seeds),
            capacity,
        }
    }

    /// Whether a key of the session is taken in either direction.
    #[must_use]
    pub fn holds(&self, addresses: &Addresses, session: &Session) -> bool {
        self.find_any(&session.service_key(addresses)).is_some()
            || self.find_any(&session.consumer_key(addresses)).is_some()
    }

    /// The addresses and ports of the session at `slot`; none are left of one that was removed.
    #[inline]
    #[must_use]
    pub fn addresses(&self, slot: Slot) -> Addresses {
        self.arena.get(slot).map_or_else(Addresses::default, |session| self.addresses_of(session))
    }

    /// The session at `slot`, to be changed, and the source and destination its packets of `direction` leave with.
    #[inline]
    pub fn leaving(&mut self, Hit { session: slot, direction }: Hit) -> Option<(&mut Session, [Address; 2])> {
        let session = self.arena.get_mut(slot)?;
        let leaves = match session.families.pair() {
            Pair::V4 => direction.leaves_with(session.words).map(Address::v4),
            Pair::V6 | Pair::Mixed => direction.leaves_with(four(&self.wide, session)),
        };
        Some((session, leaves))
    }

    #[inline]
    fn addresses_of(&self, session: &Session) -> Addresses {
        let [consumer, endpoint, nat, backend] = four(&self.wide, session);
        Addresses {
            consumer,
            endpoint,
            nat,
            backend,
            consumer_port: session.consumer_port,
            endpoint_port: session.endpoint_port,
            nat_port: session.nat_port,
            backend_port: session.backend_port,
        }
    }

    /// The session and direction that a packet with `key` belongs to. An endpoint address is never a
    /// NAT address of the same VNet, so a key can match one direction only: one search serves both.
    #[inline]
    #[must_use]
    pub fn find_any(&self, key: &FlowKey) -> Option<Hit> {
        self.search(key, self.hash(key))
    }

    /// Asks for the line of the index that a search for `hash` reads first.
    #[inline]
    pub fn prefetch_index(&self, hash: Hash) {
        self.index.prefetch(hash);
    }

    /// Asks for the session that a search for `hash` finds first, as much of it as a packet of `protocol` touches, and
    /// says which it is: most likely the right one.
    #[inline]
    #[must_use]
    pub fn prefetch_session(&self, hash: Hash, protocol: Protocol) -> Candidate {
        let candidate = self.index.first(hash);
        if let Some(session) = self.arena.get(candidate.slot()) {
            prefetch(session, if protocol == Protocol::Tcp { 2 } else { 1 });
        }
        candidate
    }

    /// As [`Table::find_any`], for a key whose hash is known, and of which `candidate` may be the session.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: Hash, candidate: Candidate) -> Option<Hit> {
        let slot = candidate.slot();
        if let Some(session) = self.arena.get(slot)
            && session.phase != Phase::Vacant
            && self.has_key(session, candidate.direction(), key)
        {
            return Some(Hit { session: slot, direction: candidate.direction() });
        }
        self.search(key, hash)
    }

    /// As [`Table::find`], with the session itself, to be changed, and the source and destination that the packet leaves
    /// with.
    #[inline(always)]
    pub fn lookup(
        &mut self,
        key: &FlowKey,
        hash: Hash,
        candidate: Candidate,
    ) -> Option<(Hit, &mut Session, [Address; 2])> {
        let hit = self.find(key, hash, candidate)?;
        self.leaving(hit).map(|(session, leaves)| (hit, session, leaves))
    }

    #[inline]
    fn search(&self, key: &FlowKey, hash: Hash) -> Option<Hit> {
        let is_wanted = |entry: Candidate| {
            self.arena.get(entry.slot()).is_some_and(|session| self.has_key(session, entry.direction(), key))
        };
        self.index.find(hash, is_wanted).map(|found| Hit { session: found.slot(), direction: found.direction() })
    }

    /// Whether packets with `key` belong to `direction` of `session`.
    #[inline(always)]
    fn has_key(&self, session: &Session, direction: Direction, key: &FlowKey) -> bool {
        if session.families.pair() == Pair::V4 {
            return session.has_v4_key(direction, key);
        }
        let addresses = self.addresses_of(session);
        *key == match direction {
            Direction::ToService => session.service_key(&addresses),
            Direction::ToConsumer => session.consumer_key(&addresses),
        }
    }

    /// The session at `slot`.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Session> {
        self.arena.get(slot)
    }

    /// The session at `slot`, to be changed; its addresses must stay as they are.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Session> {
        self.arena.get_mut(slot)
    }

    /// The record of what few sessions need; `None`: this one has none.
    #[must_use]
    pub fn rare(&self, slot: Slot) -> Option<&Rare> {
        self.rare.get(self.arena.get(slot)?.rare)
    }

    /// The same, to be changed; made where there is none. `None`: there is no such session.
    pub fn rare_mut(&mut self, slot: Slot) -> Option<&mut Rare> {
        let session = self.arena.get_mut(slot).filter(|session| session.phase != Phase::Vacant)?;
        if session.rare == Slot::NONE {
            session.rare = self.rare.insert(Rare::default());
        }
        self.rare.get_mut(session.rare)
    }

    /// Adds a session under both its keys and to its endpoint's list; `None` when the table is full, or its index
    /// where one of the keys belongs. Neither key may be in the table.
    pub fn insert(&mut self, addresses: &Addresses, mut session: Session) -> Option<Slot> {
        if self.is_full() {
            return None;
        }
        let hashes = (self.hash(&session.service_key(addresses)), self.hash(&session.consumer_key(addresses)));
        let endpoint = session.endpoint;
        if session.families.pair() != Pair::V4 {
            let a = addresses;
            session.words[0] = self.wide.insert([a.consumer, a.endpoint, a.nat, a.backend]).0;
        }
        let slot = self.arena.insert(session)?;
        let entries = [Direction::ToService, Direction::ToConsumer].map(|direction| Candidate::of(slot, direction));
        let first = self.index.insert(hashes.0, entries[0]);
        if first && self.index.insert(hashes.1, entries[1]) {
            self.link(slot, endpoint);
            return Some(slot);
        }
        if first {
            self.index.remove(hashes.0, entries[0]);
        }
        self.vacate(slot);
        None
    }

    /// Frees the slot of a session that is in no index and no list.
    fn vacate(&mut self, slot: Slot) {
        let Some(session) = self.arena.get_mut(slot) else { return };
        let (addresses, rare) = (Slot(session.words[0]), session.rare);
        (session.phase, session.rare) = (Phase::Vacant, Slot::NONE);
        if session.families.pair() != Pair::V4 {
            self.wide.release(addresses);
        }
        if rare != Slot::NONE {
            self.rare.release(rare);
        }
        self.arena.release(slot);
    }

    /// Removes a session and frees its slot; returns it as it was. `None` where there is none: a slot freed
    /// twice would be given to two sessions.
    pub fn remove(&mut self, slot: Slot) -> Option<(Addresses, Session)> {
        self.arena.get(slot).filter(|session| session.phase != Phase::Vacant)?;
        let addresses = self.addresses(slot);
        self.unlink(slot);
        let removed = self.arena.get(slot)?.clone();
        let hashes = (self.hash(&removed.service_key(&addresses)), self.hash(&removed.consumer_key(&addresses)));
        self.index.remove(hashes.0, Candidate::of(slot, Direction::ToService));
        self.index.remove(hashes.1, Candidate::of(slot, Direction::ToConsumer));
        self.vacate(slot);
        Some((addresses, removed))
    }

    /// First session of an endpoint's list, most recent first; follow with [`Table::after`].
    #[must_use]
    pub fn first_of(&self, endpoint: EndpointId) -> Option<Slot> {
        self.heads.get(endpoint.0 as usize).copied().filter(|slot| *slot != Slot::NONE)
    }

    /// The session after `slot` in its endpoint's list.
    #[must_use]
    pub fn after(&self, slot: Slot) -> Option<Slot> {
        self.arena.get(slot).map(|session| session.next).filter(|next| *next != Slot::NONE)
    }

    /// Takes a session out of its endpoint's list: it has ended and waits only to answer late packets.
    pub fn unlink(&mut self, slot: Slot) {
        let Some(session) = self.arena.get_mut(slot) else { return };
        let (endpoint, next, previous) = (session.endpoint, session.next, session.previous);
        (session.next, session.previous) = (Slot::NONE, Slot::NONE);
        if let Some(neighbour) = self.arena.get_mut(next) {
            neighbour.previous = previous;
        }
        if let Some(neighbour) = self.arena.get_mut(previous) {
            neighbour.next = next;
        } else if let Some(head) = self.heads.get_mut(endpoint.0 as usize).filter(|head| **head == slot) {
            *head = next;
        }
    }

    /// Sessions held, ended ones that still answer included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arena.is_empty()
    }

    /// Whether the next insertion fails.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity as usize || self.arena.is_full()
    }

    /// Slots that a sweep walks: `0..extent()`.
    #[must_use]
    pub fn extent(&self) -> u32 {
        self.arena.extent()
    }

    /// The slot at `position` of a sweep, when a session is there.
    #[must_use]
    pub fn occupied(&self, position: u32) -> Option<Slot> {
        let slot = Slot(position);
        self.arena.get(slot).filter(|session| session.phase != Phase::Vacant).map(|_| slot)
    }

    /// The hash of a key, which nobody can foresee.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> Hash {
        self.secrets.hash(key)
    }

    /// How far the entries of its index lie from where a search begins.
    #[must_use]
    pub const fn probes(&self) -> Probes {
        self.index.probes()
    }

    fn link(&mut self, slot: Slot, endpoint: EndpointId) {
        let index = endpoint.0 as usize;
        if self.heads.len() <= index {
            self.heads.resize(index + 1, Slot::NONE);
        }
        let head = std::mem::replace(&mut self.heads[index], slot);
        if let Some(neighbour) = self.arena.get_mut(head) {
            neighbour.previous = slot;
        }
        if let Some(session) = self.arena.get_mut(slot) {
            session.next = head;
        }
    }
}

#[inline]
fn four(wide: &Store<[Address; 4]>, session: &Session) -> [Address; 4] {
    match session.families.pair() {
        Pair::V4 => session.words.map(Address::v4),
        Pair::V6 | Pair::Mixed => wide.get(Slot(session.words[0])).copied().unwrap_or_default(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
