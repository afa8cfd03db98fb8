//! The state of one worker, without its devices: sessions, ports, counters, and the packets it wants
//! sent. Sans-IO: time, randomness and frames come in as arguments, verdicts and frames go out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::dataplane::admit::reject::Answers;
use crate::dataplane::counters::{CounterChunk, VerdictCounts, WorkerCounters, add, find};
use crate::dataplane::fragment::reassembly::Reassembler;
use crate::dataplane::handoff::{Handed, RxMeta, SessionCountDelta, Shared};
use crate::dataplane::io::batch::{Batch, FRAMES};
use crate::dataplane::lifecycle::probing::Questions;
use crate::dataplane::nat::families::Head;
use crate::dataplane::nat::ports::PortPools;
use crate::dataplane::pace::{Moment, Pace};
use crate::dataplane::path::ParsedFrame;
use crate::dataplane::record::{Ended, EndedRing, FlowEndReason};
use crate::dataplane::session::{Addresses, Phase, Session, Slot, Table, Tick, tcp_state::Seen};
use crate::dataplane::verdict::Verdict;
use crate::snapshot::DropReason;
use crate::snapshot::{AttachmentId, EndpointId, Generation, Snapshot};
use crate::wire::fragment::Identifications;

/// What holds for a whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rules in force.
    pub snapshot: &'a Snapshot,
    /// Now.
    pub now: Tick,
    /// Now, to the millisecond.
    pub moment: Moment,
}

impl<'a> Context<'a> {
    /// A batch that begins at `moment`.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, moment: impl Into<Moment>) -> Self {
        let moment = moment.into();
        Self { snapshot, now: moment.tick(), moment }
    }
}

/// How many workers there are, and which one this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// This worker, from 0.
    pub worker: u16,
    /// All workers.
    pub workers: u16,
}

impl Position {
    /// This worker's share of `sessions`: all shares together are no more, and no less unless each has one.
    #[must_use]
    pub fn share_of(self, sessions: u32) -> u32 {
        let workers = u32::from(self.workers.max(1));
        (sessions / workers + u32::from(u32::from(self.worker) < sessions % workers)).max(1)
    }
}

/// A frame that waits to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it leaves.
    pub to: AttachmentId,
    /// Virtio header and packet.
    pub frame: Vec<u8>,
    /// Frames read that it stands for: 0 for a packet the forwarder made by itself.
    pub carries: u64,
}

/// One worker's state.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) position: Position,
    pub(super) sessions: Table,
    pub(super) ports: PortPools,
    pub(super) shared: Arc<Shared>,
    pub(super) random: fastrand::Rng,
    pub(super) answers: Answers,
    /// Verdicts so far; published once per batch.
    pub(super) counts: VerdictCounts,
    pub(super) published: Arc<WorkerCounters>,
    pub(super) counters: Vec<CounterChunk>,
    /// Frames that are not written in place: answers, resets, pieces of datagrams, translated errors.
    pub(super) tx_queue: Vec<Transmit>,
    /// Headers of the packet just translated into the other family.
    pub(super) head: Head,
    /// What is seen of the frames of a batch; kept for its memory.
    pub(super) sights: Vec<ParsedFrame>,
    /// Pieces of datagrams that wait for the others.
    pub(super) pieces: Reassembler,
    /// Numbers for packets that may be fragmented.
    pub(super) identifications: Identifications,
    /// Generation each endpoint's sessions were last compared with.
    pub(super) reviewed: Vec<Generation>,
    /// Endpoints whose sessions wait to be judged again.
    pub(super) review: BTreeSet<EndpointId>,
    /// The endpoint under review, or the last that was, and where its review stands.
    pub(super) reviewing: EndpointId,
    pub(super) review_at: Option<Slot>,
    /// How many sessions may be reset now.
    pub(super) pace: Pace,
    /// Ends of connections that are asked for their numbers.
    pub(super) questions: Questions,
    /// Ends of sessions that [`Shared`] has yet to hear of.
    pub(super) departed: SessionCountDelta,
    /// Exactly closed sessions, oldest first: the first to go when room is short.
    pub(super) closing_queue: VecDeque<Slot>,
    pub(super) sweep_at: u32,
    pub(super) sweep_due: Tick,
    pub(super) ports_published: Tick,
    /// Where ended sessions are noted; `None`: nowhere.
    pub(super) flow_log: Option<Arc<EndedRing>>,
    pub(super) stopped_at: u32,
}

impl Forwarder {
    /// A worker that holds at most `capacity` sessions. `seed` comes from the system's random numbers:
    /// table hash and NAT ports are unpredictable because of it (RFC 6056).
    #[must_use]
    pub fn new(position: Position, capacity: u32, seed: [u64; 3], shared: Arc<Shared>) -> Self {
        Self {
            position,
            sessions: Table::new(capacity, [seed[0], seed[1]]),
            ports: PortPools::new(position.worker, position.workers),
            shared,
            random: fastrand::Rng::with_seed(seed[2]),
            answers: Answers::default(),
            counts: VerdictCounts::default(),
            published: Arc::new(WorkerCounters::new()),
            counters: Vec::new(),
            tx_queue: Vec::new(),
            head: Head::new(),
            sights: vec![ParsedFrame::NONE; FRAMES],
            pieces: Reassembler::new(!seed[2]),
            identifications: Identifications::new(position.worker, position.workers, truncated(seed[1])),
            reviewed: Vec::new(),
            review: BTreeSet::new(),
            reviewing: EndpointId(u32::MAX),
            review_at: None,
            pace: Pace::default(),
            questions: Questions::default(),
            departed: SessionCountDelta::default(),
            closing_queue: VecDeque::new(),
            sweep_at: 0,
            sweep_due: Tick(0),
            ports_published: Tick(0),
            flow_log: None,
            stopped_at: 0,
        }
    }

    /// Notes every session that ends in `ring`.
    #[must_use]
    pub fn with_flow_log(self, ring: Arc<EndedRing>) -> Self {
        Self { flow_log: Some(ring), ..self }
    }

    /// What this worker publishes.
    #[must_use]
    pub fn published(&self) -> Arc<WorkerCounters> {
        Arc::clone(&self.published)
    }

    /// Sessions held.
    #[must_use]
    pub fn sessions(&self) -> &Table {
        &self.sessions
    }

    /// Verdicts so far.
    #[must_use]
    pub fn counts(&self) -> &VerdictCounts {
        &self.counts
    }

    /// Decides frames that this worker read from one queue, in their order, and hands each with its verdict to `send`.
    pub fn receive_batch(
        &mut self,
        frames: &mut Batch,
        attachment: AttachmentId,
        context: &Context<'_>,
        mut send: impl FnMut(&mut Self, Verdict, &[u8]),
    ) {
        self.counts.read += frames.len() as u64;
        let mut sights = std::mem::take(&mut self.sights);
        self.sight_all(frames, attachment, &mut sights);
        for (frame, sight) in frames.frames().zip(&sights) {
            let verdict = self.decide(frame, sight, attachment, context);
            let verdict = self.settle(verdict, frame, &RxMeta::read(attachment));
            send(self, verdict, frame);
        }
        self.sights = sights;
    }

    /// Decides a frame that this worker read, and counts it. A frame to be forwarded is translated.
    pub fn receive(&mut self, frame: &mut [u8], attachment: AttachmentId, context: &Context<'_>) -> Verdict {
        self.counts.read += 1;
        let verdict = self.forward(frame, attachment, context);
        self.settle(verdict, frame, &RxMeta::read(attachment))
    }

    /// Decides a frame that another worker handed over, and counts it.
    pub fn receive_handed(&mut self, handed: &mut Handed, context: &Context<'_>) -> Verdict {
        let arrival = RxMeta { handed: true, ..handed.arrival };
        self.counts.handed_in += arrival.frames();
        let verdict = self.forward_slowly(&mut handed.frame, &arrival, context);
        self.settle(verdict, &handed.frame, &arrival)
    }

    /// Counts how a frame (or a datagram, for all its pieces) ended; hands it over when it belongs elsewhere.
    #[inline]
    pub(super) fn settle(&mut self, verdict: Verdict, frame: &[u8], arrival: &RxMeta) -> Verdict {
        let frames = arrival.frames();
        match verdict {
            Verdict::Forward { .. } | Verdict::Rebuilt { .. } | Verdict::Emitted | Verdict::Absorbed => {
                self.counts.forwarded += frames;
            }
            Verdict::Drop(reason) => self.counts.dropped[reason as usize] += frames,
            Verdict::Held => self.counts.held += frames,
            Verdict::Settled => {}
            Verdict::HandOut { worker, refused } => {
                let arrival = RxMeta { refusals: arrival.refusals + u16::from(refused), ..*arrival };
                if !self.shared.hand_out(worker, Handed { frame: frame.into(), arrival }) {
                    self.counts.dropped[DropReason::HandoverFull as usize] += frames;
                    return Verdict::Drop(DropReason::HandoverFull);
                }
                self.counts.handed_out += frames;
            }
        }
        verdict
    }

    /// Turns `frames` that were to be forwarded into counted drops: the device refused them.
    pub fn write_failed(&mut self, frames: u64) {
        self.counts.forwarded -= frames;
        self.counts.dropped[DropReason::WriteFailed as usize] += frames;
    }

    /// Leaves a packet of the forwarder's own to be written.
    pub(super) fn originate(&mut self, to: AttachmentId, frame: Vec<u8>) {
        self.tx_queue.push(Transmit { to, frame, carries: 0 });
    }

    /// Takes the frames that wait to be written.
    pub fn take_outbox(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.tx_queue)
    }

    /// Gives back the memory of what [`Self::take_outbox`] took.
    pub fn return_outbox(&mut self, emptied: Vec<Transmit>) {
        debug_assert!(self.tx_queue.is_empty() && emptied.is_empty(), "nothing is lost");
        self.tx_queue = emptied;
    }

    /// Whether frames wait to be written.
    #[must_use]
    pub fn has_outbox(&self) -> bool {
        !self.tx_queue.is_empty()
    }

    /// Headers that a [`Verdict::Rebuilt`] frame gets in the place of its own.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    /// Makes the verdicts so far visible, and the ends of sessions.
    pub fn publish(&self) {
        self.departed.tell(&self.shared);
        self.published.publish(&self.counts);
    }

    /// A session is live no more: its endpoint and resource have room for another, and its end is noted.
    pub(super) fn leave(&self, addresses: &Addresses, session: &Session, cause: FlowEndReason, now: Tick) {
        self.departed.add(&self.shared, (session.endpoint, session.resource, addresses.backend));
        if let Some(counters) = find(&self.counters, session.endpoint) {
            add(&counters.sessions, 1_u64.wrapping_neg());
        }
        if let Some(log) = &self.flow_log {
            log.push(Ended::new(addresses, session, cause, now));
        }
    }

    /// Removes a session; its port rests as its end demands.
    pub(super) fn remove(&mut self, slot: Slot, cause: FlowEndReason, now: Tick) {
        if self.review_at == Some(slot) {
            self.review_at = self.sessions.after(slot);
        }
        let Some((addresses, session)) = self.sessions.remove(slot) else { return };
        if session.is_live() {
            self.leave(&addresses, &session, cause, now);
        }
        if session.tcp.has(Seen::ELSEWHERE) {
            self.shared.unsettle(&session.service_key(&addresses), self.position.worker);
        }
        if session.phase == Phase::Opening && cause == FlowEndReason::Reclaimed {
            self.ports.give_back(&addresses, &session);
        } else {
            self.ports.release(&addresses, &session, now);
        }
    }

    /// A session that vanished between lookup and use; cannot happen within one worker, and drops closed.
    #[cold]
    pub(super) fn gone(&self) -> Verdict {
        tracing::error!(worker = self.position.worker, "a session vanished while its packet was handled");
        Verdict::Drop(DropReason::NoSession)
    }
}

/// The low half of a seed.
#[allow(clippy::cast_possible_truncation, reason = "half a seed is a seed")]
const fn truncated(seed: u64) -> u32 {
    seed as u32
}
