//! Laws 1 to 4: what passes, where to, and that everything is counted.

use super::packets::Body;
use super::*;

pub(super) fn is_reset(packet: &Packet) -> bool {
    matches!(packet.body, Body::Tcp { flags, .. } if flags & RST != 0)
}

#[test]
fn a_connection_is_translated_twice_and_back() {
    let mut world = World::new();
    let syn = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN).seq(100);
    let there = world.forwarded(CONSUMER, &syn);
    assert_eq!((there.destination, there.ports().1), (Ipv4Addr::new(10, 20, 0, 2), 5432));
    assert!([Ipv4Addr::new(10, 20, 99, 4), Ipv4Addr::new(10, 20, 99, 5)].contains(&there.source));
    assert!(there.ports().0 >= 1024 && there.ports().0 != 40_000);
    assert_eq!(there.ttl, 63, "a router's decrement");
    let back = world.forwarded(PROVIDER, &there.reply().flags(SYN | ACK).payload(b"banner"));
    assert_eq!((back.source, back.destination), (syn.destination, syn.source));
    assert_eq!(back.ports(), (5432, 40_000));
    assert_eq!(back.payload, b"banner");
    world.check_sums();
}

#[test]
fn udp_and_echo_cross_by_port_and_by_identifier() {
    let mut world = World::new();
    let query = udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(b"odd");
    let there = world.forwarded(CONSUMER, &query);
    assert_eq!(world.forwarded(PROVIDER, &there.reply()), query.reply().ttl(63));
    let ping = echo_request("10.1.0.5", "10.1.9.4", 7).payload(b"data");
    let there = world.forwarded(CONSUMER, &ping);
    assert_eq!(world.forwarded(PROVIDER, &there.reply()), ping.reply().ttl(63));
}

#[test]
fn a_partial_checksum_stays_partial_and_right() {
    let mut world = World::new();
    for packet in [tcp("10.1.0.5", 1_025, "10.1.9.4", 5432).flags(SYN), udp("10.1.0.5", 1_026, "10.1.9.4", 5432)] {
        world.workers[0].ends().0[0].push(packet.clone().payload(b"hello").partial_frame());
        world.settle();
        let sent = world.workers[0].ends().1[1].sent.pop().expect("forwarded");
        assert_eq!(sent[0], vnet::NEEDS_CSUM);
        // The device finishes the sum; then it is an ordinary packet whose checksums hold.
        let mut finished = sent.clone();
        let at = vnet::LENGTH + 20 + if matches!(packet.body, Body::Tcp { .. }) { 16 } else { 6 };
        let sum = !crate::wire::checksum::sum(&sent[vnet::LENGTH + 20..]);
        finished[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Packet::parse(&finished).payload, b"hello");
    }
}

#[test]
fn a_super_packet_passes_whole_and_counts_its_segments() {
    let mut world = World::new();
    world.connect(40_000);
    let data = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901).payload(&[7; 60_000]);
    let mut frame = data.partial_frame();
    frame[1] = vnet::GSO_TCPV4;
    frame[4..6].copy_from_slice(&1_400_u16.to_ne_bytes());
    let before = world.workers[0].forwarder().published().endpoint(EndpointId(0));
    world.workers[0].ends().0[0].push(frame.clone());
    world.settle();
    let sent = world.workers[0].ends().1[1].sent.pop().expect("forwarded");
    assert_eq!(sent.len(), frame.len());
    assert_eq!(sent[1..2], frame[1..2], "segmentation type kept");
    assert_eq!(sent[4..6], frame[4..6], "segment size kept");
    assert_eq!(sent[2..4], 40_u16.to_ne_bytes(), "real header length");
    let after = world.workers[0].forwarder().published().endpoint(EndpointId(0));
    assert_eq!(after.packets_to_service - before.packets_to_service, 43);
    assert_eq!(after.bytes_to_service - before.bytes_to_service, 60_000 + 43 * 40);
}

#[test]
fn a_wrong_checksum_is_never_made_right() {
    let mut world = World::new();
    let query = udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(b"payload");
    let mut frame = query.frame();
    let last = frame.len() - 1;
    frame[last] ^= 1;
    world.workers[0].ends().0[0].push(frame);
    world.settle();
    let sent = world.workers[0].ends().1[1].sent.pop().expect("forwarded as it is");
    assert!(std::panic::catch_unwind(|| Packet::parse(&sent)).is_err(), "the checksum is still wrong");
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    let mut world = World::new();
    let mut frame = udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(b"x").frame();
    frame[vnet::LENGTH + 26..vnet::LENGTH + 28].fill(0);
    world.workers[0].ends().0[0].push(frame);
    world.settle();
    let sent = world.workers[0].ends().1[1].sent.pop().expect("forwarded");
    assert_eq!(sent[vnet::LENGTH + 26..vnet::LENGTH + 28], [0, 0]);
}

#[test]
fn each_check_of_the_policy_denies_under_its_own_name() {
    let mut world = World::new();
    let syn = |source: &str, destination: &str, port| tcp(source, 40_000, destination, port).flags(SYN).seq(5);
    for (packet, reason, answered) in [
        (syn("10.1.0.5", "10.1.9.77", 5432), DropReason::UnknownEndpoint, true),
        (syn("10.1.0.5", "10.1.9.6", 5432), DropReason::NotApprovedPending, true),
        (syn("10.9.0.5", "10.1.9.4", 5432), DropReason::SourceNotAllowed, false),
        // A stranger learns neither which endpoints there are nor how they stand.
        (syn("10.9.0.5", "10.1.9.77", 5432), DropReason::SourceNotAllowed, false),
        (syn("10.9.0.5", "10.1.9.6", 5432), DropReason::SourceNotAllowed, false),
        (udp("10.9.0.5", 9, "10.1.9.6", 5432), DropReason::SourceNotAllowed, false),
        (syn("10.1.3.0", "10.1.9.4", 5432), DropReason::SpoofedSource, false),
        (syn("10.1.3.255", "10.1.9.77", 5432), DropReason::SpoofedSource, false),
        (syn("127.0.0.5", "10.1.9.4", 5432), DropReason::SpoofedSource, false),
        (syn("224.0.0.5", "10.1.9.4", 5432), DropReason::SpoofedSource, false),
        (syn("10.1.9.5", "10.1.9.4", 5432), DropReason::SpoofedSource, false),
        (syn("10.1.9.4", "10.1.9.4", 5432), DropReason::SpoofedSource, false),
        (syn("10.1.0.5", "10.1.9.4", 80), DropReason::PortNotExposed, true),
        (syn("10.1.0.5", "10.1.9.5", 5432), DropReason::PortNotExposed, true),
        (syn("10.1.0.5", "10.1.9.4", 5432).flags(ACK), DropReason::NotSyn, true),
        (syn("10.1.0.5", "10.1.9.4", 5432).flags(SYN | ACK), DropReason::NotSyn, true),
        (syn("10.1.0.5", "10.1.9.4", 5432).ttl(1), DropReason::TtlExpired, true),
        (udp("10.1.0.5", 9, "10.1.9.6", 5432), DropReason::NotApprovedPending, true),
        (echo_request("10.1.0.5", "10.1.9.6", 9), DropReason::NotApprovedPending, true),
    ] {
        let answer = world.dropped(CONSUMER, &packet, reason);
        assert_eq!(answer.is_some(), answered, "{} {packet:?}", reason.name());
        let Some(answer) = answer else { continue };
        assert_eq!((answer.source, answer.destination), (packet.destination, packet.source));
        let expected = match (reason, &packet.body) {
            (DropReason::UnknownEndpoint, _) => Body::Icmp { kind: 3, code: 1 },
            (DropReason::TtlExpired, _) => Body::Icmp { kind: 11, code: 0 },
            (_, Body::Tcp { .. }) => {
                assert!(is_reset(&answer), "{answer:?}");
                continue;
            }
            _ => Body::Icmp { kind: 3, code: 13 },
        };
        assert_eq!(answer.body, expected, "{}", reason.name());
    }
    assert_eq!(world.sessions(), 0, "nothing denied leaves state behind (P-7)");
    world.check_sums();
}

#[test]
fn rules_without_a_backend_or_without_room_refuse() {
    let mut world = World::new();
    let syn = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN);
    world.publish(&Rules { backends: vec![], ..Rules::default() });
    world.dropped(CONSUMER, &syn, DropReason::NoBackend);
    world.publish(&Rules { max_sessions: 1, ..Rules::default() });
    world.connect(40_000);
    world.dropped(CONSUMER, &tcp("10.1.0.5", 40_001, "10.1.9.4", 5432).flags(SYN), DropReason::SessionLimit);
    world.publish(&Rules { sources: Some("10.1.7.0/24"), ..Rules::default() });
    world.dropped(CONSUMER, &tcp("10.1.0.5", 40_002, "10.1.9.4", 5432).flags(SYN), DropReason::DeniedByRule);
}

#[test]
fn the_provider_never_opens_anything() {
    let mut world = World::new();
    let there = world.connect(40_000);
    for packet in [
        tcp("10.20.0.2", 5432, "10.20.99.4", 9_999).flags(SYN),
        udp("10.20.0.2", 5432, "10.20.99.4", there.ports().0),
        tcp("10.20.0.3", 5432, &there.source.to_string(), there.ports().0),
        tcp("10.20.0.2", 5433, &there.source.to_string(), there.ports().0),
    ] {
        assert_eq!(world.dropped(PROVIDER, &packet, DropReason::NoSession), None, "in silence: {packet:?}");
    }
    let inward = tcp("10.20.0.2", 5432, "10.1.0.5", 22).flags(SYN);
    world.dropped(PROVIDER, &inward, DropReason::UnknownEndpoint);
}

#[test]
fn the_same_tuple_in_another_vnet_is_another_flow() {
    let mut world = World::new();
    world.connect(40_000);
    let segment = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901);
    world.dropped(PROVIDER, &segment, DropReason::SourceNotAllowed);
    world.forwarded(CONSUMER, &segment);
}

/// Whoever sent it is not known: what answers it would go to whom its source names.
#[test]
fn a_packet_with_a_wrong_checksum_is_never_answered() {
    let mut world = World::new();
    let there = world.connect(40_000);
    world.publish(&Rules {
        state: Rejected,
        stamp: Stamp { current: Generation(2), valid_since: Generation(2) },
        ..Rules::default()
    });
    world.settle();
    world.sent();
    let late = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(ACK).seq(101).ack(901);
    let late_back = tcp("10.20.0.2", 5432, &there.source.to_string(), there.ports().0).flags(ACK).seq(901).ack(101);
    for (at, packet, reason) in [
        (CONSUMER, tcp("10.1.0.5", 40_001, "10.1.9.6", 5432).flags(SYN), DropReason::NotApprovedPending),
        (CONSUMER, tcp("10.1.0.5", 40_001, "10.1.9.77", 5432).flags(SYN), DropReason::UnknownEndpoint),
        (CONSUMER, udp("10.1.0.5", 40_001, "10.1.9.6", 5432), DropReason::NotApprovedPending),
        (CONSUMER, echo_request("10.1.0.5", "10.1.9.6", 9), DropReason::NotApprovedPending),
        (CONSUMER, late, DropReason::SessionEnded),
        (PROVIDER, late_back, DropReason::SessionEnded),
    ] {
        let answered = world.dropped(at, &packet, reason).is_some();
        assert!(answered, "{packet:?}");
        let mut frame = packet.frame();
        let last = frame.len() - 1;
        frame[last] ^= 0x55;
        let before = world.drops(reason);
        let out = world.raw(at, &[frame.split_off(vnet::LENGTH)]);
        assert!(out.is_empty(), "{packet:?}: {out:?}");
        assert_eq!(world.drops(reason), before + 1);
    }
}

#[test]
fn two_endpoints_serve_one_client_port_at_once() {
    let mut world = World::new();
    let one = world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN));
    let two = world.forwarded(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.5", 80).flags(SYN));
    assert_eq!(world.forwarded(PROVIDER, &two.reply()).source, Ipv4Addr::new(10, 1, 9, 5));
    assert_eq!(world.forwarded(PROVIDER, &one.reply()).source, Ipv4Addr::new(10, 1, 9, 4));
}

#[test]
fn a_refused_write_is_a_drop() {
    let mut world = World::new();
    world.workers[0].ends().1[1].broken = true;
    world.dropped(CONSUMER, &tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN), DropReason::WriteFailed);
    assert_eq!(world.workers[0].forwarder().counts().forwarded, 0);
    world.check_sums();
}

#[test]
fn answers_stop_at_the_rate_and_under_deny_drop() {
    let mut world = World::new();
    let denied = |port| tcp("10.1.0.5", port, "10.1.9.6", 5432).flags(SYN);
    let answers: usize = (0..3_000).map(|n| world.deliver(CONSUMER, &denied(1_024 + n)).len()).sum();
    assert!((800..=1_000).contains(&answers), "{answers}");
    world.now = Tick(5_000);
    world.publish(&Rules { answer: false, ..Rules::default() });
    assert_eq!(world.dropped(CONSUMER, &denied(9), DropReason::NotApprovedPending), None);
}

#[test]
fn padding_behind_the_packet_is_not_forwarded() {
    let mut world = World::new();
    let syn = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN);
    let mut frame = syn.frame();
    let length = frame.len();
    frame.extend_from_slice(&[0xAA; 6]);
    world.workers[0].ends().0[0].push(frame);
    world.settle();
    assert_eq!(world.workers[0].ends().1[1].sent[0].len(), length);
}

#[test]
fn no_byte_string_makes_the_forwarder_panic_or_lose_count() {
    let mut world = World::new();
    let there = world.connect(40_000);
    let mut random = fastrand::Rng::with_seed(11);
    let seeds = [
        tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901).payload(b"abc").frame(),
        tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).payload(b"abc").partial_frame(),
        udp("10.1.0.5", 40_000, "10.1.9.4", 5432).payload(b"abc").frame(),
        echo_request("10.1.0.5", "10.1.9.4", 4).frame(),
        there.reply().frame(),
        vec![0; 40],
    ];
    for round in 0..60_000_u32 {
        let mut frame = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..frame.len());
            frame[at] = random.u8(..);
        }
        // Every other mutant gets a right header checksum, so that deeper checks are reached.
        if round % 2 == 0 && frame.len() >= vnet::LENGTH + 20 {
            frame[vnet::LENGTH + 10..vnet::LENGTH + 12].fill(0);
            let header = usize::from(frame[vnet::LENGTH] & 15) * 4;
            let end = (vnet::LENGTH + header).min(frame.len());
            let sum = !crate::wire::checksum::sum(&frame[vnet::LENGTH..end]);
            frame[vnet::LENGTH + 10..vnet::LENGTH + 12].copy_from_slice(&sum.to_be_bytes());
        }
        if round % 7 == 0 {
            frame.truncate(random.usize(..=frame.len()));
        }
        let side = random.usize(..2);
        world.workers[0].ends().0[side].push(frame);
        if round % 16 == 0 {
            world.settle();
            world.workers[0].ends().1.iter_mut().for_each(|sink| sink.sent.clear());
        }
    }
    world.settle();
    world.check_sums();
    let counts = world.workers[0].forwarder().counts();
    for reason in [DropReason::Malformed, DropReason::UnsupportedProtocol, DropReason::NoSession] {
        assert!(counts.dropped[reason as usize] > 50, "the generator reaches {}: {counts:?}", reason.name());
    }
    assert!(counts.forwarded > 1_000, "and what is valid passes");
}

#[test]
fn workers_hand_over_what_belongs_to_another() {
    let mut world = World::with_workers(4);
    for port in 30_000..30_064 {
        // Whatever worker reads a packet, the session is one.
        let syn = tcp("10.1.0.5", port, "10.1.9.4", 5432).flags(SYN).seq(100);
        let out = world.deliver_to(usize::from(port) % 4, CONSUMER, &syn);
        assert_eq!(out.len(), 1);
        let back = world.deliver_to(usize::from(port / 4) % 4, PROVIDER, &out[0].1.reply().flags(SYN | ACK));
        assert_eq!((back.len(), back[0].0), (1, CONSUMER));
        let again = world.deliver_to(usize::from(port / 16) % 4, CONSUMER, &syn);
        assert_eq!(again[0].1.ports().0, out[0].1.ports().0, "a retransmitted SYN keeps its mapping (T-7)");
    }
    assert_eq!(world.sessions(), 64);
    let handed: u64 = world.workers.iter().map(|w| w.forwarder().counts().handed_out).sum();
    assert!(handed > 64, "{handed}");
    world.check_sums();
}

#[test]
fn an_empty_port_range_sends_admission_to_another_worker() {
    let mut world = World::with_workers(2);
    world.publish(&Rules { nat: vec!["10.20.99.4"], ..Rules::default() });
    let clients = (0..2_u8).flat_map(|host| (1_024..=u16::MAX).map(move |port| (host, port)));
    let mut opened = 0_u32;
    let mut first_refusal = None;
    for (host, port) in clients.take(66_000) {
        let datagram = udp(&format!("10.1.0.{}", 5 + host), port, "10.1.9.4", 5432);
        if let Some((PROVIDER, _)) = world.deliver(CONSUMER, &datagram).first() {
            opened += 1;
        } else {
            first_refusal = Some(opened);
            break;
        }
    }
    assert_eq!(first_refusal, Some(64_512), "not one port is lost");
    assert_eq!(world.drops(DropReason::NatPortsExhausted), 1);
    world.check_sums();
}

#[test]
fn packets_of_one_batch_meet_what_those_before_them_did() {
    let mut world = World::new();
    let syn = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).flags(SYN).seq(100);
    let other = tcp("10.1.0.6", 40_000, "10.1.9.4", 5432).flags(SYN).seq(100);
    // All of these are looked at before the first is decided: none of the three sessions is there yet.
    let frames = [
        syn.clone(),
        syn.clone(),
        other.clone(),
        tcp("10.1.0.7", 40_000, "10.1.9.4", 5432).flags(ACK).seq(5),
        udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(b"x"),
        udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(b"y"),
    ];
    world.workers[0].ends().0[0].extend(frames.iter().map(Packet::frame));
    world.settle();
    let out: Vec<Packet> =
        world.sent().into_iter().filter(|(to, _)| *to == PROVIDER).map(|(_, packet)| packet).collect();
    assert_eq!((out.len(), world.sessions(), world.drops(DropReason::NotSyn)), (5, 3, 1));
    assert_eq!(out[0].ports().0, out[1].ports().0, "one mapping for a SYN and its repetition");
    assert_eq!(out[3].ports().0, out[4].ports().0);

    // A batch in which a session closes, is replaced, and is used by what follows.
    let refused = out[0].reply().flags(RST | ACK).seq(0).ack(101);
    world.forwarded(PROVIDER, &refused);
    let again = syn.clone().seq(9_000);
    world.workers[0].ends().0[0].extend([&again, &again, &other].map(Packet::frame));
    world.settle();
    let anew = world.sent();
    assert_eq!(anew.len(), 3, "{anew:?}");
    assert_ne!(anew[0].1.ports().0, out[0].ports().0, "a session of its own");
    assert_eq!(anew[0].1.ports().0, anew[1].1.ports().0);
    assert_eq!(anew[2].1.ports().0, out[2].ports().0);
    world.check_sums();
}

/// M-10.
#[test]
fn a_full_worker_sends_admission_to_one_with_room_and_a_full_daemon_refuses() {
    let mut world = World::with_workers(3);
    world.publish(&Rules { table: 65, ..Rules::default() });
    world.settle();
    let question = |port: u16| udp("10.1.0.5", port, "10.1.9.4", 5432).payload(b"q");
    let opened: Vec<Packet> = (0..65).map(|n| world.forwarded(CONSUMER, &question(20_000 + n))).collect();
    let handed = |world: &World| -> u64 { world.workers.iter().map(|w| w.forwarder().counts().handed_out).sum() };
    let before = handed(&world);
    for n in 0..100 {
        assert!(world.dropped(CONSUMER, &question(30_000 + n), DropReason::TableFull).is_some(), "answered");
    }
    assert!(handed(&world) - before <= 100, "to its owner at most: what fits nowhere is not handed around");
    for (n, there) in (0..).zip(&opened) {
        assert_eq!(world.forwarded(CONSUMER, &question(20_000 + n)).source, there.source);
        assert_eq!(world.forwarded(PROVIDER, &there.reply()).ports().1, 20_000 + n);
    }
    world.check_sums();
}

/// Fair share: see `share`.
#[test]
fn one_endpoint_leaves_the_last_of_the_table_to_another() {
    let mut world = World::with_workers(2);
    world.publish(&Rules { table: 3_200, ..Rules::default() });
    world.settle();
    let question = |port: u16, to: &str, at| udp("10.1.0.5", port, to, at).payload(b"q");
    for n in 0..3_168 {
        world.forwarded(CONSUMER, &question(20_000 + n, "10.1.9.4", 5432));
    }
    world.dropped(CONSUMER, &question(30_000, "10.1.9.4", 5432), DropReason::SessionLimit);
    for n in 0..32 {
        world.forwarded(CONSUMER, &question(20_000 + n, "10.1.9.5", 80));
    }
    assert_eq!(world.sessions(), 3_200);
    world.check_sums();
}
