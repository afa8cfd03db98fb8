//! The immutable tables of a `Snapshot`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::prefixes::PrefixSet;
use super::rates::{Limits, Meter, Rates};
use super::{AttachmentId, ConnectionState, Contenders, EndpointId, Generation, Protocol, ResourceId, TargetId};

/// Number of pieces the endpoint table is cut into, so that a small change rebuilds little.
pub(super) const SHARDS: usize = 256;

/// Everything a worker needs to judge a packet, immutable and complete.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Number of this publication; grows by one each time.
    pub epoch: u64,
    /// Limits and answers that hold for the whole daemon.
    pub settings: Settings,
    /// In the order of [`AttachmentId`].
    pub attachments: Arc<[Attachment]>,
    /// Link resources; a slot of a deleted one stays and is referenced by nothing.
    pub resources: Arc<[Arc<Resource>]>,
    /// Current generation per [`EndpointId`]: the one value a hit compares.
    pub(super) generations: Vec<Generation>,
    /// Sessions stamped with an older generation than this are dead, per [`EndpointId`].
    pub(super) valid_since: Vec<Generation>,
    /// (owning VNet's number, address) → endpoint address.
    pub(super) shards: Vec<Arc<Shard>>,
    /// NAT addresses by attachment, and whose they are.
    pub(super) nat_addresses: Arc<HashMap<(AttachmentId, IpAddr), ResourceId, RandomState>>,
    /// Who shares what there is a bound to.
    pub contenders: Contenders,
    /// What limits the traffic of an endpoint, by [`EndpointId`].
    pub(super) limited: Limited,
}

/// An endpoint with the number of its VNet and its addresses there.
pub type Placed<'a> = (u16, Arc<Endpoint>, &'a [(IpAddr, TargetId)]);

pub(super) type Shard = HashMap<(u16, IpAddr), EndpointAddress, RandomState>;

/// One address of an endpoint and the target that it alone reaches.
#[derive(Clone, Debug)]
pub struct EndpointAddress {
    /// The endpoint, shared by its addresses.
    pub endpoint: Arc<Endpoint>,
    /// Member of the bound subresource that this address stands for.
    pub target: TargetId,
}

/// Daemon-wide settings (`[daemon]` in the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Answer denied packets (TCP RST, ICMP), or drop them silently (`deny = "drop"`).
    pub answer: bool,
    /// Answers per second and worker.
    pub deny_rate: u32,
    /// Live sessions all workers together may hold.
    pub max_sessions: u32,
    /// Idle times of resources that name none.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answer: true, deny_rate: 1_000, max_sessions: 1 << 20, timeouts: Timeouts::default() }
    }
}

/// Idle times after which a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// RFC 5382 REQ-5: not less than 2 h 4 min.
    pub tcp_established: Duration,
    /// Opening and closing, RFC 5382 REQ-5: not less than 4 min.
    pub tcp_transitory: Duration,
    /// RFC 4787 REQ-5: 5 min recommended.
    pub udp: Duration,
    /// RFC 5508 REQ-2: not less than 60 s.
    pub icmp: Duration,
    /// How long the pieces of a datagram may take to come (RFC 791 §3.2, RFC 8200 §4.5: at most 60 s).
    pub fragment: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_mins(124),
            tcp_transitory: Duration::from_mins(4),
            udp: Duration::from_mins(5),
            icmp: Duration::from_mins(1),
            fragment: Duration::from_secs(30),
        }
    }
}

/// Where a VNet meets this host, as the packet path sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Name of its VNet.
    pub vnet: Arc<str>,
    /// Number of its VNet: endpoints here are found under it.
    pub vnet_number: u16,
    /// MTU of its TUN device, bytes.
    pub mtu: u16,
    /// The directly peered VNets, whose endpoints are visible from here too.
    pub peers: Vec<Peer>,
    /// Accepted sources for endpoints of this VNet: its address space, its on-premises
    /// prefixes, unattached direct peers' space.
    pub sources: PrefixSet,
    /// Addresses within `sources` that no host sends from: network and broadcast addresses of subnets, and subnets that
    /// hold nothing but endpoints.
    pub unsent: PrefixSet,
    /// Workload classes that may not use private endpoints, and their prefixes.
    pub excluded_workloads: Vec<(Arc<str>, PrefixSet)>,
}

impl Attachment {
    /// Whether endpoints of any VNet that is visible from here accept `source`.
    #[must_use]
    pub fn may_use_any(&self, source: IpAddr) -> bool {
        self.sources.contains(source) || self.peers.iter().any(|peer| peer.sources.contains(source))
    }
}

/// A directly peered VNet as an attachment sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its VNet's number: its endpoints are found under it.
    pub vnet_number: u16,
    /// Accepted sources for its endpoints: this attachment's address space, and that of unattached VNets
    /// which are direct peers of both. Peering is never transitive, and on-premises prefixes are not inherited.
    pub sources: PrefixSet,
}

/// A private endpoint and its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity within this process.
    pub id: EndpointId,
    /// Network identifier of its connection (Azure's LINKID), unique over time; 0 while it has none.
    pub link: u32,
    /// `group/name`.
    pub name: Arc<str>,
    /// Only `Approved` passes traffic.
    pub state: ConnectionState,
    /// The resource it is bound to.
    pub resource: ResourceId,
    /// The endpoint's own source rule: only these may use it. `None`: no such rule.
    pub sources: Option<Arc<PrefixSet>>,
    /// Rules of the subnet's security group, lowest priority number first, when network policies are on.
    pub rules: Option<Arc<[Rule]>>,
    /// Live sessions this endpoint may hold at once.
    pub max_sessions: u32,
    /// Its rates, where it or its resource has any.
    pub meter: Option<Arc<Meter>>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Named by the drop that it causes.
    pub name: Arc<str>,
    /// Allow or deny.
    pub allow: bool,
    /// `None`: every protocol.
    pub protocol: Option<Protocol>,
    /// `None`: every source.
    pub sources: Option<PrefixSet>,
    /// `None`: every endpoint address of the subnet.
    pub destinations: Option<PrefixSet>,
    /// Endpoint-side ports, first and last; empty: every port.
    pub ports: Vec<(u16, u16)>,
}

/// A link resource: what endpoints are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `group/name`.
    pub name: Arc<str>,
    /// Attachment its backends are reached through.
    pub provider: AttachmentId,
    /// NAT addresses, 1 to 8, of this resource only.
    pub nat: Vec<IpAddr>,
    /// Addresses taken from `nat` that sessions still have; no new one gets them.
    pub retired: Vec<IpAddr>,
    /// One per (subresource, member).
    pub targets: Vec<Target>,
    /// Idle times of its sessions.
    pub timeouts: Timeouts,
    /// Overrides [`Settings::answer`] for packets to this resource.
    pub answer: Option<bool>,
    /// Live sessions all endpoints of this resource may hold at once.
    pub max_sessions: u32,
    /// How new sessions are spread over the backends of a target.
    pub balance: Balance,
    /// The rates of all its endpoints together, where there are any.
    pub meter: Option<Arc<Meter>>,
}

/// How a new session finds its backend among those that take new ones.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    strum::Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Balance {
    /// The one with the fewest live sessions of this resource.
    #[default]
    LeastSessions,
    /// Always the same one for one client address, as long as it takes sessions (rendezvous hashing: what becomes of
    /// another backend moves nobody else).
    Source,
}

/// One member of one subresource: the backends an endpoint address reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Empty for a private link service of one's own.
    pub subresource: Arc<str>,
    /// Empty where the subresource has a single member.
    pub member: Arc<str>,
    /// Where sessions go.
    pub backends: Vec<Backend>,
    /// Exposed ports.
    pub ports: Vec<PortMap>,
    /// Whether ICMP echo is forwarded.
    pub icmp: bool,
    /// Servers that take no session at some of the ports.
    pub silent: Vec<Silent>,
}

/// A server that does not answer at some exposed ports, as a check of those found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Its address.
    pub address: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First exposed port.
    pub first: u16,
    /// Last exposed port.
    pub last: u16,
}

/// One server behind a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address in the provider's VNet.
    pub address: IpAddr,
    /// What sessions it may have.
    pub state: BackendState,
}

/// What sessions a backend may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendState {
    /// New ones and those it has.
    #[default]
    Up,
    /// Those it has: it is being emptied.
    Draining,
    /// None: its health checks fail, or its time to empty is over.
    Down,
}

/// A range of exposed ports, mapped one to one onto backend ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMap {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First exposed port.
    pub first: u16,
    /// Last exposed port.
    pub last: u16,
    /// Backend port of the first exposed port.
    pub backend_first: u16,
}

impl Target {
    /// What sessions `backend` may have that come to an exposed port.
    #[must_use]
    pub fn state_at(&self, backend: &Backend, protocol: Protocol, port: u16) -> BackendState {
        let here = |one: &Silent| one.protocol == protocol && (one.first..=one.last).contains(&port);
        let silent = self.silent.iter().any(|one| one.address == backend.address && here(one));
        if silent { BackendState::Down } else { backend.state }
    }

    /// Backend port for a packet to `port`; `None`: not exposed. ICMP echo has port 0 on both sides.
    #[must_use]
    pub fn backend_port(&self, protocol: Protocol, port: u16) -> Option<u16> {
        if protocol == Protocol::Icmp {
            return self.icmp.then_some(0);
        }
        self.ports
            .iter()
            .find(|map| map.protocol == protocol && (map.first..=map.last).contains(&port))
            .map(|map| map.backend_first + (port - map.first))
    }
}

impl Snapshot {
    /// The generation a live session of `endpoint` must carry; the hot path's one compare.
    #[must_use]
    #[inline]
    pub fn generation(&self, endpoint: EndpointId) -> Option<Generation> {
        self.generations.get(endpoint.0 as usize).copied()
    }

    /// Sessions of `endpoint` stamped before this generation are dead, whatever the rules say now.
    #[must_use]
    pub fn valid_since(&self, endpoint: EndpointId) -> Option<Generation> {
        self.valid_since.get(endpoint.0 as usize).copied()
    }

    /// MTU of the device at `attachment`, bytes.
    #[must_use]
    #[inline]
    pub fn mtu(&self, attachment: AttachmentId) -> u16 {
        self.attachments.get(usize::from(attachment.0)).map_or(u16::MAX, |attachment| attachment.mtu)
    }

    /// Generations of all endpoints in the order of [`EndpointId`], for a worker that looks for changes.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// The endpoint address visible as `address` from `attachment`: its own VNet's first, then those
    /// of directly peered VNets (which cannot overlap). With it, the sources accepted for it there.
    #[must_use]
    pub fn endpoint_address<'a>(
        &'a self,
        attachment: &'a Attachment,
        address: IpAddr,
    ) -> Option<(&'a EndpointAddress, &'a PrefixSet)> {
        let own = std::iter::once((attachment.vnet_number, &attachment.sources));
        let peers = attachment.peers.iter().map(|peer| (peer.vnet_number, &peer.sources));
        own.chain(peers).find_map(|(vnet, sources)| {
            let entry = self.shards[shard_of(vnet, address)].get(&(vnet, address))?;
            Some((entry, sources))
        })
    }

    /// The resource whose NAT address `address` is at `attachment`.
    #[must_use]
    pub fn nat_owner(&self, attachment: AttachmentId, address: IpAddr) -> Option<ResourceId> {
        self.nat_addresses.get(&(attachment, address)).copied()
    }

    /// The resource at `id`.
    #[must_use]
    pub fn resource(&self, id: ResourceId) -> Option<&Arc<Resource>> {
        self.resources.get(id.0 as usize)
    }

    /// What limits the traffic of `endpoint`; `None`: nothing does.
    #[must_use]
    pub fn limits(&self, endpoint: EndpointId) -> Option<Limits<'_>> {
        let (endpoint, resource) = self.limited.get(endpoint.0 as usize)?.as_ref()?;
        Limits::of(endpoint.meter.as_deref(), resource.meter.as_deref(), self.contenders.of(endpoint.resource))
    }

    /// The rates of endpoints, and of resources, by name.
    #[must_use]
    pub fn rates(&self) -> [Vec<(Arc<str>, Rates)>; 2] {
        let of = |name: &Arc<str>, meter: Option<&Arc<Meter>>| {
            let rates = meter.map(|meter| meter.rates).filter(Rates::limit_anything)?;
            Some((Arc::clone(name), rates))
        };
        let endpoints = self.limited.iter().flatten().map(|(endpoint, _)| endpoint);
        [
            endpoints.filter_map(|endpoint| of(&endpoint.name, endpoint.meter.as_ref())).collect(),
            self.resources.iter().filter_map(|resource| of(&resource.name, resource.meter.as_ref())).collect(),
        ]
    }

    /// Every endpoint address with the number of the VNet that owns it, in no order.
    pub fn endpoint_addresses(&self) -> impl Iterator<Item = (u16, IpAddr, &EndpointAddress)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(&(vnet, address), entry)| (vnet, address, entry))
    }

    /// The same tables under a later epoch.
    #[must_use]
    pub fn at(&self, epoch: u64) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The snapshot after a change of one endpoint: `old` are its addresses before, `new` its VNet, itself and its
    /// addresses now; `None`: it is gone. Copies the shards of those addresses and shares the rest.
    #[must_use]
    pub fn with_endpoint(
        &self,
        epoch: u64,
        id: EndpointId,
        old: &[(u16, IpAddr)],
        new: Option<Placed<'_>>,
        stamp: Stamp,
    ) -> Self {
        let mut next = self.clone();
        next.epoch = epoch;
        if let Some(entry) = old.first().and_then(|key| self.shards[shard_of(key.0, key.1)].get(key)) {
            next.contenders.remove(entry.endpoint.resource, entry.endpoint.state);
        }
        for &(vnet, address) in old {
            next.shard_mut(vnet, address).remove(&(vnet, address));
        }
        let mut limits = None;
        if let Some((vnet, endpoint, addresses)) = new {
            if !addresses.is_empty() {
                next.contenders.add(endpoint.resource, endpoint.state);
            }
            for &(address, target) in addresses {
                let entry = EndpointAddress { endpoint: Arc::clone(&endpoint), target };
                next.shard_mut(vnet, address).insert((vnet, address), entry);
            }
            limits = self
                .resource(endpoint.resource)
                .filter(|_| endpoint.meter.is_some())
                .map(|r| (endpoint, Arc::clone(r)));
        }
        limit(&mut next.limited, id.0 as usize, limits);
        stamp_endpoint(&mut next.generations, &mut next.valid_since, id, stamp);
        next
    }

    fn shard_mut(&mut self, vnet: u16, address: IpAddr) -> &mut Shard {
        Arc::make_mut(&mut self.shards[shard_of(vnet, address)])
    }
}

/// Generations of one endpoint: `current` changes with every rule, `valid_since` when sessions must end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Generation of the rules in force.
    pub current: Generation,
    /// Generation at which the endpoint last stopped passing traffic (or was created).
    pub valid_since: Generation,
}

/// Sets the generations of one endpoint in tables that reach so far.
pub(super) fn stamp_endpoint(
    generations: &mut Vec<Generation>,
    valid_since: &mut Vec<Generation>,
    endpoint: EndpointId,
    stamp: Stamp,
) {
    let index = endpoint.0 as usize;
    if generations.len() <= index {
        generations.resize(index + 1, Generation::default());
        valid_since.resize(index + 1, Generation(u32::MAX));
    }
    generations[index] = stamp.current;
    valid_since[index] = stamp.valid_since;
}

/// The piece of the endpoint table that holds an address: nobody who chooses addresses can choose the piece.
pub(super) fn shard_of(vnet: u16, address: IpAddr) -> usize {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    usize::try_from(SECRET.hash_one((vnet, address)) % SHARDS as u64).unwrap_or(0)
}

/// The endpoints whose traffic is limited, by their numbers: nothing where none is.
pub(super) type Limited = Arc<Vec<Option<(Arc<Endpoint>, Arc<Resource>)>>>;

/// Notes what limits the endpoint of this number now.
pub(super) fn limit(limited: &mut Limited, at: usize, limits: Option<(Arc<Endpoint>, Arc<Resource>)>) {
    let known = limited.get(at).is_some_and(Option::is_some);
    if limits.is_none() && !known {
        return;
    }
    let limited = Arc::make_mut(limited);
    if limited.len() <= at {
        limited.resize(at + 1, None);
    }
    limited[at] = limits;
}
