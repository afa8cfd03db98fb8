//! What someone hostile, or merely unlucky, sends: nothing of it leaks, corrupts or is answered wrongly.

use super::*;

const FIN_ACK: u8 = ACK | 1;

#[test]
fn a_silent_resource_answers_no_denied_packet() {
    let mut world = World::new();
    world.publish(&Rules { silent: Some(true), sources: Some("10.1.0.0/24"), ..Rules::default() });
    let syn = |source: &str, destination: &str, port| tcp(source, 40_000, destination, port).flags(SYN);
    for (packet, reason) in [
        (syn("10.1.0.5", "10.1.9.6", 5432), DropReason::NotApprovedPending),
        (syn("10.1.7.5", "10.1.9.4", 5432), DropReason::DeniedByRule),
        (syn("10.1.0.5", "10.1.9.4", 80), DropReason::PortNotExposed),
        (syn("10.1.0.5", "10.1.9.4", 5432).flags(ACK), DropReason::NotSyn),
    ] {
        assert_eq!(world.dropped(CONSUMER, &packet, reason), None, "{}", reason.name());
    }
}

#[test]
fn nothing_is_answered_in_the_name_of_a_group_or_a_broadcast_address() {
    let mut world = World::new();
    for destination in ["224.0.0.251", "255.255.255.255", "127.0.0.1", "0.0.0.0"] {
        let packet = udp("10.1.0.5", 5353, destination, 5353);
        assert_eq!(world.dropped(CONSUMER, &packet, DropReason::UnknownEndpoint), None, "{destination}");
    }
}

#[test]
fn an_echo_reply_never_passes_as_a_request_of_identifier_zero() {
    let mut world = World::new();
    let request = echo_request("10.1.0.5", "10.1.9.4", 0);
    let there = world.forwarded(CONSUMER, &request);
    world.dropped(CONSUMER, &request.reply_from_its_sender(), DropReason::IcmpUnmatched);
    assert_eq!(world.forwarded(PROVIDER, &there.reply()).ports(), (0, 0), "and the real reply does pass");
}

/// Opens and closes a connection exactly; its session stays to forward late segments.
fn close(world: &mut World, port: u16) {
    let there = world.connect(port);
    let out = |seq, flags| tcp("10.1.0.5", port, "10.1.9.4", 5432).flags(flags).seq(seq).ack(902);
    world.forwarded(PROVIDER, &there.reply().flags(FIN_ACK).seq(901).ack(101));
    world.forwarded(CONSUMER, &out(101, FIN_ACK));
    world.forwarded(PROVIDER, &there.reply().flags(ACK).seq(902).ack(102));
}

#[test]
fn a_table_made_smaller_frees_no_slot_twice() {
    let mut world = World::new();
    for port in 20_000..20_010 {
        close(&mut world, port);
    }
    for port in 30_000..30_010 {
        world.connect(port);
    }
    // A SYN on a closed connection takes its slot away; the list of closed ones still names it.
    for port in 20_000..20_005 {
        world.publish(&Rules { max_sessions: 0, ..Rules::default() });
        let syn = tcp("10.1.0.5", port, "10.1.9.4", 5432).flags(SYN);
        world.dropped(CONSUMER, &syn, DropReason::SessionLimit);
    }
    world.publish(&Rules { table: 10, ..Rules::default() });
    let refused = tcp("10.1.0.5", 50_000, "10.1.9.4", 5432).flags(SYN);
    world.dropped(CONSUMER, &refused, DropReason::TableFull);
    assert_eq!(world.sessions(), 10, "closed ones made room, live ones stay");
    world.publish(&Rules::default());
    let ports: std::collections::HashSet<u16> = (51_000..51_030).map(|port| world.connect(port).ports().0).collect();
    assert_eq!((ports.len(), world.sessions()), (30, 40), "each has a slot of its own");
    for port in 30_000..30_010 {
        world.forwarded(CONSUMER, &tcp("10.1.0.5", port, "10.1.9.4", 5432).seq(101).ack(901));
    }
}

#[test]
fn an_endpoint_that_changes_all_the_time_delays_no_other_ones_resets() {
    let mut world = World::new();
    (20_000..20_300).for_each(|port| drop(world.connect(port)));
    world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.5", 80).flags(SYN).seq(7));
    let other = Stamp { current: Generation(9), valid_since: Generation(9) };
    for generation in 10..30 {
        let stamp = Stamp { current: Generation(generation), valid_since: Generation(1) };
        world.publish(&Rules { stamp, other, ..Rules::default() });
        world.workers[0].batch([0, 1], world.now).expect("memory");
    }
    let sent = world.sent();
    assert_eq!(sent.len(), 1, "the backend of the ended one is told, and no one else: {sent:?}");
    assert_eq!(sent[0].1.ports().1, 80);
}
