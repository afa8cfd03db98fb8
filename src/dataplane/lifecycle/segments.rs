//! TCP segments that are not ordinary ones of an established connection: its handshake and its end, forged segments, and
//! a new connection that wants its place.
//!
//! Everything passes. A segment changes the session only if its numbers are the connection's, one with SYN, FIN or RST
//! only if its checksum is right besides (requirements C-1, C-2; RFC 5961).

use super::Sessions;
use crate::dataplane::Context;
use crate::dataplane::nat::classify::Packet;
use crate::dataplane::nat::{fit, rewrite};
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::rare::{Asked, Rival, Why};
use crate::dataplane::session::tcp_state::{self, Change, LATE_ACK, TcpFlags};
use crate::dataplane::session::{Direction, FlowState, Hit, Phase, Session, Slot, Tick};
use crate::dataplane::tx::TxQueue;
use crate::snapshot::DropReason;
use crate::wire::headers::{ACK, FIN, RST, SYN, TcpSegment, tcp_option};

/// The option that scales windows (RFC 7323 §2.2).
const WINDOW_SCALE: u8 = 3;

/// For how long neither end speaks by the old numbers before another connection has taken their place.
const OLD_IS_SILENT: u32 = 2 * Tick::PER_SECOND;

/// A client that repeats its SYN so often, and for so long, without a word of either end has lost its connection.
const SYNS: u8 = 3;
const SYNS_WITHIN: u32 = 3 * Tick::PER_SECOND;

impl Sessions {
    /// Tracks any segment of a session.
    ///
    /// # Errors
    /// Why it must not pass.
    #[cold]
    pub(in crate::dataplane) fn note_segment(
        &mut self,
        frame: &mut [u8],
        packet: &Packet,
        Hit { session: slot, direction }: Hit,
        tx: &mut TxQueue,
        context: &Context<'_>,
    ) -> Result<(), DropReason> {
        let segment = packet.segment(frame);
        let is_believed = segment.flags & (SYN | FIN | RST) == 0 || packet.is_intact(frame);
        let mut scale = None;
        if segment.has(SYN) {
            scale = frame
                .get(packet.transport()..packet.transport() + packet.transport_header())
                .and_then(|header| tcp_option(header, WINDOW_SCALE, 3).map(|at| header[at]));
            let Some((session, leaves)) = self.table.leaving(Hit { session: slot, direction }) else {
                return Err(self.vanished());
            };
            let to = session.leaves_by(direction);
            let sides = [(packet.key.attachment, packet.version), (to, leaves[0].version())];
            rewrite::clamp_mss(frame, packet, fit::most_mss(sides, context, self.peers.shared.path_mtus()));
        }
        let Some(session) = self.table.get_mut(slot) else { return Err(self.vanished()) };
        let ends = [session.to_service.seq_end, session.to_consumer.seq_end];
        let noted = if is_believed { tcp_state::track(session, direction, segment, scale) } else { None };
        match noted {
            Some(change) => {
                session.last_seen = context.now;
                let closes = session.phase == Phase::Closing;
                if change != Change::None {
                    self.phase_changed(slot, change, context);
                } else if closes {
                    return self.lives_on(slot, direction, ends, segment, tx, context).map_or(Ok(()), Err);
                }
            }
            None => self.note_strange(slot, direction, segment, scale, is_believed, context),
        }
        Ok(())
    }

    /// Remembers a segment whose numbers are not the connection's, beside the session.
    fn note_strange(
        &mut self,
        slot: Slot,
        direction: Direction,
        segment: TcpSegment,
        scale: Option<u8>,
        is_believed: bool,
        context: &Context<'_>,
    ) {
        let Some(rare) = self.table.rare_mut(slot) else { return };
        rare.strange = Some(context.now);
        let is_live = self.table.get(slot).is_some_and(Session::is_live);
        if !is_believed || !is_live {
            return;
        }
        if segment.flags & (SYN | RST | ACK) == ACK {
            self.note_answer(slot, direction, segment);
        }
        if direction == Direction::ToService && segment.flags & (SYN | ACK | FIN) == SYN {
            self.note_syn(slot, segment, scale, context);
        } else {
            self.note_rival(slot, direction, segment, scale, context);
        }
    }

    /// What an end says of itself while it is asked; the connection goes on by the numbers on which both agree.
    fn note_answer(&mut self, slot: Slot, direction: Direction, segment: TcpSegment) {
        let Some(session) = self.table.get(slot) else { return };
        let window = session.windows.largest(direction.opposite()).max(LATE_ACK);
        let Some(asked) = self.table.rare_mut(slot).and_then(|rare| rare.asked.as_mut()) else { return };
        // An end that answers by the numbers that are known settles the question: then nothing heard here counts.
        asked.hear(direction, FlowState { last_ack: segment.ack, seq_end: segment.end() }, window);
    }

    /// Both ends have answered, or one for both. Returns whether the connection goes on by what they said: if they agree,
    /// and nobody has said anything else in the name of either.
    pub(in crate::dataplane) fn renew_if_they_agree(
        &mut self,
        slot: Slot,
        asked: &Asked,
        there: FlowState,
        back: FlowState,
        context: &Context<'_>,
    ) -> bool {
        let Some(session) = self.table.get_mut(slot).filter(|_| !asked.contradicted) else { return false };
        // What one expects is on its way from the other at most by a window.
        let near = |sent: u32, expected: u32, window: u32| {
            sent.wrapping_sub(expected).wrapping_add(window) <= window.saturating_mul(2)
        };
        let windows = [Direction::ToService, Direction::ToConsumer].map(|of| session.windows.largest(of));
        if !near(there.seq_end, back.last_ack, windows[1]) || !near(back.seq_end, there.last_ack, windows[0]) {
            return false;
        }
        let change = tcp_state::renew(session, there, back);
        session.last_seen = context.now;
        // That strange numbers passed stays known: if these were somebody else's, a revocation asks the ends again.
        if change != Change::None {
            self.phase_changed(slot, change, context);
        }
        true
    }

    /// A SYN through a live session. The service answers that it has a connection already, or its client has one no
    /// more: both show. A client whose SYN nobody answers has lost its service: both ends are asked, and silence ends
    /// the session.
    fn note_syn(&mut self, slot: Slot, segment: TcpSegment, scale: Option<u8>, context: &Context<'_>) {
        let now = context.now;
        let Some(last_seen) = self.table.get(slot).map(|session| session.last_seen) else { return };
        let known = self.table.rare(slot).and_then(|rare| rare.rival);
        let mut rival = match known {
            Some(rival) if rival.isn == segment.seq => rival,
            // Another connection is being opened, and answered: it has some time to show that it is real.
            Some(rival) if rival.numbers.is_answered() && now.since(rival.latest) < OLD_IS_SILENT => return,
            _ => Rival::new(segment.seq, now),
        };
        if last_seen >= rival.first {
            (rival.first, rival.syns) = (now, 0);
        }
        (rival.latest, rival.syns) = (now, rival.syns.saturating_add(1));
        let Some(session) = self.table.get_mut(slot) else { return };
        rival.numbers.exchange(session);
        tcp_state::track(session, Direction::ToService, segment, scale);
        rival.numbers.exchange(session);
        let is_lost = rival.syns >= SYNS
            && now.since(rival.first) >= SYNS_WITHIN
            && last_seen < rival.first
            && !rival.numbers.is_answered();
        if let Some(rare) = self.table.rare_mut(slot) {
            rare.rival = Some(rival);
            if is_lost && rare.asked.is_none() {
                self.ask(slot, Why::Silent, [true; 2], context);
            }
        }
    }

    /// A segment that may be of the connection that wants this one's place.
    fn note_rival(
        &mut self,
        slot: Slot,
        direction: Direction,
        segment: TcpSegment,
        scale: Option<u8>,
        context: &Context<'_>,
    ) {
        let Some(mut rival) = self.table.rare(slot).and_then(|rare| rare.rival) else { return };
        let Some(session) = self.table.get_mut(slot) else { return };
        rival.numbers.exchange(session);
        let noted = tcp_state::track(session, direction, segment, scale);
        let over = session.tcp.contains(TcpFlags::EXACT_CLOSE);
        rival.numbers.exchange(session);
        if noted.is_none() {
            return;
        }
        rival.latest = context.now;
        let takes_over =
            !over && rival.numbers.phase != Phase::Opening && context.now.since(session.last_seen) >= OLD_IS_SILENT;
        if takes_over {
            rival.numbers.exchange(session);
            session.last_seen = context.now;
        }
        let Some(rare) = self.table.rare_mut(slot) else { return };
        rare.rival = (!over && !takes_over).then_some(rival);
        if takes_over {
            rare.asked = None;
            self.phase_changed(slot, Change::Phase, context);
        }
    }

    /// A segment of a connection that was closed. Once both ends have sent data beyond what had been sent by then, and
    /// both have acknowledged it, the connection lives: it counts again, or is reset where there is no room for it.
    fn lives_on(
        &mut self,
        slot: Slot,
        direction: Direction,
        ends: [u32; 2],
        segment: TcpSegment,
        tx: &mut TxQueue,
        context: &Context<'_>,
    ) -> Option<DropReason> {
        let known = self.table.rare(slot).and_then(|rare| rare.closed_at);
        let is_beyond = segment.payload > 0 && is_ahead(segment.end(), ends[direction as usize]);
        if known.is_none() && !is_beyond {
            return None;
        }
        let closed_at = known.unwrap_or(ends);
        self.table.rare_mut(slot)?.closed_at = Some(closed_at);
        let session = self.table.get_mut(slot)?;
        let [there, back] = closed_at;
        let lives = is_ahead(session.to_service.seq_end, there)
            && is_ahead(session.to_consumer.seq_end, back)
            && is_ahead(session.to_consumer.last_ack, there)
            && is_ahead(session.to_service.last_ack, back);
        if !lives {
            return None;
        }
        let addresses = self.table.addresses(slot);
        let session = self.table.get(slot)?;
        self.peers.tell_departed();
        if !self.admit_again(&addresses, session, context) {
            self.end(slot, FlowEndReason::Revoked, tx, context);
            return Some(DropReason::SessionLimit);
        }
        if session.tcp.contains(TcpFlags::EXACT_CLOSE) {
            self.ports.reopen(&addresses, session);
        }
        tcp_state::revive(self.table.get_mut(slot)?);
        self.table.rare_mut(slot)?.closed_at = None;
        self.phase_changed(slot, Change::Phase, context);
        None
    }
}

/// Whether `number` is behind `other` in the order of sending, and not equal.
const fn is_ahead(number: u32, other: u32) -> bool {
    number != other && number.wrapping_sub(other) < 1 << 31
}
