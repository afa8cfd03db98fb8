//! Frames that arrive at a worker which does not own their session: a kernel without the steering
//! program spreads packets as it likes, and a session may be admitted elsewhere when its owner has no
//! NAT port left. A bounded ring per receiver and tenant; its sender wakes it. Copies cost an allocation, and are rare.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use dashmap::{DashMap, Entry};
use std::hash::RandomState;

use crate::dataplane::Position;
use crate::dataplane::session::FlowKey;
use crate::dataplane::share::FairShare;
use crate::snapshot::steering::{self, Secret};
use crate::snapshot::{AttachmentId, DropReason, EndpointId, PathMtus, ResourceId, Snapshot};
use crate::wire::Address;

/// Frames of one tenant (the VNet of an attachment) that may wait for one worker.
const RING: usize = 1_024;

/// Tenants in one block of rings.
const BLOCK: usize = 64;

/// The rings of tenants whose numbers follow one another.
type Block = [OnceLock<ArrayQueue<Handoff>>; BLOCK];

/// Frames that wait for one worker: a ring for each tenant, drained in turn, so that a flood of one neither fills the
/// ring of another nor makes it wait. Made when first needed: steering leaves little to hand over.
struct Rings {
    blocks: Box<[OnceLock<Box<Block>>]>,
    /// No tenant from this number on has a ring.
    end: AtomicUsize,
    /// Frames in all of them.
    waiting: AtomicUsize,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Rings {
    fn new() -> Self {
        let blocks = (0..=usize::from(u16::MAX) / BLOCK).map(|_| OnceLock::new()).collect();
        let [end, waiting, turn] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { blocks, end, waiting, turn }
    }

    /// The ring of a tenant that has one.
    fn of(&self, tenant: usize) -> Option<&ArrayQueue<Handoff>> {
        self.blocks.get(tenant / BLOCK)?.get()?[tenant % BLOCK].get()
    }

    /// Whether there was room.
    fn push(&self, handed: Handoff) -> bool {
        let tenant = usize::from(handed.meta.attachment.0);
        let block = self.blocks[tenant / BLOCK].get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let ring = block[tenant % BLOCK].get_or_init(|| ArrayQueue::new(RING));
        self.end.fetch_max(tenant + 1, Ordering::AcqRel);
        // Counted first: who finds none waiting may sleep.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let taken = ring.push(handed).is_ok();
        if !taken {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        taken
    }

    /// The next frame of the next tenant that has one. Called by one worker only.
    fn pop(&self) -> Option<Handoff> {
        if !self.has_any() {
            return None;
        }
        let (turn, end) = (self.turn.load(Ordering::Relaxed), self.end.load(Ordering::Acquire));
        let mut tenants = (turn..end).chain(0..turn.min(end));
        let (tenant, handed) = tenants.find_map(|tenant| Some((tenant, self.of(tenant)?.pop()?)))?;
        self.turn.store(tenant + 1, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        Some(handed)
    }

    fn has_any(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

/// How a frame came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMeta {
    /// Where it was read.
    pub attachment: AttachmentId,
    /// Workers that could not reserve a NAT port for it; 0: it was merely read by the wrong one.
    pub refusals: u16,
    /// Whether another worker handed it over: it stays here, whatever steering says.
    pub handed: bool,
    /// The pieces it was put together from, if it did not arrive whole.
    pub pieces: Option<Pieces>,
}

/// What is left to know of a datagram's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// How many they were.
    pub count: u32,
    /// Bytes of the largest, IP header included: the path towards here carries as much.
    pub largest: usize,
    /// Whether it may be cut smaller than they were.
    pub may_cut: bool,
}

impl RxMeta {
    /// A frame as read from `attachment`.
    #[must_use]
    pub const fn read(attachment: AttachmentId) -> Self {
        Self { attachment, refusals: 0, handed: false, pieces: None }
    }

    /// Frames read that it stands for.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.pieces.map_or(1, |pieces| u64::from(pieces.count))
    }
}

/// A frame on its way to another worker.
#[derive(Debug)]
pub struct Handoff {
    /// Virtio header and packet.
    pub frame: Box<[u8]>,
    /// How it came to be read.
    pub meta: RxMeta,
}

/// What workers share. Never touched by a hit.
pub struct Shared {
    rings: Vec<Rings>,
    /// Sessions that each worker had room for when its last batch began.
    rooms: Vec<AtomicUsize>,
    wakers: Vec<Arc<dyn Fn() + Send + Sync>>,
    /// Sessions that live elsewhere than steering says.
    elsewhere: DashMap<FlowKey, u16, RandomState>,
    elsewhere_count: AtomicUsize,
    /// Live sessions of all workers, for limits.
    by_endpoint: DashMap<EndpointId, u32, RandomState>,
    by_resource: DashMap<ResourceId, u32, RandomState>,
    in_all: AtomicU32,
    /// The same per server, which the next session is chosen by; none is held at 0.
    by_backend: DashMap<(ResourceId, Address), u32, RandomState>,
    path_mtus: Arc<PathMtus>,
    steering: Secret,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("workers", &self.rings.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// For as many workers as there are `wakers`, each of which ends one worker's sleep. Steering has a secret that
    /// everybody knows until [`Shared::with_steering`] gives it another.
    #[must_use]
    pub fn new(wakers: Vec<Arc<dyn Fn() + Send + Sync>>) -> Self {
        Self {
            rings: wakers.iter().map(|_| Rings::new()).collect(),
            rooms: wakers.iter().map(|_| AtomicUsize::new(0)).collect(),
            wakers,
            elsewhere: DashMap::default(),
            elsewhere_count: AtomicUsize::new(0),
            by_endpoint: DashMap::default(),
            by_resource: DashMap::default(),
            in_all: AtomicU32::new(0),
            by_backend: DashMap::default(),
            path_mtus: Arc::default(),
            steering: Secret::new([0; 2]),
        }
    }

    /// Clamps MSS options to what the host finds, from now on.
    #[must_use]
    pub fn with_path_mtus(self, path_mtus: Arc<PathMtus>) -> Self {
        Self { path_mtus, ..self }
    }

    /// Workers own what this secret gives them, from now on.
    #[must_use]
    pub fn with_steering(self, steering: Secret) -> Self {
        Self { steering, ..self }
    }

    /// The secret that says which worker owns a flow.
    #[must_use]
    pub const fn steering(&self) -> &Secret {
        &self.steering
    }

    /// What the ways behind the attachments carry.
    #[must_use]
    pub fn path_mtus(&self) -> &PathMtus {
        &self.path_mtus
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> u16 {
        u16::try_from(self.rings.len()).unwrap_or(u16::MAX)
    }

    /// Passes a frame to `worker`; `false` when the ring of its tenant is full.
    pub fn hand_off(&self, worker: u16, handed: Handoff) -> bool {
        let worker = usize::from(worker);
        let taken = self.rings.get(worker).is_some_and(|rings| rings.push(handed));
        if taken {
            (self.wakers[worker])();
        }
        taken
    }

    /// The next frame for `worker`.
    #[must_use]
    pub fn next_handoff(&self, worker: u16) -> Option<Handoff> {
        self.rings.get(usize::from(worker))?.pop()
    }

    /// Whether frames wait for `worker`.
    #[must_use]
    pub fn waiting(&self, worker: u16) -> bool {
        self.rings.get(usize::from(worker)).is_some_and(Rings::has_any)
    }

    /// Notes how many more sessions `worker` has room for.
    pub fn set_room(&self, worker: u16, sessions: usize) {
        if let Some(room) = self.rooms.get(usize::from(worker)) {
            room.store(sessions, Ordering::Relaxed);
        }
    }

    /// The next worker after `worker` that has room for a session. Where none has, packets are refused by the worker that
    /// read them, and a flood is not handed from one to the next.
    #[must_use]
    pub fn with_room(&self, worker: u16) -> Option<u16> {
        let workers = self.workers();
        let others = (1..workers).map(|step| (worker + step) % workers);
        others.into_iter().find(|other| self.rooms[usize::from(*other)].load(Ordering::Relaxed) > 0)
    }

    /// The worker a consumer's flow was admitted by, where that is not the one steering names.
    #[must_use]
    pub fn owner_of(&self, key: &FlowKey) -> Option<u16> {
        if self.elsewhere_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.elsewhere.get(key).map(|worker| *worker)
    }

    /// Notes that `worker` admitted a flow that steering brings to another.
    pub fn settle(&self, key: FlowKey, worker: u16) {
        if self.elsewhere.insert(key, worker).is_none() {
            self.elsewhere_count.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Forgets such a flow when its session ends.
    pub fn unsettle(&self, key: &FlowKey, worker: u16) {
        if self.elsewhere_count.load(Ordering::Acquire) > 0
            && self.elsewhere.remove_if(key, |_, owner| *owner == worker).is_some()
        {
            self.elsewhere_count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Counts a new live session.
    ///
    /// # Errors
    /// Its endpoint holds as many as it may, or more than its share of the little that its resource or the daemon (`all`)
    /// has left.
    pub fn enter(
        &self,
        endpoint: (EndpointId, u32),
        resource: (ResourceId, FairShare),
        all: FairShare,
        backend: Address,
    ) -> Result<(), Full> {
        let mut of_endpoint = self.by_endpoint.entry(endpoint.0).or_insert(0);
        let mut of_resource = self.by_resource.entry(resource.0).or_insert(0);
        if *of_endpoint >= endpoint.1 {
            return Err(Full::Endpoint);
        }
        if !resource.1.has_room(*of_resource, *of_endpoint) {
            return Err(Full::Resource);
        }
        if !all.is_fair(self.in_all.load(Ordering::Relaxed), *of_endpoint) {
            return Err(Full::All);
        }
        *of_endpoint += 1;
        *of_resource += 1;
        self.in_all.fetch_add(1, Ordering::Relaxed);
        *self.by_backend.entry((resource.0, backend)).or_insert(0) += 1;
        Ok(())
    }

    /// Live sessions of `resource` at `backend`.
    #[must_use]
    pub fn sessions_at(&self, resource: ResourceId, backend: Address) -> u32 {
        self.by_backend.get(&(resource, backend)).map_or(0, |count| *count)
    }

    /// Counts `sessions` of one kind that are live no more.
    pub fn leave(&self, (endpoint, resource, backend): Kind, sessions: u32) {
        if let Entry::Occupied(mut count) = self.by_backend.entry((resource, backend)) {
            *count.get_mut() = count.get().saturating_sub(sessions);
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some(mut count) = self.by_endpoint.get_mut(&endpoint) {
            *count = count.saturating_sub(sessions);
        }
        if let Some(mut count) = self.by_resource.get_mut(&resource) {
            *count = count.saturating_sub(sessions);
        }
        self.in_all.fetch_sub(sessions, Ordering::Relaxed);
    }
}

/// What has no room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The endpoint, by its own limit.
    Endpoint,
    /// The resource.
    Resource,
    /// The daemon.
    All,
}

/// What sessions are counted by: their endpoint, their resource, their server.
pub type Kind = (EndpointId, ResourceId, Address);

/// Sessions of one worker that are live no more, not yet told to [`Shared`]: a revocation ends many in one batch, and
/// those of a kind that follow one another are told at once.
#[derive(Debug, Default)]
pub struct SessionCountDelta(Cell<(Option<Kind>, u32)>);

impl SessionCountDelta {
    /// Adds one.
    pub fn add(&self, shared: &Shared, kind: Kind) {
        if self.0.get().0 != Some(kind) {
            self.tell(shared);
        }
        self.0.set((Some(kind), self.0.get().1 + 1));
    }

    /// Tells of all of them: before a session is admitted, and at the end of every batch.
    pub fn tell(&self, shared: &Shared) {
        if let (Some(kind), sessions) = self.0.take() {
            shared.leave(kind, sessions);
        }
    }
}

/// This worker among the others: what it shares with them, and whom a packet belongs to.
#[derive(Debug)]
pub struct Peers {
    /// Which worker this is.
    pub position: Position,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Sessions that have ended, and of which `shared` has yet to hear.
    pub departed: SessionCountDelta,
}

impl Peers {
    /// The worker that owns a flow: by NAT port on the provider's side, by hash on the consumer's, unless it was
    /// admitted elsewhere.
    #[must_use]
    pub fn owner(&self, key: &FlowKey, snapshot: &Snapshot) -> u16 {
        let workers = self.position.workers;
        if workers == 1 {
            return self.position.worker;
        }
        if snapshot.nat_owner(key.attachment, key.destination.ip()).is_some() {
            return steering::nat_queue(key.destination_port, workers);
        }
        self.shared.owner_of(key).unwrap_or_else(|| {
            let (source_port, destination_port) = (key.source_port, key.destination_port);
            self.shared.steering().consumer_queue(key.source, key.destination, source_port, destination_port, workers)
        })
    }

    /// Another worker that may admit what this one has no NAT port or no room for: no early failure.
    #[must_use]
    pub fn elsewhere(&self, reason: DropReason, meta: &RxMeta) -> Option<u16> {
        let workers = self.position.workers;
        if meta.refusals + 1 >= workers {
            None
        } else if reason == DropReason::NatPortsExhausted {
            Some((self.position.worker + 1) % workers)
        } else if reason == DropReason::TableFull {
            self.shared.with_room(self.position.worker)
        } else {
            None
        }
    }

    /// Tells the other workers of the sessions that have ended here.
    pub fn tell_departed(&self) {
        self.departed.tell(&self.shared);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M-9.
    #[test]
    fn a_limit_counts_all_workers_and_frees_what_leaves() {
        let shared = Shared::new(Vec::new());
        let (endpoint, resource) = (EndpointId(1), ResourceId(0));
        let backend = Address::from(std::net::IpAddr::from([10, 20, 0, 2]));
        let (two, all) = (FairShare { capacity: 2, contenders: 3 }, FairShare { capacity: 100, contenders: 3 });
        let enter = |endpoint, limit| shared.enter((endpoint, limit), (resource, two), all, backend).is_ok();
        assert!(enter(endpoint, 1));
        assert!(!enter(endpoint, 1), "the endpoint is full");
        assert!(enter(EndpointId(2), 9));
        assert!(!enter(EndpointId(3), 9), "the resource is full");
        assert_eq!(shared.sessions_at(resource, backend), 2);
        let departed = SessionCountDelta::default();
        departed.add(&shared, (endpoint, resource, backend));
        assert!(!enter(endpoint, 1), "not told yet");
        departed.tell(&shared);
        assert!(enter(endpoint, 1));
        departed.add(&shared, (endpoint, resource, backend));
        departed.add(&shared, (EndpointId(2), resource, backend));
        assert_eq!(shared.sessions_at(resource, backend), 1, "one of another kind tells of those before");
        (0..2).for_each(|_| departed.tell(&shared));
        assert_eq!((shared.sessions_at(resource, backend), shared.by_backend.len()), (0, 0), "nothing is kept of it");
        assert_eq!(shared.in_all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_ring_refuses() {
        let shared = Shared::new(vec![Arc::new(|| ())]);
        let handed = || Handoff { frame: Box::from([0; 4]), meta: RxMeta::read(AttachmentId(0)) };
        assert!((0..RING).all(|_| shared.hand_off(0, handed())));
        assert!(!shared.hand_off(0, handed()));
        assert!(shared.next_handoff(0).is_some() && shared.hand_off(0, handed()));
        assert!(
            (0..RING).all(|_| shared.next_handoff(0).is_some())
                && !shared.waiting(0)
                && shared.next_handoff(0).is_none()
        );
    }

    #[test]
    fn a_flood_of_one_tenant_keeps_no_frame_of_another_waiting() {
        let shared = Shared::new(vec![Arc::new(|| ())]);
        let handed = |at| Handoff { frame: Box::from([0; 4]), meta: RxMeta::read(AttachmentId(at)) };
        while shared.hand_off(0, handed(0)) {}
        // However many tenants there are, none shares a ring.
        for other in [9, 64, u16::MAX] {
            assert!((0..2).all(|_| shared.hand_off(0, handed(other))), "the ring of {other} has room");
        }
        let first: Vec<u16> =
            (0..9).filter_map(|_| shared.next_handoff(0)).map(|next| next.meta.attachment.0).collect();
        assert_eq!(first, [0, 9, 64, u16::MAX, 0, 9, 64, u16::MAX, 0], "in turn");
    }
}
