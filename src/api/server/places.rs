//! Limits the number of connections, in total and per caller, and chooses which ones make room for others.
//!
//! A connection counts for its source address until its first request identifies the caller, and for that caller from
//! then on: callers behind one proxy, or on this host, share an address. Unidentified connections make room for later
//! ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::Principal;

/// Connections of one listener.
pub(in crate::api) const ALL: usize = 256;

/// Connections of these that are reserved for uid 0.
pub(in crate::api) const KEPT_FOR_ROOT: usize = 8;

/// Connections of one caller.
pub(in crate::api) const EACH_CALLER: usize = 32;

/// The most unidentified connections from one address.
pub(in crate::api) const EACH_ADDRESS: usize = 64;

/// Places that identified callers leave free for new connections.
const LEFT_TO_STRANGERS: usize = 64;

/// For whom a connection counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::api) enum Holder {
    /// Not identified yet.
    Address(IpAddr),
    /// A caller.
    Caller(Principal),
}

impl Holder {
    /// An address. For IPv6 the /64 network, because one host may use all of it.
    pub(in crate::api) fn address(ip: IpAddr) -> Self {
        Self::Address(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip @ IpAddr::V4(_) => ip,
        })
    }

    fn most(&self) -> usize {
        match self {
            Self::Caller(Principal::Uid(0)) => ALL,
            Self::Caller(_) => EACH_CALLER,
            Self::Address(_) => EACH_ADDRESS,
        }
    }

    fn is_root(&self) -> bool {
        *self == Self::Caller(Principal::Uid(0))
    }
}

/// The places of one listener.
#[derive(Debug, Default)]
pub(in crate::api) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// In order of arrival.
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    /// For whom it counts.
    holder: Holder,
    /// Its source.
    from: Holder,
    /// Whether its caller is identified.
    known: bool,
    ended: Arc<Notify>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(in crate::api) struct Place {
    places: Arc<Places>,
    number: u64,
    ended: Arc<Notify>,
}

/// No place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct NoPlace;

impl Places {
    /// A place for a connection of `holder`. An unidentified connection may lose its place for it.
    pub(in crate::api) fn take(self: &Arc<Self>, holder: Holder) -> Result<Place, NoPlace> {
        let mut taken = self.lock();
        let own = taken.of(|one| one.holder == holder);
        if own >= holder.most() {
            taken.end_oldest(|one| one.holder == holder)?;
        } else if taken.connections.len() >= if holder.is_root() { ALL } else { ALL - KEPT_FOR_ROOT } {
            let crowded = taken.most_strangers().ok_or(NoPlace)?;
            taken.end_oldest(|one| crowded.contains(&one.holder))?;
        }
        let (number, ended) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.connections.insert(
            number,
            Connection { holder: holder.clone(), from: holder, known: false, ended: Arc::clone(&ended) },
        );
        Ok(Place { places: Arc::clone(self), number, ended })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, which: impl Fn(&Connection) -> bool) -> usize {
        self.connections.values().filter(|one| which(one)).count()
    }

    /// The holders with the most unidentified connections.
    fn most_strangers(&self) -> Option<BTreeSet<Holder>> {
        let mut counts: BTreeMap<&Holder, usize> = BTreeMap::new();
        for one in self.connections.values().filter(|one| !one.known && !one.holder.is_root()) {
            *counts.entry(&one.holder).or_default() += 1;
        }
        let most = counts.values().max().copied()?;
        Some(counts.into_iter().filter(|(_, count)| *count == most).map(|(holder, _)| holder.clone()).collect())
    }

    fn end_oldest(&mut self, which: impl Fn(&Connection) -> bool) -> Result<(), NoPlace> {
        let oldest = self.connections.iter().find(|(_, one)| !one.known && which(one)).map(|(number, _)| *number);
        let ended = oldest.and_then(|number| self.connections.remove(&number)).ok_or(NoPlace)?;
        ended.ended.notify_one();
        Ok(())
    }
}

impl Place {
    /// Identifies the connection as `caller`'s.
    ///
    /// # Errors
    /// That caller has no place left. The connection stays as it was.
    pub(in crate::api) fn is_of(&self, caller: &Principal) -> Result<(), NoPlace> {
        let mut taken = self.places.lock();
        let holder = Holder::Caller(caller.clone());
        let now = taken.connections.get(&self.number).ok_or(NoPlace)?;
        if now.known && now.holder == holder {
            return Ok(());
        }
        let own = taken.of(|one| one.known && one.holder == holder);
        let others = taken.of(|one| one.known && !one.holder.is_root());
        let room = own < holder.most() && (now.known || holder.is_root() || others < ALL - LEFT_TO_STRANGERS);
        if !room {
            return Err(NoPlace);
        }
        if let Some(one) = taken.connections.get_mut(&self.number) {
            (one.holder, one.known) = (holder, true);
        }
        Ok(())
    }

    /// Whether the connection is identified.
    pub(in crate::api) fn is_known(&self) -> bool {
        self.places.lock().connections.get(&self.number).is_some_and(|one| one.known)
    }

    /// The connection presented a wrong identity: it counts for its source address again.
    pub(in crate::api) fn is_of_nobody(&self) {
        if let Some(one) = self.places.lock().connections.get_mut(&self.number) {
            (one.holder, one.known) = (one.from.clone(), false);
        }
    }

    /// Returns when the connection has to make room for another one.
    pub(in crate::api) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.remove(&self.number);
    }
}

/// Limits something per caller and in total, such as waiting requests. Uid 0 has its own share.
#[derive(Debug)]
pub(in crate::api) struct CallerLimit {
    each: usize,
    all: usize,
    taken: Mutex<BTreeMap<Principal, usize>>,
    freed: Notify,
}

/// A permit, given back when dropped.
#[derive(Debug)]
pub(in crate::api) struct Permit<'a> {
    limit: &'a CallerLimit,
    of: Principal,
}

impl CallerLimit {
    /// At most `each` per caller, and `all` together.
    pub(in crate::api) const fn new(each: usize, all: usize) -> Self {
        Self { each, all, taken: Mutex::new(BTreeMap::new()), freed: Notify::const_new() }
    }

    /// A permit for `caller`, if there is one.
    pub(in crate::api) fn take(&self, caller: &Principal) -> Option<Permit<'_>> {
        let mut taken = self.lock();
        let own = taken.get(caller).copied().unwrap_or_default();
        let full = taken.values().sum::<usize>() >= self.all && *caller != Principal::Uid(0);
        if own >= self.each || full {
            return None;
        }
        taken.insert(caller.clone(), own + 1);
        Some(Permit { limit: self, of: caller.clone() })
    }

    /// Waits for a permit for `caller`. Its connections limit the number that wait.
    pub(in crate::api) async fn wait(&self, caller: &Principal) -> Permit<'_> {
        loop {
            // Subscribe first, so that no permit released from here on is missed.
            let freed = self.freed.notified();
            if let Some(permit) = self.take(caller) {
                return permit;
            }
            freed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Principal, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut taken = self.limit.lock();
        let left = taken.get(&self.of).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            taken.remove(&self.of);
        } else {
            taken.insert(self.of.clone(), left);
        }
        drop(taken);
        self.limit.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(id: u32) -> Holder {
        Holder::Caller(Principal::Uid(id))
    }

    fn address(last: u8) -> Holder {
        Holder::address(IpAddr::from([192, 0, 2, last]))
    }

    /// Takes a place with an identified connection.
    fn told(places: &Arc<Places>, id: u32) -> Result<Place, NoPlace> {
        let place = places.take(uid(id))?;
        place.is_of(&Principal::Uid(id))?;
        Ok(place)
    }

    fn is_ended(place: &Place) -> bool {
        !place.places.lock().connections.contains_key(&place.number)
    }

    #[test]
    fn a_user_has_its_share_and_root_always_a_place() {
        let places = Arc::new(Places::default());
        let mut held = Vec::new();
        for id in 1..=8 {
            held.extend((0..EACH_CALLER).filter_map(|_| told(&places, id).ok()));
        }
        assert_eq!(held.len(), ALL - LEFT_TO_STRANGERS, "known callers leave room to others");
        assert_eq!(told(&places, 1).unwrap_err(), NoPlace);
        held.extend(
            (0..).map_while(|id| places.take(uid(100 + id % 100)).ok()).take(LEFT_TO_STRANGERS - KEPT_FOR_ROOT),
        );
        assert_eq!(held.len(), ALL - KEPT_FOR_ROOT);
        for _ in 0..KEPT_FOR_ROOT {
            held.push(told(&places, 0).unwrap());
        }
        assert!(!held.iter().any(is_ended), "nobody had to go");
        held.push(told(&places, 0).unwrap());
        assert_eq!(held.iter().filter(|place| is_ended(place)).count(), 1, "a stranger goes for root");
    }

    #[test]
    fn who_has_told_nothing_makes_room_from_the_fullest_address_first() {
        let places = Arc::new(Places::default());
        let mut held: Vec<Place> = (0..EACH_ADDRESS).map(|_| places.take(address(1)).unwrap()).collect();
        let next = places.take(address(1)).unwrap();
        assert!(is_ended(&held[0]) && !is_ended(&held[1]) && !is_ended(&next), "its own oldest goes");
        held.remove(0);
        held.push(next);
        let known = places.take(address(1)).unwrap();
        known.is_of(&Principal::Uid(7)).unwrap();
        for last in 2..=4 {
            held.extend((0..61).map(|_| places.take(address(last)).unwrap()));
        }
        let _others: Vec<Place> = (10..110).cycle().take(300).map(|last| places.take(address(last)).unwrap()).collect();
        assert!(!is_ended(&known), "who has told stays");
        let taken = places.lock();
        assert!(taken.connections.len() <= ALL - KEPT_FOR_ROOT);
        assert!((2..=4).all(|last| taken.of(|one| one.holder == address(last)) > 1), "no address loses all");
    }

    #[test]
    fn where_all_have_as_many_the_oldest_goes() {
        let places = Arc::new(Places::default());
        let each = |number: usize| Holder::address(IpAddr::from([10, 0, (number >> 8) as u8, number as u8]));
        // The first ones come from the highest addresses, to show that the order of addresses does not matter.
        let held: Vec<Place> =
            (0..ALL - KEPT_FOR_ROOT).rev().map(|number| places.take(each(number)).unwrap()).collect();
        let newcomer = places.take(address(9)).unwrap();
        assert!(is_ended(&held[0]) && !is_ended(&newcomer));
        assert_eq!(held.iter().filter(|place| is_ended(place)).count(), 1);
    }

    #[test]
    fn after_its_first_request_a_connection_counts_for_its_caller() {
        let places = Arc::new(Places::default());
        let caller = Principal::Uid(7);
        let held: Vec<Place> = (0..EACH_CALLER).map(|_| places.take(address(1)).unwrap()).collect();
        for place in &held {
            place.is_of(&caller).unwrap();
        }
        let one_more = places.take(address(1)).unwrap();
        assert_eq!(one_more.is_of(&caller), Err(NoPlace));
        one_more.is_of(&Principal::Uid(8)).unwrap();
        drop(held);
        one_more.is_of(&caller).unwrap();
        assert_eq!(places.lock().connections.len(), 1);
        one_more.is_of_nobody();
        assert_eq!(places.lock().connections[&one_more.number].holder, address(1), "a token that is good no more");
    }

    #[test]
    fn permits_are_counted_for_each_and_for_all() {
        let limit = CallerLimit::new(2, 3);
        let (one, other) = (Principal::Uid(1), Principal::Uid(2));
        let held = [limit.take(&one).unwrap(), limit.take(&one).unwrap()];
        assert!(limit.take(&one).is_none());
        let third = limit.take(&other).unwrap();
        assert!(limit.take(&other).is_none());
        assert!(limit.take(&Principal::Uid(0)).is_some(), "uid 0 finds its own");
        drop(held);
        assert!(limit.take(&one).is_some() && limit.take(&other).is_some());
        drop(third);
        assert!(limit.lock().is_empty());
    }
}
