//! NAT ports. One set per (NAT address, protocol, backend address and port): a port is reused across
//! backends, never within one (RFC 4787 REQ-3, RFC 7857 §3; founders' decision D1). Each worker
//! hands out only its own range, so no two workers ever meet.
//!
//! A port is fresh (never used), held by a session, or resting in a queue after one. Fresh ports go
//! first, at random (RFC 6056); a rested one is reused only when none is left: at least 1 s after an
//! exact close, 120 s after any other end (RFC 6888 REQ-8).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::dataplane::counters::{FullPool, NatPortUse, NatPorts};
use crate::dataplane::session::{Addresses, Session, Slot, Tick, tcp_state::Seen};
use crate::snapshot::{Protocol, steering};
use crate::wire::Address;

/// Rest after both ends agreed that the connection is over.
const REST_EXACT: u32 = Tick::PER_SECOND;

/// Rest after any other end.
const REST_OTHER: u32 = 120 * Tick::PER_SECOND;

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

/// A reserved port. `reclaim` names the closed session that still holds it and must be removed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The port (or echo identifier).
    pub port: u16,
    /// A session that closed exactly and lingers; check that it still holds this port.
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
    /// Closed exactly; the session may still linger to forward late segments.
    closed: VecDeque<Resting>,
    /// Ended otherwise.
    ended: VecDeque<Resting>,
    /// Sessions in the table whose port rests in `closed` already.
    lingering: u32,
}

/// Which ports of the range were never used.
#[derive(Debug)]
enum Fresh {
    /// All but these offsets: who opens one session to each port of a wide range makes as many pools, and
    /// each must cost no more than its session does.
    AllBut(Vec<u16>),
    /// One bit per port, set while fresh.
    Bits(Box<[u64]>),
}

/// Ports handed out before a pool gets its bitmap of up to 8 KiB.
const FEW: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Resting {
    port: u16,
    since: Tick,
    lingering: Option<Slot>,
}

impl PortPools {
    /// Pools for worker `worker` of `workers`.
    #[must_use]
    pub fn new(worker: u16, workers: u16) -> Self {
        Self { pools: HashMap::default(), range: steering::nat_range(worker, workers) }
    }

    /// Reserves a port that was never used.
    pub fn reserve_fresh(&mut self, key: PoolKey, random: &mut fastrand::Rng) -> Option<Reserved> {
        let first = self.range.0;
        let size = self.size();
        let set = self.pools.entry(key).or_insert_with(|| PortSet::new(size));
        set.take_fresh(size, random).map(|offset| Reserved { port: first + offset, reclaim: None })
    }

    /// Reserves a port that has rested long enough, longest rest first.
    pub fn reserve_rested(&mut self, key: PoolKey, now: Tick) -> Option<Reserved> {
        let set = self.pools.get_mut(&key)?;
        let rested =
            pop_rested(&mut set.closed, now, REST_EXACT).or_else(|| pop_rested(&mut set.ended, now, REST_OTHER))?;
        Some(Reserved { port: rested.port, reclaim: rested.lingering })
    }

    /// Notes that `session` at `slot` closed exactly: its port may be reused although the session lingers.
    pub fn close(&mut self, addresses: &Addresses, session: &Session, slot: Slot, now: Tick) {
        if let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) {
            set.closed.push_back(Resting { port: session.nat_port, since: now, lingering: Some(slot) });
            set.lingering += 1;
        }
    }

    /// Gives back the port of a removed session, unless its exact close has done so already.
    pub fn release(&mut self, addresses: &Addresses, session: &Session, now: Tick) {
        let Some(set) = self.pools.get_mut(&PoolKey::of(addresses, session.protocol)) else { return };
        if session.tcp.has(Seen::EXACT_CLOSE) {
            set.lingering = set.lingering.saturating_sub(1);
        } else {
            set.ended.push_back(Resting { port: session.nat_port, since: now, lingering: None });
        }
    }

    /// Drops pools whose ports have all rested: their backends may be long gone.
    pub fn forget_rested(&mut self, now: Tick) {
        let size = self.size();
        let rested = |queue: &VecDeque<Resting>| queue.back().is_none_or(|last| now.since(last.since) >= REST_OTHER);
        self.pools
            .retain(|_, set| set.held(size) > 0 || set.lingering > 0 || !rested(&set.closed) || !rested(&set.ended));
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
        Self { fresh, fresh_left: size, closed: VecDeque::new(), ended: VecDeque::new(), lingering: 0 }
    }

    fn held(&self, size: u32) -> u32 {
        let resting = u32::try_from(self.closed.len() + self.ended.len()).unwrap_or(u32::MAX);
        size.saturating_sub(self.fresh_left).saturating_sub(resting)
    }

    /// Whether neither a fresh port nor one that has rested is left.
    fn is_full(&self, now: Tick) -> bool {
        let rests = |queue: &VecDeque<Resting>, rest| queue.front().is_none_or(|first| now.since(first.since) < rest);
        self.fresh_left == 0 && rests(&self.closed, REST_EXACT) && rests(&self.ended, REST_OTHER)
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
            self.fresh = Fresh::Bits(bits_but(used, size));
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
            Fresh::Bits(words) => take_bit(words, random)?,
        };
        self.fresh_left -= 1;
        Some(offset)
    }
}

/// The first `size` bits set, except those at `used`.
fn bits_but(used: &[u16], size: u32) -> Box<[u64]> {
    let words = size.div_ceil(64);
    let mut bits = vec![u64::MAX; words as usize].into_boxed_slice();
    if let Some(last) = bits.last_mut() {
        *last >>= words * 64 - size;
    }
    for offset in used.iter().map(|offset| usize::from(*offset)) {
        bits[offset / 64] &= !(1 << (offset % 64));
    }
    bits
}

/// Clears a bit that is set, the first at or after a random one, and returns its position.
fn take_bit(bits: &mut [u64], random: &mut fastrand::Rng) -> Option<u16> {
    let words = bits.len();
    let start = random.usize(..words * 64);
    let (first, bit) = (start / 64, start % 64);
    // The first word is looked at twice: its upper part first, its lower part after the others.
    for step in 0..=words {
        let word = (first + step) % words;
        let mask = match step {
            0 => u64::MAX << bit,
            _ if step == words => !(u64::MAX << bit),
            _ => u64::MAX,
        };
        let candidates = bits[word] & mask;
        if candidates != 0 {
            let bit = candidates.trailing_zeros();
            bits[word] &= !(1 << bit);
            return u16::try_from(word * 64 + bit as usize).ok();
        }
    }
    None
}

fn pop_rested(queue: &mut VecDeque<Resting>, now: Tick, rest: u32) -> Option<Resting> {
    queue.pop_front_if(|port| now.since(port.since) >= rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::table::tests::{addresses, session};

    fn key(number: u32) -> PoolKey {
        PoolKey::of(&addresses(number), Protocol::Tcp)
    }

    fn drain(pools: &mut PortPools, key: PoolKey) -> Vec<u16> {
        let mut random = fastrand::Rng::with_seed(3);
        std::iter::from_fn(|| pools.reserve_fresh(key, &mut random)).map(|reserved| reserved.port).collect()
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
        let mut ports: Vec<u16> =
            (0..=FEW).filter_map(|_| pools.reserve_fresh(key, &mut random)).map(|reserved| reserved.port).collect();
        assert!(matches!(pools.pools[&key].fresh, Fresh::Bits(_)));
        for port in 0..FEW {
            let key = PoolKey { backend_port: port as u16, ..key };
            pools.reserve_fresh(key, &mut random);
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
        closed.tcp.set(Seen::EXACT_CLOSE);
        pools.close(&addresses(1), &closed, Slot(4), Tick(100));
        pools.release(&addresses(1), &closed, Tick(105));
        let ended = session(5);
        pools.release(&addresses(5), &ended, Tick(100));
        assert_eq!(pools.reserve_rested(key, Tick(109)), None);
        let first = Reserved { port: closed.nat_port, reclaim: Some(Slot(4)) };
        assert_eq!(pools.reserve_rested(key, Tick(110)), Some(first));
        assert_eq!(pools.reserve_rested(key, Tick(1_299)), None, "released once, not twice");
        let second = Reserved { port: ended.nat_port, reclaim: None };
        assert_eq!(pools.reserve_rested(key, Tick(1_300)), Some(second));
    }

    #[test]
    fn use_adds_up_to_the_range() {
        let mut pools = PortPools::new(0, 1);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10 {
            pools.reserve_fresh(key(1), &mut random);
        }
        pools.release(&addresses(1), &session(1), Tick(0));
        let usage = pools.usage(Tick(0));
        let of = usage.by_address[0];
        assert_eq!((of.used, of.quarantined, of.free, usage.full), (9, 1, 64_502, vec![]));
    }
}
