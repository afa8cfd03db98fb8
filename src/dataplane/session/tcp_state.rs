//! What a session knows of its TCP exchange: enough to choose an idle time (RFC 5382 REQ-5, RFC 7857
//! §2), to tell an exact close, and to send resets that both ends accept. Windows are not checked:
//! the ends do that themselves, and a forwarder that guesses wrong black-holes a connection
//! (nat-requirements §8, trap 7).

use super::{Direction, FlowState, Phase, Session};
use crate::wire::headers::{ACK, FIN, RST, SYN, TcpSegment};

/// One bit per thing seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u16);

impl Seen {
    /// The consumer has acknowledged: `to_service.last_ack` is meaningful.
    pub const CONSUMER_ACK: Self = Self(1);
    /// The provider has acknowledged: `to_consumer.last_ack` is meaningful.
    pub const PROVIDER_ACK: Self = Self(1 << 1);
    /// A segment of the consumer was seen: `to_service.seq_end` is meaningful.
    pub const CONSUMER_SEQ: Self = Self(1 << 2);
    /// A segment of the provider was seen: `to_consumer.seq_end` is meaningful.
    pub const PROVIDER_SEQ: Self = Self(1 << 3);
    /// The consumer has sent a FIN.
    pub const CONSUMER_FIN: Self = Self(1 << 4);
    /// The provider has sent a FIN.
    pub const PROVIDER_FIN: Self = Self(1 << 5);
    /// The provider has acknowledged the consumer's FIN.
    pub const CONSUMER_FIN_ACKED: Self = Self(1 << 6);
    /// The consumer has acknowledged the provider's FIN.
    pub const PROVIDER_FIN_ACKED: Self = Self(1 << 7);
    /// Both ends know that the connection is over: its port may be reused soon.
    pub const EXACT_CLOSE: Self = Self(1 << 8);
    /// Admitted by another worker than the one steering names.
    pub const ELSEWHERE: Self = Self(1 << 9);
    /// Live no more: it has left its endpoint's count, and lingers.
    pub const LEFT: Self = Self(1 << 10);

    /// Whether all bits of `other` are set.
    #[inline]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other`.
    #[inline]
    pub const fn set(&mut self, other: Self) {
        self.0 |= other.0;
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

/// Notes a segment that is about to be forwarded.
#[inline]
pub fn track(session: &mut Session, direction: Direction, segment: TcpSegment) -> Change {
    let bits = bits_of(direction);
    let (own, other) = match direction {
        Direction::ToService => (&mut session.to_service, session.to_consumer),
        Direction::ToConsumer => (&mut session.to_consumer, session.to_service),
    };
    if segment.flags & (SYN | FIN | RST) == 0 && session.phase == Phase::Established {
        note_progress(own, segment);
        return Change::None;
    }
    let other_known = session.tcp.has(bits.other_seq);
    if segment.has(RST) {
        let own = *own;
        return reset(session, segment, bits, own, other);
    }
    if begins_anew(session.phase, direction, segment, *own) {
        return begin_anew(session, segment);
    }
    if session.tcp.has(bits.seq) {
        note_progress(own, segment);
    } else {
        own.seq_end = segment.end();
        own.last_ack = segment.ack;
        session.tcp.set(bits.seq);
    }
    if segment.has(ACK) {
        session.tcp.set(bits.ack);
    }
    if segment.has(FIN) {
        session.tcp.set(bits.fin);
    }
    if segment.has(ACK) && session.tcp.has(bits.other_fin) && other_known && segment.ack == other.seq_end {
        session.tcp.set(bits.other_fin_acked);
    }
    advance(session)
}

/// How far behind the end of what was sent a SYN-ACK may be that is only a repetition: with fast open, data follows it
/// at once (RFC 7413).
const REPEATED: u32 = 1 << 16;

/// Whether the provider accepts a connection in the place of one that is established here: both ends have forgotten
/// that one, and the client uses its port again (RFC 9293 §3.6.1).
fn begins_anew(phase: Phase, direction: Direction, segment: TcpSegment, own: FlowState) -> bool {
    phase == Phase::Established
        && direction == Direction::ToConsumer
        && segment.has(SYN | ACK)
        && own.seq_end.wrapping_sub(segment.end()) >= REPEATED
}

/// What is known of the old connection goes; the numbers are the new one's.
fn begin_anew(session: &mut Session, segment: TcpSegment) -> Change {
    (session.to_consumer.seq_end, session.to_consumer.last_ack) = (segment.end(), segment.ack);
    session.to_service.seq_end = segment.ack;
    let elsewhere = session.tcp.has(Seen::ELSEWHERE);
    session.tcp = Seen(Seen::CONSUMER_SEQ.0 | Seen::PROVIDER_SEQ.0 | Seen::PROVIDER_ACK.0);
    if elsewhere {
        session.tcp.set(Seen::ELSEWHERE);
    }
    session.phase = Phase::Opening;
    Change::Phase
}

/// Moves the phase on: established once both ends have acknowledged each other, closing once both have
/// sent a FIN (a half-closed connection still carries data and stays established).
fn advance(session: &mut Session) -> Change {
    let seen = session.tcp;
    let both = |left: Seen, right: Seen| seen.has(left) && seen.has(right);
    if both(Seen::CONSUMER_FIN_ACKED, Seen::PROVIDER_FIN_ACKED) && !seen.has(Seen::EXACT_CLOSE) {
        session.tcp.set(Seen::EXACT_CLOSE);
        session.phase = Phase::Closing;
        return Change::ExactClose;
    }
    if both(Seen::CONSUMER_FIN, Seen::PROVIDER_FIN) && session.phase != Phase::Closing {
        session.phase = Phase::Closing;
        return Change::Phase;
    }
    if session.phase == Phase::Opening && both(Seen::CONSUMER_ACK, Seen::PROVIDER_ACK) {
        session.phase = Phase::Established;
        return Change::Phase;
    }
    Change::None
}

/// A RST ends the session only at the exact sequence number its receiver expects; any other is passed
/// on and changes nothing, so that an off-path host cannot close a mapping (nat-requirements C-2).
fn reset(session: &mut Session, segment: TcpSegment, bits: Bits, own: FlowState, other: FlowState) -> Change {
    let answers_syn = session.phase == Phase::Opening && segment.has(ACK) && segment.ack == other.seq_end;
    // What its receiver last said it expects, or the next byte after all that was sent to it: it expects that one
    // once what is in flight has come.
    let exact = session.tcp.has(bits.other_ack) && segment.seq == other.last_ack
        || session.tcp.has(bits.seq) && segment.seq == own.seq_end;
    if !(answers_syn || exact) || session.tcp.has(Seen::EXACT_CLOSE) {
        return Change::None;
    }
    session.tcp.set(Seen::EXACT_CLOSE);
    session.phase = Phase::Closing;
    Change::ExactClose
}

/// Keeps the highest sequence end and the newest acknowledgement, modulo 2³² (RFC 9293 §3.4).
#[inline]
fn note_progress(flow: &mut FlowState, segment: TcpSegment) {
    let end = segment.end();
    if end.wrapping_sub(flow.seq_end) < 1 << 31 {
        flow.seq_end = end;
    }
    if segment.has(ACK) {
        flow.last_ack = segment.ack;
    }
}

/// The bits that a segment of one direction sets and asks for.
#[derive(Clone, Copy)]
struct Bits {
    ack: Seen,
    seq: Seen,
    fin: Seen,
    other_ack: Seen,
    other_seq: Seen,
    other_fin: Seen,
    other_fin_acked: Seen,
}

#[inline]
const fn bits_of(direction: Direction) -> Bits {
    match direction {
        Direction::ToService => Bits {
            ack: Seen::CONSUMER_ACK,
            seq: Seen::CONSUMER_SEQ,
            fin: Seen::CONSUMER_FIN,
            other_ack: Seen::PROVIDER_ACK,
            other_seq: Seen::PROVIDER_SEQ,
            other_fin: Seen::PROVIDER_FIN,
            other_fin_acked: Seen::PROVIDER_FIN_ACKED,
        },
        Direction::ToConsumer => Bits {
            ack: Seen::PROVIDER_ACK,
            seq: Seen::PROVIDER_SEQ,
            fin: Seen::PROVIDER_FIN,
            other_ack: Seen::CONSUMER_ACK,
            other_seq: Seen::CONSUMER_SEQ,
            other_fin: Seen::CONSUMER_FIN,
            other_fin_acked: Seen::CONSUMER_FIN_ACKED,
        },
    }
}

/// Sequence numbers at which the end that receives packets of `direction` accepts a RST: the byte it
/// last said it expects, and the highest byte sent to it (they differ while data is in flight).
#[must_use]
pub fn reset_points(session: &Session, direction: Direction) -> [Option<u32>; 2] {
    let bits = bits_of(direction);
    let (own, other) = match direction {
        Direction::ToService => (session.to_service, session.to_consumer),
        Direction::ToConsumer => (session.to_consumer, session.to_service),
    };
    let expected = session.tcp.has(bits.other_ack).then_some(other.last_ack);
    let highest = session.tcp.has(bits.seq).then_some(own.seq_end);
    [expected, highest.filter(|end| Some(*end) != expected)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::table::tests::session;
    use Direction::{ToConsumer, ToService};

    fn segment(flags: u8, seq: u32, ack: u32, payload: u32) -> TcpSegment {
        TcpSegment { seq, ack, flags, payload }
    }

    #[test]
    fn a_handshake_establishes_and_two_acknowledged_fins_close_exactly() {
        let mut s = session(1);
        for (direction, segment, phase, change) in [
            (ToService, segment(SYN, 100, 0, 0), Phase::Opening, Change::None),
            (ToConsumer, segment(SYN | ACK, 900, 101, 0), Phase::Opening, Change::None),
            (ToService, segment(ACK, 101, 901, 0), Phase::Established, Change::Phase),
            (ToService, segment(ACK, 101, 901, 50), Phase::Established, Change::None),
            (ToConsumer, segment(ACK | FIN, 901, 151, 0), Phase::Established, Change::None),
            (ToService, segment(ACK, 151, 902, 10), Phase::Established, Change::None),
            (ToService, segment(ACK | FIN, 161, 902, 0), Phase::Closing, Change::Phase),
            (ToConsumer, segment(ACK, 902, 162, 0), Phase::Closing, Change::ExactClose),
            (ToConsumer, segment(ACK, 902, 162, 0), Phase::Closing, Change::None),
        ] {
            assert_eq!((track(&mut s, direction, segment), s.phase), (change, phase), "{direction:?} {segment:?}");
        }
    }

    #[test]
    fn only_a_reset_at_the_exact_sequence_number_closes() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0));
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
        track(&mut s, ToService, segment(ACK, 101, 901, 0));
        for wrong in [902, 900, 901 + 65_535] {
            assert_eq!(track(&mut s, ToConsumer, segment(RST, wrong, 0, 0)), Change::None, "{wrong}");
            assert_eq!(s.phase, Phase::Established);
        }
        assert_eq!(track(&mut s, ToConsumer, segment(RST, 901, 0, 0)), Change::ExactClose);
    }

    #[test]
    fn a_reset_behind_what_is_in_flight_closes() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0));
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
        track(&mut s, ToService, segment(ACK, 101, 901, 0));
        track(&mut s, ToConsumer, segment(ACK, 901, 101, 500));
        assert_eq!(track(&mut s, ToConsumer, segment(RST, 1_100, 0, 0)), Change::None, "amid it");
        assert_eq!(track(&mut s, ToConsumer, segment(RST, 1_401, 0, 0)), Change::ExactClose);
    }

    /// C-1: both ends have lost the old connection, and the client chose its port again.
    #[test]
    fn a_connection_accepted_in_the_place_of_another_has_its_own_numbers() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0));
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
        track(&mut s, ToService, segment(ACK, 101, 901, 0));
        track(&mut s, ToService, segment(SYN, 3_000_000_000, 0, 0));
        assert_eq!(track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0)), Change::None, "the old one repeated");
        let accepted = segment(SYN | ACK, 3_500_000_000, 3_000_000_001, 0);
        assert_eq!((track(&mut s, ToConsumer, accepted), s.phase), (Change::Phase, Phase::Opening));
        assert_eq!(track(&mut s, ToService, segment(ACK, 3_000_000_001, 3_500_000_001, 0)), Change::Phase);
        assert_eq!(s.phase, Phase::Established);
        assert_eq!(reset_points(&s, ToService), [Some(3_000_000_001), None]);
        assert_eq!(reset_points(&s, ToConsumer), [Some(3_500_000_001), None]);
    }

    #[test]
    fn a_refused_connection_closes_exactly() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0));
        assert_eq!(track(&mut s, ToConsumer, segment(RST | ACK, 0, 101, 0)), Change::ExactClose);
    }

    #[test]
    fn reset_points_cover_what_was_expected_and_what_was_sent() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0));
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
        track(&mut s, ToService, segment(ACK, 101, 901, 0));
        assert_eq!(reset_points(&s, ToConsumer), [Some(901), None], "idle: one point is enough");
        track(&mut s, ToConsumer, segment(ACK, 901, 101, 1_000));
        assert_eq!(reset_points(&s, ToConsumer), [Some(901), Some(1_901)], "data in flight");
        track(&mut s, ToConsumer, segment(ACK, 901, 101, 1_000));
        assert_eq!(s.to_consumer.seq_end, 1_901, "a retransmission moves nothing");
        assert_eq!(reset_points(&s, ToService), [Some(101), None]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, u32::MAX - 1, 0, 0));
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, u32::MAX, 0));
        track(&mut s, ToService, segment(ACK, u32::MAX, 901, 100));
        assert_eq!(s.to_service.seq_end, 99);
    }
}
