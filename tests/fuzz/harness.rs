//! What bytes from anywhere are made of: packets, changes of rules and time for one forwarder; ICMP messages;
//! pieces of datagrams; configurations. Shared by the fuzz targets and by the test that replays their corpora, so
//! it takes its world from the public types alone. Every packet that leaves is judged by the laws of `src/lib.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::Batch;
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Context, Forwarder, Position};
use privlink::model::Model;
use privlink::snapshot::tables::Stamp;
use privlink::snapshot::{
    Attachment, AttachmentId, Backend, ConnectionState, Endpoint, EndpointId, Generation, PortMap, Protocol, Resource,
    ResourceId, Snapshot, SnapshotBuilder, Target, TargetId, Timeouts,
};

#[path = "../support/packets.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod packets;
use packets::{Seen, VNET, echo, icmp_over, piece, tcp, udp};

/// Endpoints, the four pairs of families and one that is Pending; the last byte names it.
const ENDPOINTS: [(&str, usize, bool); 5] = [
    ("10.1.9.4", 0, true),
    ("10.1.9.6", 1, true),
    ("fd01::9:4", 0, true),
    ("fd01::9:6", 1, true),
    ("10.1.9.9", 0, false),
];
const NAT: [&str; 2] = ["10.20.99.1", "fd20::99:1"];
const BACKENDS: [&str; 2] = ["10.20.0.2", "fd20::2"];
const CLIENTS: [&str; 2] = ["10.1.1.7", "fd01::1:7"];
const ROUTERS: [&str; 2] = ["10.20.0.1", "fd20::1"];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0; 4]))
}

/// What a run reached, for the test that wants to see more than silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) read: u64,
    pub(crate) forwarded: u64,
    pub(crate) dropped: u64,
    pub(crate) answered: u64,
    /// Configurations without a mistake.
    pub(crate) sound: u64,
}

/// Bytes taken from the front; zeroes once they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// One worker, its rules, and the last packets that left it.
struct World {
    forwarder: Forwarder,
    batch: Batch,
    /// Per endpoint: whether it is Approved, and its generation.
    endpoints: [(bool, u32); ENDPOINTS.len()],
    epoch: u64,
    now: u32,
    snapshot: Snapshot,
    /// Packets towards the consumer and the provider, newest last.
    left: [Vec<Vec<u8>>; 2],
}

impl World {
    fn new() -> Self {
        let shared = Arc::new(Shared::new(vec![Arc::new(|| ())]));
        let forwarder = Forwarder::new(Position { worker: 0, workers: 1 }, 32, [1, 2, 3], shared);
        let endpoints = ENDPOINTS.map(|(_, _, approved)| (approved, 1));
        let mut world = Self {
            forwarder,
            batch: Batch::new(),
            endpoints,
            epoch: 0,
            now: 10,
            snapshot: Snapshot::empty(),
            left: [Vec::new(), Vec::new()],
        };
        world.publish();
        world
    }

    fn publish(&mut self) {
        self.epoch += 1;
        let mut builder = SnapshotBuilder::default();
        builder.settings.max_sessions = 32;
        for (number, spaces, mtu) in
            [(0, ["10.1.0.0/16", "fd01::/64"], 1_500), (1, ["10.20.0.0/16", "fd20::/64"], 1_400)]
        {
            builder.attachments.push(Attachment {
                vnet: Arc::from(spaces[0]),
                vnet_number: number,
                mtu,
                peers: Vec::new(),
                sources: spaces.iter().filter_map(|space| space.parse().ok()).collect::<Vec<IpNet>>().iter().collect(),
                unsent: privlink::snapshot::prefixes::PrefixSet::default(),
                excluded_workloads: Vec::new(),
            });
        }
        for (nat, backend) in NAT.iter().zip(BACKENDS) {
            let port = |protocol, first, last, backend_first| PortMap { protocol, first, last, backend_first };
            builder.resource(Resource {
                retired: Vec::new(),
                name: Arc::from("default/service"),
                provider: AttachmentId(1),
                nat: vec![address(nat)],
                targets: vec![Target {
                    subresource: Arc::from(""),
                    member: Arc::from(""),
                    backends: vec![Backend { address: address(backend), state: privlink::snapshot::BackendState::Up }],
                    ports: vec![port(Protocol::Tcp, 80, 81, 8_080), port(Protocol::Udp, 53, 53, 5_353)],
                    icmp: true,
                    silent: Vec::new(),
                }],
                timeouts: Timeouts::default(),
                balance: privlink::snapshot::Balance::LeastSessions,
                answer: None,
                max_sessions: 24,
                meter: None,
            });
        }
        for ((id, (own, resource, _)), (approved, generation)) in (0..).zip(ENDPOINTS).zip(self.endpoints) {
            let endpoint = Endpoint {
                id: EndpointId(id),
                link: id,
                name: Arc::from("default/endpoint"),
                state: if approved { ConnectionState::Approved } else { ConnectionState::Pending },
                resource: ResourceId(u32::try_from(resource).unwrap_or(0)),
                sources: None,
                rules: None,
                max_sessions: 16,
                meter: None,
            };
            let stamp = Stamp { current: Generation(generation), valid_since: Generation(generation) };
            builder.endpoint(0, endpoint, &[(address(own), TargetId(0))], stamp);
        }
        self.snapshot = builder.build(self.epoch);
        let context = Context::new(&self.snapshot, Tick(self.now));
        self.forwarder.handle_snapshot(&context);
    }

    /// Approves or revokes an endpoint.
    fn flip(&mut self, which: u8) {
        let (approved, generation) = &mut self.endpoints[usize::from(which) % ENDPOINTS.len()];
        (*approved, *generation) = (!*approved, *generation + 1);
        self.publish();
        self.rest(0);
    }

    /// Lets time pass and the worker look after its sessions.
    fn rest(&mut self, tenths: u32) {
        self.now = self.now.saturating_add(tenths);
        let context = Context::new(&self.snapshot, Tick(self.now));
        for _ in 0..64 {
            self.forwarder.handle_timeout(&context);
            if !self.forwarder.poll_timeout(context.now).is_zero() {
                break;
            }
        }
        self.collect(None);
    }

    /// Gives the forwarder one frame, virtio header included.
    fn send(&mut self, at: u16, frame: &[u8]) {
        let sent = Seen::of(frame.get(VNET..).unwrap_or_default());
        let context = Context::new(&self.snapshot, Tick(self.now));
        self.batch.clear();
        assert!(self.batch.push(frame), "{} bytes", frame.len());
        let mut left = Vec::new();
        self.forwarder.handle_frames(&mut self.batch, AttachmentId(at), &context, |out| {
            left.push((out.to, out.whole()));
            Ok(())
        });
        for (to, frame) in left {
            self.judge(to, frame, sent.as_ref());
        }
        let counts = self.forwarder.counts();
        assert_eq!(counts.handed_out, 0, "one worker hands nothing over");
        let ends = counts.forwarded + counts.dropped_total() + counts.handed_out + counts.held;
        assert_eq!(counts.read + counts.handed_in, ends, "law 4: {counts:?}");
    }

    fn collect(&mut self, sent: Option<&Seen>) {
        while let Some((to, frame)) = self.forwarder.poll_transmit().map(|own| (own.to, own.whole())) {
            self.judge(to, frame, sent);
        }
    }

    /// Laws 1 to 3: towards the provider only from a NAT address to the backend that is bound to it; towards the
    /// consumer only from an endpoint's address; and to either the answer to its packet in the place of who was asked.
    fn judge(&mut self, to: AttachmentId, frame: Vec<u8>, sent: Option<&Seen>) {
        assert!(frame.len() <= VNET + 65_575, "{} bytes", frame.len());
        let seen = Seen::of(&frame[VNET..]).unwrap_or_else(|| panic!("what leaves is no packet: {frame:02x?}"));
        let answers = sent.is_some_and(|sent| (seen.source, seen.destination) == (sent.destination, sent.source));
        let of = |ours: &[&str], seen: IpAddr| ours.iter().any(|own| seen == address(own));
        if to == AttachmentId(1) {
            let mut pairs = NAT.iter().zip(BACKENDS);
            let bound = pairs.any(|(nat, backend)| (seen.source, seen.destination) == (address(nat), address(backend)));
            assert!(bound || answers, "towards the provider: {seen:?}");
        } else {
            let endpoint = ENDPOINTS.iter().any(|(own, ..)| seen.source == address(own));
            let provider =
                of(&NAT, seen.destination) || of(&BACKENDS, seen.destination) || of(&ROUTERS, seen.destination);
            assert!((endpoint && !provider) || answers, "towards the consumer: {seen:?}");
        }
        let left = &mut self.left[usize::from(to.0)];
        left.push(frame);
        if left.len() > 8 {
            left.remove(0);
        }
    }

    /// Takes steps until the bytes are used up, `most` at most, and sees what came of them once all datagrams are
    /// given up. A step that has nothing to begin with returns `None`, and the next one follows.
    fn drive(
        mut self,
        data: &[u8],
        most: usize,
        mut step: impl FnMut(&mut Self, &mut Bytes<'_>) -> Option<()>,
    ) -> Reached {
        let mut bytes = Bytes(data);
        for _ in 0..most {
            if bytes.0.is_empty() {
                break;
            }
            let _ = step(&mut self, &mut bytes);
        }
        self.rest(400);
        self.reached()
    }

    fn reached(&self) -> Reached {
        let counts = self.forwarder.counts();
        Reached {
            read: counts.read,
            forwarded: counts.forwarded,
            dropped: counts.dropped_total(),
            answered: counts.answered,
            sound: 0,
        }
    }

    /// A sound packet of a client; `which` chooses endpoint and protocol.
    fn template(which: u8, size: usize, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let endpoint = ENDPOINTS[usize::from(which) % ENDPOINTS.len()].0;
        let (from, to) = (address(CLIENTS[usize::from(endpoint.contains(':'))]), address(endpoint));
        let payload = vec![0x5a; size % 3_000];
        let port = 40_000 + u16::from(bytes.byte() % 8);
        match usize::from(which) / ENDPOINTS.len() % 4 {
            0 => tcp(from, to, (port, 80 + u16::from(which > 127)), bytes.byte() | 2, &payload),
            1 => tcp(from, to, (port, 80), bytes.byte(), &payload),
            2 => udp(from, to, (port, 53), &payload),
            _ => echo(from, to, true, port, &payload),
        }
    }

    /// A client opens one session of each kind, and each is answered.
    fn furnish(&mut self) {
        for (endpoint, ..) in &ENDPOINTS[..4] {
            let (from, to) = (address(CLIENTS[usize::from(endpoint.contains(':'))]), address(endpoint));
            for packet in [
                tcp(from, to, (40_000, 80), 2, &[]),
                udp(from, to, (40_000, 53), &[1; 40]),
                echo(from, to, true, 40_000, &[2; 40]),
            ] {
                self.send(0, &framed(packet));
                self.reply(0, &mut Bytes(&[18]));
            }
        }
    }

    /// The backend's answer to the packet that left `back` packets ago.
    fn reply(&mut self, back: u8, bytes: &mut Bytes<'_>) {
        let left = &self.left[1];
        let Some(seen) = left.iter().rev().nth(usize::from(back) % left.len().max(1)) else { return };
        let Some(seen) = Seen::of(&seen[VNET..]) else { return };
        let (from, to, ports) = (seen.destination, seen.source, (seen.ports.1, seen.ports.0));
        let packet = match seen.protocol {
            6 => tcp(from, to, ports, bytes.byte(), &[3; 30]),
            17 => udp(from, to, ports, &[4; 30]),
            _ => echo(from, to, false, seen.ports.0, &[5; 30]),
        };
        self.send(1, &framed(packet));
    }
}

fn framed(packet: Vec<u8>) -> Vec<u8> {
    [vec![0; VNET], packet].concat()
}

/// Changes up to three bytes, and cuts or pads the end.
fn patch(mut frame: Vec<u8>, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let how = bytes.byte();
    for _ in 0..how & 3 {
        let (at, with) = (usize::from(bytes.byte()), bytes.byte());
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= with;
        }
    }
    if how & 4 != 0 {
        frame.resize(frame.len().saturating_sub(usize::from(bytes.byte())), 0);
    } else if how & 8 != 0 {
        frame.resize(frame.len() + usize::from(bytes.byte()), 0xee);
    }
    frame
}

/// The packet path: whole packets, sound, damaged and raw, from both sides, between changes of rules and of time.
pub(crate) fn packets(data: &[u8]) -> Reached {
    World::new().drive(data, 200, |world, bytes| {
        match bytes.byte() % 8 {
            0 => {
                let (at, count) = (u16::from(bytes.byte() & 1), usize::from(bytes.word()) % 2_000);
                let frame = bytes.take(count);
                world.send(at, &frame);
            }
            1 | 2 => {
                let (which, size) = (bytes.byte(), usize::from(bytes.word()));
                let frame = framed(World::template(which, size, bytes));
                let frame = patch(frame, bytes);
                world.send(0, &frame);
            }
            3 | 4 => {
                let back = bytes.byte();
                world.reply(back, bytes);
            }
            5 => {
                // What left one side comes back in at the other, damaged.
                let (from, back) = (usize::from(bytes.byte() & 1), usize::from(bytes.byte()));
                let left = &world.left[from];
                if let Some(frame) = left.get(back % left.len().max(1)).cloned() {
                    let frame = patch(frame, bytes);
                    world.send(u16::from(from == 0), &frame);
                }
            }
            6 => {
                let tenths = u32::from(bytes.word());
                world.rest(tenths);
            }
            _ => {
                let which = bytes.byte();
                world.flip(which);
            }
        }
        Some(())
    })
}

/// ICMP and ICMPv6 messages from both sides about, or beside, sessions of every kind.
pub(crate) fn icmp(data: &[u8]) -> Reached {
    let mut world = World::new();
    world.furnish();
    world.drive(data, 200, |world, bytes| {
        // Seen from `at`, a packet that left there is quoted by a router, or by the host it went to.
        let (at, back, how) = (usize::from(bytes.byte() & 1), usize::from(bytes.byte()), bytes.byte());
        let left = &world.left[at];
        let quoted = left.get(back % left.len().max(1))?[VNET..].to_vec();
        let seen = Seen::of(&quoted)?;
        let six = usize::from(seen.source.is_ipv6());
        let router = [address(CLIENTS[six]), address(ROUTERS[six])][at];
        let from = if how & 1 == 0 { seen.destination } else { router };
        let mut body = vec![bytes.byte(), bytes.byte(), 0, 0];
        let is_echo = if six == 1 { [128, 129] } else { [8, 0] }.contains(&body[0]);
        body.extend(bytes.take(4));
        body.resize(8, 0);
        let cut = if how & 2 == 0 { quoted.len() } else { usize::from(bytes.byte()) };
        body.extend(&quoted[..cut.min(quoted.len())]);
        if how & 4 != 0 {
            let extension = usize::from(bytes.byte());
            body.extend(bytes.take(extension));
        }
        if how & 8 != 0 {
            body = patch(body, bytes);
        }
        // An error goes to whoever sent what it quotes (RFC 1122 §3.2.2); sent to another address it says nothing.
        let astray = ENDPOINTS
            .iter()
            .map(|(own, ..)| address(own))
            .find(|own| how & 128 != 0 && own.is_ipv6() == seen.source.is_ipv6() && *own != seen.source);
        let mut packet = icmp_over(from, astray.unwrap_or(seen.source), body, how & 16 == 0);
        if how & 32 != 0 {
            packet = patch(packet, bytes);
        }
        let before = world.reached().forwarded;
        world.send(u16::from(at == 1), &framed(packet));
        let as_meant = how & (8 | 32) == 0 && !is_echo;
        let passed = world.reached().forwarded != before;
        assert!(astray.is_none() || !as_meant || !passed, "an error to {astray:?} about {seen:?} passed");
        if how & 64 != 0 {
            let tenths = u32::from(bytes.byte());
            world.rest(tenths);
        }
        Some(())
    })
}

/// Pieces of datagrams in any order and shape, from both sides.
pub(crate) fn fragments(data: &[u8]) -> Reached {
    let mut world = World::new();
    world.furnish();
    world.drive(data, 400, |world, bytes| {
        let (which, how) = (bytes.byte(), bytes.byte());
        let forth = how & 1 == 0;
        let whole = if forth {
            let size = usize::from(bytes.byte()) * 8;
            World::template(which, size, &mut Bytes(&[]))
        } else {
            let left = &world.left[1];
            let seen = Seen::of(&left.get(usize::from(which) % left.len().max(1))?[VNET..])?;
            let payload = vec![6; usize::from(bytes.byte()) * 8];
            udp(seen.destination, seen.source, (seen.ports.1, seen.ports.0), &payload)
        };
        let (identification, first, count) = (bytes.byte(), bytes.byte(), bytes.byte());
        let cut = piece(
            &whole,
            u16::from(identification % 8),
            u16::from(first),
            usize::from(count),
            how & 2 != 0,
            how & 4 != 0,
        );
        let mut frame = framed(cut);
        if how & 8 != 0 {
            frame = patch(frame, bytes);
        }
        world.send(u16::from(!forth), &frame);
        if how & 16 != 0 {
            let tenths = u32::from(bytes.word());
            world.rest(tenths);
        }
        if how & 32 != 0 {
            world.flip(which);
        }
        Some(())
    })
}

/// The daemon's file, and a document sent to it. A sound one says the same when it is read again.
pub(crate) fn configuration(data: &[u8]) -> Reached {
    let Ok(text) = std::str::from_utf8(data) else { return Reached::default() };
    let mut reached = Reached { read: 1, ..Reached::default() };
    match privlink::config::parse(text, "fuzz.toml") {
        Ok(loaded) => {
            let again = privlink::config::parse(text, "fuzz.toml").map(|loaded| loaded.model).ok();
            assert!(again.as_ref() == Some(&loaded.model), "read twice, it differs");
            reached.sound = 1;
        }
        Err(report) => assert!(!report.to_string().is_empty(), "a refusal says why"),
    }
    if let Err(report) = privlink::config::parse_document(text, "fuzz.toml", &Model::default()) {
        assert!(!report.to_string().is_empty(), "a refusal says why");
    }
    reached
}
