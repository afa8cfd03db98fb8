//! The model's own idea of the rules: plain lists, asked by linear scans, and turned into the snapshot
//! that the code under test gets.

use std::sync::Arc;

use ipnet::IpNet;
use privlink::snapshot::DropReason;
use privlink::snapshot::tables::{Rule as SnapshotRule, Stamp};
use privlink::snapshot::{
    self, Attachment, AttachmentId, Backend, BackendState, ConnectionState, EndpointId, Generation, Meter, PortMap,
    Protocol, Rates, Snapshot, SnapshotBuilder, TargetId, Timeouts,
};

use super::packet::{ICMP, TCP, address};

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net(pub u32, pub u8);

impl Net {
    pub(crate) fn holds(self, address: u32) -> bool {
        self.1 == 0 || (self.0 ^ address) >> (32 - self.1) == 0
    }

    fn real(self, six: bool) -> IpNet {
        IpNet::new(address(self.0, six), self.1 + if six { 96 } else { 0 }).expect("a prefix")
    }
}

pub(crate) const fn ip(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) vnet: u16,
    pub(crate) peers: Vec<u16>,
    pub(crate) sources: Vec<Net>,
    /// Those of `sources` that may use the endpoints of peers too.
    pub(crate) direct: Vec<Net>,
    pub(crate) excluded: Vec<Net>,
    /// Those of `sources` that no host has: edges of subnets, a subnet of endpoints alone.
    pub(crate) unsent: Vec<Net>,
}

#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Address, and which sessions it may have.
    pub(crate) backends: Vec<(u32, BackendState)>,
    /// Protocol, first, last, first at the backend.
    pub(crate) ports: Vec<(u8, u16, u16, u16)>,
    pub(crate) echo: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) nat: Vec<u32>,
    /// Taken from `nat`; sessions keep them.
    pub(crate) retired: Vec<u32>,
    pub(crate) targets: Vec<Target>,
    pub(crate) silent: bool,
    pub(crate) max: u32,
}

impl Resource {
    /// Whether sessions may have `address`.
    pub(crate) fn has_nat(&self, address: u32) -> bool {
        self.nat.contains(&address) || self.retired.contains(&address)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) protocol: Option<u8>,
    pub(crate) source: Option<Net>,
    pub(crate) destination: Option<Net>,
    pub(crate) ports: Option<(u16, u16)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: u32,
    pub(crate) vnet: u16,
    pub(crate) addresses: Vec<(u32, usize)>,
    pub(crate) resource: usize,
    pub(crate) state: ConnectionState,
    pub(crate) sources: Option<Net>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) max: u32,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) stamp: (u32, u32),
}

/// What may pass now: `each` more every tick, and never more than `full`.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    each: u64,
    full: u64,
    level: u64,
    filled: u32,
}

impl Bucket {
    pub(crate) fn new(each: u64, full: u64) -> Self {
        Self { each, full, level: full, filled: 0 }
    }

    fn level(&self, now: u32) -> u64 {
        (self.level + self.each * u64::from(now - self.filled)).min(self.full)
    }

    pub(crate) fn holds(&self, amount: u64, now: u32) -> bool {
        self.level(now) >= amount
    }

    pub(crate) fn take(&mut self, amount: u64, now: u32) {
        (self.level, self.filled) = (self.level(now) - amount, now);
    }
}

/// Sessions of a bucket, in tenths.
pub(crate) const SESSION: u64 = 10;

/// Sessions a second that may be opened by way of some endpoints; after a pause two at once.
const SESSIONS: u32 = 2;

/// The first check that failed, and the resource whose answer mode applies.
pub(crate) type Denied = (DropReason, Option<usize>);

/// What a permitted packet is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) endpoint: u32,
    pub(crate) resource: usize,
    pub(crate) target: usize,
    pub(crate) port: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) sides: Vec<Side>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Generations of endpoints that are gone.
    pub(crate) gone: Vec<(u32, u32)>,
    pub(crate) next_generation: u32,
    pub(crate) next_id: u32,
    pub(crate) table: u32,
    pub(crate) families: Families,
}

/// Whether the consumers' side and the providers' is of IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Families {
    pub(crate) consumer: bool,
    pub(crate) provider: bool,
}

impl Families {
    /// Whether packets at this attachment are of IPv6.
    pub(crate) fn at(self, attachment: u16) -> bool {
        if attachment == PROVIDER { self.provider } else { self.consumer }
    }
}

/// Where every backend is.
pub(crate) const PROVIDER: u16 = 1;

impl Rules {
    pub(crate) fn new(table: u32, families: Families) -> Self {
        let side = |vnet, sources: &[Net]| Side {
            vnet,
            peers: vec![],
            sources: sources.to_vec(),
            direct: vec![],
            excluded: vec![],
            unsent: vec![],
        };
        let mut spoke = side(0, &[Net(ip(10, 1, 0, 0), 16), Net(ip(192, 168, 40, 0), 24)]);
        spoke.excluded = vec![Net(ip(10, 1, 200, 0), 24)];
        spoke.unsent = vec![Net(ip(10, 1, 7, 0), 32), Net(ip(10, 1, 7, 255), 32), Net(ip(10, 1, 8, 0), 24)];
        let mut peer = side(3, &[Net(ip(10, 3, 0, 0), 16), Net(ip(10, 4, 0, 0), 16)]);
        (peer.peers, peer.direct) = (vec![0], vec![Net(ip(10, 3, 0, 0), 16)]);
        let sides = vec![spoke, side(1, &[Net(ip(10, 20, 0, 0), 16)]), side(2, &[Net(ip(10, 1, 0, 0), 16)]), peer];
        let b = |last| (ip(10, 20, 0, last), BackendState::Up);
        let resources = vec![
            Resource {
                nat: vec![ip(10, 20, 99, 4), ip(10, 20, 99, 5)],
                retired: vec![],
                targets: vec![
                    Target {
                        backends: vec![b(2), b(3)],
                        ports: vec![(6, 5432, 5432, 5432), (6, 8000, 8003, 9000), (17, 53, 53, 5353)],
                        echo: true,
                    },
                    Target { backends: vec![b(4)], ports: vec![(6, 443, 443, 8443)], echo: false },
                ],
                silent: false,
                max: u32::MAX,
            },
            Resource {
                nat: vec![ip(10, 20, 99, 6)],
                retired: vec![],
                targets: vec![Target {
                    backends: vec![b(3)],
                    ports: vec![(6, 5432, 5432, 5432), (17, 53, 53, 5353)],
                    echo: true,
                }],
                silent: true,
                max: 6,
            },
        ];
        let mut rules =
            Self { sides, resources, endpoints: vec![], gone: vec![], next_generation: 1, next_id: 0, table, families };
        for (vnet, addresses, resource, max) in [
            (0, vec![(ip(10, 1, 9, 4), 0), (ip(10, 1, 9, 7), 1)], 0, u32::MAX),
            (0, vec![(ip(10, 1, 9, 5), 0)], 1, 3),
            (2, vec![(ip(10, 1, 9, 4), 0)], 1, u32::MAX),
            (0, vec![(ip(10, 1, 9, 6), 0)], 0, u32::MAX),
        ] {
            rules.add(vnet, addresses, resource, max);
        }
        rules.endpoints[3].rules = vec![
            Rule {
                allow: true,
                protocol: None,
                source: Some(Net(ip(10, 1, 5, 0), 30)),
                destination: None,
                ports: None,
            },
            Rule { allow: false, protocol: Some(TCP), source: None, destination: None, ports: Some((8001, 8002)) },
            Rule {
                allow: false,
                protocol: None,
                source: Some(Net(ip(10, 1, 6, 0), 24)),
                destination: Some(Net(ip(10, 1, 9, 6), 32)),
                ports: None,
            },
        ];
        rules
    }

    /// Adds an Approved endpoint.
    pub(crate) fn add(&mut self, vnet: u16, addresses: Vec<(u32, usize)>, resource: usize, max: u32) {
        let stamp = (self.generation(), self.next_generation - 1);
        let (id, state) = (self.next_id, ConnectionState::Approved);
        let is_limited = id % 4 == 3;
        let rates = Rates { bits_per_second: None, new_sessions_per_second: Some(SESSIONS) };
        self.next_id += 1;
        self.endpoints.push(Endpoint {
            id,
            vnet,
            addresses,
            resource,
            state,
            sources: None,
            rules: vec![],
            max,
            bucket: is_limited.then(|| Bucket::new(SESSIONS.into(), 2 * SESSION)),
            meter: is_limited.then(|| Arc::new(Meter::new(rates))),
            stamp,
        });
    }

    pub(crate) fn generation(&mut self) -> u32 {
        self.next_generation += 1;
        self.next_generation - 1
    }

    /// Marks every endpoint of a resource as changed.
    pub(crate) fn touch(&mut self, resource: usize) {
        for at in 0..self.endpoints.len() {
            if self.endpoints[at].resource == resource {
                self.endpoints[at].stamp.0 = self.generation();
            }
        }
    }

    pub(crate) fn visible(&self, at: u16, address: u32) -> Option<(&Endpoint, usize)> {
        let side = &self.sides[usize::from(at)];
        let sees = |endpoint: &&Endpoint| endpoint.vnet == side.vnet || side.peers.contains(&endpoint.vnet);
        self.endpoints.iter().filter(sees).find_map(|endpoint| {
            let (_, target) = endpoint.addresses.iter().find(|(own, _)| *own == address)?;
            Some((endpoint, *target))
        })
    }

    pub(crate) fn is_nat(&self, at: u16, address: u32) -> bool {
        at == PROVIDER && self.resources.iter().any(|resource| resource.has_nat(address))
    }

    /// Whether no honest host of this side sends from `source`.
    pub(crate) fn spoofed(&self, at: u16, source: u32, destination: u32) -> bool {
        let special = [Net(0, 8), Net(ip(127, 0, 0, 0), 8), Net(ip(169, 254, 0, 0), 16), Net(ip(224, 0, 0, 0), 3)];
        special.iter().any(|net| net.holds(source))
            || source == destination
            || self.sides[usize::from(at)].unsent.iter().any(|net| net.holds(source))
            || self.visible(at, source).is_some()
            || self.is_nat(at, source)
    }

    /// Checks 2 to 4, and the endpoint's own rule.
    pub(crate) fn admits_source(&self, at: u16, source: u32, destination: u32) -> Result<(), DropReason> {
        let side = &self.sides[usize::from(at)];
        let strange = |nets: &[Net]| !nets.iter().any(|net| net.holds(source));
        if strange(&side.sources) && (side.peers.is_empty() || strange(&side.direct)) {
            return Err(DropReason::SourceNotAllowed);
        }
        let (endpoint, _) = self.visible(at, destination).ok_or(DropReason::UnknownEndpoint)?;
        if strange(if endpoint.vnet == side.vnet { &side.sources } else { &side.direct }) {
            return Err(DropReason::SourceNotAllowed);
        }
        match endpoint.state {
            ConnectionState::Approved => {}
            ConnectionState::Pending => return Err(DropReason::NotApprovedPending),
            ConnectionState::Rejected => return Err(DropReason::NotApprovedRejected),
            ConnectionState::Disconnected => return Err(DropReason::NotApprovedDisconnected),
        }
        if side.excluded.iter().any(|net| net.holds(source)) {
            return Err(DropReason::WorkloadExcluded);
        }
        if endpoint.sources.is_some_and(|net| !net.holds(source)) {
            return Err(DropReason::DeniedByRule);
        }
        Ok(())
    }

    /// Checks 2 to 6.
    pub(crate) fn ask(&self, at: u16, protocol: u8, source: u32, destination: u32, port: u16) -> Result<Grant, Denied> {
        let seen = self.visible(at, destination);
        let admitted = self.admits_source(at, source, destination);
        admitted.map_err(|reason| (reason, seen.map(|(endpoint, _)| endpoint.resource)))?;
        let (endpoint, target) = seen.ok_or((DropReason::UnknownEndpoint, None))?;
        let no = |reason| Err((reason, Some(endpoint.resource)));
        for rule in &endpoint.rules {
            let other_protocol = rule.protocol.is_some_and(|wanted| wanted != protocol);
            let other_source = rule.source.is_some_and(|net| !net.holds(source));
            let other_destination = rule.destination.is_some_and(|net| !net.holds(destination));
            let other_port = rule.ports.is_some_and(|(first, last)| port < first || port > last);
            if other_protocol || other_source || other_destination || other_port {
                continue;
            }
            if !rule.allow {
                return no(DropReason::DeniedByRule);
            }
            break;
        }
        let bound = &self.resources[endpoint.resource].targets[target];
        let mut mapped = None;
        for &(of, first, last, to) in &bound.ports {
            if of == protocol && first <= port && port <= last {
                mapped = Some(to + port - first);
            }
        }
        if protocol == ICMP && bound.echo {
            mapped = Some(0);
        }
        let Some(port) = mapped else { return no(DropReason::PortNotExposed) };
        Ok(Grant { endpoint: endpoint.id, resource: endpoint.resource, target, port })
    }

    /// The same rules as the code under test reads them.
    pub(crate) fn snapshot(&self, epoch: u64) -> Snapshot {
        let families = self.families;
        let protocol = |number| match number {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => Protocol::Icmp,
        };
        let set = |nets: &[Net], six: bool| nets.iter().map(|net| net.real(six)).collect::<Vec<_>>().iter().collect();
        let consumers = |nets: &[Net]| set(nets, families.consumer);
        let mut builder = SnapshotBuilder::default();
        builder.settings.deny_rate = 1 << 24;
        builder.settings.max_sessions = self.table;
        for (at, side) in (0..).zip(&self.sides) {
            let six = families.at(at);
            builder.attachments.push(Attachment {
                vnet: Arc::from(format!("vnet{}", side.vnet)),
                vnet_number: side.vnet,
                peers: side
                    .peers
                    .iter()
                    .map(|&vnet_number| snapshot::Peer { vnet_number, sources: set(&side.direct, six) })
                    .collect(),
                sources: set(&side.sources, six),
                mtu: 1_500,
                unsent: set(&side.unsent, six),
                excluded_workloads: vec![(Arc::from("class"), set(&side.excluded, six))],
            });
        }
        for resource in &self.resources {
            let target = |target: &Target| snapshot::Target {
                subresource: Arc::from(""),
                member: Arc::from(""),
                backends: target
                    .backends
                    .iter()
                    .map(|&(backend, state)| Backend { address: address(backend, families.provider), state })
                    .collect(),
                ports: target
                    .ports
                    .iter()
                    .map(|&(of, first, last, backend_first)| PortMap {
                        protocol: protocol(of),
                        first,
                        last,
                        backend_first,
                    })
                    .collect(),
                icmp: target.echo,
                silent: Vec::new(),
            };
            builder.resource(snapshot::Resource {
                retired: resource.retired.iter().map(|&nat| address(nat, families.provider)).collect(),
                name: Arc::from("default/resource"),
                provider: AttachmentId(PROVIDER),
                nat: resource.nat.iter().map(|&nat| address(nat, families.provider)).collect(),
                targets: resource.targets.iter().map(target).collect(),
                timeouts: Timeouts::default(),
                balance: privlink::snapshot::Balance::LeastSessions,
                answer: resource.silent.then_some(false),
                max_sessions: resource.max,
                meter: None,
            });
        }
        let stamp = |(current, since)| Stamp { current: Generation(current), valid_since: Generation(since) };
        for &(id, generation) in &self.gone {
            builder.stamp(EndpointId(id), stamp((generation, generation)));
        }
        for endpoint in &self.endpoints {
            let rule = |rule: &Rule| SnapshotRule {
                name: Arc::from("rule"),
                allow: rule.allow,
                protocol: rule.protocol.map(protocol),
                sources: rule.source.map(|net| consumers(&[net])),
                destinations: rule.destination.map(|net| consumers(&[net])),
                ports: rule.ports.into_iter().collect(),
            };
            let compiled = snapshot::Endpoint {
                link: 0,
                id: EndpointId(endpoint.id),
                name: Arc::from("default/endpoint"),
                state: endpoint.state,
                resource: snapshot::ResourceId(endpoint.resource as u32),
                sources: endpoint.sources.map(|net| Arc::new(consumers(&[net]))),
                rules: (!endpoint.rules.is_empty()).then(|| endpoint.rules.iter().map(rule).collect()),
                max_sessions: endpoint.max,
                meter: endpoint.meter.clone(),
            };
            let addresses: Vec<_> = endpoint
                .addresses
                .iter()
                .map(|&(own, target)| (address(own, families.consumer), TargetId(target as u16)))
                .collect();
            builder.endpoint(endpoint.vnet, compiled, &addresses, stamp(endpoint.stamp));
        }
        builder.build(epoch)
    }
}
