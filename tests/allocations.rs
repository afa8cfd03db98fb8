//! What the packet path takes from the allocator: nothing on a hit (law 6), and at most 200
//! bytes per session at a million of them. One binary of its own, since an allocator is the process's; it
//! counts per thread, since the test harness allocates in threads of its own while a test runs.

#![allow(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a test builds packets from small numbers, and may fail loudly"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::Batch;
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Context, Forwarder, Position};
use privlink::snapshot::tables::Stamp;
use privlink::snapshot::{
    Attachment, AttachmentId, Backend, ConnectionState, Endpoint, EndpointId, PortMap, Protocol, Resource, Snapshot,
    SnapshotBuilder, Target, TargetId, Timeouts,
};

/// What all tests share.
mod support;

use support::frames::{self, Carries};

thread_local! {
    // Constant, without a destructor: reaching them does not allocate.
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; this one only counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn snapshot(nat: u8) -> Snapshot {
    let mut builder = SnapshotBuilder::default();
    builder.settings.max_sessions = 2 << 20;
    for (number, space) in [(0, "10.1.0.0/16"), (1, "10.20.0.0/16")] {
        builder.attachments.push(Attachment {
            vnet: Arc::from(space),
            vnet_number: number,
            peers: Vec::new(),
            sources: [space.parse().expect("a prefix")].iter().collect(),
            mtu: 1_500,
            unsent: privlink::snapshot::prefixes::PrefixSet::default(),
            excluded_workloads: Vec::new(),
        });
    }
    let address = |last: u8| IpAddr::from([10, 20, 99, last]);
    let resource = builder.resource(Resource {
        retired: Vec::new(),
        name: Arc::from("default/service"),
        provider: AttachmentId(1),
        nat: (1..=nat).map(address).collect(),
        targets: vec![Target {
            subresource: Arc::from(""),
            member: Arc::from(""),
            backends: vec![Backend {
                address: IpAddr::from([10, 20, 0, 2]),
                state: privlink::snapshot::BackendState::Up,
            }],
            ports: vec![PortMap { protocol: Protocol::Udp, first: 1, last: 65_535, backend_first: 1 }],
            icmp: false,
            silent: Vec::new(),
        }],
        timeouts: Timeouts::default(),
        balance: privlink::snapshot::Balance::LeastSessions,
        answer: None,
        max_sessions: u32::MAX,
        meter: None,
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
        meter: None,
    };
    builder.endpoint(0, endpoint, &[(IpAddr::from([10, 1, 9, 4]), TargetId(0))], Stamp::default());
    builder.build(1)
}

fn forwarder(capacity: u32) -> Forwarder {
    let shared = Arc::new(Shared::new(vec![Arc::new(|| ())]));
    Forwarder::new(Position { worker: 0, workers: 1 }, capacity, [3, 5, 7], shared)
}

/// A UDP frame from client `number` to port `port` of the endpoint.
fn frame(number: u32, port: u16) -> Vec<u8> {
    let source = (0x0A01_0000 | number >> 14 & 0xFF | 0x4000).to_be_bytes();
    let client = (source.into(), 1_024 + (number & 0x3FFF) as u16);
    frames::frame(Carries::Udp, client, (IpAddr::from([10, 1, 9, 4]), port))
}

/// Lets the frames of `batch` through, each of which must be forwarded; returns the last as it left.
fn forwarded<'a>(
    forwarder: &mut Forwarder,
    batch: &mut Batch,
    at: u16,
    context: &Context<'_>,
    last: &'a mut [u8],
) -> &'a [u8] {
    let (frames, mut left, mut length) = (batch.len(), 0, 0);
    forwarder.handle_frames(batch, AttachmentId(at), context, |out| {
        assert_ne!(out.to, AttachmentId(at), "an answer");
        (left, length) = (left + 1, out.body.len());
        last[..length].copy_from_slice(out.body);
        Ok(())
    });
    assert_eq!(left, frames);
    &last[..length]
}

#[test]
fn a_hit_allocates_nothing_in_either_direction() {
    let (snapshot, mut forwarder) = (snapshot(1), forwarder(100));
    let context = Context::new(&snapshot, Tick(10));
    forwarder.handle_snapshot(&context);
    let original = frame(1, 53);
    let (mut batch, mut last) = (Batch::new(), [0; 100]);
    assert!(batch.push(&original));
    let out = forwarded(&mut forwarder, &mut batch, 0, &context, &mut last);
    let nat: [u8; 4] = out[22..26].try_into().expect("four bytes");
    let port = u16::from_be_bytes([out[30], out[31]]);
    let reply = frames::frame(Carries::Udp, ([10, 20, 0, 2].into(), 53), (nat.into(), port));
    let before = CALLS.get();
    for _ in 0..1_000 {
        for (frame, at) in [(&original, 0), (&reply, 1)] {
            batch.clear();
            while batch.push(frame) {}
            forwarded(&mut forwarder, &mut batch, at, &context, &mut last);
        }
        forwarder.poll_timeout(context.now);
    }
    assert_eq!(CALLS.get() - before, 0);
    drop(std::hint::black_box(vec![0_u8; 64]));
    assert!(CALLS.get() > before, "the allocator does count");
}

#[test]
fn a_million_sessions_take_at_most_200_bytes_each() {
    const SESSIONS: u32 = 1 << 20;
    let snapshot = snapshot(8);
    let context = Context::new(&snapshot, Tick(10));
    let mut batch = Batch::new();
    let before = BYTES.get();
    let mut forwarder = forwarder(SESSIONS);
    forwarder.handle_snapshot(&context);
    for number in 0..SESSIONS {
        batch.clear();
        assert!(batch.push(&frame(number, 1_000 + (number % 4) as u16)));
        forwarded(&mut forwarder, &mut batch, 0, &context, &mut [0; 100]);
    }
    let per_session = (BYTES.get() - before) as f64 / f64::from(SESSIONS);
    assert_eq!(forwarder.sessions().len(), SESSIONS as usize);
    println!("{per_session:.1} bytes per session");
    assert!(per_session <= 200.0, "{per_session} bytes per session");
}

/// 100 K records of one's own in four zones, and what a resolver answers them from.
#[test]
fn a_hundred_thousand_records_take_less_than_a_hundred_megabytes() {
    use privlink::compile::names::Planner;
    use privlink::model::state::ControlState;
    use privlink::model::{DnsZone, Key, RecordSet, RecordType, ZoneLink, ZoneRecord, read_values};

    const RECORDS: usize = 100_000;
    let file = "[daemon]\nstate = \"/s\"\n[[attachment]]\nvnet = \"spoke\"\nnetns = \"spoke\"\n[[vnet]]\nname = \
                \"spoke\"\naddress_space = \"10.1.0.0/16\"\ndns = { listen = \"10.1.255.254\" }\n";
    let before = BYTES.get();
    let mut state =
        ControlState { model: privlink::config::parse(file, "f").expect("sound").model, ..ControlState::default() };
    for zone in 0..4 {
        let link = ZoneLink {
            name: "spoke".into(),
            vnet: Key::new("default", "spoke"),
            policy: privlink::model::ResolutionPolicy::Default,
            registration: false,
            tags: std::collections::BTreeMap::new(),
        };
        let record = |number: usize| ZoneRecord {
            name: format!("host-{number:06}"),
            set: RecordSet {
                ttl: 60,
                data: read_values(RecordType::A, &[format!("10.{zone}.{}.{}", number / 256 % 256, number % 256)])
                    .expect("an address"),
            },
            metadata: std::collections::BTreeMap::new(),
        };
        let zone_of =
            DnsZone { records: (0..RECORDS / 4).map(record).collect(), links: vec![link], ..DnsZone::default() };
        state.model.dns_zones.insert(Key::new("default", format!("zone-{zone}.example.internal")), zone_of);
    }
    let written = BYTES.get() - before;
    let planner = Planner::of(&state, 1);
    let both = BYTES.get() - before;
    let plan = &planner.plan().resolvers["default/spoke"];
    assert_eq!(plan.names.len(), RECORDS);
    println!(
        "100 K records: {:.1} MB as written, {:.1} MB with the resolver's",
        written as f64 / 1e6,
        both as f64 / 1e6
    );
    assert!(both < 100_000_000, "{both} bytes");
}
