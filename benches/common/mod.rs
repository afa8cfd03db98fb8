//! What the benches share: a snapshot with one open resource, and frames of many clients.

#![allow(unreachable_pub, reason = "each bench uses what it needs of this module")]

use std::net::IpAddr;
use std::sync::Arc;

use privlink::dataplane::forwarder::{Context, Forwarder, Position};
use privlink::dataplane::handover::Shared;
use privlink::dataplane::session::Tick;
use privlink::dataplane::verdict::Verdict;
use privlink::snapshot::tables::Stamp;
use privlink::snapshot::{
    Attachment, AttachmentId, Backend, ConnectionState, Endpoint, EndpointId, PortMap, Protocol, Resource, Snapshot,
    SnapshotBuilder, Target, TargetId, Timeouts,
};

/// Where consumer frames arrive.
pub const CONSUMER: AttachmentId = AttachmentId(0);
/// Where provider frames arrive.
pub const PROVIDER: AttachmentId = AttachmentId(1);
/// Nothing expires during a bench.
pub const NOW: Tick = Tick(10);

/// A snapshot with one endpoint, 10.1.9.4, whose resource exposes every port and has eight NAT
/// addresses: room for a million sessions over two ports.
pub fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::default();
    builder.settings.max_sessions = 4 << 20;
    for (number, space) in [(0, "10.0.0.0/9"), (1, "10.200.0.0/16")] {
        builder.attachments.push(Attachment {
            vnet: Arc::from(space),
            vnet_number: number,
            peers: Vec::new(),
            sources: [space.parse().expect("a prefix")].iter().collect(),
            mtu: 1_500,
            excluded_workloads: Vec::new(),
        });
    }
    let open = |protocol| PortMap { protocol, first: 1, last: 65_535, backend_first: 1 };
    let resource = builder.resource(Resource {
        retired: Vec::new(),
        name: Arc::from("default/service"),
        provider: PROVIDER,
        nat: (1..=8).map(|last| IpAddr::from([10, 200, 99, last])).collect(),
        targets: vec![Target {
            subresource: Arc::from(""),
            member: Arc::from(""),
            backends: vec![Backend {
                address: IpAddr::from([10, 200, 0, 2]),
                state: privlink::snapshot::BackendState::Up,
            }],
            ports: vec![open(Protocol::Udp), open(Protocol::Tcp)],
            icmp: false,
        }],
        timeouts: Timeouts::default(),
        balance: privlink::snapshot::Balance::LeastSessions,
        answer: None,
        max_sessions: u32::MAX,
    });
    let endpoint = Endpoint {
        link: 0,
        id: EndpointId(0),
        name: Arc::from("default/endpoint"),
        state: ConnectionState::Approved,
        resource,
        sources: None,
        rules: None,
        max_sessions: u32::MAX,
    };
    builder.endpoint(0, endpoint, &[(IpAddr::from([10, 1, 9, 4]), TargetId(0))], Stamp::default());
    builder.build(1)
}

/// A forwarder that has adopted `snapshot`.
pub fn forwarder(snapshot: &Snapshot, capacity: u32) -> Forwarder {
    let shared = Arc::new(Shared::new(vec![Arc::new(|| ())]));
    let mut forwarder = Forwarder::new(Position { worker: 0, workers: 1 }, capacity, [3, 5, 7], shared);
    forwarder.adopt(&context(snapshot));
    forwarder
}

/// A context at a time that never moves.
pub fn context(snapshot: &Snapshot) -> Context<'_> {
    Context { snapshot, now: NOW }
}

/// Client address and port of session `number`.
pub fn client(number: u32) -> ([u8; 4], u16) {
    ((0x0A02_0000 + (number >> 14)).to_be_bytes(), 2_000 + (number & 0x3FFF) as u16)
}

/// A UDP frame of 64 bytes of IP packet from `source` to `destination`.
pub fn udp_frame(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
    let mut frame = vec![0; 10];
    etherparse::PacketBuilder::ipv4(source.0, destination.0, 64)
        .udp(source.1, destination.1)
        .write(&mut frame, &[7; 36])
        .expect("a packet");
    frame
}

/// A TCP frame of 64 bytes of IP packet.
pub fn tcp_frame(source: ([u8; 4], u16), destination: ([u8; 4], u16), syn: bool, seq: u32) -> Vec<u8> {
    let mut frame = vec![0; 10];
    let builder =
        etherparse::PacketBuilder::ipv4(source.0, destination.0, 64).tcp(source.1, destination.1, seq, 65_000);
    let builder = if syn { builder.syn() } else { builder.ack(901) };
    builder.write(&mut frame, &[7; 24]).expect("a packet");
    frame
}

/// Opens `count` UDP sessions; returns the consumer's frames and the provider's answers.
pub fn open_sessions(forwarder: &mut Forwarder, snapshot: &Snapshot, count: u32) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let context = context(snapshot);
    let mut outward = Vec::with_capacity(count as usize);
    let mut inward = Vec::with_capacity(count as usize);
    for number in 0..count {
        let port = 1_000 + (number % 4) as u16;
        let frame = udp_frame(client(number), ([10, 1, 9, 4], port));
        let mut sent = frame.clone();
        let verdict = forwarder.receive(&mut sent, CONSUMER, &context);
        assert!(matches!(verdict, Verdict::Forward { .. }), "session {number}: {verdict:?}");
        let nat = ([sent[22], sent[23], sent[24], sent[25]], u16::from_be_bytes([sent[30], sent[31]]));
        outward.push(frame);
        inward.push(udp_frame(([10, 200, 0, 2], port), nat));
    }
    (outward, inward)
}
