//! What does not fit on its way to a consumer: it is cut, and whoever sends to a NAT address is told nothing, since it
//! would believe it of everybody behind that address (requirement I-9).

use super::families::{LINKS, datagram, read, world};
use super::*;
use crate::wire::headers::{CWR, URG, half, put_half};
use crate::wire::segment::segments;
use crate::wire::{Address, Version, VnetHeader, build, checksum, ip};
use etherparse::PacketBuilder;

const TEN_MINUTES: u32 = 10 * 60 * Tick::PER_SECOND;
const FIN: u8 = 1;
/// What the narrow way of these tests carries.
const NARROW: u16 = 600;

/// A packet-too-big about `quoted`, an IP packet, from a router on its way.
fn too_big(quoted: &[u8], mtu: u32) -> Vec<u8> {
    let outline = ip::outline(quoted).expect("a packet");
    let (router, kind) = match outline.version {
        Version::V4 => ("10.1.0.77", [3, 4]),
        Version::V6 => ("fd01::77", [2, 0]),
    };
    build::icmp(Address::from(ip(router)), outline.source, kind, mtu, &quoted[..outline.header() + 8])
}

impl World {
    /// Delivers a frame, and returns the frames that leave.
    fn frames(&mut self, at: AttachmentId, frame: Vec<u8>) -> Vec<(AttachmentId, Vec<u8>)> {
        self.workers[0].ends().0[usize::from(at.0)].push(frame);
        self.settle();
        let mut out = Vec::new();
        for worker in &mut self.workers {
            for (sink, at) in worker.ends().1.iter_mut().zip(0..) {
                out.extend(sink.sent.drain(..).map(|frame| (AttachmentId(at), frame)));
            }
        }
        self.check_sums();
        out
    }

    /// The one frame that leaves to the consumer for this one of the service.
    fn narrowed(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let mut out = self.frames(PROVIDER, frame);
        assert_eq!(out.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [CONSUMER]);
        out.remove(0).1
    }

    /// A packet-too-big of the consumer's side: it ends here, and counts.
    fn told(&mut self, error: Vec<u8>) {
        let before = self.workers.iter().map(|worker| worker.forwarder().counts().forwarded).sum::<u64>();
        assert_eq!(self.frames(CONSUMER, error), [], "nobody is told");
        let after = self.workers.iter().map(|worker| worker.forwarder().counts().forwarded).sum::<u64>();
        assert_eq!(after, before + 1);
    }

    fn dropped_for(&mut self, at: AttachmentId, frame: Vec<u8>, reason: DropReason) {
        let before = self.drops(reason);
        assert_eq!(self.frames(at, frame), [], "nothing leaves, and nobody is told");
        assert_eq!(self.drops(reason), before + 1, "{}", reason.name());
    }
}

/// Bytes of data that the server of a connection sends.
fn data(syn: &Packet, bytes: usize) -> Packet {
    syn.reply().flags(ACK).seq(901).ack(101).payload(&payload(bytes))
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

/// Gives a segment of IPv4 other flags, and a right checksum.
fn with_flags(frame: &mut [u8], flags: u8) {
    frame[vnet::LENGTH + 33] = flags;
    let outline = ip::outline(&frame[vnet::LENGTH..]).expect("a packet");
    let segment = &mut frame[vnet::LENGTH + 20..];
    put_half(segment, 16, 0);
    let pseudo = build::pseudo_sum(outline.source, outline.destination, ip::TCP, segment.len());
    let sum = !checksum::join(pseudo, checksum::sum(segment));
    put_half(segment, 16, sum);
}

/// Sequence number, flags and payload of each segment that a device makes of a frame; all that is in them is right.
fn cut(frame: &[u8]) -> Vec<(u32, u8, Vec<u8>)> {
    let said = |packet: Packet| {
        let packets::Body::Tcp { seq, flags, .. } = packet.body else { panic!("{:?}", packet.body) };
        (seq, flags, packet.payload)
    };
    segments(frame).expect("a frame").iter().map(|frame| said(Packet::parse(frame))).collect()
}

/// Two consumers behind one NAT address; one has a way that carries less.
#[test]
fn a_packet_too_big_makes_one_session_narrow_for_ten_minutes_and_is_told_to_nobody() {
    let mut world = World::new();
    world.publish(&Rules { nat: vec!["10.20.99.4"], ..Rules::default() });
    let (one, other) = (world.connect(40_000), world.connect_from("10.1.0.6", 40_000));
    assert_eq!(one.source, other.source);
    let whole = world.forwarded(PROVIDER, &data(&one, 1_400));
    world.told(too_big(&whole.frame()[vnet::LENGTH..], NARROW.into()));
    for frame in [data(&one, 1_400).frame(), data(&one, 1_400).partial_frame()] {
        let frame = world.narrowed(frame);
        let vnet = VnetHeader::read(&frame).expect("a frame");
        assert_eq!((vnet.gso_type, vnet.gso_size, vnet.flags), (vnet::GSO_TCPV4, NARROW - 40, vnet::NEEDS_CSUM));
        assert_eq!((vnet.csum_start, vnet.csum_offset, vnet.hdr_len), (20, 16, 40));
        let all = payload(1_400);
        let expected = [(901, ACK, &all[..560]), (1_461, ACK, &all[560..1_120]), (2_021, ACK, &all[1_120..])];
        assert_eq!(cut(&frame), expected.map(|(seq, flags, bytes)| (seq, flags, bytes.to_vec())));
    }
    assert_eq!(world.forwarded(PROVIDER, &data(&other, 1_400)).payload, payload(1_400), "the neighbour's way is wide");
    assert_eq!(world.forwarded(PROVIDER, &data(&one, 560)).payload, payload(560), "what fits is whole");
    let back = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901).payload(&payload(1_400));
    assert_eq!(world.forwarded(CONSUMER, &back).payload, payload(1_400), "towards the service nothing is narrow");
    world.now = Tick(world.now.0 + TEN_MINUTES);
    assert_eq!(world.forwarded(PROVIDER, &data(&one, 1_400)).payload, payload(1_400), "it may be wide again");
}

/// A super-packet is cut smaller; what a segment says once, it says once.
#[test]
fn a_super_packet_is_cut_smaller() {
    let mut world = World::new();
    let one = world.connect(40_000);
    let whole = world.forwarded(PROVIDER, &data(&one, 1_400));
    world.told(too_big(&whole.frame()[vnet::LENGTH..], NARROW.into()));
    let mut frame = data(&one, 4_000).partial_frame();
    let vnet = VnetHeader::read(&frame).expect("a frame");
    frame[..vnet::LENGTH]
        .copy_from_slice(&VnetHeader { gso_type: vnet::GSO_TCPV4, gso_size: 1_400, hdr_len: 40, ..vnet }.bytes());
    let segments = cut(&world.narrowed(frame));
    assert_eq!(
        segments.iter().map(|segment| segment.2.len()).collect::<Vec<_>>(),
        [560, 560, 560, 560, 560, 560, 560, 80]
    );
    assert_eq!(bytes_of(&segments), payload(4_000));
    let mut lowered = data(&one, 1_000).frame();
    with_flags(&mut lowered, ACK | CWR | FIN);
    let frame = world.narrowed(lowered);
    assert_eq!(frame[1], vnet::GSO_TCPV4 | vnet::GSO_ECN);
    assert_eq!(cut(&frame).iter().map(|segment| segment.1).collect::<Vec<_>>(), [ACK, ACK | FIN]);
}

/// What the segments carry together.
fn bytes_of(segments: &[(u32, u8, Vec<u8>)]) -> Vec<u8> {
    segments.iter().flat_map(|segment| segment.2.clone()).collect()
}

/// T-3: cutting would make a wrong checksum right. And what SYN, RST and an urgent pointer say stands for one segment.
#[test]
fn what_cannot_be_cut_is_dropped_and_told_to_nobody() {
    let mut world = World::new();
    let one = world.connect(40_000);
    for narrow in [false, true] {
        if narrow {
            let whole = world.forwarded(PROVIDER, &data(&one, 1_400));
            world.told(too_big(&whole.frame()[vnet::LENGTH..], NARROW.into()));
        }
        let bytes = if narrow { 1_000 } else { 1_500 };
        let mut wrong = data(&one, bytes).frame();
        wrong[vnet::LENGTH + 900] ^= 1;
        world.dropped_for(PROVIDER, wrong, DropReason::BadChecksum);
        for flags in [SYN | ACK, RST | ACK, URG | ACK] {
            let mut frame = data(&one, bytes).frame();
            with_flags(&mut frame, flags);
            world.dropped_for(PROVIDER, frame, DropReason::PacketTooBig);
        }
        let segments = cut(&world.narrowed(data(&one, bytes).frame()));
        assert_eq!((segments.len(), bytes_of(&segments)), (2, payload(bytes)), "an ordinary one passes");
    }
}

/// I-2, RFC 5927: what nobody believes changes nothing.
#[test]
fn forged_errors_make_nothing_narrow() {
    let mut world = World::new();
    let one = world.connect(40_000);
    let quoted = world.forwarded(PROVIDER, &data(&one, 1_400));
    let frame = |packet: &Packet| packet.frame().split_off(vnet::LENGTH);
    let later = quoted.clone().seq(1 << 30);
    for error in [too_big(&frame(&quoted), 575), too_big(&frame(&quoted), 1), too_big(&frame(&later), 600)] {
        world.dropped_for(CONSUMER, error, DropReason::IcmpUnmatched);
    }
    let mut wrong = too_big(&frame(&quoted), 600);
    wrong[vnet::LENGTH + 22] ^= 1;
    world.dropped_for(CONSUMER, wrong, DropReason::Malformed);
    world.told(too_big(&frame(&quoted), 9_000));
    assert_eq!(world.forwarded(PROVIDER, &data(&one, 1_400)).payload, payload(1_400), "whole");
    // A router that does not know the next link's MTU (RFC 1191 §5): the next smaller of the usual.
    world.told(too_big(&frame(&quoted), 0));
    let frame = world.narrowed(data(&one, 1_400).frame());
    assert_eq!(VnetHeader::read(&frame).map(|vnet| vnet.gso_size), Some(1_006 - 40));
}

/// Of both families, about what is in flight, each with another MTU below the least of its family: a hit stays one.
#[test]
fn a_flood_of_errors_below_the_least_mtu_narrows_nothing_and_reaches_nobody() {
    let mut world = World::new();
    let one = world.connect(40_000);
    let segment = world.forwarded(PROVIDER, &data(&one, 1_400)).frame().split_off(vnet::LENGTH);
    let asked = world.forwarded(CONSUMER, &udp("10.1.0.5", 53_000, "10.1.9.4", 5432).payload(&payload(1_400)));
    let answer = world.forwarded(PROVIDER, &asked.reply()).frame().split_off(vnet::LENGTH);
    for mtu in 1..576 {
        for quoted in [&segment, &answer] {
            world.dropped_for(CONSUMER, too_big(quoted, mtu), DropReason::IcmpUnmatched);
        }
        let error = too_big(&asked.frame()[vnet::LENGTH..], mtu);
        world.dropped_for(PROVIDER, error, DropReason::IcmpUnmatched);
    }
    assert_eq!(world.forwarded(PROVIDER, &data(&one, 1_400)).payload, payload(1_400));
    assert_eq!(world.forwarded(PROVIDER, &asked.reply()).payload, payload(1_400));
    let sessions = world.workers[0].forwarder().sessions();
    let ways =
        (0..sessions.extent()).filter_map(|at| sessions.get(sessions.occupied(at)?)).map(|session| session.families);
    assert_eq!(ways.collect::<Vec<_>>(), [crate::dataplane::session::Families::V4; 2]);
}

/// I-1: towards a consumer as ever: the endpoint's address is its own.
#[test]
fn a_consumer_is_told_what_fits() {
    let mut world = World::new();
    world.connect(40_000);
    let there = tcp("10.1.0.5", 40_000, "10.1.9.4", 5432).seq(101).ack(901).payload(&payload(1_400));
    let at_backend = world.forwarded(CONSUMER, &there);
    let mut error = too_big(&at_backend.frame()[vnet::LENGTH..], 1_300);
    let out = world.frames(PROVIDER, std::mem::take(&mut error));
    let [(CONSUMER, told)] = out.as_slice() else { panic!("{out:?}") };
    assert_eq!((&told[vnet::LENGTH + 20..][..2], half(told, vnet::LENGTH + 26)), (&[3, 4][..], 1_300));
    let answer = world.dropped(CONSUMER, &there.payload(&payload(1_500)), DropReason::PacketTooBig);
    assert_eq!(answer.expect("an answer").body, packets::Body::Icmp { kind: 3, code: 4 });
}

/// Pieces of datagrams put together again, by identification.
fn joined(pieces: &[(AttachmentId, Vec<u8>)], most: usize) -> Vec<Vec<u8>> {
    let mut whole: Vec<(u32, Vec<u8>)> = Vec::new();
    for (at, frame) in pieces {
        let packet = &frame[vnet::LENGTH..];
        assert!(*at == CONSUMER && packet.len() <= most, "{} bytes", packet.len());
        let outline = ip::outline(packet).expect("a packet");
        let fragment = outline.fragment.expect("a piece");
        if outline.version == Version::V4 {
            assert_eq!(packet[6] & 0x40, 0, "may be cut again");
        }
        let body = &packet[outline.header()..];
        match whole.last_mut() {
            Some((identification, bytes)) if *identification == fragment.identification => {
                assert_eq!(bytes.len(), fragment.offset());
                bytes.extend_from_slice(body);
            }
            _ => whole.push((fragment.identification, body.to_vec())),
        }
    }
    whole.into_iter().map(|(_, bytes)| bytes).collect()
}

/// G-4, RFC 6864: in pieces under a number of our own, though their sender wanted them whole.
#[test]
fn datagrams_are_cut_whatever_their_sender_wants() {
    for (consumer, endpoint, backend) in LINKS {
        let mut world = world(1);
        let question = world.raw(CONSUMER, &[datagram((consumer, 4_000), (endpoint, 53), b"question")]);
        let (nat, ..) = read(&question[0].1);
        let answer = |bytes: usize| {
            let mut packet = datagram((backend, 5_353), (&nat.0, nat.1), &payload(bytes));
            if packet[0] >> 4 == 4 {
                packet[6] = 0x40;
                put_half(&mut packet, 10, 0);
                let sum = !checksum::sum(&packet[..20]);
                put_half(&mut packet, 10, sum);
            }
            [&[0; vnet::LENGTH][..], &packet].concat()
        };
        let checked = |datagrams: Vec<Vec<u8>>, bytes: usize| {
            assert_eq!(datagrams.len(), 1);
            assert_eq!(datagrams[0][8..], payload(bytes));
            let pseudo = build::pseudo_sum(ip(endpoint).into(), ip(consumer).into(), ip::UDP, datagrams[0].len());
            assert_eq!(checksum::join(pseudo, checksum::sum(&datagrams[0])), 0xFFFF);
        };
        let too_large = world.frames(PROVIDER, answer(1_600));
        checked(joined(&too_large, 1_500), 1_600);
        let whole = world.narrowed(answer(1_400));
        let mtu = if consumer.contains(':') { 1_300 } else { 576 };
        world.told(too_big(&whole[vnet::LENGTH..], mtu));
        let pieces = world.frames(PROVIDER, answer(1_400));
        checked(joined(&pieces, mtu as usize), 1_400);
        assert_eq!(world.narrowed(answer(500)).len(), whole.len() - 900, "what fits is whole");
    }
}

/// A super-packet of datagrams becomes datagrams, each of which is cut by itself.
#[test]
fn super_packets_of_datagrams_are_datagrams_first() {
    for (consumer, endpoint, backend) in LINKS {
        let mut world = world(1);
        let question = world.raw(CONSUMER, &[datagram((consumer, 4_000), (endpoint, 53), b"question")]);
        let (nat, ..) = read(&question[0].1);
        let whole =
            world.narrowed([&[0; vnet::LENGTH][..], &datagram((backend, 5_353), (&nat.0, nat.1), b"answer")].concat());
        world.told(too_big(&whole[vnet::LENGTH..], 1_280));
        let packet = datagram((backend, 5_353), (&nat.0, nat.1), &payload(3_500));
        let outline = ip::outline(&packet).expect("a packet");
        let start = outline.header() as u16;
        let vnet = VnetHeader {
            flags: vnet::NEEDS_CSUM,
            gso_type: vnet::GSO_UDP_L4,
            gso_size: 1_400,
            hdr_len: start + 8,
            csum_start: start,
            csum_offset: 6,
        };
        let mut frame = [&vnet.bytes()[..], &packet].concat();
        let pseudo = build::pseudo_sum(outline.source, outline.destination, ip::UDP, packet.len() - outline.header());
        put_half(&mut frame, vnet::LENGTH + outline.header() + 6, pseudo);
        let mut out = world.frames(PROVIDER, frame);
        // The last one fits.
        let last = out.pop().expect("packets").1;
        assert_eq!(read(&last[vnet::LENGTH..]).2, payload(3_500)[2_800..]);
        let datagrams = joined(&out, 1_280);
        assert_eq!(datagrams.len(), 2);
        for (datagram, bytes) in datagrams.iter().zip(payload(2_800).chunks(1_400)) {
            assert_eq!(datagram[8..], *bytes);
            let pseudo = build::pseudo_sum(ip(endpoint).into(), ip(consumer).into(), ip::UDP, datagram.len());
            assert_eq!(checksum::join(pseudo, checksum::sum(datagram)), 0xFFFF);
        }
    }
}

/// 46-1: segments between families, and within IPv6.
#[test]
fn segments_are_cut_between_families_too() {
    for (consumer, endpoint, backend) in LINKS {
        let mut world = world(1);
        let segment = |from: (&str, u16), to: (&str, u16), flags: u8, (seq, ack): (u32, u32), bytes: &[u8]| {
            let builder = match (ip(from.0), ip(to.0)) {
                (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
                (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
                _ => panic!("one family"),
            };
            let mut header = etherparse::TcpHeader::new(from.1, to.1, seq, 64_000);
            (header.syn, header.ack, header.acknowledgment_number) = (flags & SYN != 0, flags & ACK != 0, ack);
            let mut frame = vec![0; vnet::LENGTH];
            builder.tcp_header(header).write(&mut frame, bytes).expect("written");
            frame
        };
        let (client, service) = ((consumer, 4_000), (endpoint, 53));
        let syn = world.frames(CONSUMER, segment(client, service, SYN, (100, 0), b"")).remove(0).1;
        let outline = ip::outline(&syn[vnet::LENGTH..]).expect("a packet");
        let nat = (outline.source.to_string(), half(&syn, vnet::LENGTH + outline.header()));
        let server = |flags, numbers, bytes: &[u8]| segment((backend, 5_353), (&nat.0, nat.1), flags, numbers, bytes);
        world.narrowed(server(SYN | ACK, (900, 101), b""));
        world.frames(CONSUMER, segment(client, service, ACK, (101, 901), b""));
        let whole = world.narrowed(server(ACK, (901, 101), &payload(1_400)));
        let mtu = if consumer.contains(':') { 1_280 } else { 576 };
        let narrow = whole[vnet::LENGTH..].to_vec();
        world.told(too_big(&narrow, mtu));
        let frame = world.narrowed(server(ACK, (901, 101), &payload(1_400)));
        let headers = if consumer.contains(':') { 60 } else { 40 };
        assert_eq!(VnetHeader::read(&frame).map(|vnet| u32::from(vnet.gso_size)), Some(mtu - headers));
        let packets = segments(&frame).expect("cut");
        let joined: Vec<u8> =
            packets.iter().flat_map(|packet| &packet[vnet::LENGTH + headers as usize..]).copied().collect();
        assert_eq!(joined, payload(1_400));
        for packet in &packets {
            let packet = &packet[vnet::LENGTH..];
            assert!(packet.len() <= mtu as usize);
            let outline = ip::outline(packet).expect("a packet");
            assert_eq!((outline.source.ip(), outline.destination.ip()), (ip(endpoint), ip(consumer)));
            let segment = &packet[outline.header()..];
            let pseudo = build::pseudo_sum(outline.source, outline.destination, ip::TCP, segment.len());
            assert_eq!(checksum::join(pseudo, checksum::sum(segment)), 0xFFFF);
        }
    }
}
