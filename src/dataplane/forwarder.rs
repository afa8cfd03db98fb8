//! The packet path without its devices. Sans-IO: time, randomness and frames come in as arguments, each frame that
//! leaves is lent to a sink at once, and what is made here is polled.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::dataplane::admit::reject::Answers;
use crate::dataplane::counters::{VerdictCounts, WorkerCounters};
use crate::dataplane::fragment;
use crate::dataplane::fragment::reassembly::Reassembler;
use crate::dataplane::handoff::{Handoff, Peers, RxMeta, SessionCountDelta, Shared};
use crate::dataplane::io::batch::{Batch, FRAMES};
use crate::dataplane::lifecycle::Sessions;
use crate::dataplane::nat::Rewriter;
use crate::dataplane::path::{self, ParsedFrame, State, slow};
use crate::dataplane::queries::Request;
use crate::dataplane::record::RecordRing;
use crate::dataplane::session::{Table, Tick};
use crate::dataplane::tx::{Transmit, TxQueue};
use crate::dataplane::{Context, Position};
use crate::snapshot::AttachmentId;
use crate::wire::fragment::Identifications;

/// Longest sleep: sweeps and counters go on when no packet comes.
pub const IDLE: Duration = Duration::from_secs(1);

/// Longest sleep while sessions wait to be reset: to wake more often costs more than it spreads them.
pub const PAUSE: Duration = Duration::from_millis(3);

/// Longest sleep while an end of a connection is being asked: a question is put at its tick.
pub const ASKING: Duration = Duration::from_millis(Tick::MILLISECONDS);

/// One worker's state.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) state: State,
    nat: Rewriter,
    /// What was parsed of the frames of a batch; kept for its memory.
    parsed: Vec<ParsedFrame>,
    published: Arc<WorkerCounters>,
    ports_published: Tick,
    /// Whether the last slice of housekeeping left something that can be done at once.
    more: bool,
}

impl Forwarder {
    /// A worker that holds at most `capacity` sessions. `seed` comes from the system's random numbers:
    /// table hash and NAT ports are unpredictable because of it (RFC 6056).
    #[must_use]
    pub fn new(position: Position, capacity: u32, seed: [u64; 3], shared: Arc<Shared>) -> Self {
        let Position { worker, workers } = position;
        let peers = Peers { position, shared, departed: SessionCountDelta::default() };
        Self {
            state: State {
                sessions: Sessions::new(peers, capacity, seed),
                fragments: Reassembler::new(!seed[2]),
                answers: Answers::new(seed[2].rotate_left(32)),
                tx: TxQueue::default(),
                counts: VerdictCounts::default(),
            },
            nat: Rewriter::new(Identifications::new(worker, workers, truncated(seed[1]))),
            parsed: vec![ParsedFrame::NONE; FRAMES],
            published: Arc::new(WorkerCounters::new()),
            ports_published: Tick(0),
            more: false,
        }
    }

    /// Notes every session that ends in `ring`.
    #[must_use]
    pub fn with_flow_log(mut self, ring: Arc<RecordRing>) -> Self {
        self.state.sessions.log_to(ring);
        self
    }

    /// What this worker publishes.
    #[must_use]
    pub fn published(&self) -> Arc<WorkerCounters> {
        Arc::clone(&self.published)
    }

    /// Sessions held.
    #[must_use]
    pub fn sessions(&self) -> &Table {
        &self.state.sessions.table
    }

    /// Verdicts so far.
    #[must_use]
    pub fn counts(&self) -> VerdictCounts {
        let State { tx, counts, .. } = &self.state;
        VerdictCounts { answered: tx.answered, originated: tx.originated, ..*counts }
    }

    /// Decides frames that this worker read from one queue, in their order. Each that leaves is lent to `sink`, which
    /// says whether it could be written.
    pub fn handle_frames(
        &mut self,
        frames: &mut Batch,
        attachment: AttachmentId,
        context: &Context<'_>,
        mut sink: impl FnMut(Transmit<'_>) -> io::Result<()>,
    ) {
        let Self { state, nat, parsed, .. } = self;
        state.counts.read += frames.len() as u64;
        path::parse(frames, attachment, &state.sessions.table, parsed);
        let meta = RxMeta::read(attachment);
        for (frame, parsed) in frames.frames().zip(&*parsed) {
            path::forward(frame, parsed, &meta, state, nat, context, &mut sink);
        }
    }

    /// The same for a frame that another worker handed over.
    pub fn handle_handoff(
        &mut self,
        mut handed: Handoff,
        context: &Context<'_>,
        mut sink: impl FnMut(Transmit<'_>) -> io::Result<()>,
    ) {
        let Self { state, nat, .. } = self;
        let meta = RxMeta { handed: true, ..handed.meta };
        state.counts.handed_in += meta.frames();
        let verdict = slow::forward(&mut handed.frame, &meta, state, nat, context);
        if let Some(datagram) = path::settle(verdict, &meta, &mut state.tx, &mut state.counts, &mut sink) {
            path::forward_datagram(datagram, &meta, state, nat, context, &mut sink);
        }
    }

    /// Takes note of new rules: endpoints that they changed are queued for review.
    pub fn handle_snapshot(&mut self, context: &Context<'_>) {
        let sessions = &mut self.state.sessions;
        sessions.traffic = self.published.grow(context.snapshot.generations().len());
        sessions.adopt(context);
    }

    /// Answers a question from outside the packet path.
    pub fn handle_query(&self, request: Request, now: Tick) {
        self.state.sessions.answer(request, now);
    }

    /// Does a slice of the work that time asks for: sessions and datagrams that are over, questions that are due.
    pub fn handle_timeout(&mut self, context: &Context<'_>) {
        let State { sessions, fragments, answers, tx, counts } = &mut self.state;
        sessions.tell_room(context);
        let more_review = sessions.review_slice(tx, context);
        let more_sweep = sessions.sweep_slice(tx, context) | fragment::expire(fragments, answers, tx, counts, context);
        // After the resets: they go first.
        let more_questions = sessions.question_slice(tx, context);
        if context.now.since(self.ports_published) >= Tick::PER_SECOND {
            self.ports_published = context.now;
            sessions.ports.forget_unused(context.now);
            self.published.publish_nat_ports(sessions.ports.usage(context.now));
            self.published.publish_probes(sessions.table.probes());
        }
        self.more = more_review || more_sweep || more_questions;
    }

    /// The worker stops, and its live sessions with it: notes as many ends as the flow log has room for, or
    /// all of them where it is `forced`. Returns whether some are left.
    pub fn handle_stop(&mut self, forced: bool, now: Tick) -> bool {
        self.state.sessions.note_stop(forced, now)
    }

    /// The next packet that was made here.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.state.tx.pop().map(|(transmit, _)| transmit)
    }

    /// Ends a batch: makes its verdicts visible, and the ends of sessions. Returns how long the worker may sleep until
    /// [`Self::handle_timeout`].
    pub fn poll_timeout(&self, now: Tick) -> Duration {
        let sessions = &self.state.sessions;
        sessions.peers.tell_departed();
        self.published.publish(&self.counts());
        match () {
            () if self.more || sessions.has_questions(now) => Duration::ZERO,
            () if sessions.is_paced() => PAUSE,
            () if sessions.is_asking() => ASKING,
            () => IDLE,
        }
    }
}

/// The low half of a seed.
#[allow(clippy::cast_possible_truncation, reason = "half a seed is a seed")]
const fn truncated(seed: u64) -> u32 {
    seed as u32
}
