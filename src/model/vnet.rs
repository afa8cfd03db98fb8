//! Networks, their subnets, and what their resolvers do.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::sentence::Mention;
use super::{AcceptedNames, ConnectionState, ItemKind, Key, Map, Model, PeeringLabel, Tags, actions};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnet {
    /// Region; endpoints must be in their VNet's region.
    pub region: String,
    /// Address space, disjoint prefixes.
    pub address_space: Vec<IpNet>,
    /// Prefixes that reach this VNet over VPN or a leased line.
    pub on_premises: Vec<IpNet>,
    /// Directly peered VNets; counts only when both sides list it.
    pub peerings: Vec<Key>,
    /// Subnets in file order.
    pub subnets: Vec<Subnet>,
    /// Sources of workload classes, and whether they may use private endpoints.
    pub workloads: Vec<Workload>,
    /// Its resolver; `None`: it has none.
    pub dns: Option<DnsSettings>,
    /// Whether names of typed resources lead to its Approved endpoints only.
    #[serde(default)]
    pub lockdown: bool,
    /// Public addresses of typed resources, which no packet of the VNet reaches.
    #[serde(default)]
    pub public_prefixes: Vec<IpNet>,
    /// Names and switches of peerings; those without are named after their other side.
    #[serde(default)]
    pub peering_labels: Vec<PeeringLabel>,
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// Settings of Azure's that have no effect here, its subnets' and peerings' among them, as a JSON object; empty: none.
    #[serde(default)]
    pub foreign: String,
}

/// A VNet's resolver settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// Servers for everything that is not a private name.
    pub upstream: Vec<IpAddr>,
    /// States of a connection that are answered with the private address; others have no address at all.
    #[serde(default = "approved_only")]
    pub answer: Vec<ConnectionState>,
    /// How long an answer may be kept.
    #[serde(default = "ten_seconds")]
    pub ttl: Duration,
    /// Names of endpoints in peered VNets that may answer here, besides those that answer by themselves; `None`: a file
    /// or a request that says nothing of them leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_names: Option<Box<AcceptedNames>>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self { listen: Vec::new(), upstream: Vec::new(), answer: approved_only(), ttl: DNS_TTL, accept_names: None }
    }
}

/// How long a private answer may be kept unless the VNet says otherwise: a change of state is seen soon.
pub const DNS_TTL: Duration = Duration::from_secs(10);

fn approved_only() -> Vec<ConnectionState> {
    vec![ConnectionState::Approved]
}

fn ten_seconds() -> Duration {
    DNS_TTL
}

/// Part of a VNet's address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Unique within its VNet.
    pub name: String,
    /// Disjoint prefixes inside the address space.
    pub prefixes: Vec<IpNet>,
    /// Routed to the device whole; holds endpoints only.
    pub dedicated: bool,
    /// Specialised workloads it is delegated to; such a subnet takes no endpoints.
    pub delegations: Vec<String>,
    /// Service endpoints enabled on it.
    pub service_endpoints: Vec<String>,
    /// Whether endpoints here obey the security group.
    pub network_policies: NetworkPolicies,
    /// Rule set of this subnet.
    pub security_group: Option<Key>,
    /// `privateLinkServiceNetworkPolicies`: `Some(false)` (ARM's `Disabled`, the file's `nat = true`) says that NAT addresses
    /// may lie here; `None`: nobody said anything.
    #[serde(default)]
    pub service_policies: Option<bool>,
}

/// `privateEndpointNetworkPolicies` of a subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum NetworkPolicies {
    /// Endpoints ignore the security group.
    #[default]
    Disabled,
    /// Its rules are judged.
    NetworkSecurityGroupEnabled,
    /// Stored; there are no route tables here.
    RouteTableEnabled,
    /// Its rules are judged.
    Enabled,
}

/// A class of sources within a VNet: some of them may not use endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Such as `Azure Container Instance`.
    pub class: String,
    /// Where it lives.
    pub prefix: IpNet,
    /// Whether it may use private endpoints.
    pub private_endpoints: bool,
}

impl Vnet {
    /// Its peerings with their names: those given, and for the others that of the other side.
    pub fn labelled(&self) -> Vec<PeeringLabel> {
        let named = |peer: &&Key| self.peering_labels.iter().any(|label| label.remote == **peer);
        let usual = PeeringLabel::usual;
        let others = self.peerings.iter().filter(|peer| !named(peer)).map(usual);
        let kept = |label: &&PeeringLabel| !label.access || label.severed || self.peerings.contains(&label.remote);
        let labels = self.peering_labels.iter().filter(kept);
        labels.cloned().chain(others).collect()
    }

    /// Whether its peering with `remote` was severed.
    pub fn is_severed(&self, remote: &Key) -> bool {
        self.peering_labels.iter().any(|label| label.severed && label.remote == *remote)
    }

    /// Whether it has a peering with `remote` that is not severed.
    pub fn peers_with(&self, remote: &Key) -> bool {
        self.labelled().iter().any(|label| !label.severed && label.remote == *remote)
    }

    /// Its peering with `remote`, which is gone, is Disconnected; nothing happens where there is none.
    pub fn sever(&mut self, remote: &Key) {
        let Some(label) = self.labelled().into_iter().find(|label| label.remote == *remote) else { return };
        self.peerings.retain(|peer| peer != remote);
        match self.peering_labels.iter_mut().find(|label| label.remote == *remote) {
            Some(known) => known.severed = true,
            None => self.peering_labels.push(PeeringLabel { severed: true, ..label }),
        }
    }
}

impl Kind for Vnet {
    const KIND: ItemKind = ItemKind::Vnet;
    const SINGULAR: &'static str = "vnet";
    const PLURAL: &'static str = "vnets";
    const TYPE: &'static str = actions::NETWORKS;

    fn map(model: &Model) -> &Map<Self> {
        &model.vnets
    }

    fn map_mut(model: &mut Model) -> &mut Map<Self> {
        &mut model.vnets
    }

    /// Tags, names and switches of peerings; marks of subnets of which nothing is said.
    fn adopt(&self, live: &Self) -> Self {
        let mut vnet = self.with_marks_of(live);
        vnet.tags.clone_from(&live.tags);
        let passes = |label: &PeeringLabel| label.access && !label.severed;
        let labels = live.peering_labels.iter().filter(|label| self.peerings.contains(&label.remote) == passes(label));
        vnet.peering_labels = labels.cloned().collect();
        vnet
    }

    fn users(model: &Model, key: &Key, stays: &dyn Fn(&Key) -> bool) -> Vec<Mention> {
        let user = |kind: ItemKind, name: &Key, what: &str| Mention::of(kind, name, format_args!("{what} {name}"));
        let endpoints = model.endpoints.iter().filter(|(name, endpoint)| endpoint.vnet == *key && stays(name));
        let resources =
            model.resources.iter().filter(|(name, resource)| resource.vnet.as_ref() == Some(key) && stays(name));
        let linked = model
            .dns_zones
            .iter()
            .filter(|(name, zone)| zone.links.iter().any(|link| link.vnet == *key) && stays(name));
        let balancers = model.load_balancers.iter().filter(|(name, balancer)| balancer.is_in(key) && stays(name));
        endpoints
            .map(|(name, _)| user(ItemKind::Endpoint, name, "endpoint"))
            .chain(resources.map(|(name, _)| user(ItemKind::Resource, name, "resource")))
            .chain(linked.map(|(name, _)| user(ItemKind::DnsZone, name, "a link of private DNS zone")))
            .chain(balancers.map(|(name, _)| user(ItemKind::LoadBalancer, name, "load balancer")))
            .collect()
    }
}
