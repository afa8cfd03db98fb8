//! `explain` says what the packet path does: held over random set-ups and tuples, whose packets go through a
//! forwarder in memory. And what it proposes does what it says: each change, made to the set-up, takes the
//! packet past the check that denied it.

#![allow(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test builds packets from small numbers, and may fail loudly"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::Batch;
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Context, Forwarder, Position};
use privlink::observe::explain::{Decision, Flip, Question, decide};
use privlink::observe::{Facts, Observer};
use privlink::snapshot::DropReason;
use privlink::snapshot::tables::{Rule, Stamp};
use privlink::snapshot::{
    Attachment, AttachmentId, Backend, BackendState, ConnectionState, Endpoint, EndpointId, Peer, PortMap, Protocol,
    Query, Resource, ResourceId, Snapshot, SnapshotBuilder, Target, TargetId, Timeouts,
};

/// What all tests share.
mod support;

use support::frames::{self, Carries};

const TUPLES: usize = 10_000;
const PER_WORLD: usize = 40;

/// Second byte of each VNet's 10.x.0.0/16, by VNet number: the first and the third overlap, `core` provides, and
/// the last has no attachment.
const SPACES: [u8; 5] = [1, 2, 1, 20, 4];
const NAMES: [&str; 4] = ["default/spoke", "default/other", "default/twin", "default/core"];
const CORE: u16 = 3;
const UNATTACHED: u16 = 4;
const PORTS: [u16; 5] = [22, 53, 80, 443, 5432];

/// A set-up that can be changed.
#[derive(Clone)]
struct World {
    attachments: Vec<Leg>,
    resources: Vec<Resource>,
    endpoints: Vec<Ep>,
}

#[derive(Clone)]
struct Leg {
    sources: Vec<IpNet>,
    peers: Vec<(u16, Vec<IpNet>)>,
    excluded: Vec<(&'static str, IpNet)>,
}

#[derive(Clone)]
struct Ep {
    vnet: u16,
    address: IpAddr,
    state: ConnectionState,
    resource: u32,
    target: u16,
    sources: Vec<IpNet>,
    rules: Vec<Rule>,
}

fn net(a: u8, b: u8, c: u8, length: u8) -> IpNet {
    Ipv4Net::new(Ipv4Addr::new(a, b, c, 0), length).expect("a length").into()
}

fn space(vnet: u16) -> IpNet {
    net(10, SPACES[usize::from(vnet)], 0, 16)
}

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

fn chance(random: &mut fastrand::Rng, percent: u32) -> bool {
    random.u32(..100) < percent
}

impl World {
    fn random(random: &mut fastrand::Rng) -> Self {
        let mut attachments: Vec<Leg> = (0..4)
            .map(|vnet| {
                let mut sources = vec![space(vnet)];
                if chance(random, 40) {
                    sources.push(net(192, 168, SPACES[usize::from(vnet)], 24));
                }
                let class = net(10, SPACES[usize::from(vnet)], random.u8(..4), 24);
                let excluded = chance(random, 40).then_some(("printers", class)).into_iter().collect();
                Leg { sources, peers: Vec::new(), excluded }
            })
            .collect();
        for (one, other) in [(0, 1), (1, 2), (0, 4), (1, 4), (1, 3)] {
            if !chance(random, 50) {
                continue;
            }
            for (here, there) in [(one, other), (other, one)] {
                if here != UNATTACHED {
                    attachments[usize::from(here)].peers.push((there, vec![space(here)]));
                }
                if there == UNATTACHED {
                    attachments[usize::from(here)].sources.push(space(there));
                }
            }
        }
        let resources = (0..3).map(|number| resource(random, number)).collect::<Vec<_>>();
        let mut endpoints = Vec::new();
        for vnet in [0, 1, 2, UNATTACHED] {
            for last in 4..8 {
                let number = random.u32(..3);
                endpoints.push(endpoint(random, vnet, last, number, &resources[number as usize]));
            }
        }
        Self { attachments, resources, endpoints }
    }

    fn snapshot(&self) -> Snapshot {
        let mut builder = SnapshotBuilder::default();
        for (number, leg) in (0..).zip(&self.attachments) {
            let peer = |(vnet_number, sources): &(u16, Vec<IpNet>)| Peer {
                vnet_number: *vnet_number,
                sources: sources.iter().collect(),
            };
            builder.attachments.push(Attachment {
                vnet: Arc::from(NAMES[usize::from(number)]),
                vnet_number: number,
                peers: leg.peers.iter().map(peer).collect(),
                sources: leg.sources.iter().collect(),
                mtu: 1_500,
                unsent: privlink::snapshot::prefixes::PrefixSet::default(),
                excluded_workloads: leg
                    .excluded
                    .iter()
                    .map(|(class, prefix)| (Arc::from(*class), [*prefix].iter().collect()))
                    .collect(),
            });
        }
        for resource in &self.resources {
            builder.resource(resource.clone());
        }
        for (id, ep) in (0..).zip(&self.endpoints) {
            let endpoint = Endpoint {
                id: EndpointId(id),
                link: id,
                name: Arc::from(format!("default/e{id}")),
                state: ep.state,
                resource: ResourceId(ep.resource),
                sources: (!ep.sources.is_empty()).then(|| Arc::new(ep.sources.iter().collect())),
                rules: (!ep.rules.is_empty()).then(|| ep.rules.clone().into()),
                max_sessions: u32::MAX,
                meter: None,
            };
            builder.endpoint(ep.vnet, endpoint, &[(ep.address, TargetId(ep.target))], Stamp::default());
        }
        builder.build(1)
    }

    fn named(&mut self, name: &str) -> &mut Ep {
        let index: usize = name.strip_prefix("default/e").expect("a name").parse().expect("a number");
        &mut self.endpoints[index]
    }

    /// The endpoint that `query` meets.
    fn met(&mut self, query: &Query) -> &mut Ep {
        let leg = &self.attachments[usize::from(query.attachment.0)];
        let visible: Vec<u16> =
            std::iter::once(query.attachment.0).chain(leg.peers.iter().map(|(vnet, _)| *vnet)).collect();
        let at = |vnet: &u16| self.endpoints.iter().position(|ep| ep.vnet == *vnet && ep.address == query.destination);
        let at = visible.iter().find_map(at).expect("an endpoint");
        &mut self.endpoints[at]
    }
}

fn resource(random: &mut fastrand::Rng, number: u8) -> Resource {
    let targets = (0..random.u8(1..3))
        .map(|member| {
            let mut state = |up| match random.u32(..100) {
                roll if roll < up => BackendState::Up,
                roll if roll % 2 == 0 => BackendState::Draining,
                _ => BackendState::Down,
            };
            let states = [state(75), state(50)];
            let mut ports: Vec<PortMap> = Vec::new();
            for port in PORTS {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    if chance(random, 40) {
                        ports.push(PortMap { protocol, first: port, last: port + 1, backend_first: port + 7_000 });
                    }
                }
            }
            Target {
                subresource: Arc::from(""),
                member: Arc::from(format!("m{member}")),
                backends: (2..)
                    .zip(states)
                    .map(|(last, state)| Backend { address: IpAddr::from([10, 20, member, last]), state })
                    .collect(),
                ports,
                icmp: chance(random, 50),
                silent: Vec::new(),
            }
        })
        .collect();
    Resource {
        retired: Vec::new(),
        name: Arc::from(format!("default/r{number}")),
        provider: AttachmentId(CORE),
        nat: vec![IpAddr::from([10, 20, 99, 4 + number])],
        targets,
        timeouts: Timeouts::default(),
        balance: privlink::snapshot::Balance::LeastSessions,
        answer: None,
        max_sessions: u32::MAX,
        meter: None,
    }
}

fn endpoint(random: &mut fastrand::Rng, vnet: u16, last: u8, resource: u32, bound: &Resource) -> Ep {
    use ConnectionState::{Approved, Disconnected, Pending, Rejected};
    let second = SPACES[usize::from(vnet)];
    let mut rules: Vec<Rule> = (0..random.u32(..4))
        .map(|number| Rule {
            name: Arc::from(format!("rule-{number}")),
            allow: chance(random, 50),
            protocol: chance(random, 50).then(|| pick(random, &[Protocol::Tcp, Protocol::Udp, Protocol::Icmp])),
            sources: chance(random, 60).then(|| [net(10, second, random.u8(..3), 24)].iter().collect()),
            destinations: chance(random, 20).then(|| [net(10, second, 9, 24)].iter().collect()),
            ports: if chance(random, 40) { vec![(pick(random, &PORTS), 6_000)] } else { Vec::new() },
        })
        .collect();
    if chance(random, 30) {
        rules.clear();
    }
    Ep {
        vnet,
        address: IpAddr::from([10, second, 9, last]),
        state: pick(random, &[&[Approved; 12][..], &[Pending, Rejected, Disconnected]].concat()),
        resource,
        target: random.u16(..bound.targets.len() as u16),
        sources: if chance(random, 25) { vec![net(10, second, random.u8(..3), 23)] } else { Vec::new() },
        rules,
    }
}

fn tuple(random: &mut fastrand::Rng, world: &World) -> Query {
    let attachment = if chance(random, 6) { CORE } else { random.u16(..3) };
    let second = SPACES[usize::from(attachment)];
    let any = pick(random, &SPACES);
    let somewhere = world.endpoints[random.usize(..world.endpoints.len())].address;
    let own: Vec<IpAddr> = world.endpoints.iter().filter(|ep| ep.vnet == attachment).map(|ep| ep.address).collect();
    let source = match random.u32(..100) {
        0..66 => IpAddr::from([10, second, random.u8(..4), random.u8(1..255)]),
        66..76 => IpAddr::from([10, any, random.u8(..4), random.u8(1..255)]),
        76..84 => IpAddr::from([192, 168, any, random.u8(1..255)]),
        84..88 => somewhere,
        88..90 => IpAddr::from([10, 20, 99, random.u8(4..7)]),
        90..93 => pick(random, &[[127, 0, 0, 1], [169, 254, 3, 4], [0, 1, 2, 3], [224, 0, 0, 5]]).into(),
        _ => IpAddr::from(random.u32(..).to_be_bytes()),
    };
    let destination = match random.u32(if attachment == CORE { 60..98 } else { 0..100 }) {
        0..70 if !own.is_empty() => pick(random, &own),
        70..85 => somewhere,
        85..92 => IpAddr::from([10, any, 9, random.u8(..)]),
        92..96 => IpAddr::from([10, 20, 99, random.u8(3..8)]),
        96..98 => source,
        _ => IpAddr::from([10, random.u8(..), random.u8(..), 7]),
    };
    let protocol = pick(random, &[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Icmp]);
    let port = match (protocol, random.u32(..100)) {
        (Protocol::Icmp, _) | (_, 0) => 0,
        (_, 1..5) => random.u16(1..1_000),
        _ => pick(random, &PORTS) + random.u16(..2),
    };
    Query { attachment: AttachmentId(attachment), source, destination, protocol, port }
}

/// The first packet of a session, as a device gives it.
fn frame(query: &Query, source_port: u16) -> Vec<u8> {
    let carries = match query.protocol {
        Protocol::Tcp => Carries::Syn,
        Protocol::Udp => Carries::Udp,
        Protocol::Icmp => Carries::Echo,
    };
    frames::frame(carries, (query.source, source_port), (query.destination, query.port))
}

fn question(query: &Query) -> Question {
    Question {
        vnet: NAMES[usize::from(query.attachment.0)].to_owned(),
        source: query.source,
        destination: query.destination,
        protocol: query.protocol.to_string(),
        port: query.port,
    }
}

#[test]
fn explain_says_what_the_packet_path_does() {
    let mut random = fastrand::Rng::with_seed(0x0E5_71A1);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..TUPLES / PER_WORLD {
        let world = World::random(&mut random);
        let snapshot = world.snapshot();
        let shared = Arc::new(Shared::new(vec![Arc::new(|| ())]));
        let seeds = [random.u64(..), random.u64(..), random.u64(..)];
        let mut forwarder = Forwarder::new(Position { worker: 0, workers: 1 }, 1_000, seeds, shared);
        let context = Context::new(&snapshot, Tick(10));
        forwarder.handle_snapshot(&context);
        let mut batch = Batch::new();
        let current = Arc::new(arc_swap::ArcSwap::from_pointee(snapshot.clone()));
        let observer = Observer::new(current, Vec::new(), Vec::new(), Box::new(Facts::default));
        for number in 0..PER_WORLD {
            let query = tuple(&mut random, &world);
            // Another source port each time: every packet is the first of its session.
            let frame = frame(&query, 20_000 + number as u16);
            batch.clear();
            assert!(batch.push(&frame));
            let (before, mut left) = (forwarder.counts(), None);
            forwarder.handle_frames(&mut batch, query.attachment, &context, |out| {
                left = Some(out.whole());
                Ok(())
            });
            let after = forwarder.counts();
            let grown = |reason: &DropReason| after.dropped[*reason as usize] > before.dropped[*reason as usize];
            let happened = DropReason::ALL.into_iter().find(grown);
            assert_eq!(after.forwarded - before.forwarded, u64::from(happened.is_none()), "one end for each");
            let told = observer.explain(&question(&query)).expect("answerable");
            let name = happened.map(DropReason::name);
            assert_eq!(told.reason.as_deref(), name, "{query:?}: {told:?}");
            assert_eq!(told.admitted, happened.is_none());
            if told.admitted {
                let out = left.expect("forwarded");
                let backend = format!("{}.{}.{}.{}", out[26], out[27], out[28], out[29]);
                assert!(told.backends.iter().any(|one| one.starts_with(&backend)), "{backend}: {told:?}");
            }
            let outcomes: Vec<&str> = told.checks.iter().map(|check| &*check.outcome).collect();
            let decides = usize::from(told.check);
            let expected: Vec<&str> = (1..=7)
                .map(|check| match check {
                    _ if check < decides || (check == decides && told.admitted) => "passed",
                    _ if check == decides => "failed",
                    _ => "not reached",
                })
                .collect();
            assert_eq!(outcomes, expected, "{told:?}");
            *seen.entry(name.unwrap_or("passes")).or_default() += 1;
        }
    }
    println!("{seen:?}");
    for (outcome, at_least) in [
        ("passes", 1_000),
        ("malformed", 20),
        ("spoofed_source", 100),
        ("no_session", 20),
        ("unknown_endpoint", 100),
        ("not_approved_pending", 100),
        ("not_approved_rejected", 100),
        ("not_approved_disconnected", 100),
        ("source_not_allowed", 100),
        ("workload_excluded", 100),
        ("denied_by_rule", 100),
        ("port_not_exposed", 100),
        ("no_backend", 50),
    ] {
        assert!(seen.get(outcome) >= Some(&at_least), "{outcome} was hardly met: {seen:?}");
    }
}

/// Every way to follow `flip`: the set-up and the packet as they are then.
fn follow(world: &World, query: &Query, flip: &Flip) -> Vec<(World, Query)> {
    let mut world = world.clone();
    let mut query = *query;
    match flip {
        Flip::AskFor(near) => {
            return near.iter().map(|&(_, destination)| (world.clone(), Query { destination, ..query })).collect();
        }
        Flip::Approve(name) => world.named(name).state = ConnectionState::Approved,
        Flip::RequestAnew(name) => world.named(name).state = ConnectionState::Pending,
        Flip::AskFrom(from, _) => query.attachment = *from,
        Flip::Peer { from, number, .. } => {
            query.attachment = *from;
            let leg = &mut world.attachments[usize::from(from.0)];
            leg.peers.push((*number, leg.sources.clone()));
        }
        Flip::AcceptSource { prefix, on_premises, .. } => {
            let number = world.met(&query).vnet;
            let leg = &mut world.attachments[usize::from(query.attachment.0)];
            assert_eq!(*on_premises, number == query.attachment.0, "{query:?}");
            match leg.peers.iter_mut().find(|(peer, _)| *peer == number) {
                Some((_, sources)) => sources.push(*prefix),
                None => leg.sources.push(*prefix),
            }
        }
        Flip::AllowClass(class) => {
            world.attachments[usize::from(query.attachment.0)].excluded.retain(|(name, _)| **name != **class);
        }
        Flip::AddSource(name, prefix) => world.named(name).sources.push(*prefix),
        Flip::AllowBefore(name) => {
            let rules = &mut world.met(&query).rules;
            let before = rules.iter().position(|rule| rule.name == *name).expect("the rule");
            let allow = Rule {
                name: Arc::from("new"),
                allow: true,
                protocol: Some(query.protocol),
                sources: Some([IpNet::from(query.source)].iter().collect()),
                destinations: Some([IpNet::from(query.destination)].iter().collect()),
                ports: vec![(query.port, query.port)],
            };
            rules.insert(before, allow);
        }
        Flip::UsePort { exposed, .. } => {
            let used = exposed.iter().flat_map(|&(protocol, first, last)| {
                [first, last].map(|port| (world.clone(), Query { protocol, port, ..query }))
            });
            let mut ways: Vec<_> = used.collect();
            let met = world.met(&query).clone();
            let target = &mut world.resources[met.resource as usize].targets[usize::from(met.target)];
            match query.protocol {
                Protocol::Icmp => target.icmp = true,
                protocol @ (Protocol::Tcp | Protocol::Udp) => target.ports.push(PortMap {
                    protocol,
                    first: query.port,
                    last: query.port,
                    backend_first: query.port,
                }),
            }
            ways.push((world, query));
            return ways;
        }
        Flip::EndDrain(backend) | Flip::Revive(backend) => {
            let met = world.met(&query).clone();
            let backends = &mut world.resources[met.resource as usize].targets[usize::from(met.target)].backends;
            backends.iter_mut().find(|one| one.address == *backend).expect("the backend").state = BackendState::Up;
        }
    }
    vec![(world, query)]
}

/// How far a packet came, finer than the number of the check.
fn reached(decision: &Decision) -> (u8, u8) {
    let step = match decision.reason {
        None => return (8, 0),
        Some(DropReason::NotApprovedPending | DropReason::NotApprovedRejected) => 1,
        Some(DropReason::WorkloadExcluded) => 2,
        Some(DropReason::DeniedByRule) => u8::from(!decision.message.contains("`sources`")),
        Some(_) => 0,
    };
    (decision.check, step)
}

#[test]
fn each_proposed_change_takes_the_packet_past_the_check_that_denied_it() {
    let mut random = fastrand::Rng::with_seed(0xF11B);
    let mut followed: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..TUPLES / PER_WORLD {
        let world = World::random(&mut random);
        let snapshot = world.snapshot();
        for _ in 0..PER_WORLD {
            let query = tuple(&mut random, &world);
            let before = decide(&snapshot, &query);
            let Some(flip) = &before.flip else {
                let hopeless = [None, Some(DropReason::SpoofedSource), Some(DropReason::Malformed)];
                // Without any endpoint in sight, there is nothing to propose.
                let blind =
                    [DropReason::UnknownEndpoint, DropReason::NoSession, DropReason::SourceNotAllowed].map(Some);
                let expected = hopeless.contains(&before.reason) || blind.contains(&before.reason);
                assert!(expected, "{query:?}: {before:?}");
                continue;
            };
            for (world, query) in follow(&world, &query, flip) {
                let after = decide(&world.snapshot(), &query);
                assert!(reached(&after) > reached(&before), "{query:?}: {before:?}\nbecame {after:?}");
            }
            let kind = format!("{flip:?}");
            let kind = kind.split([' ', '(']).next().expect("a name").to_owned();
            *followed.entry(kind).or_default() += 1;
        }
    }
    println!("{followed:?}");
    let kinds = [
        "AskFor",
        "Approve",
        "RequestAnew",
        "AskFrom",
        "Peer",
        "AcceptSource",
        "AllowClass",
        "AddSource",
        "AllowBefore",
        "UsePort",
        "EndDrain",
    ];
    for kind in kinds {
        assert!(followed.get(kind) >= Some(&20), "{kind} was hardly met: {followed:?}");
    }
}
