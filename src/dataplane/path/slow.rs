//! The slow path: a session's first packet, and packets of sessions that need a second look.
//!
//! A miss from the consumer's side is admitted (see `admit`) or denied and answered; a miss from the
//! provider's side is dropped in silence (law 3). Fragments wait in `datagrams` until they are whole,
//! ICMP errors follow the session of the packet they quote (`errors`).

use crate::dataplane::admit::judged;
use crate::dataplane::admit::reject::{self, Bucket, Refusal};
use crate::dataplane::forwarder::{Context, Forwarder, Transmit};
use crate::dataplane::handoff::RxMeta;
use crate::dataplane::lifecycle::segments::is_intact;
use crate::dataplane::nat::classify::{NotAFlow, Packet, classify};
use crate::dataplane::nat::fit::{Fit, Onward, fit};
use crate::dataplane::nat::super_packet;
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::{Addresses, Direction, FlowKey, Pair, Phase, Slot, Tick, tcp_state::Seen};
use crate::dataplane::verdict::Verdict;
use crate::snapshot::DropReason;
use crate::snapshot::{Protocol, steering};
use crate::wire::headers::{ACK, FIN, RST, SYN};
use crate::wire::{Version, ip, vnet};

/// Ticks after its end in which every late segment of a session is answered; after that, one a tick.
pub(in crate::dataplane) const EACH_ANSWERED: u32 = 3 * Tick::PER_SECOND;

impl Forwarder {
    /// Decides a frame away from the hit path: one that another worker handed over, or a datagram put together here.
    pub(in crate::dataplane) fn forward_slowly(
        &mut self,
        frame: &mut [u8],
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        let Ok(packet) = classify(frame, arrival.attachment) else { return self.odd(frame, arrival, context) };
        match self.sessions.find_any(&packet.key) {
            Some((slot, direction)) => self.second_look(frame, &packet, slot, direction, arrival, context),
            None => self.miss(frame, &packet, arrival, context),
        }
    }

    /// Decides a frame that is not simply a packet of a flow. What else it is is found out here once more, so that a
    /// hit carries nothing of it.
    #[cold]
    pub(in crate::dataplane) fn odd(&mut self, frame: &[u8], arrival: &RxMeta, context: &Context<'_>) -> Verdict {
        let outline = ip::outline(frame.get(vnet::LENGTH..).unwrap_or_default());
        match (classify(frame, arrival.attachment), outline) {
            (Err(NotAFlow::Fragment), Ok(outline)) => self.fragment(frame, &outline, arrival, context),
            (Err(NotAFlow::IcmpError), Ok(outline)) => self.icmp_error(frame, &outline, arrival, context),
            (Err(NotAFlow::Drop(reason)), _) => Verdict::Drop(reason),
            _ => Verdict::Drop(DropReason::Malformed),
        }
    }

    /// A packet that no session here knows: handed to its owner, or opened here.
    #[cold]
    pub(in crate::dataplane) fn miss(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        let owner = self.owner(&packet.key, context);
        if owner != self.position.worker && !arrival.handed {
            return Verdict::HandOut { worker: owner, refused: false };
        }
        self.open(frame, packet, None, arrival, context)
    }

    /// The worker that owns a flow: by NAT port on the provider's side, by hash on the consumer's, unless
    /// it was admitted elsewhere.
    pub(in crate::dataplane) fn owner(&self, key: &FlowKey, context: &Context<'_>) -> u16 {
        let workers = self.position.workers;
        if workers == 1 {
            return self.position.worker;
        }
        if context.snapshot.nat_owner(key.attachment, key.destination.ip()).is_some() {
            return steering::nat_queue(key.destination_port, workers);
        }
        self.shared.owner_of(key).unwrap_or_else(|| {
            let (source_port, destination_port) = (key.source_port, key.destination_port);
            self.shared.steering().consumer_queue(key.source, key.destination, source_port, destination_port, workers)
        })
    }

    /// Opens a session for its first packet and forwards it, or denies it.
    fn open(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        kept: Option<&Addresses>,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        if context.snapshot.nat_owner(packet.key.attachment, packet.key.destination.ip()).is_some() {
            return Verdict::Drop(DropReason::NoSession);
        }
        let resets = self.tx_queue.len();
        match self.admit(frame, packet, (arrival, kept), context) {
            Ok(slot) => {
                self.note_if_elsewhere(slot, &packet.key, context);
                let verdict = self.pass_if_it_fits(frame, packet, slot, Direction::ToService, arrival, context);
                self.behind_resets(verdict, frame, resets, arrival)
            }
            Err(refusal) => match self.elsewhere(refusal.reason, arrival) {
                Some(worker) => Verdict::HandOut { worker, refused: true },
                None => self.deny(frame, packet, refusal, context),
            },
        }
    }

    /// A SYN leaves behind the resets of the session whose port it has, if there are any since the outbox was so long.
    fn behind_resets(&mut self, verdict: Verdict, frame: &[u8], before: usize, arrival: &RxMeta) -> Verdict {
        if self.tx_queue.len() == before {
            return verdict;
        }
        let Some((to, frame)) = self.taken_out(verdict, frame) else { return verdict };
        self.tx_queue.push(Transmit { to, frame, carries: arrival.frames() });
        Verdict::Emitted
    }

    /// Another worker that may admit what this one has no NAT port or no room for: no early failure.
    pub(in crate::dataplane) fn elsewhere(&self, reason: DropReason, arrival: &RxMeta) -> Option<u16> {
        let workers = self.position.workers;
        if arrival.refusals + 1 >= workers {
            None
        } else if reason == DropReason::NatPortsExhausted {
            Some((self.position.worker + 1) % workers)
        } else if reason == DropReason::TableFull {
            self.shared.with_room(self.position.worker)
        } else {
            None
        }
    }

    /// A flow admitted here that steering brings to another worker must be findable from there.
    fn note_if_elsewhere(&mut self, slot: Slot, key: &FlowKey, context: &Context<'_>) {
        if self.owner(key, context) == self.position.worker {
            return;
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            session.tcp.set(Seen::ELSEWHERE);
            self.shared.settle(*key, self.position.worker);
        }
    }

    /// Drops a packet and, where its reason and the rate allow, answers it.
    pub(in crate::dataplane) fn deny(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        refusal: Refusal,
        context: &Context<'_>,
    ) -> Verdict {
        let settings = &context.snapshot.settings;
        let bucket = if refusal.reason == DropReason::PacketTooBig { Bucket::TooBig } else { Bucket::Refusals };
        let tenant = packet.key.attachment;
        if refusal.answer.unwrap_or(settings.answer)
            && let Some(answer) = reject::answer(frame, packet, refusal)
            && self.answers.take((tenant, bucket), settings.deny_rate, context.now, &mut self.random)
        {
            self.originate(packet.key.attachment, answer);
            self.counts.answered += 1;
        }
        Verdict::Drop(refusal.reason)
    }

    /// A packet whose session needs a second look (see `is_current`): the rules changed, it has ended or
    /// idled out, its TTL is used up, it does not fit, or a SYN wants the place of a closed connection.
    #[cold]
    pub(in crate::dataplane) fn second_look(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        slot: Slot,
        direction: Direction,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        self.revalidate(slot, context);
        let Some(session) = self.sessions.get(slot).filter(|session| session.phase != Phase::Vacant) else {
            return self.open(frame, packet, None, arrival, context);
        };
        let phase = session.phase;
        let is_over = matches!(phase, Phase::Ended | Phase::Closing);
        if is_over && direction == Direction::ToService && is_plain_syn(frame, packet) && is_intact(frame, packet) {
            return self.open_anew(frame, packet, slot, arrival, context);
        }
        if phase == Phase::Ended {
            return self.late(frame, packet, slot, direction, context);
        }
        if packet.hops <= 1 {
            let answer = context.snapshot.resource(session.resource).and_then(|resource| resource.answer);
            return self.deny(frame, packet, Refusal { reason: DropReason::TtlExpired, answer, mtu: 0 }, context);
        }
        self.pass_if_it_fits(frame, packet, slot, direction, arrival, context)
    }

    /// A SYN in the place of a session that is over: a new admission, behind the resets that the old one's ends are
    /// owed. While nobody admits it, an ended session stays, since its ends may have yet to hear that it is over.
    fn open_anew(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        slot: Slot,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        let (before, isn, addresses) = (self.tx_queue.len(), packet.segment(frame).seq, self.sessions.addresses(slot));
        let is_closing = self.sessions.get(slot).is_some_and(|session| session.phase == Phase::Closing);
        if !is_closing && let Err(refusal) = judged(packet, context) {
            return self.deny(frame, packet, refusal, context);
        }
        // The client has answered the server's challenge by a reset and repeats its SYN (RFC 5961 §4.2): both know.
        let repeats =
            is_closing && self.sessions.rare(slot).and_then(|rare| rare.rival).is_some_and(|rival| rival.isn == isn);
        if repeats {
            self.remove(slot, FlowEndReason::Reclaimed, context.now);
        } else {
            self.retire(slot, FlowEndReason::Reclaimed, context.now);
        }
        let verdict = self.open(frame, packet, repeats.then_some(&addresses), arrival, context);
        self.behind_resets(verdict, frame, before, arrival)
    }

    /// A late segment of an ended session gets a reset at its own ACK number, from whichever side it comes (law
    /// 5): each one in the first seconds, later ten a second. Neither the limit of answers nor a resource that answers
    /// nothing keeps an end from knowing that its connection is over.
    fn late(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        slot: Slot,
        direction: Direction,
        context: &Context<'_>,
    ) -> Verdict {
        const ENDED: Verdict = Verdict::Drop(DropReason::SessionEnded);
        let Some(session) = self.sessions.get(slot) else { return ENDED };
        if packet.key.protocol != Protocol::Tcp || !is_intact(frame, packet) {
            return ENDED;
        }
        let ended = session.last_seen;
        let segment = packet.segment(frame);
        if direction == Direction::ToConsumer && segment.flags & (ACK | RST) != 0 {
            self.server_answered(slot, context);
        }
        if segment.has(RST) {
            self.end_is_gone(slot, direction, segment);
        }
        let Some(answer) = reject::reset(frame, packet) else { return ENDED };
        if context.now.since(ended) > EACH_ANSWERED {
            let Some(rare) = self.sessions.rare_mut(slot) else { return ENDED };
            if rare.answered.replace(context.now) == Some(context.now) {
                return ENDED;
            }
        }
        self.originate(packet.key.attachment, answer);
        self.counts.answered += 1;
        ENDED
    }

    /// Forwards a packet whole or in pieces, or tells a consumer what fits. It is told also where denied packets are
    /// dropped in silence: without it the path would be a black hole (RFC 2923 §2.1).
    fn pass_if_it_fits(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        slot: Slot,
        direction: Direction,
        arrival: &RxMeta,
        context: &Context<'_>,
    ) -> Verdict {
        let Some(session) = self.sessions.get(slot) else { return self.gone() };
        let addresses = self.sessions.addresses(slot);
        if session.way.pair() == Pair::Mixed && packet.version == Version::V6 && packet.lacks_checksum(frame) {
            return Verdict::Drop(DropReason::BadChecksum);
        }
        let mtu = context.snapshot.mtu(session.leaves_by(direction));
        let (target, mtu) = match direction {
            Direction::ToService => (addresses.backend, mtu),
            Direction::ToConsumer => {
                let told = self.sessions.path_mtu(slot, context.now);
                (addresses.consumer, told.map_or(mtu, |told| told.min(mtu)))
            }
        };
        let onward = Onward { version: target.version(), direction, mtu };
        let fit = fit(frame, packet, arrival, &onward);
        let cut_small;
        let packet = match fit {
            Fit::Segments(limit) => match super_packet::of(frame, packet, target.version(), limit) {
                Ok(packet) => {
                    cut_small = packet;
                    &cut_small
                }
                Err(reason) => return Verdict::Drop(reason),
            },
            Fit::Whole | Fit::Cut(_) | Fit::TooBig(_) => packet,
        };
        let Some(session) = self.sessions.get(slot) else { return self.gone() };
        if session.is_limited && !matches!(fit, Fit::TooBig(_)) && !self.pays(session, packet, direction, context) {
            return Verdict::Drop(DropReason::RateLimited);
        }
        match fit {
            Fit::Whole | Fit::Segments(_) => self.pass(frame, packet, slot, direction, context),
            Fit::Cut(limit) => {
                let verdict = self.pass(frame, packet, slot, direction, context);
                self.cut(verdict, frame, limit, arrival)
            }
            Fit::TooBig(mtu) => {
                let refusal = Refusal { reason: DropReason::PacketTooBig, answer: Some(true), mtu };
                self.deny(frame, packet, refusal, context)
            }
        }
    }
}

/// A SYN that opens a connection: neither an answer nor garbage (requirement C-4).
pub(in crate::dataplane) fn is_plain_syn(frame: &[u8], packet: &Packet) -> bool {
    packet.key.protocol == Protocol::Tcp && packet.segment(frame).flags & (SYN | ACK | RST | FIN) == SYN
}
