//! What the benches share: a snapshot with open resources of both families, and frames of many clients.

#![allow(
    unreachable_pub,
    dead_code,
    clippy::wildcard_enum_match_arm,
    reason = "each bench uses what it needs of this module; what a bench does not make ends it loudly"
)]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use device::{Count, Cycle};
use etherparse::PacketBuilder;
use privlink::dataplane::Worker;
use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::Batch;
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Context, Forwarder, Position};
use privlink::snapshot::tables::Stamp;
use privlink::snapshot::{
    Attachment, AttachmentId, Backend, BackendState, Balance, ConnectionState, Endpoint, EndpointId, PortMap, Protocol,
    Publisher, Resource, ResourceId, Snapshot, SnapshotBuilder, Target, TargetId, Timeouts,
};

/// Devices in memory.
pub mod device;

#[path = "../../tests/support/frames.rs"]
mod frames;
pub(crate) use frames::{Carries, HEADER, frame};

/// Where consumer frames arrive.
pub const CONSUMER: AttachmentId = AttachmentId(0);
/// Where provider frames arrive.
pub const PROVIDER: AttachmentId = AttachmentId(1);
/// Nothing expires during a bench.
pub const NOW: Tick = Tick(10);

const YEARS: Duration = Duration::from_secs(1 << 26);

/// Endpoints of [`snapshot`]: IPv4 before IPv4, IPv6 before IPv6, IPv6 before IPv4.
pub const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 9, 4));
pub const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 9, 0, 0, 0, 4));
pub const SIX_TO_FOUR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 9, 0, 0, 0, 5));

/// Networks without endpoints: a consumer's and a provider's, each of both families.
pub fn networks() -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::default();
    builder.settings.max_sessions = 16 << 20;
    for (number, spaces) in [(0, ["10.0.0.0/9", "fd01::/16"]), (1, ["10.200.0.0/16", "fd20::/16"])] {
        builder.attachments.push(Attachment {
            vnet: Arc::from(spaces[0]),
            vnet_number: number,
            peers: Vec::new(),
            sources: spaces.iter().map(|space| space.parse().expect("a prefix")).collect::<Vec<_>>().iter().collect(),
            mtu: 1_500,
            unsent: privlink::snapshot::prefixes::PrefixSet::default(),
            excluded_workloads: Vec::new(),
        });
    }
    builder
}

/// A resource that exposes every port of one backend behind `nat` addresses.
pub fn resource(builder: &mut SnapshotBuilder, backend: IpAddr, nat: Vec<IpAddr>) -> ResourceId {
    let open = |protocol| PortMap { protocol, first: 1, last: 65_535, backend_first: 1 };
    builder.resource(Resource {
        retired: Vec::new(),
        name: Arc::from("default/service"),
        provider: PROVIDER,
        nat,
        targets: vec![Target {
            subresource: Arc::from(""),
            member: Arc::from(""),
            backends: vec![Backend { address: backend, state: BackendState::Up }],
            ports: vec![open(Protocol::Udp), open(Protocol::Tcp)],
            icmp: false,
            silent: Vec::new(),
        }],
        // Nothing idles out, however far a bench moves the time.
        timeouts: Timeouts { udp: YEARS, tcp_established: YEARS, ..Timeouts::default() },
        balance: Balance::LeastSessions,
        answer: None,
        max_sessions: u32::MAX,
        meter: None,
    })
}

/// An approved endpoint without rules of its own.
pub fn endpoint(id: u32, resource: ResourceId) -> Endpoint {
    Endpoint {
        link: id,
        id: EndpointId(id),
        name: Arc::from(format!("default/endpoint-{id}")),
        state: ConnectionState::Approved,
        resource,
        sources: None,
        rules: None,
        max_sessions: u32::MAX,
        meter: None,
    }
}

/// Adds an endpoint at `address`.
pub fn add(builder: &mut SnapshotBuilder, id: u32, address: IpAddr, resource: ResourceId) {
    builder.endpoint(0, endpoint(id, resource), &[(address, TargetId(0))], Stamp::default());
}

/// A snapshot with three endpoints. The IPv4 resource has eight NAT addresses: room for a million sessions over
/// two ports.
pub fn snapshot() -> Snapshot {
    let mut builder = networks();
    let four = (1..=8).map(|last| IpAddr::from([10, 200, 99, last])).collect();
    let six = (1..=2).map(|last| IpAddr::from([0xfd20, 0, 0, 99, 0, 0, 0, last])).collect();
    let four = resource(&mut builder, IpAddr::from([10, 200, 0, 2]), four);
    let six = resource(&mut builder, IpAddr::from([0xfd20, 0, 0, 0, 0, 0, 0, 2]), six);
    for (id, address, resource) in [(0, FOUR, four), (1, SIX, six), (2, SIX_TO_FOUR, four)] {
        add(&mut builder, id, address, resource);
    }
    builder.build(1)
}

/// A forwarder that has adopted `snapshot`.
pub fn forwarder(snapshot: &Snapshot, capacity: u32) -> Forwarder {
    let shared = Arc::new(Shared::new(vec![Arc::new(|| ())]));
    let mut forwarder = Forwarder::new(Position { worker: 0, workers: 1 }, capacity, [3, 5, 7], shared);
    forwarder.handle_snapshot(&context(snapshot));
    forwarder
}

/// A worker over devices in memory, one per side.
pub fn worker(forwarder: Forwarder, snapshot: Snapshot, sources: [Cycle; 2]) -> Worker<Cycle, Count> {
    let mut publisher = Publisher::new();
    publisher.publish(snapshot);
    let reader = publisher.reader(Box::new(|| ()));
    Worker::new(forwarder, sources.into(), vec![Count::default(), Count::default()], reader, Arc::new(SegQueue::new()))
}

/// A context at a time that never moves.
pub fn context(snapshot: &Snapshot) -> Context<'_> {
    Context::new(snapshot, NOW)
}

/// Client address and port of session `number`.
pub fn client(number: u32) -> ([u8; 4], u16) {
    ((0x0A02_0000 + (number >> 14)).to_be_bytes(), 2_000 + (number & 0x3FFF) as u16)
}

/// A UDP frame of 64 bytes of IP packet from `source` to `destination`.
pub fn udp_frame(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    frame(Carries::Udp, (source.0.into(), source.1), (destination.0.into(), destination.1))
}

/// Source address and port of the packet in a frame.
pub fn source(frame: &[u8]) -> (IpAddr, u16) {
    let sliced = etherparse::SlicedPacket::from_ip(&frame[HEADER..]).expect("a packet");
    let port = match sliced.transport.expect("ports") {
        etherparse::TransportSlice::Udp(udp) => udp.source_port(),
        etherparse::TransportSlice::Tcp(tcp) => tcp.source_port(),
        other => unreachable!("{other:?}"),
    };
    let address = match sliced.net.expect("an address") {
        etherparse::NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        etherparse::NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        etherparse::NetSlice::Arp(_) => unreachable!("no ARP on a TUN"),
    };
    (address, port)
}

/// What leaves when `frame` arrives: it must be forwarded, in place or between families.
pub fn forwarded(forwarder: &mut Forwarder, frame: &[u8], from: AttachmentId, context: &Context<'_>) -> Vec<u8> {
    thread_local!(static BATCH: RefCell<Batch> = RefCell::new(Batch::new()));
    let mut left = None;
    BATCH.with_borrow_mut(|batch| {
        batch.clear();
        assert!(batch.push(frame));
        forwarder.handle_frames(batch, from, context, |out| {
            left = Some(out.whole());
            Ok(())
        });
    });
    left.expect("forwarded")
}

/// Opens a session from `client` to `port` of `endpoint` and returns the frames of a hit: the consumer's and the
/// provider's.
pub fn open(
    forwarder: &mut Forwarder,
    snapshot: &Snapshot,
    protocol: Protocol,
    client: (IpAddr, u16),
    endpoint: (IpAddr, u16),
) -> (Vec<u8>, Vec<u8>) {
    let context = context(snapshot);
    let backend: IpAddr = if endpoint.0 == SIX { [0xfd20, 0, 0, 0, 0, 0, 0, 2].into() } else { [10, 200, 0, 2].into() };
    let backend = (backend, endpoint.1);
    let first = if protocol == Protocol::Tcp { Carries::Syn } else { Carries::Udp };
    let nat = source(&forwarded(forwarder, &frame(first, client, endpoint), CONSUMER, &context));
    if protocol != Protocol::Tcp {
        return (frame(Carries::Udp, client, endpoint), frame(Carries::Udp, backend, nat));
    }
    forwarded(forwarder, &frame(Carries::SynAck, backend, nat), PROVIDER, &context);
    forwarded(forwarder, &frame(Carries::Data, client, endpoint), CONSUMER, &context);
    let answer = PacketOfProvider { backend, nat }.frame();
    forwarded(forwarder, &answer, PROVIDER, &context);
    (frame(Carries::Data, client, endpoint), answer)
}

/// Data of the provider, numbered as its SYN and the consumer's data demand.
struct PacketOfProvider {
    backend: (IpAddr, u16),
    nat: (IpAddr, u16),
}

impl PacketOfProvider {
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        let builder = match (self.backend.0, self.nat.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
            _ => unreachable!("both ends are of one family"),
        };
        let written = builder.tcp(self.backend.1, self.nat.1, 901, 65_000).ack(125).write(&mut frame, &[7; 24]);
        written.expect("a packet");
        frame
    }
}

/// Opens `count` UDP sessions; returns the consumer's frames and the provider's answers.
pub fn open_sessions(forwarder: &mut Forwarder, snapshot: &Snapshot, count: u32) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    (0..count)
        .map(|number| {
            let (address, port) = client(number);
            open(forwarder, snapshot, Protocol::Udp, (address.into(), port), (FOUR, 1_000 + (number % 16) as u16))
        })
        .unzip()
}
