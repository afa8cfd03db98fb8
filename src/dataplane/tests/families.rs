//! Both families, errors and fragments over in-memory devices, with one worker and with four: what a kernel does
//! with the same packets is in `tests/wire`.

use super::*;
use crate::wire::fragment::split;
use crate::wire::{Address, Version, build, ip, vnet};

/// `fd01::4` before a backend of IPv6, 10.1.9.8 before the same, `fd01::5` before one of IPv4.
fn snapshot() -> Snapshot {
    let prefix = |text: &str| text.parse::<ipnet::IpNet>().expect("a prefix");
    let mut builder = SnapshotBuilder::default();
    for (number, name, space) in
        [(0, "spoke", ["10.1.0.0/16", "fd01::/16"]), (1, "core", ["10.20.0.0/16", "fd20::/16"])]
    {
        builder.attachments.push(Attachment {
            vnet: Arc::from(name),
            vnet_number: number,
            mtu: 1_500,
            peers: Vec::new(),
            sources: [prefix(space[0]), prefix(space[1])].iter().collect(),
            unsent: crate::snapshot::prefixes::PrefixSet::default(),
            excluded_workloads: Vec::new(),
        });
    }
    let mut bound = |nat: &str, backend: &str| {
        builder.resource(Resource {
            retired: Vec::new(),
            name: Arc::from("default/service"),
            provider: PROVIDER,
            nat: vec![ip(nat)],
            targets: vec![Target {
                subresource: Arc::from(""),
                member: Arc::from(""),
                backends: vec![Backend { address: ip(backend), state: crate::snapshot::BackendState::Up }],
                ports: [Protocol::Udp, Protocol::Tcp]
                    .map(|protocol| PortMap { protocol, first: 53, last: 53, backend_first: 5_353 })
                    .into(),
                icmp: true,
                silent: Vec::new(),
            }],
            timeouts: Timeouts::default(),
            balance: crate::snapshot::Balance::LeastSessions,
            answer: None,
            max_sessions: u32::MAX,
            meter: None,
        })
    };
    let (six, four) = (bound("fd20::99", "fd20::2"), bound("10.20.99.4", "10.20.0.2"));
    for (id, address, resource) in [(0, "fd01::4", six), (1, "10.1.9.8", six), (2, "fd01::5", four)] {
        let endpoint = Endpoint {
            link: id,
            id: EndpointId(id),
            name: Arc::from("default/one"),
            state: Approved,
            resource,
            sources: None,
            rules: None,
            max_sessions: u32::MAX,
            meter: None,
        };
        builder.endpoint(0, endpoint, &[(ip(address), TargetId(0))], Stamp::default());
    }
    builder.build(9)
}

pub(super) fn world(workers: u16) -> World {
    let world = World::with_workers(workers);
    world.publisher.publish(snapshot());
    world
}

/// A datagram as an IP packet.
pub(super) fn datagram(from: (&str, u16), to: (&str, u16), payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (Address::from(ip(from.0)), Address::from(ip(to.0)));
    let mut packet = build::icmp(source, destination, [0, 0], 0, payload).split_off(vnet::LENGTH);
    let header = source.version().header();
    let length = (payload.len() + 8) as u16;
    packet[if header == 20 { 9 } else { 6 }] = ip::UDP;
    let transport = &mut packet[header..];
    for (at, half) in [(0, from.1), (2, to.1), (4, length), (6, 0)] {
        transport[at..at + 2].copy_from_slice(&half.to_be_bytes());
    }
    let pseudo = build::pseudo_sum(source, destination, ip::UDP, usize::from(length));
    let sum = !crate::wire::checksum::join(pseudo, crate::wire::checksum::sum(transport));
    transport[6..8].copy_from_slice(&sum.to_be_bytes());
    if header == 20 {
        packet[6..8].fill(0);
        packet[10..12].fill(0);
        let sum = !crate::wire::checksum::sum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

impl World {
    /// Delivers IP packets, each to the next worker, and returns the packets that leave.
    pub(super) fn raw(&mut self, at: AttachmentId, packets: &[Vec<u8>]) -> Vec<(AttachmentId, Vec<u8>)> {
        let workers = self.workers.len();
        for (number, packet) in packets.iter().enumerate() {
            let frame = [&[0; vnet::LENGTH][..], packet].concat();
            self.workers[number % workers].ends().0[usize::from(at.0)].push(frame);
        }
        self.settle();
        let mut out = Vec::new();
        for worker in &mut self.workers {
            for (sink, at) in worker.ends().1.iter_mut().zip(0..) {
                out.extend(sink.sent.drain(..).map(|mut frame| (AttachmentId(at), frame.split_off(vnet::LENGTH))));
            }
        }
        self.check_sums();
        out
    }
}

/// Source and destination of a datagram with their ports, and its payload; its checksum is right.
pub(super) fn read(packet: &[u8]) -> ((String, u16), (String, u16), Vec<u8>) {
    let outline = ip::outline(packet).expect("a packet");
    let transport = &packet[outline.header()..outline.total()];
    let pseudo = build::pseudo_sum(outline.source, outline.destination, ip::UDP, transport.len());
    assert_eq!(crate::wire::checksum::join(pseudo, crate::wire::checksum::sum(transport)), 0xFFFF);
    let half = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    let name = |address: Address| address.to_string();
    ((name(outline.source), half(0)), (name(outline.destination), half(2)), transport[8..].to_vec())
}

pub(super) const LINKS: [(&str, &str, &str); 3] =
    [("fd01::a", "fd01::4", "fd20::2"), ("10.1.0.5", "10.1.9.8", "fd20::2"), ("fd01::a", "fd01::5", "10.20.0.2")];

/// 46-1: one path for every pair of families.
#[test]
fn a_datagram_and_its_answer_cross_every_pair_of_families() {
    for workers in [1, 4] {
        for (consumer, endpoint, backend) in LINKS {
            let mut world = world(workers);
            let out = world.raw(CONSUMER, &[datagram((consumer, 4_000), (endpoint, 53), b"question")]);
            assert_eq!((out.len(), out[0].0), (1, PROVIDER), "{out:?}");
            let (nat, to, payload) = read(&out[0].1);
            assert_eq!((to, payload), ((backend.to_owned(), 5_353), b"question".to_vec()));
            let back = world.raw(PROVIDER, &[datagram((backend, 5_353), (&nat.0, nat.1), b"answer")]);
            assert_eq!((back.len(), back[0].0), (1, CONSUMER));
            let expected = ((endpoint.to_owned(), 53), (consumer.to_owned(), 4_000), b"answer".to_vec());
            assert_eq!(read(&back[0].1), expected);
        }
    }
}

/// G-1, law 4: a datagram in pieces is forwarded as what it is, whoever reads them, and every piece is counted once.
#[test]
fn pieces_meet_whoever_reads_them() {
    for workers in [1, 4] {
        for (consumer, endpoint, _) in LINKS {
            for length in [300, 4_000] {
                let mut world = world(workers);
                let packet = datagram((consumer, 4_000), (endpoint, 53), &vec![7; length]);
                let pieces: Vec<Vec<u8>> = split(&packet, if length == 300 { 200 } else { 1_200 }, 77)
                    .expect("cut")
                    .into_iter()
                    .map(|mut frame| frame.split_off(vnet::LENGTH))
                    .collect();
                let out = world.raw(CONSUMER, &pieces);
                let bytes: usize = out
                    .iter()
                    .map(|(_, packet)| ip::outline(packet).map(|o| o.total() - o.header()).expect("a packet"))
                    .sum();
                assert_eq!(bytes, length + 8, "{endpoint} with {workers} workers: {out:?}");
                assert!(out.iter().all(|(at, packet)| *at == PROVIDER && packet.len() <= 1_500));
                if length == 300 {
                    assert_eq!(read(&out[0].1).2, vec![7; 300], "whole, since it fits");
                }
                let counts: Vec<_> = world.workers.iter().map(|worker| worker.forwarder().counts()).collect();
                let forwarded: u64 = counts.iter().map(|counts| counts.forwarded).sum();
                assert_eq!(forwarded, pieces.len() as u64, "each piece counts once");
                assert_eq!(counts.iter().map(|counts| counts.held).sum::<u64>(), 0);
            }
        }
    }
}

/// I-1: an error finds the worker of the session that it is about.
#[test]
fn errors_find_their_session_whoever_reads_them() {
    for workers in [1, 4] {
        for (consumer, endpoint, _) in LINKS {
            let mut world = world(workers);
            for port in 4_000..4_008 {
                let out = world.raw(CONSUMER, &[datagram((consumer, port), (endpoint, 53), b"question")]);
                let (_, question) = &out[0];
                let outline = ip::outline(question).expect("a packet");
                // A router whose links have no address of their own has nothing but a link-local one.
                let router = match (outline.version, port % 2) {
                    (Version::V4, 0) => "10.20.0.77",
                    (Version::V4, _) => "169.254.7.7",
                    (Version::V6, 0) => "fd20::77",
                    (Version::V6, _) => "fe80::77",
                };
                let kind = if outline.version == Version::V4 { [3, 3] } else { [1, 4] };
                let mut error = build::icmp(Address::from(ip(router)), outline.source, kind, 0, question);
                let told = world.raw(PROVIDER, &[error.split_off(vnet::LENGTH)]);
                assert_eq!((told.len(), told[0].0), (1, CONSUMER), "{endpoint} with {workers} workers");
                let outer = ip::outline(&told[0].1).expect("a packet");
                assert_eq!(
                    (outer.source.to_string(), outer.destination.to_string()),
                    (endpoint.into(), consumer.into())
                );
                assert_eq!(world.drops(DropReason::IcmpUnmatched), 0);
            }
        }
    }
}

/// Sources that no host of the network can have: nothing of them passes, nothing is answered, nothing is kept.
#[test]
fn sources_of_special_purpose_by_ipv6_get_silence() {
    let mut world = world(1);
    let asked = |from: &str| datagram((from, 4_000), ("fd01::4", 53), b"question");
    let mut mapped = asked("fd01::a");
    mapped[8..24].copy_from_slice(&std::net::Ipv4Addr::new(10, 1, 0, 5).to_ipv6_mapped().octets());
    let sources = ["::", "::1", "fe80::5", "ff02::5", "2002:a01:5::5", "64:ff9b::a01:5", "100::5"];
    for packet in sources.into_iter().map(asked).chain([mapped]) {
        let source = packet[8..24].to_vec();
        assert!(world.raw(CONSUMER, &[packet]).is_empty(), "{source:x?}");
    }
    assert_eq!(world.sessions(), 0);
    assert_eq!(world.raw(CONSUMER, &[asked("fd01::a")]).len(), 1, "a host of the network gets through");
}

/// P-7, G-2: nobody who may not send makes a worker keep anything.
#[test]
fn pieces_of_what_is_not_welcome_are_not_kept() {
    let mut world = world(1);
    for (from, to, reason) in [
        ("10.9.0.5", "10.1.9.8", DropReason::SourceNotAllowed),
        ("10.1.0.5", "10.1.9.99", DropReason::UnknownEndpoint),
        ("127.0.0.1", "10.1.9.8", DropReason::SpoofedSource),
    ] {
        let packet = datagram((from, 4_000), (to, 53), &[7; 3_000]);
        let mut pieces = split(&packet, 1_200, 77).expect("cut");
        assert!(world.raw(CONSUMER, &[pieces.swap_remove(0).split_off(vnet::LENGTH)]).is_empty());
        assert_eq!(world.drops(reason), 1);
    }
    assert_eq!(world.workers[0].forwarder().counts().held, 0);
}

/// I-9: what may not be cut is refused with what fits, in the sender's family.
#[test]
fn what_grows_too_large_is_told_so() {
    let mut world = world(1);
    let mut packet = datagram(("10.1.0.5", 4_000), ("10.1.9.8", 53), &[7; 1_472]);
    packet[6] = 0x40;
    packet[10..12].fill(0);
    let sum = !crate::wire::checksum::sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let out = world.raw(CONSUMER, &[packet.clone()]);
    assert_eq!((out.len(), out[0].0, &out[0].1[20..22]), (1, CONSUMER, &[3, 4][..]));
    assert_eq!(u16::from_be_bytes([out[0].1[26], out[0].1[27]]), 1_480);
    assert_eq!(world.drops(DropReason::PacketTooBig), 1);
    packet[6] = 0;
    packet[10..12].fill(0);
    let sum = !crate::wire::checksum::sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let out = world.raw(CONSUMER, &[packet]);
    assert!(out.len() == 2 && out.iter().all(|(at, piece)| *at == PROVIDER && piece.len() <= 1_280), "{out:?}");
}
