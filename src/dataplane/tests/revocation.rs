//! Law 5: revocation cuts at once, tells both ends, and leaves nothing behind; and the other ways in
//! which sessions end.

use super::packets::Body;
use super::*;

fn rejected(generation: u32) -> Rules {
    let stamp = Stamp { current: Generation(generation), valid_since: Generation(generation) };
    Rules { state: Rejected, stamp, ..Rules::default() }
}

/// (attachment, sequence number) of every reset among `sent`.
fn resets(sent: &[(AttachmentId, Packet)]) -> Vec<(AttachmentId, u32)> {
    sent.iter()
        .filter_map(|(at, packet)| {
            let Body::Tcp { flags, seq, .. } = packet.body else { return None };
            (flags & RST != 0).then_some((*at, seq))
        })
        .collect()
}

#[test]
fn each_of_64k_idle_sessions_is_reset_at_both_ends_without_sending_anything() {
    const SESSIONS: usize = 64_000;
    let mut world = World::new();
    for number in 0..SESSIONS {
        world.connect_from(&format!("10.1.1.{}", number / 500), 20_000 + (number % 500) as u16);
    }
    world.publish(&rejected(2));
    let began = world.now;
    world.settle();
    let took = world.now.since(began);
    assert!((1..=26).contains(&took), "in {took} ticks: not all at once, and soon");
    let (sent, asked): (Vec<_>, Vec<_>) = {
        let sent = world.sent();
        assert!(forged::resets_go_first(&sent), "then each server is asked, as fast");
        sent.into_iter().partition(|(_, packet)| matches!(packet.body, Body::Tcp { flags: RST, .. }))
    };
    assert_eq!(asked.len(), SESSIONS);
    assert!(asked.iter().all(|(at, packet)| (*at, &packet.payload[..]) == (PROVIDER, &[])));
    assert!(resets(&sent).iter().all(|(at, seq)| *seq == if *at == CONSUMER { 901 } else { 101 }));
    let told: std::collections::HashSet<(AttachmentId, Ipv4Addr, u16)> = sent
        .iter()
        .map(|(at, packet)| {
            (*at, if *at == CONSUMER { packet.destination } else { packet.source }, consumer_port(*at, packet))
        })
        .collect();
    assert_eq!((told.len(), sent.len()), (2 * SESSIONS, 2 * SESSIONS), "each end of each session, once");
}

#[test]
fn resets_go_on_by_the_millisecond() {
    let mut world = World::new();
    for number in 0..6_000_u16 {
        world.connect_from(&format!("10.1.1.{}", number / 500), 20_000 + number % 500);
    }
    world.publish(&rejected(2));
    let mut reset_by = |millisecond: u64| {
        let now = Moment::after(Duration::from_millis(u64::from(world.now.0) * Tick::MILLISECONDS + millisecond));
        while world.workers[0].batch([], now).expect("memory") {}
        assert!(world.workers[0].forwarder().state.sessions.is_paced());
        resets(&world.sent()).len() / 2
    };
    assert_eq!([0, 0, 1, 2, 5].map(&mut reset_by), [5_200, 0, 52, 52, 156]);
}

/// The port that tells a session apart: the consumer's own, or the NAT port towards the provider.
fn consumer_port(at: AttachmentId, packet: &Packet) -> u16 {
    if at == CONSUMER { packet.ports().1 } else { packet.ports().0 }
}

#[test]
fn resets_cover_both_the_expected_and_the_sent_byte_when_data_is_in_flight() {
    let mut world = World::new();
    let there = world.connect(40_000);
    let data = there.reply().flags(ACK).seq(901).ack(101).payload(&[1; 500]);
    world.forwarded(PROVIDER, &data);
    world.publish(&rejected(2));
    world.settle();
    let mut found = resets(&world.sent());
    found.sort_unstable();
    assert_eq!(found, [(CONSUMER, 901), (CONSUMER, 1_401), (PROVIDER, 101)]);
}

#[test]
fn nothing_is_forwarded_from_the_first_batch_with_the_new_rules() {
    let mut world = World::new();
    let there = world.connect(40_000);
    let answer = world.connect(40_001);
    world.publish(&rejected(2));
    let segment = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901).payload(b"secret");
    let late = answer.reply().flags(ACK).seq(901).ack(101).payload(b"secret");
    for (at, packet) in [(CONSUMER, segment), (PROVIDER, there.reply().flags(ACK).payload(b"secret")), (PROVIDER, late)]
    {
        world.workers[0].ends().0[usize::from(at.0)].push(packet.frame());
    }
    world.settle();
    let sent = world.sent();
    assert!(sent.iter().all(|(_, packet)| packet.payload.is_empty()), "{sent:?}");
    assert_eq!(world.drops(DropReason::SessionEnded), 3);
}

#[test]
fn a_late_segment_is_answered_at_its_own_acknowledgement() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.publish(&rejected(2));
    world.settle();
    world.sent();
    let late = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(7_777).payload(b"x");
    assert_eq!(resets(&world.deliver(CONSUMER, &late)), [(CONSUMER, 7_777)]);
    let late = there.reply().flags(ACK).seq(901).ack(3_333);
    assert_eq!(resets(&world.deliver(PROVIDER, &late)), [(PROVIDER, 3_333)]);
    world.now = Tick(world.now.0 + lifecycle::TOMBSTONE + 20);
    world.settle();
    assert_eq!(world.sessions(), 0, "the tombstone goes after a minute");
    world.dropped(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.4", 5432), DropReason::NotApprovedRejected);
}

#[test]
fn approving_again_revives_no_session_but_admits_new_ones() {
    let mut world = World::new();
    world.connect(40_000);
    // Both changes fall between two batches: the worker never sees the rejection itself.
    world.publish(&rejected(2));
    let stamp = Stamp { current: Generation(3), valid_since: Generation(2) };
    world.publish(&Rules { stamp, ..Rules::default() });
    world.settle();
    assert_eq!(resets(&world.sent()).len(), 2, "the old session is dead all the same");
    world.connect(40_000);
    assert_eq!(world.sessions(), 1, "its SYN was judged anew");
}

#[test]
fn a_changed_rule_keeps_the_sessions_it_still_admits() {
    let mut world = World::new();
    world.connect(40_000);
    let stamp = Stamp { current: Generation(2), valid_since: Generation(1) };
    let kept = Rules { sources: Some("10.1.0.0/24"), stamp, ..Rules::default() };
    world.publish(&kept);
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901));
    let stamp = Stamp { current: Generation(3), valid_since: Generation(1) };
    world.publish(&Rules { sources: Some("10.1.7.0/24"), stamp, ..Rules::default() });
    world.settle();
    assert_eq!(resets(&world.sent()).len(), 2, "and ends those it does not");
}

#[test]
fn a_session_ends_when_its_backend_or_its_nat_address_is_taken_away() {
    for rules in [
        Rules { backends: vec!["10.20.0.9"], ..Rules::default() },
        Rules { nat: vec!["10.20.99.9"], ..Rules::default() },
    ] {
        let mut world = World::new();
        world.connect(40_000);
        let stamp = Stamp { current: Generation(2), valid_since: Generation(1) };
        world.publish(&Rules { stamp, ..rules });
        world.settle();
        assert_eq!(resets(&world.sent()).len(), 2);
    }
}

#[test]
fn udp_senders_learn_of_a_revocation_on_their_next_packet() {
    let mut world = World::new();
    let query = udp("10.1.0.5", 53_000, "10.1.9.4", 5432);
    let there = world.forwarded(CONSUMER, &query);
    world.publish(&rejected(2));
    let answer = world.dropped(CONSUMER, &query, DropReason::NotApprovedRejected).expect("an ICMP answer");
    assert_eq!(answer.body, Body::Icmp { kind: 3, code: 13 });
    world.dropped(PROVIDER, &there.reply(), DropReason::NoSession);
    assert_eq!(world.sessions(), 0);
}

#[test]
fn an_idle_established_connection_is_reset_at_both_ends() {
    let mut world = World::new();
    world.connect(40_000);
    let established = Tick::span(Duration::from_mins(124));
    world.now = Tick(world.now.0 + established);
    world.settle();
    assert!(world.sent().is_empty() && world.sessions() == 1, "not before its time");
    world.now = Tick(world.now.0 + 11);
    world.settle();
    assert_eq!(resets(&world.sent()).len(), 2);
}

#[test]
fn idle_udp_echo_and_half_open_sessions_go_in_silence() {
    let mut world = World::new();
    world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432));
    world.forwarded(CONSUMER, &echo_request("10.1.0.5", "10.1.9.4", 3));
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN));
    for (seconds, left) in [(59, 3), (62, 2), (239, 2), (242, 1), (299, 1), (302, 0)] {
        world.now = Tick(1_000 + seconds * Tick::PER_SECOND);
        world.settle();
        assert_eq!(world.sessions(), left, "after {seconds} s");
    }
    assert!(world.sent().is_empty());
}

#[test]
fn a_packet_on_an_idle_session_does_not_revive_it() {
    let mut world = World::new();
    let there = world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432));
    // Straight to the packet, before any sweep.
    let context_now = Tick(1_000 + 301 * Tick::PER_SECOND);
    world.now = context_now;
    world.dropped(PROVIDER, &there.reply(), DropReason::NoSession);
}

#[test]
fn a_revoked_session_that_no_review_has_reached_passes_nothing() {
    let mut world = World::new();
    let sessions: Vec<Packet> = (20_000..20_500).map(|port| world.connect(port)).collect();
    world.publish(&rejected(2));
    // All in the first batches with the new rules: the review takes many more than these.
    for (port, there) in (20_000..).zip(&sessions).take(15) {
        let out = tcp("10.1.0.5", port, "10.1.9.4", 5432).seq(101).ack(901).payload(b"secret");
        let back = there.reply().flags(ACK).seq(901).ack(101).payload(b"secret");
        world.workers[0].ends().0[0].push(out.frame());
        world.workers[0].ends().0[1].push(back.frame());
    }
    world.workers[0].batch([0, 1], world.now).expect("memory");
    assert!(world.sent().iter().all(|(_, packet)| packet.payload.is_empty()));
    assert_eq!(world.drops(DropReason::SessionEnded), 30);
}

#[test]
fn a_packet_on_an_idle_session_that_no_sweep_has_reached_does_not_revive_it() {
    let mut world = World::new();
    let query = |port| udp("10.1.0.5", port, "10.1.9.4", 5432);
    let last = (20_000..22_000).map(|port| world.forwarded(CONSUMER, &query(port))).last().expect("some");
    world.now = Tick(world.now.0 + 301 * Tick::PER_SECOND);
    world.workers[0].ends().0[1].push(last.reply().frame());
    world.workers[0].batch([0, 1], world.now).expect("memory");
    assert!(world.sent().is_empty() && world.sessions() > 1_000, "the sweep is under way");
    assert_eq!(world.drops(DropReason::NoSession), 1);
}

#[test]
fn a_full_pool_reuses_exactly_closed_ports_and_never_live_ones() {
    let mut world = World::new();
    world.publish(&Rules { nat: vec!["10.20.99.4"], ..Rules::default() });
    let closed = world.connect(1_024);
    let fin = tcp("10.1.0.5", 1_024, "10.1.9.4", 5432).seq(101).ack(901).flags(ACK | 1);
    world.forwarded(CONSUMER, &fin);
    world.forwarded(PROVIDER, &closed.reply().flags(ACK | 1).seq(901).ack(102));
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 1_024, "10.1.9.4", 5432).seq(102).ack(902));
    for port in 1_025..=u16::MAX {
        // Half-open ones would give theirs.
        world.connect_from("10.1.0.6", port);
    }
    let one_more = tcp("10.1.0.7", 9_999, "10.1.9.4", 5432).flags(SYN);
    world.dropped(CONSUMER, &one_more, DropReason::NatPortsExhausted);
    world.now = Tick(world.now.0 + Tick::PER_SECOND);
    assert_eq!(world.forwarded(CONSUMER, &one_more).ports().0, closed.ports().0, "rested for a second");
    world.forwarded(PROVIDER, &tcp("10.20.0.2", 5432, "10.20.99.4", closed.ports().0).flags(SYN | ACK).seq(5).ack(1));
    world.forwarded(CONSUMER, &one_more.clone().flags(ACK).seq(1).ack(6));
    let another = tcp("10.1.0.7", 9_998, "10.1.9.4", 5432).flags(SYN);
    world.dropped(CONSUMER, &another, DropReason::NatPortsExhausted);
    let full = |world: &World| world.workers[0].forwarder().published().nat_ports().full.len();
    world.after(Duration::from_secs(1));
    assert_eq!(full(&world), 1, "as `status` sees it");
    world.after(Duration::from_mins(125));
    world.after(Duration::from_secs(121));
    assert_eq!(full(&world), 0, "they have rested");
}
