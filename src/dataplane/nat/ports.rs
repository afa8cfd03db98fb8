//! NAT ports. One set per (NAT address, protocol, backend address and port): a port is reused across
//! backends, never within one (RFC 4787 REQ-3, RFC 7857 §3; `docs/decisions.md`). Each worker
//! hands out only its own range, so no two workers ever meet.
//!
//! A port is fresh (never used), held by a session, or in quarantine after one. Fresh ports go
//! first, at random (RFC 6056); a used one is taken again only when none is left: at least 1 s after an
//! exact close, 120 s after any other end (RFC 6888 REQ-8).
//!
//! Endpoints of one resource share its ports (`share`). What an endpoint holds of a pool includes what is in
//! quarantine after it: whoever opens and abandons sessions fast enough would otherwise take every port without holding any.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use std::hash::RandomState;

use crate::dataplane::counters::{FullPool, NatPortUse, NatPorts};
use crate::dataplane::nat::port_bits::Bits;
use crate::dataplane::session::{Addresses, Phase, Session, Slot, Tick, tcp_state::TcpFlags};
use crate::dataplane::share::FairShare;
use crate::snapshot::{EndpointId, Protocol, steering};
use crate::wire::Address;

/// Quarantine after both ends agreed that the connection is over.
const QUARANTINE_EXACT: u32 = Tick::PER_SECOND;

/// Quarantine after any other end.
const QUARANTINE_OTHER: u32 = 120 * Tick::PER_SECOND;

/// What shares one range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// NAT address.
    pub nat: Address,
    /// Protocol.
    pub protocol: Protocol,
    /// Backend address.
    pub backend: Address,
    /// Backend port; 0 for ICMP echo.
    pub backend_port: u16,
}

impl PoolKey {
    /// The pool a session's port is from.
    #[must_use]
    pub fn of(a: &Addresses, protocol: Protocol) -> Self {
        Self { nat: a.nat, protocol, backend: a.backend, backend_port: a.backend_port }
    }
}

/// Who asks for a port.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The endpoint of the session to be.
    pub endpoint: EndpointId,
    /// Approved endpoints that share the pool.
    pub contenders: u32,
    /// When.
    pub now: Tick,
}

/// A reserved port. `reclaim` names the closed session that still holds it and must be removed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The port (or echo identifier).
    pub port: u16,
    /// A session that closed exactly and still forwards late segments; check that it still holds this port.
    pub reclaim: Option<Slot>,
}

/// All pools of one worker.
#[derive(Debug)]
pub struct PortPools {
    pools: HashMap<PoolKey, PortSet, RandomState>,
    range: (u16, u16),
}

/// Ports of one pool in one worker's range.
#[derive(Debug)]
struct PortSet {
    fresh: Fresh,
    fresh_left: u32,
    /// Ports that each endpoint holds or abandoned, from the time on that the pool has a bitmap.
    holders: Option<Box<Holders>>,
    /// Closed exactly; the session may still be there to forward late segments.
    closed: VecDeque<Quarantined<Slot>>,
    /// Ended otherwise.
    ended: VecDeque<Quarantined<EndpointId>>,
    /// Sessions in the table whose port is in `closed` already.
    closing: u32,
}

/// Which ports of the range were never used.
#[derive(Debug)]
enum Fresh {
    /// All but these offsets: who opens one session to each port of a wide range makes as many pools, and
    /// each must cost no more than its session does.
    AllBut(Vec<u16>),
    /// One bit per port.
    Bits(Bits),
}

/// Ports handed out before a pool gets its bitmap of up to 8 KiB.
const FEW: usize = 32;

type Holders = HashMap<EndpointId, u32, RandomState>;

/// A port in quarantine, and what is left of its session.
#[derive(Clone, Copy, Debug)]
struct Quarantined<T> {
    port: u16,
    since: Tick,
    of: T,
}

impl PortPools {
    /// Pools for worker `worker` of `workers`.
    #[must_use]
    pub fn new(worker: u16, workers: u16) -> Self {
        Self { pools: HashMap::default(), range: steering::nat_range(worker, workers) }
    }

    /// Reserves a port that was never used.
    pub fn reserve_fresh(&mut self, key: PoolKey, claim: Claim, random: &mut fastrand::Rng) -> Option<Reserved> {
        let first = self.range.0;
        let size = self.size();
        let set = self.pools.entry(key).or_insert_with(|| PortSet::new(size));
        if set.fresh_left == 0 || !set.has_room(size, claim) {
            return None;
        }
        let offset = set.take_fresh(size, random)?;
        set.take(claim.endpoint);
        Some(Reserved { port: first + offset, reclaim: None })
    }

    /// Reserves a used port whose quarantine is over, the longest unused first.
    pub fn reserve_used(&mut self, key: PoolKey, claim: Claim) -> Option<Reserved> {
        let size = self.size();
        let set = self.pools.get_mut(&key)?;
        if !set.has_room(size, claim) {
            return None;
        }
        let reserved = if let Some(closed) = pop_free(&mut set.closed, claim.now, QUARANTINE_EXACT) {
            Reserved { port: closed.port, reclaim: Some(closed.of) }
        } else {
            let ended = pop_free(&mut set.ended, claim.now, QUARANTINE_OTHER)?;
            set.let_go(ended.of);
            Reserved { port: ended.port, reclaim: None }
        };
        set.take(claim.endpoint);
        Some(reserved)
    }

    /// Notes that `session` at `slot` closed exactly: its port may be reused although the session is still there.
    pub fn close(&mut self, addresses: &Addresses, session: &Session, slot: Slot, now: Tick) {
        if let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) {
            set.closed.push_back(Quarantined { port: session.nat_port, since: now, of: slot });
            set.closing += 1;
            set.let_go(session.endpoint);
        }
    }

    /// Takes back the port of a session that was taken for closed and lives.
    pub fn reopen(&mut self, addresses: &Addresses, session: &Session) {
        let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) else { return };
        if set.take_closed(session.nat_port) {
            set.closing = set.closing.saturating_sub(1);
            set.take(session.endpoint);
        }
    }

    /// Reserves the port of a connection that closed exactly, however short ago, for the one that follows it from the
    /// same client: the server takes its SYN for the end of the old one.
    pub fn take_again(&mut self, key: PoolKey, port: u16, claim: Claim) -> bool {
        let size = self.size();
        let Some(set) = self.pools.get_mut(&key).filter(|set| set.has_room(size, claim)) else { return false };
        let taken = set.take_closed(port);
        if taken {
            set.take(claim.endpoint);
        }
        taken
    }

    /// Gives back the port of a removed session, unless its exact close has done so already.
    pub fn release(&mut self, addresses: &Addresses, session: &Session, now: Tick) {
        let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) else { return };
        if session.tcp.contains(TcpFlags::EXACT_CLOSE) {
            set.closing = set.closing.saturating_sub(1);
        } else {
            // The quarantine of one that was reset began then, whatever remembered it.
            let since = if session.phase == Phase::Ended { session.last_seen } else { now };
            set.ended.push_back(Quarantined { port: session.nat_port, since, of: session.endpoint });
        }
    }

    /// Gives back the port of a removed session that was never answered, and whose server has been told: nothing of it
    /// can be under way still.
    pub fn give_back(&mut self, addresses: &Addresses, session: &Session) {
        let first = self.range.0;
        let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) else { return };
        let offset = session.nat_port.wrapping_sub(first);
        match &mut set.fresh {
            Fresh::AllBut(used) => used.retain(|other| *other != offset),
            Fresh::Bits(bits) => bits.put(offset),
        }
        set.fresh_left += 1;
        set.let_go(session.endpoint);
    }

    /// First and last port that this worker hands out.
    #[must_use]
    pub const fn range(&self) -> (u16, u16) {
        self.range
    }

    /// Drops pools whose ports are all out of quarantine: their backends may be long gone.
    pub fn forget_unused(&mut self, now: Tick) {
        let size = self.size();
        let is_over = |last: Option<Tick>| last.is_none_or(|since| now.since(since) >= QUARANTINE_OTHER);
        self.pools.retain(|_, set| {
            let last = (set.closed.back().map(|port| port.since), set.ended.back().map(|port| port.since));
            set.held(size) > 0 || set.closing > 0 || !is_over(last.0) || !is_over(last.1)
        });
    }

    /// Use per NAT address over all pools that exist, and the pools that are out of ports.
    #[must_use]
    pub fn usage(&self, now: Tick) -> NatPorts {
        let mut by_address: HashMap<Address, NatPortUse, RandomState> = HashMap::default();
        let mut full = Vec::new();
        for (key, set) in &self.pools {
            let nat_ip = key.nat.ip();
            let entry =
                by_address.entry(key.nat).or_insert_with(|| NatPortUse { nat_ip, used: 0, quarantined: 0, free: 0 });
            entry.used += u64::from(set.held(self.size()));
            entry.quarantined += (set.closed.len() + set.ended.len()) as u64;
            entry.free += u64::from(set.fresh_left);
            if set.is_full(now) {
                let (protocol, backend, backend_port) = (key.protocol, key.backend.ip(), key.backend_port);
                full.push(FullPool { nat_ip, protocol, backend, backend_port });
            }
        }
        NatPorts { by_address: by_address.into_values().collect(), full }
    }

    fn size(&self) -> u32 {
        u32::from(self.range.1 - self.range.0) + 1
    }
}

impl PortSet {
    fn new(size: u32) -> Self {
        let fresh = Fresh::AllBut(Vec::new());
        Self { fresh, fresh_left: size, holders: None, closed: VecDeque::new(), ended: VecDeque::new(), closing: 0 }
    }

    fn held(&self, size: u32) -> u32 {
        let quarantined = u32::try_from(self.closed.len() + self.ended.len()).unwrap_or(u32::MAX);
        size.saturating_sub(self.fresh_left).saturating_sub(quarantined)
    }

    /// Whether neither a fresh port nor one out of quarantine is left.
    fn is_full(&self, now: Tick) -> bool {
        let first = (self.closed.front().map(|port| port.since), self.ended.front().map(|port| port.since));
        let lasts = |since: Option<Tick>, span| since.is_none_or(|since| now.since(since) < span);
        self.fresh_left == 0 && lasts(first.0, QUARANTINE_EXACT) && lasts(first.1, QUARANTINE_OTHER)
    }

    /// Whether the claimant may have one of the ports that are left, if any is.
    fn has_room(&self, size: u32, claim: Claim) -> bool {
        let Some(holders) = self.holders.as_deref() else { return true };
        let share = FairShare { capacity: size, contenders: claim.contenders };
        let free = self.fresh_left as usize + self.closed.len();
        if free > share.kept() as usize {
            return true;
        }
        let free_again = self.ended.partition_point(|port| claim.now.since(port.since) >= QUARANTINE_OTHER);
        let taken = size.saturating_sub(u32::try_from(free + free_again).unwrap_or(size));
        share.is_fair(taken, holders.get(&claim.endpoint).copied().unwrap_or(0))
    }

    /// Takes a port out of those in quarantine after an exact close; most likely it is one of the last.
    fn take_closed(&mut self, port: u16) -> bool {
        let found = self.closed.iter().rposition(|quarantined| quarantined.port == port);
        found.and_then(|at| self.closed.remove(at)).is_some()
    }

    fn take(&mut self, endpoint: EndpointId) {
        if let Some(holders) = &mut self.holders {
            *holders.entry(endpoint).or_insert(0) += 1;
        }
    }

    fn let_go(&mut self, endpoint: EndpointId) {
        if let Some(holders) = &mut self.holders
            && let Entry::Occupied(mut count) = holders.entry(endpoint)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// A random fresh port out of `size`: the first one at or after a random position, so no attempt is
    /// ever wasted and a full set is noticed at once.
    fn take_fresh(&mut self, size: u32, random: &mut fastrand::Rng) -> Option<u16> {
        if self.fresh_left == 0 {
            return None;
        }
        if let Fresh::AllBut(used) = &self.fresh
            && used.len() == FEW
        {
            self.fresh = Fresh::Bits(Bits::but(used, size));
            self.holders = Some(Box::default());
        }
        let offset = match &mut self.fresh {
            Fresh::AllBut(used) => {
                let last = u16::try_from(size - 1).unwrap_or(u16::MAX);
                let mut offset = random.u16(..=last);
                while used.contains(&offset) {
                    offset = if offset == last { 0 } else { offset + 1 };
                }
                used.push(offset);
                offset
            }
            Fresh::Bits(bits) => bits.take(random)?,
        };
        self.fresh_left -= 1;
        Some(offset)
    }
}

fn pop_free<T>(queue: &mut VecDeque<Quarantined<T>>, now: Tick, span: u32) -> Option<Quarantined<T>> {
    queue.pop_front_if(|port| now.since(port.since) >= span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::table::tests::{addresses, session};

    fn key(number: u32) -> PoolKey {
        PoolKey::of(&addresses(number), Protocol::Tcp)
    }

    /// An endpoint that shares with nobody.
    fn alone(now: u32) -> Claim {
        Claim { endpoint: EndpointId(0), contenders: 1, now: Tick(now) }
    }

    fn drain(pools: &mut PortPools, key: PoolKey) -> Vec<u16> {
        let mut random = fastrand::Rng::with_seed(3);
        std::iter::from_fn(|| pools.reserve_fresh(key, alone(0), &mut random)).map(|reserved| reserved.port).collect()
    }

    #[test]
    fn every_port_of_the_range_is_handed_out_once_and_in_no_order() {
        let mut seen = vec![0_u8; 65_536];
        for worker in 0..3 {
            let mut pools = PortPools::new(worker, 3);
            let ports = drain(&mut pools, key(1));
            assert!(!ports.is_sorted());
            for port in ports {
                seen[usize::from(port)] += 1;
            }
        }
        assert!(seen[..1024].iter().all(|count| *count == 0));
        assert!(seen[1024..].iter().all(|count| *count == 1), "two workers share no port, none is lost");
    }

    #[test]
    fn a_pool_of_few_sessions_has_no_bitmap() {
        let mut pools = PortPools::new(0, 1);
        let (key, mut random) = (key(1), fastrand::Rng::with_seed(5));
        let mut ports: Vec<u16> = (0..=FEW)
            .filter_map(|_| pools.reserve_fresh(key, alone(0), &mut random))
            .map(|reserved| reserved.port)
            .collect();
        assert!(matches!(pools.pools[&key].fresh, Fresh::Bits(_)));
        for port in 0..FEW {
            let key = PoolKey { backend_port: port as u16, ..key };
            pools.reserve_fresh(key, alone(0), &mut random);
            assert!(matches!(pools.pools[&key].fresh, Fresh::AllBut(_)));
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), FEW + 1);
    }

    #[test]
    fn another_backend_has_ports_of_its_own() {
        let mut pools = PortPools::new(0, 1);
        let key = key(1);
        assert_eq!(drain(&mut pools, key).len(), 64_512);
        assert_eq!(drain(&mut pools, PoolKey { backend_port: 9, ..key }).len(), 64_512);
    }

    /// M-7.
    #[test]
    fn a_port_rests_one_second_after_an_exact_close_and_two_minutes_after_another_end() {
        let mut pools = PortPools::new(0, 1);
        let mut closed = session(1);
        let key = key(1);
        drain(&mut pools, key);
        closed.tcp.insert(TcpFlags::EXACT_CLOSE);
        pools.close(&addresses(1), &closed, Slot(4), Tick(100));
        pools.release(&addresses(1), &closed, Tick(105));
        let ended = session(5);
        pools.release(&addresses(5), &ended, Tick(100));
        assert_eq!(pools.reserve_used(key, alone(109)), None);
        let first = Reserved { port: closed.nat_port, reclaim: Some(Slot(4)) };
        assert_eq!(pools.reserve_used(key, alone(110)), Some(first));
        assert_eq!(pools.reserve_used(key, alone(1_299)), None, "released once, not twice");
        let second = Reserved { port: ended.nat_port, reclaim: None };
        assert_eq!(pools.reserve_used(key, alone(1_300)), Some(second));
    }

    /// Of two endpoints, one opens sessions as fast as it can and leaves them to time out; the other always finds
    /// a port (issue: fair share), and nothing is kept from the first once it is alone.
    #[test]
    fn what_an_endpoint_abandons_counts_as_its_own_until_its_quarantine_is_over() {
        let mut pools = PortPools::new(0, 1);
        let (key, mut random) = (key(1), fastrand::Rng::with_seed(5));
        let claim = |endpoint, contenders, now| Claim { endpoint: EndpointId(endpoint), contenders, now: Tick(now) };
        let greedy = Session { endpoint: EndpointId(1), ..session(1) };
        let mut take = |pools: &mut PortPools, claim| {
            let used = |pools: &mut PortPools| pools.reserve_used(key, claim);
            pools.reserve_fresh(key, claim, &mut random).or_else(|| used(pools)).map(|reserved| reserved.port)
        };
        let flood = |take: &mut dyn FnMut(&mut PortPools, Claim) -> Option<u16>, pools: &mut PortPools, claim| {
            std::iter::from_fn(|| take(pools, claim)).count()
        };
        let kept = 32;
        let first = flood(&mut take, &mut pools, claim(1, 2, 0));
        assert_eq!(first, 64_512 - kept);
        assert!(take(&mut pools, claim(2, 2, 0)).is_some());
        // All of the flood times out: its ports are in quarantine for two minutes, and are held against it.
        for port in 0..first {
            let ended = Session { nat_port: 1_024 + port as u16, ..greedy };
            pools.release(&addresses(1), &ended, Tick(10));
        }
        assert_eq!(take(&mut pools, claim(1, 2, 20)), None);
        assert!(take(&mut pools, claim(2, 2, 20)).is_some());
        // Their quarantine is over; the flood begins anew.
        let again = flood(&mut take, &mut pools, claim(1, 2, 2_000));
        assert!((60_000..=64_512 - kept).contains(&again), "{again}");
        for port in 0..20 {
            assert!(take(&mut pools, claim(2, 2, 2_000)).is_some(), "{port}");
        }
        assert_eq!(take(&mut pools, claim(1, 2, 2_000)), None);
        assert!(flood(&mut take, &mut pools, claim(1, 1, 2_000)) > 5, "alone it may take the rest");
        assert_eq!(take(&mut pools, claim(2, 2, 2_000)), None, "and then there is none");
    }

    #[test]
    fn a_port_given_back_is_free_at_once() {
        let mut pools = PortPools::new(0, 1);
        let (key, mut random) = (key(1), fastrand::Rng::with_seed(5));
        for count in [1, 64_512] {
            let port = std::iter::from_fn(|| pools.reserve_fresh(key, alone(0), &mut random)).take(count).last();
            let half_open = Session { nat_port: port.expect("a port").port, ..session(1) };
            pools.give_back(&addresses(1), &half_open);
            assert!(pools.reserve_fresh(key, alone(0), &mut random).is_some(), "of {count}");
        }
    }

    #[test]
    fn use_adds_up_to_the_range() {
        let mut pools = PortPools::new(0, 1);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10 {
            pools.reserve_fresh(key(1), alone(0), &mut random);
        }
        pools.release(&addresses(1), &session(1), Tick(0));
        let usage = pools.usage(Tick(0));
        let of = usage.by_address[0];
        assert_eq!((of.used, of.quarantined, of.free, usage.full), (9, 1, 64_502, vec![]));
    }
}
