//! What workers publish and everyone else may read. Each value has one writer (its worker), so an
//! update is a plain load and store; the verdict counters change together under a sequence number,
//! once per batch, so that law 4's sum holds for every reader.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use arc_swap::ArcSwap;

use crate::snapshot::DropReason;
use crate::snapshot::{EndpointId, Protocol};

/// Endpoints per chunk of [`EndpointCounters`].
const CHUNK: usize = 1024;

/// `read + handed_in = forwarded + dropped + handed_out + held`, in device reads (a super-packet is one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Frames read from devices.
    pub read: u64,
    /// Frames received from other workers.
    pub handed_in: u64,
    /// Frames written as part of a session.
    pub forwarded: u64,
    /// Frames passed to other workers.
    pub handed_out: u64,
    /// Frames kept for later (fragments).
    pub held: u64,
    /// Frames dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Denied frames that were answered (beside the sum).
    pub answered: u64,
    /// Packets the forwarder made by itself: resets of ended sessions (beside the sum).
    pub originated: u64,
}

impl Default for VerdictCounts {
    fn default() -> Self {
        Self::from_words(&[0; Self::WORDS])
    }
}

impl VerdictCounts {
    /// All drops.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    const WORDS: usize = 7 + DropReason::ALL.len();

    fn words(&self) -> [u64; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        words[..7].copy_from_slice(&[
            self.read,
            self.handed_in,
            self.forwarded,
            self.handed_out,
            self.held,
            self.answered,
            self.originated,
        ]);
        words[7..].copy_from_slice(&self.dropped);
        words
    }

    fn from_words(words: &[u64; Self::WORDS]) -> Self {
        let mut dropped = [0; DropReason::ALL.len()];
        dropped.copy_from_slice(&words[7..]);
        let [read, handed_in, forwarded, handed_out, held, answered, originated, ..] = *words;
        Self { read, handed_in, forwarded, handed_out, held, dropped, answered, originated }
    }
}

/// Traffic of one endpoint. Packets and bytes count segments and their IP packets as they are on the wire, not
/// super-packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub struct EndpointCounts<C> {
    /// Packets from consumers to the service.
    pub packets_to_service: C,
    /// Bytes from consumers to the service.
    pub bytes_to_service: C,
    /// Packets from the service to consumers.
    pub packets_to_consumer: C,
    /// Bytes from the service to consumers.
    pub bytes_to_consumer: C,
    /// Sessions ever opened.
    pub sessions_opened: C,
    /// Live sessions.
    pub sessions: C,
    /// Packets that a rate did not let pass.
    pub rate_limited: C,
}

/// Traffic through one worker, which alone writes it.
pub type EndpointCounters = EndpointCounts<AtomicU64>;

/// Traffic over all workers.
pub type EndpointTotals = EndpointCounts<u64>;

impl EndpointTotals {
    /// The sum of these and `others`, each read by `read`.
    fn plus<C>(&self, others: &EndpointCounts<C>, read: impl Fn(&C) -> u64) -> Self {
        Self {
            packets_to_service: self.packets_to_service + read(&others.packets_to_service),
            bytes_to_service: self.bytes_to_service + read(&others.bytes_to_service),
            packets_to_consumer: self.packets_to_consumer + read(&others.packets_to_consumer),
            bytes_to_consumer: self.bytes_to_consumer + read(&others.bytes_to_consumer),
            sessions_opened: self.sessions_opened + read(&others.sessions_opened),
            sessions: self.sessions + read(&others.sessions),
            rate_limited: self.rate_limited + read(&others.rate_limited),
        }
    }
}

impl std::ops::AddAssign for EndpointTotals {
    fn add_assign(&mut self, other: Self) {
        *self = self.plus(&other, |count| *count);
    }
}

/// Adds to a counter that has one writer: cheaper than an atomic add, and exact.
#[inline]
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// A fixed piece of a worker's endpoint counters; pieces are added, never moved.
pub type CounterChunk = Arc<[EndpointCounters; CHUNK]>;

/// Everything one worker publishes.
#[derive(Debug)]
pub struct WorkerCounters {
    sequence: AtomicU64,
    words: [AtomicU64; VerdictCounts::WORDS],
    endpoints: ArcSwap<Vec<CounterChunk>>,
    nat_ports: ArcSwap<NatPorts>,
    probes: [AtomicU64; 2],
}

/// How far a session table's entries lie from where a search for them begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Most buckets that a search for any entry so far had to read.
    pub longest: u64,
    /// Entries refused because they would have needed more than the bound.
    pub refused: u64,
}

/// NAT ports of one address in one worker, over all its (protocol, backend) pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatPortUse {
    /// The NAT address.
    pub nat_ip: IpAddr,
    /// Held by live sessions.
    pub used: u64,
    /// Waiting after a session's end.
    pub quarantined: u64,
    /// Free to be reserved.
    pub free: u64,
}

/// A pool in which a worker can reserve no port now: new sessions through this NAT address to this server need another
/// worker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullPool {
    /// The NAT address.
    pub nat_ip: IpAddr,
    /// What is served.
    pub protocol: Protocol,
    /// The server.
    pub backend: IpAddr,
    /// Its port; 0 for ICMP echo.
    pub backend_port: u16,
}

/// NAT ports of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatPorts {
    /// Use by address.
    pub by_address: Vec<NatPortUse>,
    /// What has run out.
    pub full: Vec<FullPool>,
}

impl WorkerCounters {
    /// Counters at zero, with no room for endpoints yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            endpoints: ArcSwap::from_pointee(Vec::new()),
            nat_ports: ArcSwap::default(),
            probes: Default::default(),
        }
    }

    /// Publishes the verdicts of all batches so far. Called by the owning worker only.
    pub fn publish(&self, counts: &VerdictCounts) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().zip(counts.words()) {
            slot.store(word, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// A consistent copy of the verdicts; retries while the worker is publishing.
    #[must_use]
    pub fn verdicts(&self) -> VerdictCounts {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let words: [u64; VerdictCounts::WORDS] = std::array::from_fn(|i| self.words[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return VerdictCounts::from_words(&words);
            }
            std::hint::spin_loop();
        }
    }

    /// Makes room for endpoints up to `count`; returns the chunks for the worker's own use.
    pub fn grow(&self, count: usize) -> Vec<CounterChunk> {
        let mut chunks = Vec::clone(&self.endpoints.load());
        if chunks.len() * CHUNK < count {
            let missing = chunks.len()..count.div_ceil(CHUNK);
            chunks.extend(missing.map(|_| Arc::new(std::array::from_fn(|_| EndpointCounters::default()))));
            self.endpoints.store(Arc::new(chunks.clone()));
        }
        chunks
    }

    /// This worker's share of an endpoint's traffic; zero where it has seen none.
    #[must_use]
    pub fn endpoint(&self, endpoint: EndpointId) -> EndpointTotals {
        let chunks = self.endpoints.load();
        let Some(counters) = find(&chunks, endpoint) else { return EndpointTotals::default() };
        EndpointTotals::default().plus(counters, |counter| counter.load(Ordering::Relaxed))
    }

    /// Publishes NAT port use, about once per second.
    pub fn publish_nat_ports(&self, ports: NatPorts) {
        self.nat_ports.store(Arc::new(ports));
    }

    /// Publishes how far the session table's entries lie from where a search begins, about once per second.
    pub fn publish_probes(&self, probes: Probes) {
        self.probes[0].store(probes.longest, Ordering::Relaxed);
        self.probes[1].store(probes.refused, Ordering::Relaxed);
    }

    /// The same as last published.
    #[must_use]
    pub fn probes(&self) -> Probes {
        let [longest, refused] = &self.probes;
        Probes { longest: longest.load(Ordering::Relaxed), refused: refused.load(Ordering::Relaxed) }
    }

    /// NAT port use as last published.
    #[must_use]
    pub fn nat_ports(&self) -> Arc<NatPorts> {
        self.nat_ports.load_full()
    }
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// The counters of `endpoint` among `chunks`.
#[inline]
#[must_use]
pub fn find(chunks: &[CounterChunk], endpoint: EndpointId) -> Option<&EndpointCounters> {
    let index = endpoint.0 as usize;
    chunks.get(index / CHUNK).map(|chunk| &chunk[index % CHUNK])
}
