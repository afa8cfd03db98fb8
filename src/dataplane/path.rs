//! The fast path: what an established session's packet meets, on one screen.
//!
//! `forward` = sight (classify, hash) → decide: find → account → rewrite. Whatever is not a plain hit leaves to the slow
//! path, which alone allocates, judges and answers.

use crate::dataplane::forwarder::{Context, Forwarder};
use crate::dataplane::handoff::RxMeta;
use crate::dataplane::io::Batch;
use crate::dataplane::nat::classify::{Packet, classify};
use crate::dataplane::nat::rewrite::Translation;
use crate::dataplane::nat::{fit, rewrite};
use crate::dataplane::session::index::{Candidate, Hash};
use crate::dataplane::session::{Direction, Pair, Session, Slot, tcp_state};
use crate::dataplane::verdict::Verdict;
use crate::snapshot::{AttachmentId, Protocol};

/// First packets, and packets that need a second look.
pub mod slow;

/// A frame at first sight: its headers checked, and where in the session table its flow is likely to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParsedFrame {
    /// `None`: it is not simply a packet of a flow.
    packet: Option<Packet>,
    hash: Hash,
    candidate: Candidate,
}

impl ParsedFrame {
    /// Of no frame.
    pub(super) const NONE: Self = Self { packet: None, hash: Hash::NONE, candidate: Candidate::NONE };
}

impl Forwarder {
    /// Decides one frame that arrived on `attachment` and, when it is to be forwarded, translates it in
    /// place. A hit takes no lock and no allocation (law 6).
    #[inline]
    pub fn forward(&mut self, frame: &mut [u8], attachment: AttachmentId, context: &Context<'_>) -> Verdict {
        let sight = self.sight(frame, attachment);
        self.decide(frame, &sight, attachment, context)
    }

    /// Looks at every frame of a batch before the first is decided: one session after the other comes from memory,
    /// and by the time that its packet's turn has come it is in the cache.
    #[inline]
    pub(super) fn sight_all(&self, frames: &mut Batch, attachment: AttachmentId, sights: &mut [ParsedFrame]) {
        let count = frames.len();
        for (frame, sight) in frames.frames().zip(&mut *sights) {
            *sight = self.sight(frame, attachment);
            self.sessions.prefetch_index(sight.hash);
        }
        for sight in sights.iter_mut().take(count) {
            let Some(packet) = &sight.packet else { continue };
            sight.candidate = self.sessions.prefetch_session(sight.hash, packet.key.protocol);
        }
    }

    #[inline]
    fn sight(&self, frame: &[u8], attachment: AttachmentId) -> ParsedFrame {
        match classify(frame, attachment) {
            Ok(packet) => {
                let hash = self.sessions.hash(&packet.key);
                ParsedFrame { packet: Some(packet), hash, candidate: Candidate::NONE }
            }
            Err(_) => ParsedFrame::NONE,
        }
    }

    /// The whole fast path.
    #[inline]
    pub(super) fn decide(
        &mut self,
        frame: &mut [u8],
        sight: &ParsedFrame,
        attachment: AttachmentId,
        context: &Context<'_>,
    ) -> Verdict {
        let Some(packet) = &sight.packet else {
            return self.odd(frame, &RxMeta::read(attachment), context);
        };
        let Some((slot, direction)) = self.sessions.find(&packet.key, sight.hash, sight.candidate) else {
            return self.miss(frame, packet, &RxMeta::read(attachment), context);
        };
        match self.sessions.get(slot) {
            Some(session) if is_current(session, frame, packet, direction, context) => {
                self.pass(frame, packet, slot, direction, context)
            }
            _ => self.second_look(frame, packet, slot, direction, &RxMeta::read(attachment), context),
        }
    }

    /// Forwards a packet of a session that may pass: tracks, accounts, rewrites.
    #[inline]
    pub(super) fn pass(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        slot: Slot,
        direction: Direction,
        context: &Context<'_>,
    ) -> Verdict {
        let Some((mut session, mut leaves)) = self.sessions.leaving(slot, direction) else { return self.gone() };
        let goes_on =
            session.protocol != Protocol::Tcp || tcp_state::goes_on(session, direction, packet.segment(frame));
        if goes_on {
            session.last_seen = context.now;
        } else {
            if let Some(verdict) = self.note_segment(frame, packet, slot, direction, context) {
                return verdict;
            }
            let Some(noted) = self.sessions.leaving(slot, direction) else { return self.gone() };
            (session, leaves) = noted;
        }
        let to = session.leaves_by(direction);
        account(&self.counters, session, direction, packet);
        let translation = Translation::of(session, leaves, direction);
        let mixed = session.way.pair() == Pair::Mixed;
        if mixed {
            return self.translate(frame, packet, &translation, to);
        }
        rewrite::rewrite(frame, packet, &translation, &mut self.identifications);
        Verdict::Forward { to, length: packet.end() }
    }
}

/// Whether a session passes this packet without a second look: judged by the rules in force, neither ended nor closing
/// (a SYN may want its place), limited by no rate, not idle, no TTL used up, no larger than its way carries.
#[inline]
fn is_current(session: &Session, frame: &[u8], packet: &Packet, direction: Direction, context: &Context<'_>) -> bool {
    context.snapshot.generation(session.endpoint) == Some(session.generation)
        && session.is_live()
        && !session.is_limited
        && context.now.since(session.last_seen) <= session.idle_limit
        && packet.hops > 1
        && fit::surely(session, frame, packet, direction, context)
}

/// Adds a packet to its session and its endpoint.
#[inline]
fn account(counters: &[super::counters::CounterChunk], session: &mut Session, direction: Direction, packet: &Packet) {
    use super::counters::{add, find};
    let (packets, bytes) = packet.wire_size();
    session.count(direction, (packets, bytes));
    let Some(endpoint) = find(counters, session.endpoint) else { return };
    let (packet_counter, byte_counter) = match direction {
        Direction::ToService => (&endpoint.packets_to_service, &endpoint.bytes_to_service),
        Direction::ToConsumer => (&endpoint.packets_to_consumer, &endpoint.bytes_to_consumer),
    };
    add(packet_counter, packets);
    add(byte_counter, bytes);
}
