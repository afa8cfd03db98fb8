//! SYNs in the place of sessions that are over, half open, or taken for another connection: whoever may still believe in
//! the old one is told.

use super::forged::{FIN, from_client, rejected, resets_go_first, said, spoilt};
use super::*;
use crate::dataplane::session::Phase;

/// The SYN of another connection from the same port.
fn another() -> Packet {
    from_client(SYN, 3_000_000_000, 0)
}

#[test]
fn a_syn_in_the_place_of_a_closing_session_leaves_behind_its_resets() {
    type Close = fn(&mut World, &Packet);
    let reset: Close = |world, _| drop(world.forwarded(CONSUMER, &from_client(RST, 101, 0)));
    let both_know: Close = |world, there| {
        world.forwarded(CONSUMER, &from_client(FIN | ACK, 101, 901));
        world.forwarded(PROVIDER, &there.reply().flags(FIN | ACK).seq(901).ack(102));
        world.forwarded(CONSUMER, &from_client(ACK, 102, 902));
    };
    let by_reset = (vec![(901, 0)], vec![(101, 0)]);
    for (close, told) in [(reset, by_reset), (both_know, (vec![], vec![]))] {
        let mut world = World::new();
        let there = world.connect(40_000);
        close(&mut world, &there);
        assert_eq!(world.only().phase, Phase::Closing);
        let sent = world.deliver(CONSUMER, &another());
        assert_eq!((said(&sent, CONSUMER, RST), said(&sent, PROVIDER, RST)), told);
        assert!(resets_go_first(&sent));
        assert_eq!(said(&sent, PROVIDER, SYN), [(3_000_000_000, 0)]);
        assert_eq!((world.only().phase, world.sessions()), (Phase::Opening, 1));
        world.check_sums();
    }
}

/// Law 5: its ends may have yet to name their numbers.
#[test]
fn a_refused_syn_takes_the_place_of_no_ended_session() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.publish(&rejected());
    world.settle();
    world.sent();
    world.dropped(CONSUMER, &another(), DropReason::NotApprovedRejected);
    let late = there.reply().flags(ACK).seq(901).ack(4_242);
    assert_eq!(said(&world.deliver(PROVIDER, &late), PROVIDER, RST), [(4_242, 0)], "the server is told still");
    let stamp = Stamp { current: Generation(3), valid_since: Generation(2) };
    world.publish(&Rules { stamp, ..Rules::default() });
    world.forwarded(CONSUMER, &another());
    assert_eq!((world.only().phase, world.sessions()), (Phase::Opening, 1), "one that is admitted does");
}

/// A receiver throws it away, so it opens nothing, and closes nothing.
#[test]
fn a_syn_with_a_wrong_checksum_opens_nothing_and_replaces_nothing() {
    let mut world = World::new();
    assert_eq!(world.inject(CONSUMER, spoilt(&from_client(SYN, 100, 0))), 0, "neither forwarded nor answered");
    assert_eq!((world.sessions(), world.drops(DropReason::BadChecksum)), (0, 1));
    world.connect(40_000);
    world.forwarded(CONSUMER, &from_client(RST, 101, 0));
    let opened = world.only().opened;
    world.later(10);
    assert_eq!(world.inject(CONSUMER, spoilt(&another())), 1, "a segment of the closing session, which passes");
    assert_eq!((world.only().phase, world.only().opened), (Phase::Closing, opened));
    world.publish(&rejected());
    world.settle();
    world.sent();
    assert_eq!(world.inject(CONSUMER, spoilt(&another())), 0);
    assert_eq!((world.only().phase, world.only().opened), (Phase::Ended, opened));
    world.check_sums();
}

#[test]
fn a_half_open_session_that_gives_way_is_reset_by_each_syn_that_came() {
    let mut world = World::new();
    world.publish(&Rules { table: 1, ..Rules::default() });
    world.forwarded(CONSUMER, &from_client(SYN, 100, 0));
    world.later(1);
    let there = world.forwarded(CONSUMER, &another());
    world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).seq(900).ack(3_000_000_001));
    let sent = world.deliver(CONSUMER, &tcp("10.1.0.6", 40_000, "10.1.9.4", 5432).flags(SYN).seq(7));
    assert_eq!(said(&sent, PROVIDER, RST), [(101, 0), (3_000_000_001, 0)]);
    assert_eq!(said(&sent, CONSUMER, RST), [(901, 0)], "who was answered knows as well");
    assert!(resets_go_first(&sent));
    assert_eq!(world.sessions(), 1);
}

/// Law 5, beside a flood of SYNs: whoever has yet to hear that its connection is over finds somebody who says so.
#[test]
fn half_open_sessions_make_room_before_one_that_was_just_ended() {
    let mut world = World::new();
    world.publish(&Rules { table: 2, ..Rules::default() });
    let there = world.connect(40_000);
    let second = Stamp { current: Generation(2), valid_since: Generation(2) };
    world.publish(&Rules { table: 2, stamp: second, ..Rules::default() });
    world.settle();
    world.sent();
    let syn = |port| tcp("10.1.0.6", port, "10.1.9.4", 5432).flags(SYN).seq(7);
    let late = there.reply().flags(ACK).seq(901).ack(4_242);
    for port in 30_000..30_010 {
        world.deliver(CONSUMER, &syn(port));
        assert_eq!(said(&world.deliver(PROVIDER, &late), PROVIDER, RST), [(4_242, 0)], "after {port}");
    }
    assert_eq!(world.sessions(), 2);
    // Later it makes room before what somebody opens.
    world.later(31);
    let newest = world.forwarded(CONSUMER, &syn(31_000));
    world.forwarded(PROVIDER, &newest.reply().flags(SYN | ACK).seq(900).ack(8));
    world.dropped(PROVIDER, &late, DropReason::NoSession);
    assert_eq!(world.sessions(), 2);
}

/// The numbers on which a session goes on may be those of somebody who speaks for both ends: a revocation asks the ends
/// all the same.
#[test]
fn ends_are_asked_at_a_revocation_whatever_numbers_were_taken_before() {
    type Spoil = fn(&mut World, &Packet);
    let rival: Spoil = |world, there| {
        world.forwarded(CONSUMER, &another());
        world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).seq(900_000).ack(3_000_000_001));
        world.later(20);
        world.forwarded(CONSUMER, &from_client(ACK, 3_000_000_001, 900_001));
    };
    let answers: Spoil = |world, there| {
        let limit = Tick::span(Duration::from_mins(124));
        world.later(limit - 10);
        world.forwarded(CONSUMER, &from_client(ACK, 3_000_000_001, 900_001));
        world.later(30);
        world.settle();
        world.sent();
        world.forwarded(CONSUMER, &from_client(ACK, 3_000_000_001, 900_001));
        world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(900_001).ack(3_000_000_001));
        world.later(6);
        world.settle();
        world.sent();
    };
    for spoil in [rival, answers] {
        let mut world = World::new();
        let there = world.connect(40_000);
        spoil(&mut world, &there);
        assert_eq!((world.only().phase, world.only().to_service.seq_end), (Phase::Established, 3_000_000_001));
        world.publish(&rejected());
        world.settle();
        let sent = world.sent();
        assert_eq!((said(&sent, CONSUMER, ACK).len(), said(&sent, PROVIDER, ACK).len()), (2, 2));
    }
}
