//! How sessions end, other than by their own packets: a new snapshot, idleness, a change of phase.
//!
//! Law 5: the hit path's compare stops a revoked session at once; here, in slices of bounded size,
//! its TCP peers are told, so that idle connections end too. Sessions are found through their
//! endpoint's list, never by a walk over the table.

use std::ops::Bound;

use crate::dataplane::admit::{idle_limit, still_admitted};
use crate::dataplane::forwarder::{Context, Forwarder, Transmit};
use crate::dataplane::queries::{FlowRecord, Request, Wanted};
use crate::dataplane::record::{Ended, FlowEndReason};
use crate::dataplane::session::rare::Why;
use crate::dataplane::session::tcp_state::{Change, Seen, owes_resets, reset_points};
use crate::dataplane::session::{Addresses, Direction, Phase, Session, Slot, Tick};
use crate::snapshot::{AttachmentId, EndpointId, Protocol};
use crate::wire::build::{self, Ends};

/// Asking both ends of a connection for their numbers.
pub(super) mod probing;

/// TCP segments that a connection does not simply go on with.
pub(super) mod segments;

/// Ticks for which an ended TCP session answers late segments (law 5).
pub(super) const TOMBSTONE: u32 = 60 * Tick::PER_SECOND;

/// Sessions judged again, and killed where they must be, per batch.
const REVIEW_SLICE: usize = 64;

/// Slots looked at by the sweep per batch.
const SWEEP_SLICE: u32 = 512;

/// Ticks between the starts of two sweeps.
const SWEEP_EVERY: u32 = Tick::PER_SECOND;

impl Forwarder {
    /// Takes note of a snapshot: endpoints whose rules changed are queued for review.
    pub fn adopt(&mut self, context: &Context<'_>) {
        let generations = context.snapshot.generations();
        if self.reviewed.len() < generations.len() {
            self.counters = self.published.grow(generations.len());
            self.reviewed.resize(generations.len(), crate::snapshot::Generation::default());
        }
        for (id, (reviewed, current)) in (0..).zip(self.reviewed.iter_mut().zip(generations)) {
            if reviewed != current {
                *reviewed = *current;
                let endpoint = EndpointId(id);
                if self.sessions.first_of(endpoint).is_some() {
                    self.review.insert(endpoint);
                }
            }
        }
    }

    /// The work between batches: a slice of the review, a slice of the sweep. Returns whether more waits that can be
    /// done at once.
    pub fn housekeep(&mut self, context: &Context<'_>) -> bool {
        self.tell_room(context);
        let more_review = self.review_slice(context);
        let more_sweep = self.sweep_slice(context) | self.expire_pieces(context);
        // After the resets: they go first.
        let more_questions = self.question_slice(context);
        if context.now.since(self.ports_published) >= Tick::PER_SECOND {
            self.ports_published = context.now;
            self.ports.forget_rested(context.now);
            self.published.publish_nat_ports(self.ports.usage(context.now));
            self.published.publish_probes(self.sessions.probes());
        }
        more_review || more_sweep || more_questions
    }

    /// Tells the other workers how many sessions fit here, those included that closing ones make room for.
    fn tell_room(&self, context: &Context<'_>) {
        let share = self.position.share_of(context.snapshot.settings.max_sessions) as usize;
        let room = share.saturating_sub(self.sessions.len()) + self.closing_queue.len();
        self.shared.set_room(self.position.worker, room);
    }

    /// Whether the review waits until it has earned more.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.pace.left() == 0 && (self.has_review() || self.questions.is_paced())
    }

    /// Whether an end of a connection is to be asked at a time to come.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.questions.has_due()
    }

    pub(super) fn has_review(&self) -> bool {
        self.review_at.is_some() || !self.review.is_empty()
    }

    fn review_slice(&mut self, context: &Context<'_>) -> bool {
        if !self.has_review() {
            return false;
        }
        self.pace.earn(context.moment, self.sessions.len());
        for _ in 0..REVIEW_SLICE {
            if self.pace.left() == 0 {
                return false;
            }
            let Some(slot) = self.review_at else {
                let Some(next) = self.next_to_review() else { return false };
                self.review.remove(&next);
                self.reviewing = next;
                self.review_at = self.sessions.first_of(next);
                continue;
            };
            // The next one is noted first: judging may take this one out of the list.
            self.review_at = self.sessions.after(slot);
            self.revalidate(slot, context);
        }
        self.pace.left() > 0 && self.has_review()
    }

    /// Endpoints take turns: one that changes again under review waits for its next turn, so that frequent
    /// changes of one never keep the resets of another waiting.
    fn next_to_review(&self) -> Option<EndpointId> {
        let later = (Bound::Excluded(self.reviewing), Bound::Unbounded);
        self.review.range(later).next().or_else(|| self.review.first()).copied()
    }

    /// Brings a session up to date: judged again if the rules changed, ended if they no longer admit it
    /// or if it idled out. A session stamped before its endpoint last lost its approval is dead even if the
    /// endpoint is approved again.
    pub(super) fn revalidate(&mut self, slot: Slot, context: &Context<'_>) {
        let Some(session) = self.sessions.get(slot) else { return };
        if session.phase == Phase::Vacant {
            return;
        }
        let idle = context.now.since(session.last_seen) > session.idle_limit;
        // Segments passed that its numbers do not know: perhaps they have gone wrong, and the connection is busy.
        let is_doubtful = idle
            && session.is_live()
            && self.sessions.rare(slot).and_then(|rare| rare.strange).is_some_and(|at| at > session.last_seen);
        if idle && session.phase != Phase::Established && !is_doubtful {
            // Before the rules are asked: what is over by itself is not revoked, and nobody waits for a reset.
            return self.retire(slot, FlowEndReason::Idle, context.now);
        }
        if session.phase == Phase::Ended {
            return;
        }
        let current = context.snapshot.generation(session.endpoint);
        if current != Some(session.generation) {
            let outlived =
                context.snapshot.valid_since(session.endpoint).is_none_or(|since| session.generation < since);
            if outlived || !still_admitted(&self.sessions.addresses(slot), session, context) {
                return self.end(slot, FlowEndReason::Revoked, context);
            }
            let (limit, is_limited) =
                (idle_limit(session, context), context.snapshot.limits(session.endpoint).is_some());
            if let (Some(session), Some(current)) = (self.sessions.get_mut(slot), current) {
                session.generation = current;
                session.idle_limit = limit;
                session.is_limited = is_limited;
            }
        }
        if is_doubtful {
            if self.sessions.rare(slot).is_some_and(|rare| rare.asked.is_none()) {
                self.ask(slot, Why::Idle, [true; 2], context);
            }
        } else if idle {
            // Both ends of an established connection are told, so that no one waits in a silent black hole.
            self.end(slot, FlowEndReason::Idle, context);
        }
    }

    /// Ends a live session at once. TCP peers get resets they accept and a tombstone stays behind.
    pub(super) fn end(&mut self, slot: Slot, cause: FlowEndReason, context: &Context<'_>) {
        let Some(session) = self.sessions.get(slot) else { return };
        if session.protocol != Protocol::Tcp {
            return self.remove(slot, cause, context.now);
        }
        let addresses = self.sessions.addresses(slot);
        if session.is_live() {
            self.leave(&addresses, session, cause, context.now);
        }
        self.reset_ends(slot);
        self.pace.spend();
        if self.review_at == Some(slot) {
            self.review_at = self.sessions.after(slot);
        }
        self.sessions.unlink(slot);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.phase = Phase::Ended;
        session.last_seen = context.now;
        session.idle_limit = TOMBSTONE;
        if !session.tcp.has(Seen::LEFT) {
            session.tcp.set(Seen::LEFT);
            self.closing_queue.push_back(slot);
        }
        self.ask_ended(slot, context);
    }

    /// Sends both ends of a session resets that they accept: by its own numbers, and by those of a connection that
    /// somebody opens in its place.
    pub(super) fn reset_ends(&mut self, slot: Slot) {
        let addresses = self.sessions.addresses(slot);
        let rival = self.sessions.rare(slot).and_then(|rare| rare.rival);
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let mut frames: Vec<_> = resets(&addresses, session).collect();
        if let Some(mut rival) = rival {
            rival.numbers.exchange(session);
            frames.extend(resets(&addresses, session));
            rival.numbers.exchange(session);
        }
        self.counts.originated += frames.len() as u64;
        self.tx_queue.extend(frames.into_iter().map(|(to, frame)| Transmit { to, frame, carries: 0 }));
    }

    /// Removes a session that is over. Its port may be used again, so both ends are reset unless both are known to have
    /// closed it.
    pub(super) fn retire(&mut self, slot: Slot, cause: FlowEndReason, now: Tick) {
        if self.sessions.get(slot).is_some_and(owes_resets) {
            self.reset_ends(slot);
        }
        self.remove(slot, cause, now);
    }

    /// A segment changed its session's phase: another idle time applies; one that closes makes room for
    /// others, and an exact close frees the port.
    pub(super) fn phase_changed(&mut self, slot: Slot, change: Change, context: &Context<'_>) {
        let Some(session) = self.sessions.get(slot) else { return };
        let (limit, addresses) = (idle_limit(session, context), self.sessions.addresses(slot));
        let leaves = session.phase == Phase::Closing && !session.tcp.has(Seen::LEFT);
        if leaves {
            self.leave(&addresses, session, FlowEndReason::of_close(session.tcp), context.now);
            // Before its last packet is written: whoever sees that may connect anew, and to another worker.
            self.departed.tell(&self.shared);
            self.closing_queue.push_back(slot);
        }
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.idle_limit = limit;
        if leaves {
            session.tcp.set(Seen::LEFT);
        }
        if change == Change::ExactClose {
            self.ports.close(&addresses, session, slot, context.now);
        }
    }

    /// Looks at a slice of the table for idle sessions: sequential, bounded, no timer per session.
    fn sweep_slice(&mut self, context: &Context<'_>) -> bool {
        if self.sweep_at == 0 && context.now.since(self.sweep_due) < SWEEP_EVERY {
            return false;
        }
        if self.sweep_at == 0 {
            self.sweep_due = context.now;
            self.closing_queue.retain(|slot| {
                self.sessions.get(*slot).is_some_and(|session| session.phase != Phase::Vacant && !session.is_live())
            });
        }
        let extent = self.sessions.extent();
        let end = extent.min(self.sweep_at.saturating_add(SWEEP_SLICE));
        for position in self.sweep_at..end {
            let Some(slot) = self.sessions.occupied(position) else { continue };
            if self.sessions.get(slot).is_some_and(|s| context.now.since(s.last_seen) > s.idle_limit) {
                self.revalidate(slot, context);
            }
        }
        self.sweep_at = if end >= extent { 0 } else { end };
        self.sweep_at != 0
    }

    /// Answers a question from outside the packet path.
    pub fn answer(&self, request: Request, now: Tick) {
        let Request::Flows { wanted, limit, reply } = request;
        let listed = (0..self.sessions.extent())
            .filter_map(|position| self.sessions.occupied(position))
            .filter_map(|slot| self.sessions.get(slot).map(|session| (self.sessions.addresses(slot), session)))
            .filter(|(addresses, session)| wants(&wanted, addresses, session))
            .take(limit)
            .map(|(addresses, session)| record(&addresses, session, self.position.worker, now))
            .collect();
        // The asker may have given up waiting.
        let _ = reply.try_send(listed);
    }

    /// The worker stops, and its live sessions with it: notes as many ends as the flow log has room for, or
    /// all of them where it is `forced`. Returns whether some are left.
    pub fn note_stop(&mut self, forced: bool, now: Tick) -> bool {
        let Some(log) = &self.flow_log else { return false };
        while self.stopped_at < self.sessions.extent() {
            if log.is_full() && !forced {
                return true;
            }
            if let Some(slot) = self.sessions.occupied(self.stopped_at)
                && let Some(session) = self.sessions.get(slot).filter(|session| session.is_live())
            {
                log.push(Ended::new(&self.sessions.addresses(slot), session, FlowEndReason::Stopped, now));
            }
            self.stopped_at += 1;
        }
        false
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

fn wants(wanted: &Wanted, a: &Addresses, session: &Session) -> bool {
    wanted.endpoint.is_none_or(|endpoint| endpoint == session.endpoint)
        && wanted.nat.is_none_or(|nat| nat == (a.nat.ip(), a.nat_port))
        && wanted.backend.is_none_or(|backend| backend == (a.backend.ip(), a.backend_port))
}

fn record(a: &Addresses, session: &Session, worker: u16, now: Tick) -> FlowRecord {
    FlowRecord {
        worker,
        endpoint: session.endpoint,
        link: session.link,
        attachment: session.consumer_attachment,
        protocol: session.protocol,
        consumer: (a.consumer.ip(), a.consumer_port),
        endpoint_address: (a.endpoint.ip(), a.endpoint_port),
        nat: (a.nat.ip(), a.nat_port),
        backend: (a.backend.ip(), a.backend_port),
        state: session.phase.name(),
        live: session.is_live(),
        age: now.since(session.opened),
        idle_seconds: now.since(session.last_seen) / Tick::PER_SECOND,
        to_service: session.carried(Direction::ToService),
        to_consumer: session.carried(Direction::ToConsumer),
    }
}
