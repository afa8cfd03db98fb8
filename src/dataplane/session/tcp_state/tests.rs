//! What a session learns of segments.

use super::*;
use crate::dataplane::session::table::tests::session;
use Direction::{ToConsumer, ToService};

fn segment(flags: u8, seq: u32, ack: u32, payload: u32) -> TcpSegment {
    TcpSegment { seq, ack, flags, window: 65_000, payload }
}

/// Notes a segment as the packet path does.
fn note(s: &mut Session, direction: Direction, segment: TcpSegment) -> Option<Change> {
    if goes_on(s, direction, segment) { Some(Change::None) } else { track(s, direction, segment, None) }
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
        assert_eq!((note(&mut s, direction, segment), s.phase), (Some(change), phase), "{direction:?} {segment:?}");
    }
}

#[test]
fn only_a_reset_at_the_exact_sequence_number_closes() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
    note(&mut s, ToService, segment(ACK, 101, 901, 0));
    for wrong in [902, 900, 901 + 65_535] {
        assert_eq!(note(&mut s, ToConsumer, segment(RST, wrong, 0, 0)), None, "{wrong}");
        assert_eq!(s.phase, Phase::Established);
    }
    assert_eq!(note(&mut s, ToConsumer, segment(RST, 901, 0, 0)), Some(Change::ExactClose));
}

#[test]
fn a_reset_behind_what_is_in_flight_closes() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
    note(&mut s, ToService, segment(ACK, 101, 901, 0));
    note(&mut s, ToConsumer, segment(ACK, 901, 101, 500));
    assert_eq!(note(&mut s, ToConsumer, segment(RST, 1_100, 0, 0)), None, "amid it");
    assert_eq!(note(&mut s, ToConsumer, segment(RST, 1_401, 0, 0)), Some(Change::ExactClose));
}

/// An established connection: the consumer sends from 101, the service from 901, and each has a window of 65,536.
fn established() -> Session {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
    note(&mut s, ToService, segment(ACK, 101, 901, 0));
    s
}

/// C-3: the four bounds, at their edges.
#[test]
fn what_lies_within_the_windows_moves_the_numbers_and_nothing_else_does() {
    let window = 65_536_u32;
    let early = |number: u32, by: u32| number.wrapping_sub(by);
    for (what, seq, ack, payload, inside) in [
        ("the next byte", 101, 901, 10, true),
        ("a keep-alive", 100, 901, 0, true),
        ("a keep-alive with a byte", 100, 901, 1, true),
        ("the last byte that the window allows", 101 + window, 901, 1, true),
        ("beyond the window", 102 + window, 901, 1, false),
        ("a retransmission of all that fits", early(101, window), 901, 0, true),
        ("what nobody can want any more", early(100, window), 901, 0, false),
        ("an acknowledgement of what was not sent", 101, 902, 0, false),
        ("an old acknowledgement", 101, early(901, 66_000), 0, true),
        ("one too old", 101, early(901, 66_001), 0, false),
        ("far away", 101 + (1 << 31), 901, 0, false),
    ] {
        let mut s = established();
        let before = (s.to_service, s.to_consumer, s.windows);
        assert_eq!(goes_on(&mut s, ToService, segment(ACK, seq, ack, payload)), inside, "{what}");
        assert!(inside || before == (s.to_service, s.to_consumer, s.windows), "{what}");
        assert_eq!(s.to_service.last_ack, 901, "{what}: no acknowledgement goes back");
    }
}

#[test]
fn windows_grow_by_their_scale_where_both_ends_offer_one() {
    for (offers, scale, of_service) in
        [((Some(7), Some(9)), 7, 9), ((Some(7), None), 0, 0), ((None, Some(9)), 0, 0), ((Some(0), Some(9)), 0, 9)]
    {
        let mut s = session(1);
        track(&mut s, ToService, segment(SYN, 100, 0, 0), offers.0);
        track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0), offers.1);
        assert_eq!(s.windows.largest(ToService), 1 << 16, "that of a SYN is not scaled");
        note(&mut s, ToService, segment(ACK, 101, 901, 0));
        assert_eq!(s.windows.largest(ToService), 65_536 << scale, "{offers:?}");
        note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
        assert_eq!(s.windows.largest(ToConsumer), 1 << 16, "nor that of a SYN repeated late");
        note(&mut s, ToConsumer, segment(ACK, 901, 101, 0));
        assert_eq!(s.windows.largest(ToConsumer), 65_536 << of_service, "{offers:?}");
        let far = 901 + (65_536 << scale);
        assert!(goes_on(&mut s, ToConsumer, segment(ACK, far, 101, 1)), "{offers:?}");
    }
}

/// Whoever sends it in the service's name need not know a number.
#[test]
fn a_crossing_syn_takes_no_scale_away() {
    let mut s = session(1);
    track(&mut s, ToService, segment(SYN, 100, 0, 0), Some(7));
    assert_eq!(track(&mut s, ToConsumer, segment(SYN, 7_000, 0, 0), None), Some(Change::None));
    track(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0), Some(9));
    note(&mut s, ToService, segment(ACK, 101, 901, 0));
    assert_eq!((s.windows.scale(ToService), s.windows.scale(ToConsumer)), (7, 9));
    assert_eq!(s.windows.largest(ToService), 65_536 << 7);
}

/// Issue: an ACK, then a RST at its number; a FIN at impossible numbers from both sides; a SYN-ACK out of nowhere.
#[test]
fn no_blind_segment_changes_anything() {
    for number in [5_000_000, 5_000_000 + (1 << 31)] {
        let mut s = established();
        let before = (s.to_service, s.to_consumer, s.phase, s.tcp);
        for (direction, flags, seq, ack) in [
            (ToService, ACK, 101, number),
            (ToService, ACK, number, number),
            (ToConsumer, RST, number, 0),
            (ToConsumer, ACK, number, number),
            (ToService, RST, number, 0),
            (ToService, FIN, number, 0),
            (ToConsumer, FIN | ACK, number, number),
            (ToConsumer, SYN | ACK, number, number),
            (ToConsumer, SYN, number, 0),
            (ToService, SYN, number, 0),
            (ToService, SYN | ACK, number, number),
            (ToService, 0, 101, 0),
        ] {
            assert_eq!(note(&mut s, direction, segment(flags, seq, ack, 0)), None, "{direction:?} {flags} {seq}");
        }
        assert_eq!(before, (s.to_service, s.to_consumer, s.phase, s.tcp));
    }
}

#[test]
fn an_answer_that_acknowledges_another_syn_opens_nothing() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    assert_eq!(note(&mut s, ToConsumer, segment(SYN | ACK, 7_000, 5_000, 0)), None);
    assert_eq!(note(&mut s, ToConsumer, segment(SYN, 7_000, 0, 0)), Some(Change::None), "SYNs may cross");
    assert_eq!(note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0)), Some(Change::None), "the real one");
    assert_eq!(note(&mut s, ToService, segment(SYN, 100, 0, 0)), Some(Change::None), "repeated");
    assert_eq!(note(&mut s, ToService, segment(ACK, 101, 7_001, 0)), None);
    assert_eq!(note(&mut s, ToService, segment(ACK, 101, 901, 0)), Some(Change::Phase));
    assert_eq!(note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0)), Some(Change::None), "repeated late");
}

#[test]
fn a_refused_connection_closes_exactly() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    assert_eq!(note(&mut s, ToConsumer, segment(RST | ACK, 0, 101, 0)), Some(Change::ExactClose));
}

#[test]
fn reset_points_cover_what_was_expected_and_what_was_sent() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, 100, 0, 0));
    note(&mut s, ToConsumer, segment(SYN | ACK, 900, 101, 0));
    note(&mut s, ToService, segment(ACK, 101, 901, 0));
    assert_eq!(reset_points(&s, ToConsumer), [Some(901), None], "idle: one point is enough");
    note(&mut s, ToConsumer, segment(ACK, 901, 101, 1_000));
    assert_eq!(reset_points(&s, ToConsumer), [Some(901), Some(1_901)], "data in flight");
    note(&mut s, ToConsumer, segment(ACK, 901, 101, 1_000));
    assert_eq!(s.to_consumer.seq_end, 1_901, "a retransmission moves nothing");
    assert_eq!(reset_points(&s, ToService), [Some(101), None]);
}

#[test]
fn sequence_numbers_wrap() {
    let mut s = session(1);
    note(&mut s, ToService, segment(SYN, u32::MAX - 1, 0, 0));
    note(&mut s, ToConsumer, segment(SYN | ACK, 900, u32::MAX, 0));
    note(&mut s, ToService, segment(ACK, u32::MAX, 901, 100));
    assert_eq!(s.to_service.seq_end, 99);
}
