//! Compiles model, host settings and connections into a `Snapshot` and a `Topology`. Pure; it returns both or an error.
//!
//! `registry` remembers what must stay the same between compilations (ids, numbers, generations). `peering` knows which
//! VNets reach each other. `topology` computes the host's routes.

/// Endpoint addresses.
pub mod addresses;

/// Retired NAT addresses.
pub mod retired;

/// Observed states of servers.
pub mod health;

/// The plan of the DNS resolvers.
pub mod names;

/// Warnings about DNS set-ups.
pub mod lint;

/// Ids, numbers and generations.
mod registry;

/// Which VNets reach each other.
mod peering;

/// The host's topology.
mod topology;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use registry::Registry;
pub use topology::union;

use crate::model::state::Connection;
use crate::model::{
    Access, DenyMode, EXCLUDED_WORKLOADS, HostConfig, Key, LinkResource, Map, Model, NetworkPolicies, PortSpec,
    PrivateEndpoint, SecurityGroup, SecurityRule, Subnet, TargetSpec, TimeoutOverrides,
};
use crate::snapshot::prefixes::PrefixSet;
use crate::snapshot::tables::Rule;
use crate::snapshot::topology::Topology;
use crate::snapshot::{
    Attachment, AttachmentId, Backend, Balance, ConnectionState, Endpoint, Meter, Peer, PortMap, Resource, Settings,
    Silent, Snapshot, SnapshotBuilder, Target, TargetId, Timeouts,
};
use health::Health;
use peering::Peering;
use registry::{EndpointInputs, Numbers};
use retired::Retired;

/// The compiler's input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Resources.
    pub model: &'a Model,
    /// One connection per endpoint of the model.
    pub connections: &'a Map<Connection>,
    /// Host settings.
    pub host: &'a HostConfig,
    /// Identity of each attachment's namespace, in the order of the attachments.
    pub namespaces: &'a [u64],
    /// Number of workers.
    pub workers: u16,
    /// Observed states of servers.
    pub health: &'a Health,
    /// Retired NAT addresses: they get no new sessions.
    pub retired: &'a Retired,
}

/// The compiler's output.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// For the packet path.
    pub snapshot: Snapshot,
    /// For the host.
    pub topology: Topology,
}

/// Why the model cannot be compiled. Validation reports these mistakes earlier and better. Here they only prevent that
/// anything incomplete is published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A reference leads nowhere.
    #[error("{0} refers to {1}, which does not exist")]
    Broken(String, String),
    /// An address is missing.
    #[error("endpoint {0} has an address without an IP")]
    Unallocated(Key),
    /// Two endpoint addresses are the same.
    #[error("endpoint {0} has an address that another endpoint of its VNet has")]
    Taken(Key),
    /// All numbers of a kind are used up.
    #[error("this process has run out of {0}; restart the daemon")]
    Exhausted(&'static str),
}

/// Compiles everything. This changes `registry`. If it fails, or the result is not published, the caller must go on
/// with the previous registry.
///
/// # Errors
/// The model is inconsistent.
pub fn compile(input: &Input<'_>, registry: &mut Registry, epoch: u64) -> Result<Compiled, CompileError> {
    let peering = Peering::new(input);
    let numbers = registry.number(input.model)?;
    let attachments = attachments(input, &peering, &numbers);
    let mut builder = SnapshotBuilder::for_addresses(input.model.endpoints.len());
    builder.settings = settings(input.host);
    let resources = resources(input, &peering, &numbers)?;
    for resource in &resources {
        builder.resource(Resource::clone(resource));
    }
    registry.follow(CompileContext::new(input, &peering, &attachments, &resources, numbers).bases())?;
    for (key, id, basis, stamp) in registry.endpoints() {
        if !builder.endpoint(basis.vnet, basis.endpoint(id), &basis.addresses, stamp) {
            return Err(CompileError::Taken(key.clone()));
        }
    }
    registry.gone().for_each(|(id, stamp)| builder.stamp(id, stamp));
    builder.attachments = attachments;
    Ok(Compiled { snapshot: builder.build(epoch), topology: topology::compile(input, &peering) })
}

/// Compiles only the topology.
pub fn topology(input: &Input<'_>) -> Topology {
    topology::compile(input, &Peering::new(input))
}

/// The snapshot after a change of one endpoint `key`, made from the previous one. It equals a full compilation, but its
/// cost does not grow with the number of endpoints.
///
/// # Errors
/// As [`compile`]. The registry must be dropped then.
pub fn compile_endpoint(
    before: &Snapshot,
    input: &Input<'_>,
    registry: &mut Registry,
    epoch: u64,
    key: &Key,
) -> Result<Snapshot, CompileError> {
    let peering = Peering::new(input);
    let seen = CompileContext::new(input, &peering, &before.attachments, &before.resources, registry.numbers());
    let found = input.model.endpoints.get(key);
    let basis = found.map(|endpoint| seen.basis(key, endpoint, input.connections.get(key))).transpose()?;
    let Some(step) = registry.follow_one(key, basis)? else { return Ok(before.at(epoch)) };
    let old = step.before.iter().flat_map(|old| old.addresses.iter().map(|&(address, _)| (old.vnet, address)));
    let old: Vec<_> = old.collect();
    let new = step.after.as_ref().map(|new| (new.vnet, Arc::new(new.endpoint(step.id)), new.addresses.as_slice()));
    Ok(before.with_endpoint(epoch, step.id, &old, new, step.stamp))
}

/// The targets an endpoint is bound to: (member, position in the resource), in the resource's order.
/// An endpoint without a subresource is bound to the only one there is.
pub fn bound_targets<'a>(resource: &'a LinkResource, endpoint: &PrivateEndpoint) -> Vec<(&'a str, TargetId)> {
    let only = resource.targets.first().map_or("", |target| target.subresource.as_str());
    let single = resource.targets.iter().all(|target| target.subresource.eq_ignore_ascii_case(only));
    let wanted = if endpoint.subresource.is_empty() && single { only } else { &endpoint.subresource };
    resource
        .targets
        .iter()
        .zip(0_u16..)
        .filter(|(target, _)| target.subresource.eq_ignore_ascii_case(wanted))
        .map(|(target, id)| (target.member.as_str(), TargetId(id)))
        .collect()
}

/// The target in `bound` that an address for `member` reaches. An address without a member reaches the only target.
pub(crate) fn target_of(bound: &[(&str, TargetId)], member: &str) -> Option<TargetId> {
    match bound {
        [(_, only)] if member.is_empty() => Some(*only),
        several => several.iter().find(|(name, _)| name.eq_ignore_ascii_case(member)).map(|&(_, target)| target),
    }
}

fn settings(host: &HostConfig) -> Settings {
    Settings {
        answer: host.deny == DenyMode::Answer,
        deny_rate: host.deny_rate,
        max_sessions: host.max_sessions,
        timeouts: timeouts(&host.timeouts, Timeouts::default()),
    }
}

fn timeouts(named: &TimeoutOverrides, otherwise: Timeouts) -> Timeouts {
    let or = |named: Option<Duration>, otherwise| named.unwrap_or(otherwise);
    Timeouts {
        tcp_established: or(named.tcp_established, otherwise.tcp_established),
        tcp_transitory: or(named.tcp_transitory, otherwise.tcp_transitory),
        udp: or(named.udp, otherwise.udp),
        icmp: or(named.icmp, otherwise.icmp),
        fragment: or(named.fragment, otherwise.fragment),
    }
}

fn attachments(input: &Input<'_>, peering: &Peering<'_>, numbers: &Numbers) -> Vec<Attachment> {
    let attach = |(spec, id): (&crate::model::AttachmentSpec, u16)| {
        let id = AttachmentId(id);
        let admitted: Vec<_> = peering.admitted(id).collect();
        let own = peering.vnet(&spec.vnet);
        let sources =
            admitted.iter().flat_map(|vnet| &vnet.address_space).chain(own.iter().flat_map(|v| &v.on_premises));
        let sources = sources.filter(|prefix| spec.carries(prefix));
        let mut excluded: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for workload in admitted.iter().flat_map(|vnet| &vnet.workloads).filter(|workload| !workload.private_endpoints)
        {
            excluded.entry(&workload.class).or_default().push(&workload.prefix);
        }
        for subnet in admitted.iter().flat_map(|vnet| &vnet.subnets).filter(|_| !input.host.limits.workloads) {
            if let Some((class, _)) = EXCLUDED_WORKLOADS.iter().find(|(_, service)| is_delegated(subnet, service)) {
                excluded.entry(class).or_default().extend(&subnet.prefixes);
            }
        }
        let subnets = || admitted.iter().flat_map(|vnet| &vnet.subnets);
        let dedicated = subnets().filter(|subnet| subnet.dedicated).flat_map(|subnet| subnet.prefixes.iter().copied());
        let edges = subnets().flat_map(|subnet| subnet.prefixes.iter().flat_map(edges));
        let unsent: Vec<_> = dedicated.chain(edges).collect();
        Attachment {
            vnet: Arc::from(spec.vnet.to_string()),
            vnet_number: numbers.vnet(&spec.vnet).unwrap_or(registry::NO_VNET),
            mtu: spec.mtu,
            peers: peering
                .peers(&spec.vnet)
                .iter()
                .filter_map(|peer| {
                    let spaces = peering.admitted_to(id, peer).flat_map(|vnet| &vnet.address_space);
                    let spaces = spaces.filter(|prefix| spec.carries(prefix));
                    Some(Peer { vnet_number: numbers.vnet(peer)?, sources: spaces.collect() })
                })
                .collect(),
            sources: sources.collect(),
            unsent: unsent.iter().collect(),
            excluded_workloads: excluded
                .into_iter()
                .map(|(class, prefixes)| (Arc::from(class), prefixes.into_iter().collect()))
                .collect(),
        }
    };
    input.host.attachments.iter().zip(0_u16..).map(attach).collect()
}

/// The addresses of a subnet that no host may have. IPv4: the network and broadcast addresses, unless the subnet is too
/// small to have them (RFC 3021). IPv6: the routers' anycast address (RFC 4291 §2.6.1), which a /127 does not have (RFC
/// 6164).
fn edges(prefix: &IpNet) -> Vec<IpNet> {
    match prefix {
        IpNet::V4(net) if net.prefix_len() <= 30 => {
            [net.network(), net.broadcast()].map(|address| IpNet::from(IpAddr::from(address))).to_vec()
        }
        IpNet::V6(net) if net.prefix_len() <= 126 => vec![IpNet::from(IpAddr::from(net.network()))],
        IpNet::V4(_) | IpNet::V6(_) => Vec::new(),
    }
}

/// Whether a subnet belongs to a service. Under Azure's limitations of 2019, that excludes its sources.
fn is_delegated(subnet: &Subnet, service: &str) -> bool {
    subnet.delegations.iter().any(|delegation| delegation.eq_ignore_ascii_case(service))
}

/// All resources, indexed by id. A deleted one keeps its slot, without targets.
fn resources(input: &Input<'_>, peering: &Peering<'_>, numbers: &Numbers) -> Result<Vec<Arc<Resource>>, CompileError> {
    let defaults = timeouts(&input.host.timeouts, Timeouts::default());
    let slot = |key: &Key| {
        let name = Arc::from(key.to_string());
        let Some(resource) = input.model.resources.get(key) else {
            return Ok(Arc::new(Resource {
                name,
                provider: AttachmentId::default(),
                nat: Vec::new(),
                retired: Vec::new(),
                targets: Vec::new(),
                timeouts: defaults,
                answer: None,
                max_sessions: 0,
                balance: Balance::default(),
                meter: None,
            }));
        };
        // A provider that is not attached here serves nobody: it has no NAT address and no backend. The same holds for
        // addresses that its attachment may not carry or reach.
        let provider = resource.vnet.as_ref().and_then(|vnet| peering.attachment(vnet));
        let home = resource.vnet.as_ref().and_then(|vnet| Some((input.host.attachment(vnet)?, peering.vnet(vnet)?)));
        let carried = |ip: &IpAddr| home.is_some_and(|(spec, _)| spec.carries(&IpNet::from(*ip)));
        let here = |mut target: Target| {
            target.backends.retain(|backend| home.is_some_and(|(spec, vnet)| spec.serves(vnet, backend.address)));
            target
        };
        Ok(Arc::new(Resource {
            name,
            provider: provider.unwrap_or_default(),
            nat: resource.nat.iter().copied().filter(carried).collect(),
            retired: input.retired.of(key).filter(carried).collect(),
            targets: resource.targets.iter().map(|spec| compiled(input.health, key, spec)).map(here).collect(),
            timeouts: timeouts(&resource.timeouts, defaults),
            answer: resource.deny.map(|mode| mode == DenyMode::Answer),
            max_sessions: resource.max_sessions.unwrap_or(u32::MAX),
            balance: resource.targets.iter().find_map(|target| target.balance).unwrap_or(resource.balance),
            meter: numbers.meter(key),
        }))
    };
    numbers.resource_slots().map(slot).collect()
}

fn compiled(health: &Health, resource: &Key, spec: &TargetSpec) -> Target {
    let port =
        |&PortSpec { protocol, first, last, backend_first }: &_| PortMap { protocol, first, last, backend_first };
    Target {
        subresource: Arc::from(spec.subresource.as_str()),
        member: Arc::from(spec.member.as_str()),
        backends: spec
            .backends
            .iter()
            .map(|b| Backend { address: b.address, state: health.state(resource, spec, b) })
            .collect(),
        ports: spec.ports.iter().map(port).collect(),
        icmp: spec.icmp,
        silent: spec
            .backends
            .iter()
            .flat_map(|b| {
                health.silent(resource, spec, b).flat_map(|one| &one.ports).map(move |port| (b.address, *port))
            })
            .map(|(address, (protocol, first, last))| Silent { address, protocol, first, last })
            .collect(),
    }
}

/// What the endpoints' inputs are made from, besides the endpoints.
struct CompileContext<'a> {
    input: &'a Input<'a>,
    numbers: Numbers,
    resources: &'a [Arc<Resource>],
    groups: BTreeMap<&'a Key, Arc<[Rule]>>,
    views: BTreeMap<&'a Key, Arc<registry::SeenBy>>,
}

impl<'a> CompileContext<'a> {
    fn new(
        input: &'a Input<'_>,
        peering: &Peering<'_>,
        attachments: &[Attachment],
        resources: &'a [Arc<Resource>],
        numbers: Numbers,
    ) -> Self {
        let seen_by = |vnet: &'a Key| (vnet, Arc::new(peering.seen_by(vnet, attachments)));
        Self {
            input,
            numbers,
            resources,
            groups: input.model.security_groups.iter().map(|(key, group)| (key, rules(group))).collect(),
            views: input.model.vnets.keys().map(seen_by).collect(),
        }
    }

    fn basis(
        &self,
        key: &Key,
        endpoint: &PrivateEndpoint,
        connection: Option<&Connection>,
    ) -> Result<EndpointInputs, CompileError> {
        let model = self.input.model;
        let broken = |to: String| CompileError::Broken(format!("endpoint {key}"), to);
        let connection = connection.ok_or_else(|| broken(format!("connection {key}")))?;
        let vnet = self.numbers.vnet(&endpoint.vnet).ok_or_else(|| broken(format!("vnet {}", endpoint.vnet)))?;
        let unknown = || broken(format!("resource {}", endpoint.resource));
        let resource = self.numbers.resource(&endpoint.resource).ok_or_else(unknown)?;
        let bound = self.resources.get(resource.0 as usize).ok_or_else(unknown)?;
        let spec = model.resources.get(&endpoint.resource);
        // Only a Disconnected endpoint outlives its resource. Its addresses reach nothing, even if a later resource has
        // the same name.
        let spec = spec.filter(|_| !model.is_left(key, endpoint));
        if spec.is_none() && connection.state != ConnectionState::Disconnected {
            return Err(unknown());
        }
        let targets = spec.map(|spec| bound_targets(spec, endpoint));
        let mut addresses = Vec::with_capacity(endpoint.addresses.len());
        for address in &endpoint.addresses {
            let ip = address.ip.ok_or_else(|| CompileError::Unallocated(key.clone()))?;
            let target = targets.as_ref().map_or(Some(TargetId(0)), |bound| target_of(bound, &address.member));
            let missing = || broken(format!("member `{}` of {}", address.member, endpoint.resource));
            addresses.push((ip, target.ok_or_else(missing)?));
        }
        let per_endpoint = spec.and_then(|spec| spec.max_sessions_per_endpoint);
        Ok(EndpointInputs {
            name: Arc::from(key.to_string()),
            state: connection.state,
            link: connection.link,
            vnet,
            addresses,
            sources: (!endpoint.sources.is_empty()).then(|| Arc::new(endpoint.sources.iter().collect())),
            rules: subnet_rules(model, endpoint, &self.groups).map_err(broken)?,
            max_sessions: endpoint.max_sessions.or(per_endpoint).unwrap_or(u32::MAX),
            meter: (endpoint.rates.is_some() || bound.meter.is_some())
                .then(|| Arc::new(Meter::new(endpoint.rates.unwrap_or_default()))),
            resource,
            bound: Arc::clone(bound),
            seen_by: self.views.get(&endpoint.vnet).map(Arc::clone).unwrap_or_default(),
        })
    }

    /// The inputs of every endpoint, in the order of keys.
    fn bases(&self) -> impl Iterator<Item = Result<(&'a Key, EndpointInputs), CompileError>> {
        let mut connections = self.input.connections.walk();
        let basis = move |(key, endpoint)| Ok((key, self.basis(key, endpoint, connections.get(key))?));
        self.input.model.endpoints.iter().map(basis)
    }
}

/// The rules of the endpoint's subnet, when its network policies enable them.
fn subnet_rules(
    model: &Model,
    endpoint: &PrivateEndpoint,
    groups: &BTreeMap<&Key, Arc<[Rule]>>,
) -> Result<Option<Arc<[Rule]>>, String> {
    let subnets = model.vnets.get(&endpoint.vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
    let subnet = subnets
        .iter()
        .find(|subnet| subnet.name.eq_ignore_ascii_case(&endpoint.subnet))
        .ok_or_else(|| format!("subnet {} of {}", endpoint.subnet, endpoint.vnet))?;
    match (subnet.network_policies, &subnet.security_group) {
        (NetworkPolicies::Disabled | NetworkPolicies::RouteTableEnabled, _) | (_, None) => Ok(None),
        (NetworkPolicies::Enabled | NetworkPolicies::NetworkSecurityGroupEnabled, Some(group)) => {
            groups.get(group).map(|rules| Some(Arc::clone(rules))).ok_or_else(|| format!("security group {group}"))
        }
    }
}

fn rules(group: &SecurityGroup) -> Arc<[Rule]> {
    let mut sorted: Vec<&SecurityRule> = group.rules.iter().collect();
    sorted.sort_by_key(|rule| rule.priority);
    let set = |prefixes: &[ipnet::IpNet]| (!prefixes.is_empty()).then(|| prefixes.iter().collect::<PrefixSet>());
    let rule = |rule: &SecurityRule| Rule {
        name: Arc::from(rule.name.as_str()),
        allow: rule.access == Access::Allow,
        protocol: rule.protocol,
        sources: set(&rule.sources),
        destinations: set(&rule.destinations),
        ports: rule.ports.clone(),
    };
    sorted.into_iter().map(rule).collect()
}

impl EndpointInputs {
    fn endpoint(&self, id: crate::snapshot::EndpointId) -> Endpoint {
        Endpoint {
            id,
            link: self.link,
            name: Arc::clone(&self.name),
            state: self.state,
            resource: self.resource,
            sources: self.sources.clone(),
            rules: self.rules.clone(),
            max_sessions: self.max_sessions,
            meter: self.meter.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
