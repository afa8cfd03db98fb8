//! What somebody sends in the name of an end of a connection, and what an end sends that has lost its own: everything
//! passes, and nothing but the connection's own segments changes what the packet path knows of it.

use super::packets::Body;
use super::*;
use crate::dataplane::session::{Direction, Phase, Session};

pub(super) const FIN: u8 = 1;

pub(super) fn rejected() -> Rules {
    let stamp = Stamp { current: Generation(2), valid_since: Generation(2) };
    Rules { state: Rejected, stamp, ..Rules::default() }
}

pub(super) fn from_client(flags: u8, seq: u32, ack: u32) -> Packet {
    tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(flags).seq(seq).ack(ack)
}

/// What a packet of TCP says: where, flags, sequence and acknowledgement number.
pub(super) fn said(sent: &[(AttachmentId, Packet)], at: AttachmentId, of: u8) -> Vec<(u32, u32)> {
    let tcp = |packet: &Packet| {
        let Body::Tcp { flags, seq, ack, .. } = packet.body else { return None };
        (flags == of).then_some((seq, ack))
    };
    sent.iter().filter(|(to, _)| *to == at).filter_map(|(_, packet)| tcp(packet)).collect()
}

impl World {
    /// The only session.
    pub(super) fn only(&self) -> &Session {
        let sessions = self.workers[0].forwarder().sessions();
        (0..sessions.extent()).find_map(|at| sessions.get(sessions.occupied(at)?)).expect("a session")
    }

    pub(super) fn later(&mut self, ticks: u32) {
        self.now = Tick(self.now.0 + ticks);
    }
}

/// A bad checksum, which the receiver throws away.
pub(super) fn spoilt(packet: &Packet) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[vnet::LENGTH + 20 + 16] ^= 0x55;
    frame
}

impl World {
    pub(super) fn inject(&mut self, at: AttachmentId, frame: Vec<u8>) -> usize {
        self.workers[0].ends().0[usize::from(at.0)].push(frame);
        self.settle();
        let sent: usize = self.workers[0].ends().1.iter_mut().map(|sink| sink.sent.drain(..).count()).sum();
        sent
    }
}

#[test]
fn four_blind_packets_close_nothing_whatever_their_checksum() {
    for intact in [true, false] {
        let mut world = World::new();
        let there = world.connect(40_000);
        world.later(50);
        for number in [5_000_000, 5_000_000 + (1 << 31)] {
            for packet in [from_client(ACK, 101, number), from_client(ACK, number, 901)] {
                assert_eq!(world.inject(CONSUMER, if intact { packet.frame() } else { spoilt(&packet) }), 1);
            }
            let reset = there.reply().flags(RST).seq(number);
            assert_eq!(world.inject(PROVIDER, if intact { reset.frame() } else { spoilt(&reset) }), 1, "it passes");
        }
        let session = world.only();
        assert_eq!((session.phase, session.last_seen), (Phase::Established, Tick(1_000)), "not even its idle time");
    }
}

#[test]
fn a_wrong_checksum_opens_and_closes_nothing() {
    let mut world = World::new();
    let there = world.connect(40_000);
    for (at, packet) in [
        (CONSUMER, from_client(RST, 101, 0)),
        (PROVIDER, there.reply().flags(RST).seq(901)),
        (CONSUMER, from_client(FIN | ACK, 101, 901)),
        (PROVIDER, there.reply().flags(FIN | ACK).seq(901).ack(101)),
        (CONSUMER, from_client(SYN, 7_000, 0)),
    ] {
        assert_eq!(world.inject(at, spoilt(&packet)), 1, "it passes");
    }
    assert_eq!(world.only().phase, Phase::Established);
    let mut validated = spoilt(&from_client(RST, 101, 0));
    validated[0] = vnet::DATA_VALID;
    world.inject(CONSUMER, validated);
    assert_eq!(world.only().phase, Phase::Closing, "a checksum that the kernel has verified is right");
    let mut world = World::new();
    world.connect(40_000);
    world.inject(CONSUMER, from_client(RST, 101, 0).partial_frame());
    assert_eq!(world.only().phase, Phase::Closing, "and one that it completes");
}

#[test]
fn three_blind_packets_and_a_syn_leave_a_connection_as_it_is() {
    let number = 77_000_000;
    let back = |world: &mut World, flags, payload: &[u8]| {
        let there = world.only().clone();
        let packet = tcp("10.20.0.2", 5432, "10.20.99.4", there.nat_port).flags(flags).seq(number).payload(payload);
        let nat = world.workers[0].forwarder().sessions().find_any(&there.consumer_key(&addresses_of(world))).is_some();
        assert!(nat);
        world.deliver(
            PROVIDER,
            &Packet { destination: addresses_of(world).nat.ip().to_string().parse().expect("v4"), ..packet },
        );
    };
    for variant in 0..3 {
        let mut world = World::new();
        let there = world.connect(40_000);
        match variant {
            0 => {
                world.forwarded(CONSUMER, &from_client(ACK, number, 901).payload(b"x"));
                world.forwarded(CONSUMER, &from_client(RST, number + 1, 0));
            }
            1 => {
                back(&mut world, ACK, b"x");
                back(&mut world, RST, b"");
            }
            _ => {
                world.forwarded(CONSUMER, &from_client(FIN | ACK, number, number));
                back(&mut world, FIN | ACK, b"");
            }
        }
        world.later(10);
        let syn = world.forwarded(CONSUMER, &from_client(SYN, 3_000_000_000, 0));
        assert_eq!(syn.ports(), there.ports(), "the SYN passes by the same NAT port");
        assert_eq!((world.sessions(), world.only().phase), (1, Phase::Established));
        // The server's challenge leaves all as it was (RFC 5961 §4).
        world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(901).ack(101));
        world.forwarded(CONSUMER, &from_client(ACK, 101, 901).payload(b"on"));
        assert_eq!(world.only().phase, Phase::Established);
        assert_eq!(world.only().to_service.seq_end, 103);
    }
}

fn addresses_of(world: &World) -> crate::dataplane::session::Addresses {
    let sessions = world.workers[0].forwarder().sessions();
    let slot = (0..sessions.extent()).find_map(|at| sessions.occupied(at)).expect("a session");
    sessions.addresses(slot)
}

#[test]
fn one_blind_syn_ack_shortens_no_idle_time() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).seq(4_000_000).ack(9_000_000));
    let session = world.only();
    assert_eq!((session.phase, session.idle_limit), (Phase::Established, Tick::span(Duration::from_mins(124))));
    assert_eq!((session.to_consumer.seq_end, session.to_service.last_ack), (901, 901));
}

/// A client that lost its connection opens another from the same port, and the service has lost it as well.
#[test]
fn another_connection_takes_the_place_of_one_that_is_silent_for_two_seconds() {
    let (isn, back) = (3_000_000_000, 3_500_000_000);
    let mut world = World::new();
    let there = world.connect(40_000);
    world.later(100);
    let seen = world.only().last_seen;
    world.forwarded(CONSUMER, &from_client(SYN, isn, 0));
    let answer = there.reply().flags(SYN | ACK).seq(back).ack(isn + 1);
    world.forwarded(PROVIDER, &answer);
    assert_eq!(
        (world.only().last_seen, world.only().to_service.seq_end),
        (seen, 101),
        "both passed, and changed nothing"
    );
    // The old server speaks after all: not yet.
    world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(901).ack(101).payload(b"old"));
    world.forwarded(CONSUMER, &from_client(ACK, isn + 1, back + 1));
    world.later(19);
    world.forwarded(CONSUMER, &from_client(ACK, isn + 1, back + 1).payload(b"new"));
    assert_eq!(world.only().to_service.seq_end, 101);
    world.later(1);
    let data = world.forwarded(CONSUMER, &from_client(ACK, isn + 4, back + 1).payload(b"new"));
    assert_eq!(data.ports(), there.ports());
    let session = world.only();
    assert_eq!((session.to_service.seq_end, session.to_consumer.seq_end), (isn + 7, back + 1));
    assert_eq!((session.phase, session.last_seen, world.sessions()), (Phase::Established, world.now, 1));
    world.forwarded(PROVIDER, &there.reply().flags(RST).seq(901));
    assert_eq!(world.only().phase, Phase::Established, "the old numbers are nobody's");
    world.forwarded(PROVIDER, &there.reply().flags(RST).seq(back + 1));
    assert_eq!(world.only().phase, Phase::Closing);
}

#[test]
fn a_revocation_meanwhile_resets_at_both_sets_of_numbers() {
    let (isn, back) = (3_000_000_000, 3_500_000_000);
    let mut world = World::new();
    let there = world.connect(40_000);
    world.forwarded(CONSUMER, &from_client(SYN, isn, 0));
    world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).seq(back).ack(isn + 1));
    world.forwarded(CONSUMER, &from_client(ACK, isn + 1, back + 1));
    world.publish(&rejected());
    world.settle();
    let sent = world.sent();
    assert_eq!(said(&sent, CONSUMER, RST), [(901, 0), (back + 1, 0)]);
    assert_eq!(said(&sent, PROVIDER, RST), [(101, 0), (isn + 1, 0)]);
}

/// RFC 5961 §4.2: the server, which has the connection still, challenges; the client, which has not, resets it.
#[test]
fn a_syn_repeated_after_a_challenge_leaves_from_the_same_nat_port() {
    let mut world = World::new();
    let there = world.connect(40_000);
    let syn = from_client(SYN, 3_000_000_000, 0);
    world.forwarded(CONSUMER, &syn);
    world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(901).ack(101));
    world.forwarded(CONSUMER, &from_client(RST, 101, 0));
    assert_eq!(world.only().phase, Phase::Closing);
    world.later(10);
    let again = world.forwarded(CONSUMER, &syn);
    assert_eq!((again.source, again.ports()), (there.source, there.ports()));
    assert_eq!((world.only().phase, world.only().opened), (Phase::Opening, world.now), "a new admission");
    world.publish(&Rules {
        max_sessions: 0,
        stamp: Stamp { current: Generation(3), valid_since: Generation(1) },
        ..Rules::default()
    });
    world.forwarded(CONSUMER, &from_client(RST, 3_000_000_001, 0));
    world.dropped(CONSUMER, &syn, DropReason::SessionLimit);
}

#[test]
fn three_syns_that_nobody_answers_end_a_session_only_after_a_second_of_silence() {
    for answers in [false, true] {
        let mut world = World::new();
        let there = world.connect(40_000);
        let syn = from_client(SYN, 3_000_000_000, 0);
        world.later(10);
        for _ in 0..5 {
            world.forwarded(CONSUMER, &syn);
        }
        for ticks in [10, 19] {
            world.later(ticks);
            assert_eq!(world.deliver(CONSUMER, &syn).len(), 1, "before three seconds nobody is asked");
        }
        world.later(1);
        let sent = world.deliver(CONSUMER, &syn);
        assert_eq!(said(&sent, PROVIDER, ACK), [(100, 901), (101 + (1 << 31), 901)], "the server is asked");
        assert_eq!(said(&sent, CONSUMER, ACK), [(900, 101), (901 + (1 << 31), 101)], "the client is asked");
        if answers {
            world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(901).ack(101));
        }
        world.later(9);
        world.settle();
        assert_eq!(world.only().phase, Phase::Established, "within the second");
        world.later(1);
        world.settle();
        assert_eq!(world.only().phase, if answers { Phase::Established } else { Phase::Ended }, "{answers}");
        world.sent();
        let next = world.forwarded(CONSUMER, &syn);
        assert_eq!(next.ports() == there.ports(), answers, "a dead server's port is in quarantine");
    }
}

/// Closes a connection in the packet path's eyes.
fn close(world: &mut World, there: &Packet) {
    world.forwarded(CONSUMER, &from_client(RST, 101, 0));
    assert_eq!(world.only().phase, Phase::Closing);
    world.forwarded(CONSUMER, &from_client(ACK, 101, 901).payload(b"still"));
    world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(901).ack(106).payload(b"here"));
}

#[test]
fn a_closing_session_lives_again_when_both_ends_go_on() {
    let mut world = World::new();
    world.publish(&Rules { max_sessions: 1, ..Rules::default() });
    let there = world.connect(40_000);
    close(&mut world, &there);
    assert_eq!(world.only().phase, Phase::Closing, "not acknowledged by both");
    world.forwarded(CONSUMER, &from_client(ACK, 106, 905));
    assert_eq!((world.only().phase, world.only().is_live()), (Phase::Established, true));
    world.dropped(CONSUMER, &tcp("10.1.0.5", 40_001, "10.1.9.4", 5432).flags(SYN), DropReason::SessionLimit);
    world.forwarded(CONSUMER, &from_client(RST, 106, 0));
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_001, "10.1.9.4", 5432).flags(SYN));
}

#[test]
fn a_closing_session_that_lives_is_reset_where_its_limit_is_full() {
    let mut world = World::new();
    world.publish(&Rules { max_sessions: 1, ..Rules::default() });
    let there = world.connect(40_000);
    close(&mut world, &there);
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_001, "10.1.9.4", 5432).flags(SYN));
    let sent = world.deliver(CONSUMER, &from_client(ACK, 106, 905));
    let points = |at| said(&sent, at, RST).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    assert_eq!((points(CONSUMER), points(PROVIDER)), (vec![905], vec![106]));
    assert_eq!(world.drops(DropReason::SessionLimit), 1);
}

#[test]
fn a_port_is_used_again_only_after_both_ends_of_its_session_were_reset() {
    let mut world = World::new();
    world.publish(&Rules { nat: vec!["10.20.99.4"], ..Rules::default() });
    let closed = world.connect(1_024);
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 1_024, "10.1.9.4", 5432).flags(RST).seq(101));
    for port in 1_025..=u16::MAX {
        world.deliver(CONSUMER, &tcp("10.1.0.6", port, "10.1.9.4", 5432).flags(SYN));
    }
    world.later(10);
    let sent = world.deliver(CONSUMER, &tcp("10.1.0.7", 9_999, "10.1.9.4", 5432).flags(SYN));
    let syn = sent.iter().rfind(|(at, _)| *at == PROVIDER).expect("the SYN");
    assert_eq!(syn.1.ports().0, closed.ports().0);
    assert_eq!((said(&sent, CONSUMER, RST), said(&sent, PROVIDER, RST)), (vec![(901, 0)], vec![(101, 0)]));
}

/// On each side, nothing else leaves before the last reset.
pub(super) fn resets_go_first(sent: &[(AttachmentId, Packet)]) -> bool {
    let is_reset = |packet: &Packet| matches!(packet.body, Body::Tcp { flags, .. } if flags & RST != 0);
    [CONSUMER, PROVIDER].into_iter().all(|side| {
        let of: Vec<bool> = sent.iter().filter(|(at, _)| *at == side).map(|(_, packet)| is_reset(packet)).collect();
        of.is_sorted_by(|one, next| one >= next)
    })
}

/// Law 5: ends whose numbers may be others are asked, and each answer is reset at its own number.
#[test]
fn every_end_is_reset_at_the_number_that_it_names() {
    let mut world = World::new();
    let there = world.connect(40_000);
    for number in [5_000_000, 2_900_000_000] {
        world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).seq(number).ack(number));
        world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(number).ack(number).payload(b"forged"));
        world.forwarded(CONSUMER, &from_client(ACK, number, number).payload(b"forged"));
    }
    world.publish(&Rules { answer: false, ..rejected() });
    world.settle();
    let sent = world.sent();
    assert_eq!((said(&sent, CONSUMER, RST), said(&sent, PROVIDER, RST)), (vec![(901, 0)], vec![(101, 0)]));
    assert!(resets_go_first(&sent));
    for (after, rounds) in [(0, 1), (5, 0), (1, 1), (5, 0), (1, 1), (7, 0), (1, 1), (5, 0), (1, 1), (50, 0)] {
        let sent = if after == 0 {
            sent.clone()
        } else {
            world.later(after);
            world.settle();
            world.sent()
        };
        let wanted = if rounds == 1 { (TO_CLIENT.to_vec(), TO_SERVER.to_vec()) } else { (vec![], vec![]) };
        assert_eq!((said(&sent, CONSUMER, ACK), said(&sent, PROVIDER, ACK)), wanted, "after {after} more ticks");
    }
}

/// What the ends of the connection of these tests are asked.
const TO_CLIENT: [(u32, u32); 2] = [(900, 101), (901 + (1 << 31), 101)];
const TO_SERVER: [(u32, u32); 2] = [(100, 901), (101 + (1 << 31), 901)];

/// A host that has no such connection answers a question with a reset at the question's number, which nobody else knows.
#[test]
fn an_end_that_answers_a_question_with_a_reset_is_asked_no_more() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.forwarded(CONSUMER, &from_client(ACK, 5_000_000, 5_000_000).payload(b"forged"));
    world.publish(&rejected());
    world.settle();
    assert_eq!(said(&world.sent(), CONSUMER, ACK), TO_CLIENT);
    let client = |seq| (CONSUMER, from_client(RST, seq, 0));
    let server = |seq| (PROVIDER, there.reply().flags(RST).seq(seq));
    let (both, only_client) = ((TO_CLIENT.to_vec(), TO_SERVER.to_vec()), (TO_CLIENT.to_vec(), vec![]));
    for (resets, after, wanted, what) in [
        (vec![client(100), client(5_000_000), server(902)], 6, both, "somebody who guesses"),
        (vec![server(901)], 6, only_client, "the server has none any more"),
        (vec![client(101)], 8, (vec![], vec![]), "nor the client"),
    ] {
        for (at, packet) in resets {
            assert_eq!(world.deliver(at, &packet), [], "nobody answers a reset");
        }
        world.later(after);
        world.settle();
        let sent = world.sent();
        assert_eq!((said(&sent, CONSUMER, ACK), said(&sent, PROVIDER, ACK)), wanted, "{what}");
    }
    assert!(!world.workers[0].forwarder().state.sessions.is_asking());
}

#[test]
fn an_ended_session_answers_outside_every_limit_and_ten_times_a_second_later() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.publish(&Rules { answer: false, silent: Some(true), ..rejected() });
    world.settle();
    world.sent();
    let late = from_client(ACK, 101, 4_242);
    let answers = |world: &mut World, count: usize| {
        (0..count).map(|_| said(&world.deliver(CONSUMER, &late), CONSUMER, RST).len()).sum::<usize>()
    };
    assert_eq!(answers(&mut world, 2_500), 2_500, "each in the first three seconds");
    assert_eq!(world.inject(CONSUMER, spoilt(&from_client(ACK, 101, 1))), 0, "no answer to a bad checksum");
    assert_eq!(world.deliver(CONSUMER, &from_client(RST, 101, 0)), [], "none to a reset");
    world.later(31);
    assert_eq!(answers(&mut world, 10), 1);
    world.later(1);
    assert_eq!(answers(&mut world, 10), 1);
    drop(there);
}

#[test]
fn the_port_of_a_killed_session_rests_until_the_servers_end_has_answered() {
    for (answer, is_over) in [(None, false), (Some(RST), true), (Some(ACK), true)] {
        let mut world = World::new();
        world.publish(&Rules { nat: vec!["10.20.99.4"], ..Rules::default() });
        let there = world.connect(1_024);
        let stamp = Stamp { current: Generation(2), valid_since: Generation(2) };
        world.publish(&Rules { nat: vec!["10.20.99.4"], stamp, ..Rules::default() });
        world.settle();
        let sent = world.sent();
        assert_eq!(said(&sent, PROVIDER, ACK), [(100, 901)], "only the server is asked, once");
        assert_eq!(said(&sent, CONSUMER, ACK), []);
        if let Some(flags) = answer {
            world.deliver(PROVIDER, &there.reply().flags(flags).seq(901).ack(101));
        }
        world.later(11);
        world.settle();
        let ports = world.workers[0].forwarder().published().nat_ports();
        let quarantined: u64 = ports.by_address.iter().map(|of| of.quarantined).sum();
        assert_eq!(quarantined, u64::from(is_over), "{answer:?}");
    }
}

#[test]
fn directions_are_each_others_opposite() {
    assert_eq!(Direction::ToService.opposite(), Direction::ToConsumer);
    assert_eq!(Direction::ToConsumer.opposite(), Direction::ToService);
}
