//! How sessions end, other than by their own packets: a new snapshot, idleness, a change of phase.
//!
//! Law 5: the hit path's compare stops a revoked session at once; here, in slices of bounded size,
//! its TCP peers are told, so that idle connections end too. Sessions are found through their
//! endpoint's list, never by a walk over the table.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dataplane::counters::{CounterChunk, add, find};
use crate::dataplane::handoff::Peers;
use crate::dataplane::nat::ports::PortPools;
use crate::dataplane::pace::Pace;
use crate::dataplane::queries::{self, Request};
use crate::dataplane::record::{FlowEndReason, RecordRing};
use crate::dataplane::session::tcp_state::{Change, owes_resets, reset_points};
use crate::dataplane::session::{Addresses, Direction, Phase, Session, SessionFlags, Slot, Table, Tick};
use crate::dataplane::tx::TxQueue;
use crate::dataplane::{Context, Position};
use crate::snapshot::{AttachmentId, DropReason, Protocol};
use crate::wire::build::{self, Ends};
use probing::Questions;
use review::{Review, Sweep};
use rules::idle_limit;

/// Asking both ends of a connection for their numbers.
mod probing;

/// Sessions that rules, time or silence may have ended.
mod review;

/// What the rules in force say of a session.
pub(super) mod rules;

/// TCP segments that are not ordinary ones of an established connection.
mod segments;

/// Ticks for which an ended TCP session answers late segments (law 5).
pub(super) const TOMBSTONE: u32 = 60 * Tick::PER_SECOND;

/// The sessions of one worker, with all that begins and ends with a session.
#[derive(Debug)]
pub struct Sessions {
    /// The sessions themselves.
    pub table: Table,
    /// The NAT ports that they hold.
    pub ports: PortPools,
    /// The other workers, and the counts of live sessions that all share.
    pub peers: Peers,
    /// What each endpoint's sessions carry.
    pub traffic: Vec<CounterChunk>,
    /// Exactly closed sessions, oldest first: the first to go when room is short.
    pub closing_queue: VecDeque<Slot>,
    /// Chooses ports, and who gives way.
    pub random: fastrand::Rng,
    /// Sessions that wait to be judged again.
    review: Review,
    sweep: Sweep,
    /// How many sessions may be reset now.
    pace: Pace,
    /// Ends of connections that are asked for their numbers.
    questions: Questions,
    /// Where ended sessions are noted; `None`: nowhere.
    flow_log: Option<Arc<RecordRing>>,
    stopped_at: u32,
}

impl Sessions {
    /// None yet, and room for `capacity`. `seed` comes from the system's random numbers.
    #[must_use]
    pub fn new(peers: Peers, capacity: u32, seed: [u64; 3]) -> Self {
        let Position { worker, workers } = peers.position;
        Self {
            table: Table::new(capacity, [seed[0], seed[1]]),
            ports: PortPools::new(worker, workers),
            peers,
            traffic: Vec::new(),
            closing_queue: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed[2]),
            review: Review::default(),
            sweep: Sweep::default(),
            pace: Pace::default(),
            questions: Questions::default(),
            flow_log: None,
            stopped_at: 0,
        }
    }

    /// Notes every session that ends in `ring`.
    pub fn log_to(&mut self, ring: Arc<RecordRing>) {
        self.flow_log = Some(ring);
    }

    /// Ends a live session at once. TCP peers get resets they accept and a tombstone stays behind.
    pub(in crate::dataplane) fn end(
        &mut self,
        slot: Slot,
        reason: FlowEndReason,
        tx: &mut TxQueue,
        context: &Context<'_>,
    ) {
        let Some(session) = self.table.get(slot) else { return };
        if session.protocol != Protocol::Tcp {
            return self.remove(slot, reason, context.now);
        }
        if session.is_live() {
            self.leave(slot, reason, context.now);
        }
        self.reset_ends(slot, tx);
        self.pace.spend();
        if self.review.at == Some(slot) {
            self.review.at = self.table.after(slot);
        }
        self.table.unlink(slot);
        let Some(session) = self.table.get_mut(slot) else { return };
        session.phase = Phase::Ended;
        session.last_seen = context.now;
        session.idle_limit = TOMBSTONE;
        if !session.flags.contains(SessionFlags::DEPARTED) {
            session.flags.insert(SessionFlags::DEPARTED);
            self.closing_queue.push_back(slot);
        }
        self.ask_ended(slot, context);
    }

    /// Sends both ends of a session resets that they accept: by its own numbers, and by those of a connection that
    /// somebody opens in its place.
    pub(in crate::dataplane) fn reset_ends(&mut self, slot: Slot, tx: &mut TxQueue) {
        let addresses = self.table.addresses(slot);
        let rival = self.table.rare(slot).and_then(|rare| rare.rival);
        let Some(session) = self.table.get_mut(slot) else { return };
        let mut frames: Vec<_> = resets(&addresses, session).collect();
        if let Some(mut rival) = rival {
            rival.numbers.exchange(session);
            frames.extend(resets(&addresses, session));
            rival.numbers.exchange(session);
        }
        for (to, frame) in frames {
            tx.originate(to, frame);
        }
    }

    /// Removes a session that is over. Its port may be used again, so both ends are reset unless both are known to have
    /// closed it.
    pub(in crate::dataplane) fn retire(&mut self, slot: Slot, reason: FlowEndReason, tx: &mut TxQueue, now: Tick) {
        if self.table.get(slot).is_some_and(owes_resets) {
            self.reset_ends(slot, tx);
        }
        self.remove(slot, reason, now);
    }

    /// Removes a session; its port goes into quarantine as its end demands.
    pub(in crate::dataplane) fn remove(&mut self, slot: Slot, reason: FlowEndReason, now: Tick) {
        if self.review.at == Some(slot) {
            self.review.at = self.table.after(slot);
        }
        if self.table.get(slot).is_some_and(Session::is_live) {
            self.leave(slot, reason, now);
        }
        let Some((addresses, session)) = self.table.remove(slot) else { return };
        if session.flags.contains(SessionFlags::ELSEWHERE) {
            self.peers.shared.unsettle(&session.service_key(&addresses), self.peers.position.worker);
        }
        if session.phase == Phase::Opening && reason == FlowEndReason::Reclaimed {
            self.ports.give_back(&addresses, &session);
        } else {
            self.ports.release(&addresses, &session, now);
        }
    }

    /// A session is live no more: its endpoint and resource have room for another, and its end is noted.
    fn leave(&self, slot: Slot, reason: FlowEndReason, now: Tick) {
        let (Some(session), Some(record)) = (self.table.get(slot), self.table.view(slot)) else { return };
        let kind = (session.endpoint, session.resource, record.flow.addresses.backend);
        self.peers.departed.add(&self.peers.shared, kind);
        if let Some(counters) = find(&self.traffic, session.endpoint) {
            add(&counters.sessions, 1_u64.wrapping_neg());
        }
        if let Some(log) = &self.flow_log {
            log.push(record.ended(reason, now));
        }
    }

    /// A segment changed its session's phase: another idle time applies; one that closes makes room for
    /// others, and an exact close frees the port.
    pub(in crate::dataplane) fn phase_changed(&mut self, slot: Slot, change: Change, context: &Context<'_>) {
        let Some(session) = self.table.get(slot) else { return };
        let (limit, addresses) = (idle_limit(session, context), self.table.addresses(slot));
        let leaves = session.phase == Phase::Closing && !session.flags.contains(SessionFlags::DEPARTED);
        if leaves {
            self.leave(slot, FlowEndReason::of_close(session.tcp), context.now);
            // Before its last packet is written: whoever sees that may connect anew, and to another worker.
            self.peers.tell_departed();
            self.closing_queue.push_back(slot);
        }
        let Some(session) = self.table.get_mut(slot) else { return };
        session.idle_limit = limit;
        if leaves {
            session.flags.insert(SessionFlags::DEPARTED);
        }
        if change == Change::ExactClose {
            self.ports.close(&addresses, session, slot, context.now);
        }
    }

    /// Answers a question from outside the packet path.
    pub(in crate::dataplane) fn answer(&self, request: Request, now: Tick) {
        let Request::Flows { filter, limit, reply } = request;
        let slots = (0..self.table.extent()).filter_map(|position| self.table.occupied(position));
        let all = slots.filter_map(|slot| self.table.view(slot));
        let list = all.filter(|session| filter.matches(session)).take(limit).collect();
        // The asker may have given up waiting.
        let _ = reply.try_send(queries::Sessions { worker: self.peers.position.worker, now, list });
    }

    /// The worker stops, and its live sessions with it: notes as many ends as the flow log has room for, or
    /// all of them where it is `forced`. Returns whether some are left.
    pub fn note_stop(&mut self, forced: bool, now: Tick) -> bool {
        let Some(log) = &self.flow_log else { return false };
        while self.stopped_at < self.table.extent() {
            if log.is_full() && !forced {
                return true;
            }
            let record = self.table.occupied(self.stopped_at).and_then(|slot| self.table.view(slot));
            if let Some(record) = record.filter(|record| record.phase.is_live()) {
                log.push(record.ended(FlowEndReason::Stopped, now));
            }
            self.stopped_at += 1;
        }
        false
    }

    /// A session that vanished between lookup and use; cannot happen within one worker, and drops closed.
    #[cold]
    pub(in crate::dataplane) fn vanished(&self) -> DropReason {
        tracing::error!(worker = self.peers.position.worker, "a session vanished while its packet was handled");
        DropReason::NoSession
    }
}

/// Resets for both ends of a session, as each end would expect them.
pub(super) fn resets(a: &Addresses, session: &Session) -> impl Iterator<Item = (AttachmentId, Vec<u8>)> {
    [Direction::ToConsumer, Direction::ToService].into_iter().flat_map(move |direction| {
        let (ends, to) = (ends_towards(a, direction), session.leaves_by(direction));
        let points = reset_points(session, direction).into_iter().flatten();
        points.map(move |seq| (to, build::reset_at(ends, seq)))
    })
}

/// How a packet of the forwarder's own names the ends of a session.
pub(super) fn ends_towards(a: &Addresses, direction: Direction) -> Ends {
    match direction {
        Direction::ToConsumer => Ends { from: (a.endpoint, a.endpoint_port), to: (a.consumer, a.consumer_port) },
        Direction::ToService => Ends { from: (a.nat, a.nat_port), to: (a.backend, a.backend_port) },
    }
}
