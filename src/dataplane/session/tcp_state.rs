//! What a session knows of its TCP exchange: enough to choose an idle time (RFC 5382 REQ-5, RFC 7857
//! §2), to tell an exact close, and to send resets that both ends accept.
//!
//! Windows tell the segments of the connection from those that somebody else sends in its name: by the four bounds of
//! Linux's connection tracking. Nothing is dropped for its numbers, since the ends check them themselves and a
//! forwarder that guesses wrong would stall a connection; but only what is inside
//! changes anything here.

use super::windows::Windows;
use super::{Direction, FlowState, Phase, Session};
use crate::wire::headers::{ACK, FIN, RST, SYN, TcpSegment};

bitflags::bitflags! {
    /// What has been seen of a TCP connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TcpFlags: u16 {
        /// The consumer has acknowledged: `to_service.last_ack` is meaningful.
        const CONSUMER_ACK = 1;
        /// The provider has acknowledged: `to_consumer.last_ack` is meaningful.
        const PROVIDER_ACK = 1 << 1;
        /// A segment of the consumer was seen: `to_service.seq_end` is meaningful.
        const CONSUMER_SEQ = 1 << 2;
        /// A segment of the provider was seen: `to_consumer.seq_end` is meaningful.
        const PROVIDER_SEQ = 1 << 3;
        /// The consumer has sent a FIN.
        const CONSUMER_FIN = 1 << 4;
        /// The provider has sent a FIN.
        const PROVIDER_FIN = 1 << 5;
        /// The provider has acknowledged the consumer's FIN.
        const CONSUMER_FIN_ACKED = 1 << 6;
        /// The consumer has acknowledged the provider's FIN.
        const PROVIDER_FIN_ACKED = 1 << 7;
        /// Both ends know that the connection is over: its port may be reused soon.
        const EXACT_CLOSE = 1 << 8;
        /// The consumer's SYN offers scaled windows.
        const OFFERS_SCALE = 1 << 9;
    }
}

/// What tracking a segment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The phase is as before.
    None,
    /// The phase is another: its idle time applies from now on.
    Phase,
    /// Both FINs are acknowledged, or a RST came at the exact sequence number.
    ExactClose,
}

/// What is known of one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    to_service: FlowState,
    to_consumer: FlowState,
    windows: Windows,
    seen: TcpFlags,
    /// Where it stands in its life.
    pub phase: Phase,
}

impl Numbers {
    /// Of a connection of which nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self {
            to_service: FlowState::default(),
            to_consumer: FlowState::default(),
            windows: Windows::default(),
            seen: TcpFlags::default(),
            phase: Phase::Opening,
        }
    }

    /// Whether the service has answered its SYN.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.seen.contains(TcpFlags::PROVIDER_ACK)
    }

    /// Exchanges the connection that `session` carries with this one.
    pub const fn exchange(&mut self, session: &mut Session) {
        std::mem::swap(&mut self.to_service, &mut session.to_service);
        std::mem::swap(&mut self.to_consumer, &mut session.to_consumer);
        std::mem::swap(&mut self.windows, &mut session.windows);
        std::mem::swap(&mut self.phase, &mut session.phase);
        std::mem::swap(&mut self.seen, &mut session.tcp);
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}

/// Tracks an ordinary segment of an established connection. Returns `false` for any other, and tracks nothing then.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
pub fn goes_on(session: &mut Session, direction: Direction, segment: TcpSegment) -> bool {
    segment.flags & (SYN | FIN | RST | ACK) == ACK
        && session.phase == Phase::Established
        && progress(session, direction, segment)
}

/// Tracks a segment that [`goes_on`] left alone; `scale` is what its SYN offers. Returns `None` for one whose numbers are
/// not this connection's: nothing is tracked then.
pub fn track(session: &mut Session, direction: Direction, segment: TcpSegment, scale: Option<u8>) -> Option<Change> {
    if segment.has(RST) {
        return reset(session, direction, segment);
    }
    if segment.has(SYN) {
        return synchronise(session, direction, segment, scale);
    }
    let is_known = session.tcp.contains(TcpFlags::CONSUMER_SEQ) && session.tcp.contains(TcpFlags::PROVIDER_SEQ);
    if !is_known || !segment.has(ACK) || !progress(session, direction, segment) {
        return None;
    }
    acknowledge(session, direction, segment);
    if segment.has(FIN) {
        session.tcp.insert(bits_of(direction).fin);
    }
    Some(advance(session))
}

/// How far behind all that was sent an acknowledgement may be, whatever the window.
pub const LATE_ACK: u32 = 66_000;

/// Whether `number` is not before `other`, modulo 2³² (RFC 9293 §3.4).
#[inline]
const fn reaches(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) < 1 << 31
}

/// Notes the numbers of a segment that lies within the windows. The bounds are those of Linux's connection tracking:
/// no byte beyond what its receiver allows or behind what it can still want, no acknowledgement of what was not sent
/// or long since acknowledged. A probe, a keep-alive and a retransmission are inside.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
fn progress(session: &mut Session, direction: Direction, segment: TcpSegment) -> bool {
    let other_way = direction.opposite();
    let (own_window, other_window) = (session.windows.largest(direction), session.windows.largest(other_way));
    let (own, other) = match direction {
        Direction::ToService => (&mut session.to_service, session.to_consumer),
        Direction::ToConsumer => (&mut session.to_consumer, session.to_service),
    };
    let end = segment.end();
    let is_inside = reaches(other.last_ack.wrapping_add(other_window), segment.seq)
        & reaches(end.wrapping_add(other_window), own.seq_end)
        & (other.seq_end.wrapping_sub(segment.ack) <= own_window.max(LATE_ACK));
    if !is_inside {
        return false;
    }
    if reaches(end, own.seq_end) {
        own.seq_end = end;
    }
    if reaches(segment.ack, own.last_ack) {
        own.last_ack = segment.ack;
    }
    // That of a SYN never is (RFC 7323 §2.2).
    let scale = if segment.flags & SYN == 0 { session.windows.scale(direction) } else { 0 };
    session.windows.announce(direction, u32::from(segment.window) << scale);
    true
}

/// Notes that the sender of `direction` has acknowledged, and what.
fn acknowledge(session: &mut Session, direction: Direction, segment: TcpSegment) {
    let (bits, other_bits) = (bits_of(direction), bits_of(direction.opposite()));
    let other = match direction {
        Direction::ToService => session.to_consumer,
        Direction::ToConsumer => session.to_service,
    };
    session.tcp.insert(bits.ack);
    if session.tcp.contains(other_bits.fin) && segment.ack == other.seq_end {
        session.tcp.insert(other_bits.fin_acked);
    }
}

/// A segment with SYN belongs to the handshake: the consumer's SYN, the service's answer to it, either of them
/// repeated, or both ends' SYNs that cross (RFC 9293 §3.5). Until the consumer has acknowledged it, the service may
/// answer again by other numbers. Windows of a SYN are not scaled, later ones if both ends offer it (RFC 7323 §2.2).
fn synchronise(session: &mut Session, direction: Direction, segment: TcpSegment, scale: Option<u8>) -> Option<Change> {
    let (is_known, is_plain) = (session.tcp.contains(TcpFlags::CONSUMER_SEQ), !segment.has(ACK));
    let (first, window) = (segment.seq.wrapping_add(1), u32::from(segment.window));
    if segment.has(FIN) {
        return None;
    }
    if direction == Direction::ToService && is_plain && !is_known {
        // Until it has acknowledged anything: the least that an answer to its SYN acknowledges.
        session.to_service = FlowState { last_ack: first, seq_end: segment.end() };
        session.windows.announce(direction, window);
        session.windows.set_scale(direction, scale.unwrap_or(0));
        session.tcp.insert(TcpFlags::CONSUMER_SEQ);
        if scale.is_some() {
            session.tcp.insert(TcpFlags::OFFERS_SCALE);
        }
        return Some(Change::None);
    }
    let is_answered = session.tcp.contains(TcpFlags::PROVIDER_SEQ);
    if direction == Direction::ToService && is_plain {
        let least = if is_answered { session.to_consumer.last_ack } else { session.to_service.last_ack };
        return (session.phase == Phase::Opening && first == least).then_some(Change::None);
    }
    if direction == Direction::ToConsumer && is_known && !session.tcp.contains(TcpFlags::CONSUMER_ACK) {
        let least = if is_answered { session.to_consumer.last_ack } else { session.to_service.last_ack };
        let most = session.to_service.seq_end;
        let answers = segment.ack.wrapping_sub(least) <= most.wrapping_sub(least);
        if (is_plain && is_answered) || (!is_plain && !answers) {
            return None;
        }
        let acknowledged = if is_plain { least } else { segment.ack };
        session.to_consumer = FlowState { last_ack: acknowledged, seq_end: segment.end() };
        session.to_service.last_ack = first;
        let both_scale = scale.filter(|_| session.tcp.contains(TcpFlags::OFFERS_SCALE));
        // A SYN that crosses the consumer's says nothing yet that anybody could check: its answer will.
        if both_scale.is_none() && !is_plain {
            session.windows.set_scale(Direction::ToService, 0);
        }
        session.windows.set_scale(direction, both_scale.unwrap_or(0));
        session.windows.announce(direction, window);
        session.tcp.insert(TcpFlags::PROVIDER_SEQ);
        if !is_plain {
            session.tcp.insert(TcpFlags::PROVIDER_ACK);
        }
        return Some(advance(session));
    }
    let own = match direction {
        Direction::ToService => session.to_service,
        Direction::ToConsumer => session.to_consumer,
    };
    // Repeated, or the second one of two that crossed: it carries nothing new.
    if is_plain || !is_answered || !reaches(own.seq_end, segment.end()) || !progress(session, direction, segment) {
        return None;
    }
    acknowledge(session, direction, segment);
    Some(advance(session))
}

/// Moves the phase on: established once both ends have acknowledged each other, closing once both have
/// sent a FIN (a half-closed connection still carries data and stays established).
fn advance(session: &mut Session) -> Change {
    let seen = session.tcp;
    let both = |left: TcpFlags, right: TcpFlags| seen.contains(left) && seen.contains(right);
    if both(TcpFlags::CONSUMER_FIN_ACKED, TcpFlags::PROVIDER_FIN_ACKED) && !seen.contains(TcpFlags::EXACT_CLOSE) {
        session.tcp.insert(TcpFlags::EXACT_CLOSE);
        session.phase = Phase::Closing;
        return Change::ExactClose;
    }
    if both(TcpFlags::CONSUMER_FIN, TcpFlags::PROVIDER_FIN) && session.phase != Phase::Closing {
        session.phase = Phase::Closing;
        return Change::Phase;
    }
    if session.phase == Phase::Opening && both(TcpFlags::CONSUMER_ACK, TcpFlags::PROVIDER_ACK) {
        session.phase = Phase::Established;
        return Change::Phase;
    }
    Change::None
}

/// A RST ends the session only at the exact sequence number its receiver expects; any other is passed
/// on and changes nothing, so that an off-path host cannot close a mapping (requirement C-2).
fn reset(session: &mut Session, direction: Direction, segment: TcpSegment) -> Option<Change> {
    let (bits, other_bits) = (bits_of(direction), bits_of(direction.opposite()));
    let (own, other) = match direction {
        Direction::ToService => (session.to_service, session.to_consumer),
        Direction::ToConsumer => (session.to_consumer, session.to_service),
    };
    let answers_syn = session.phase == Phase::Opening
        && session.tcp.contains(other_bits.seq)
        && segment.has(ACK)
        && segment.ack == other.seq_end;
    // What its receiver last said it expects, or the next byte after all that was sent to it: it expects that one
    // once what is in flight has come.
    let exact = session.tcp.contains(other_bits.ack) && segment.seq == other.last_ack
        || session.tcp.contains(bits.seq) && segment.seq == own.seq_end;
    if !(answers_syn || exact) {
        return None;
    }
    if session.tcp.contains(TcpFlags::EXACT_CLOSE) {
        return Some(Change::None);
    }
    session.tcp.insert(TcpFlags::EXACT_CLOSE);
    session.phase = Phase::Closing;
    Some(Change::ExactClose)
}

/// The bits of the end that sends in one direction.
#[derive(Clone, Copy)]
struct Bits {
    ack: TcpFlags,
    seq: TcpFlags,
    fin: TcpFlags,
    fin_acked: TcpFlags,
}

#[inline]
const fn bits_of(sender: Direction) -> Bits {
    match sender {
        Direction::ToService => Bits {
            ack: TcpFlags::CONSUMER_ACK,
            seq: TcpFlags::CONSUMER_SEQ,
            fin: TcpFlags::CONSUMER_FIN,
            fin_acked: TcpFlags::CONSUMER_FIN_ACKED,
        },
        Direction::ToConsumer => Bits {
            ack: TcpFlags::PROVIDER_ACK,
            seq: TcpFlags::PROVIDER_SEQ,
            fin: TcpFlags::PROVIDER_FIN,
            fin_acked: TcpFlags::PROVIDER_FIN_ACKED,
        },
    }
}

/// Sequence numbers at which the end that receives packets of `direction` accepts a RST: the byte it
/// last said it expects, and the highest byte sent to it (they differ while data is in flight).
#[must_use]
pub fn reset_points(session: &Session, direction: Direction) -> [Option<u32>; 2] {
    let (bits, other_bits) = (bits_of(direction), bits_of(direction.opposite()));
    let (own, other) = match direction {
        Direction::ToService => (session.to_service, session.to_consumer),
        Direction::ToConsumer => (session.to_consumer, session.to_service),
    };
    let expected = session.tcp.contains(other_bits.ack).then_some(other.last_ack);
    let highest = session.tcp.contains(bits.seq).then_some(own.seq_end);
    [expected, highest.filter(|end| Some(*end) != expected)]
}

/// Numbers of two bare acknowledgements, at least one of which the end that receives packets of `direction` answers
/// with its own numbers, whatever was injected before: windows are below 2³⁰, so one of them is outside. `None`:
/// nothing is known of that end.
#[must_use]
pub fn probe_points(session: &Session, direction: Direction) -> Option<[(u32, u32); 2]> {
    let [expected, highest] = reset_points(session, direction);
    let at = expected.or(highest)?;
    let [acknowledged, sent] = reset_points(session, direction.opposite());
    let ack = acknowledged.or(sent).unwrap_or(0);
    Some([(at.wrapping_sub(1), ack), (at.wrapping_add(1 << 31), ack)])
}

/// Whether the end that receives packets of `direction` may expect another number than it last said: data is on its
/// way to it, or what it acknowledged was not seen.
#[must_use]
pub fn is_uncertain(session: &Session, direction: Direction) -> bool {
    reset_points(session, direction).iter().flatten().count() > 1
}

/// Both ends have said what they expect and what they send: from now on these are the numbers.
pub fn renew(session: &mut Session, to_service: FlowState, to_consumer: FlowState) -> Change {
    (session.to_service, session.to_consumer) = (to_service, to_consumer);
    for bits in [bits_of(Direction::ToService), bits_of(Direction::ToConsumer)] {
        session.tcp.insert(bits.seq);
        session.tcp.insert(bits.ack);
    }
    advance(session)
}

/// A connection that was taken for closed lives: nothing that closed it counts.
pub fn revive(session: &mut Session) {
    session.tcp.remove(
        TcpFlags::EXACT_CLOSE
            | TcpFlags::CONSUMER_FIN
            | TcpFlags::PROVIDER_FIN
            | TcpFlags::CONSUMER_FIN_ACKED
            | TcpFlags::PROVIDER_FIN_ACKED,
    );
    session.flags.remove(super::SessionFlags::DEPARTED);
    session.phase = Phase::Established;
}

/// Whether a connection was closed without both ends' knowing it: by a reset, or by FINs that were not acknowledged, which
/// somebody else may have sent. One whose FINs were acknowledged needs no reset, nor one that the service never answered
/// but by a refusal.
#[must_use]
pub fn owes_resets(session: &Session) -> bool {
    let fins = session.tcp.contains(TcpFlags::CONSUMER_FIN_ACKED) && session.tcp.contains(TcpFlags::PROVIDER_FIN_ACKED);
    session.phase == Phase::Closing && session.tcp.contains(TcpFlags::PROVIDER_SEQ) && !fins
}

#[cfg(test)]
mod tests;
