//! Sessions that rules, time or silence may have ended: a slice of those whose rules changed, and a slice of all.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::Sessions;
use super::rules::{idle_limit, still_admitted};
use crate::dataplane::Context;
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::rare::Why;
use crate::dataplane::session::{Phase, SessionFlags, Slot, Tick};
use crate::dataplane::tx::TxQueue;
use crate::snapshot::{EndpointId, Generation};

/// Sessions judged again, and killed where they must be, per batch.
const REVIEW_SLICE: usize = 64;

/// Slots looked at by the sweep per batch.
const SWEEP_SLICE: u32 = 512;

/// Ticks between the starts of two sweeps.
const SWEEP_EVERY: u32 = Tick::PER_SECOND;

/// Endpoints whose sessions wait to be judged again.
#[derive(Debug)]
pub(super) struct Review {
    /// Generation each endpoint's sessions were last compared with.
    reviewed: Vec<Generation>,
    queue: BTreeSet<EndpointId>,
    /// The endpoint under review, or the last that was.
    current: EndpointId,
    /// Where its review stands.
    pub(super) at: Option<Slot>,
}

impl Default for Review {
    fn default() -> Self {
        Self { reviewed: Vec::new(), queue: BTreeSet::new(), current: EndpointId(u32::MAX), at: None }
    }
}

/// The walk over the table for idle sessions.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    at: u32,
    due: Tick,
}

impl Sessions {
    /// Takes note of a snapshot: endpoints whose rules changed are queued for review.
    pub(in crate::dataplane) fn adopt(&mut self, context: &Context<'_>) {
        let generations = context.snapshot.generations();
        if self.review.reviewed.len() < generations.len() {
            self.review.reviewed.resize(generations.len(), Generation::default());
        }
        for (id, (reviewed, current)) in (0..).zip(self.review.reviewed.iter_mut().zip(generations)) {
            if reviewed != current {
                *reviewed = *current;
                let endpoint = EndpointId(id);
                if self.table.first_of(endpoint).is_some() {
                    self.review.queue.insert(endpoint);
                }
            }
        }
    }

    /// Tells the other workers how many sessions fit here, those included that closing ones make room for.
    pub(in crate::dataplane) fn tell_room(&self, context: &Context<'_>) {
        let share = self.peers.position.share_of(context.snapshot.settings.max_sessions) as usize;
        let room = share.saturating_sub(self.table.len()) + self.closing_queue.len();
        self.peers.shared.set_room(self.peers.position.worker, room);
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

    pub(in crate::dataplane) fn has_review(&self) -> bool {
        self.review.at.is_some() || !self.review.queue.is_empty()
    }

    /// Judges some of the sessions again that wait for it. Returns whether more wait that can be judged at once.
    pub(in crate::dataplane) fn review_slice(&mut self, tx: &mut TxQueue, context: &Context<'_>) -> bool {
        if !self.has_review() {
            return false;
        }
        self.pace.earn(context.moment, self.table.len());
        for _ in 0..REVIEW_SLICE {
            if self.pace.left() == 0 {
                return false;
            }
            let Some(slot) = self.review.at else {
                let Some(next) = self.next_to_review() else { return false };
                self.review.queue.remove(&next);
                self.review.current = next;
                self.review.at = self.table.first_of(next);
                continue;
            };
            // The next one is noted first: judging may take this one out of the list.
            self.review.at = self.table.after(slot);
            self.revalidate(slot, tx, context);
        }
        self.pace.left() > 0 && self.has_review()
    }

    /// Endpoints take turns: one that changes again under review waits for its next turn, so that frequent
    /// changes of one never keep the resets of another waiting.
    fn next_to_review(&self) -> Option<EndpointId> {
        let later = (Bound::Excluded(self.review.current), Bound::Unbounded);
        self.review.queue.range(later).next().or_else(|| self.review.queue.first()).copied()
    }

    /// Brings a session up to date: judged again if the rules changed, ended if they no longer admit it
    /// or if it idled out. A session stamped before its endpoint last lost its approval is dead even if the
    /// endpoint is approved again.
    pub(in crate::dataplane) fn revalidate(&mut self, slot: Slot, tx: &mut TxQueue, context: &Context<'_>) {
        let Some(session) = self.table.get(slot) else { return };
        if session.phase == Phase::Vacant {
            return;
        }
        let idle = context.now.since(session.last_seen) > session.idle_limit;
        // Segments passed that its numbers do not know: perhaps they have gone wrong, and the connection is busy.
        let is_doubtful = idle
            && session.is_live()
            && self.table.rare(slot).and_then(|rare| rare.strange).is_some_and(|at| at > session.last_seen);
        if idle && session.phase != Phase::Established && !is_doubtful {
            // Before the rules are asked: what is over by itself is not revoked, and nobody waits for a reset.
            return self.retire(slot, FlowEndReason::Idle, tx, context.now);
        }
        if session.phase == Phase::Ended {
            return;
        }
        let current = context.snapshot.generation(session.endpoint);
        if current != Some(session.generation) {
            let outlived =
                context.snapshot.valid_since(session.endpoint).is_none_or(|since| session.generation < since);
            if outlived || !still_admitted(&self.table.addresses(slot), session, context) {
                return self.end(slot, FlowEndReason::Revoked, tx, context);
            }
            let (limit, is_limited) =
                (idle_limit(session, context), context.snapshot.limits(session.endpoint).is_some());
            if let (Some(session), Some(current)) = (self.table.get_mut(slot), current) {
                session.generation = current;
                session.idle_limit = limit;
                session.flags.set(SessionFlags::LIMITED, is_limited);
            }
        }
        if is_doubtful {
            if self.table.rare(slot).is_some_and(|rare| rare.asked.is_none()) {
                self.ask(slot, Why::Idle, [true; 2], context);
            }
        } else if idle {
            // Both ends of an established connection are told, so that no one waits in a silent black hole.
            self.end(slot, FlowEndReason::Idle, tx, context);
        }
    }

    /// Looks at a slice of the table for idle sessions: sequential, bounded, no timer per session.
    pub(in crate::dataplane) fn sweep_slice(&mut self, tx: &mut TxQueue, context: &Context<'_>) -> bool {
        if self.sweep.at == 0 && context.now.since(self.sweep.due) < SWEEP_EVERY {
            return false;
        }
        if self.sweep.at == 0 {
            self.sweep.due = context.now;
            let table = &self.table;
            self.closing_queue.retain(|slot| {
                table.get(*slot).is_some_and(|session| session.phase != Phase::Vacant && !session.is_live())
            });
        }
        let extent = self.table.extent();
        let end = extent.min(self.sweep.at.saturating_add(SWEEP_SLICE));
        for position in self.sweep.at..end {
            let Some(slot) = self.table.occupied(position) else { continue };
            if self.table.get(slot).is_some_and(|s| context.now.since(s.last_seen) > s.idle_limit) {
                self.revalidate(slot, tx, context);
            }
        }
        self.sweep.at = if end >= extent { 0 } else { end };
        self.sweep.at != 0
    }
}
