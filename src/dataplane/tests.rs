//! The packet path over in-memory devices, with a hand-moved clock: each test names the law or the
//! requirement that it holds. `world` is the lab: a consumer VNet, a provider VNet, four endpoints.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::handoff::Shared;
use super::pace::Moment;
use super::session::Tick;
use super::*;
use crate::snapshot::AttachmentId;
use crate::snapshot::ConnectionState::{Approved, Pending, Rejected};
use crate::snapshot::DropReason;
use crate::snapshot::tables::Stamp;
use crate::snapshot::{
    Attachment, Backend, Balance, Endpoint, EndpointId, Generation, Meter, PortMap, Protocol, Publisher, Resource,
    Snapshot, SnapshotBuilder, Target, TargetId, Timeouts,
};
use crate::wire::headers::{ACK, RST, SYN};
use crate::wire::vnet;
use io::memory::{MemorySink, MemorySource};

mod packets;
use packets::{Packet, echo_request, tcp, udp};

/// SYNs in the place of sessions that are over or half open.
mod anew;
/// Ends that are asked for their numbers.
mod asked;
mod attacks;

/// Which backend a session gets.
mod balance;
mod ends;

mod families;
/// Forged segments, and connections that were lost.
mod forged;
mod laws;
mod path_mtu;
/// What rates let pass.
mod rates;
mod revocation;
mod tenants;

const CONSUMER: AttachmentId = AttachmentId(0);
const PROVIDER: AttachmentId = AttachmentId(1);

/// Notes that a worker's ring holds.
const RING: usize = 1_000;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// What a test may vary before the snapshot is built.
#[derive(Clone)]
struct Rules {
    state: crate::snapshot::ConnectionState,
    stamp: Stamp,
    backends: Vec<&'static str>,
    /// Backends that do not answer at the TCP port of `orders`.
    deaf: Vec<&'static str>,
    answer: bool,
    sources: Option<&'static str>,
    max_sessions: u32,
    /// Rates of `orders`.
    meter: Option<Arc<Meter>>,
    nat: Vec<&'static str>,
    /// Answer mode of the resources themselves.
    silent: Option<bool>,
    balance: Balance,
    /// Of all workers together.
    table: u32,
    /// Generations of `other`.
    other: Stamp,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            state: Approved,
            stamp: Stamp { current: Generation(1), valid_since: Generation(1) },
            backends: vec!["10.20.0.2"],
            deaf: Vec::new(),
            answer: true,
            sources: None,
            max_sessions: u32::MAX,
            meter: None,
            nat: vec!["10.20.99.4", "10.20.99.5"],
            silent: None,
            balance: Balance::LeastSessions,
            table: 1 << 20,
            other: Stamp::default(),
        }
    }
}

fn deaf_at(backend: &str, port: u16) -> crate::snapshot::Silent {
    crate::snapshot::Silent { address: ip(backend), protocol: Protocol::Tcp, first: port, last: port }
}

/// `orders` at 10.1.9.4 (tcp and udp 5432, echo), `other` at 10.1.9.5 bound to another backend, and
/// `waiting` at 10.1.9.6, always Pending.
fn snapshot(epoch: u64, rules: &Rules) -> Snapshot {
    let prefix = |text: &str| text.parse::<ipnet::IpNet>().expect("a prefix");
    let mut builder = SnapshotBuilder::default();
    builder.settings.answer = rules.answer;
    builder.settings.max_sessions = rules.table;
    for (number, name, space) in [(0, "spoke", "10.1.0.0/16"), (1, "core", "10.20.0.0/16")] {
        builder.attachments.push(Attachment {
            vnet: Arc::from(name),
            vnet_number: number,
            peers: Vec::new(),
            sources: [prefix(space)].iter().collect(),
            mtu: 1_500,
            unsent: [prefix("10.1.3.0/32"), prefix("10.1.3.255/32")].iter().collect(),
            excluded_workloads: Vec::new(),
        });
    }
    let mut bound = |nat: &[&str], backends: &[&str], port: u16| {
        let map = |protocol| PortMap { protocol, first: port, last: port, backend_first: port };
        builder.resource(Resource {
            retired: Vec::new(),
            name: Arc::from("default/service"),
            provider: PROVIDER,
            nat: nat.iter().map(|nat| ip(nat)).collect(),
            targets: vec![Target {
                subresource: Arc::from(""),
                member: Arc::from(""),
                backends: backends
                    .iter()
                    .map(|b| Backend { address: ip(b), state: crate::snapshot::BackendState::Up })
                    .collect(),
                ports: vec![map(Protocol::Tcp), map(Protocol::Udp)],
                icmp: true,
                silent: rules.deaf.iter().map(|deaf| deaf_at(deaf, port)).collect(),
            }],
            timeouts: Timeouts::default(),
            balance: rules.balance,
            answer: rules.silent.map(|silent| !silent),
            max_sessions: u32::MAX,
            meter: None,
        })
    };
    let orders = bound(&rules.nat, &rules.backends, 5432);
    let other = bound(&["10.20.99.6"], &["10.20.0.3"], 80);
    for (id, name, address, resource, state, stamp) in [
        (0, "default/orders", "10.1.9.4", orders, rules.state, rules.stamp),
        (1, "default/other", "10.1.9.5", other, Approved, rules.other),
        (2, "default/waiting", "10.1.9.6", orders, Pending, Stamp::default()),
    ] {
        let endpoint = Endpoint {
            link: 100 + id,
            id: EndpointId(id),
            name: Arc::from(name),
            state,
            resource,
            sources: rules.sources.map(|text| Arc::new([prefix(text)].iter().collect())),
            rules: None,
            max_sessions: rules.max_sessions,
            meter: rules.meter.clone().filter(|_| id == 0),
        };
        builder.endpoint(0, endpoint, &[(ip(address), TargetId(0))], stamp);
    }
    builder.build(epoch)
}

/// Workers over in-memory devices.
struct World {
    workers: Vec<Worker<MemorySource, MemorySink>>,
    rings: Vec<Arc<record::RecordRing>>,
    publisher: Publisher,
    epoch: u64,
    now: Tick,
}

impl World {
    fn new() -> Self {
        Self::with_workers(1)
    }

    fn with_workers(count: u16) -> Self {
        let mut publisher = Publisher::new();
        let shared = Arc::new(Shared::new((0..count).map(|_| Arc::new(|| ()) as _).collect()));
        let rings: Vec<_> = (0..count).map(|_| Arc::new(record::RecordRing::new(RING))).collect();
        let workers = (0..count)
            .map(|worker| {
                let seed = [0x5EED + u64::from(worker), 0x00C0_FFEE, 42];
                let position = Position { worker, workers: count };
                let forwarder = Forwarder::new(position, 70_000, seed, Arc::clone(&shared))
                    .with_flow_log(Arc::clone(&rings[usize::from(worker)]));
                let devices = || (0..3).map(|_| MemorySource::default()).collect();
                let sinks = (0..3).map(|_| MemorySink::default()).collect();
                Worker::new(forwarder, devices(), sinks, publisher.reader(Box::new(|| ())), Arc::default())
            })
            .collect();
        let mut world = Self { workers, rings, publisher, epoch: 0, now: Tick(1_000) };
        world.publish(&Rules::default());
        world
    }

    /// Puts rules in force; workers see them in their next batch.
    fn publish(&mut self, rules: &Rules) {
        self.epoch += 1;
        self.publisher.publish(snapshot(self.epoch, rules));
    }

    /// Lets every worker work until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let mut more = false;
            for worker in &mut self.workers {
                more |= worker.batch([0, 1, 2], self.now).expect("memory");
            }
            if !more && self.workers.iter().all(|worker| !worker.shared.waiting(worker.number)) {
                if !self.workers.iter().any(|worker| worker.forwarder.state.sessions.is_paced()) {
                    return;
                }
                self.now = Tick(self.now.0 + 1);
            }
        }
    }

    /// Delivers a packet to a worker and returns what leaves: (attachment, packet) in order of writing.
    fn deliver_to(&mut self, worker: usize, at: AttachmentId, packet: &Packet) -> Vec<(AttachmentId, Packet)> {
        self.workers[worker].ends().0[usize::from(at.0)].push(packet.frame());
        self.settle();
        self.sent()
    }

    fn deliver(&mut self, at: AttachmentId, packet: &Packet) -> Vec<(AttachmentId, Packet)> {
        self.deliver_to(0, at, packet)
    }

    /// Takes everything written so far.
    fn sent(&mut self) -> Vec<(AttachmentId, Packet)> {
        let mut out = Vec::new();
        for worker in &mut self.workers {
            for (sink, at) in worker.ends().1.iter_mut().zip(0..) {
                out.extend(sink.sent.drain(..).map(|frame| (AttachmentId(at), Packet::parse(&frame))));
            }
        }
        out
    }

    /// Delivers a packet that must be forwarded, alone, and returns what it became.
    fn forwarded(&mut self, at: AttachmentId, packet: &Packet) -> Packet {
        let mut out = self.deliver(at, packet);
        assert_eq!(out.len(), 1, "{packet:?} became {out:?}");
        let (to, packet) = out.remove(0);
        assert_ne!(to, at, "an answer, not a forwarded packet: {packet:?}");
        packet
    }

    /// Delivers a packet that must be dropped for `reason`; returns the answer, if there is one.
    fn dropped(&mut self, at: AttachmentId, packet: &Packet, reason: DropReason) -> Option<Packet> {
        let before = self.drops(reason);
        let mut out = self.deliver(at, packet);
        assert_eq!(self.drops(reason), before + 1, "{packet:?}: not {}; {out:?}", reason.name());
        assert!(out.iter().all(|(to, _)| *to == at), "nothing crosses: {out:?}");
        out.pop().map(|(_, answer)| answer)
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.workers.iter().map(|w| w.forwarder().counts().dropped[reason as usize]).sum()
    }

    fn sessions(&self) -> usize {
        self.workers.iter().map(|w| w.forwarder().sessions().len()).sum()
    }

    /// Opens a TCP connection from `port` and returns its SYN as the backend sees it.
    fn connect(&mut self, port: u16) -> Packet {
        self.connect_from("10.1.0.5", port)
    }

    fn connect_from(&mut self, consumer: &str, port: u16) -> Packet {
        let syn = tcp(consumer, port, "10.1.9.4", 5432).flags(SYN).seq(100);
        let at_backend = self.forwarded(CONSUMER, &syn);
        let syn_ack = at_backend.reply().flags(SYN | ACK).seq(900).ack(101);
        self.forwarded(PROVIDER, &syn_ack);
        self.forwarded(CONSUMER, &syn.clone().flags(ACK).seq(101).ack(901));
        at_backend
    }

    /// Law 4's sum, for every worker.
    fn check_sums(&self) {
        for worker in &self.workers {
            let c = worker.forwarder().counts();
            assert_eq!(c.read + c.handed_in, c.forwarded + c.dropped_total() + c.handed_out + c.held, "{c:?}");
        }
    }
}
