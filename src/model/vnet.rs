//! Networks, their subnets, and what their resolvers do.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::registry::{Kind, Known};
use super::sentence::Mention;
use super::spelled::{
    Address, Keyword, NamePattern, Named, OneOrMany, Prefix, Time, in_order, is_default, short_form, time,
};
use super::{AcceptedNames, ConnectionState, ItemKind, Key, Model, PeeringLabel, SecurityGroup, Tags, actions};

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct Vnet {
    /// Region; its endpoints are in the same one.
    #[serde(default = "local")]
    pub region: String,
    /// Prefixes of the network.
    #[schemars(with = "OneOrMany<Prefix>")]
    pub address_space: Vec<IpNet>,
    /// Prefixes that reach it over VPN or a leased line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Prefix>")]
    pub on_premises: Vec<IpNet>,
    /// VNets peered with it; counts when both list each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Named<Vnet>>")]
    pub peerings: Vec<Key>,
    /// Parts of the address space.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
    /// Classes of sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    /// Its resolver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSettings>,
    /// Whether names of typed resources lead to its Approved endpoints only.
    #[serde(default)]
    pub lockdown: bool,
    /// Public addresses of typed resources: no packet of the VNet reaches them past its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Prefix>")]
    pub public_prefixes: Vec<IpNet>,
    /// Names and switches of peerings; those without are named after their other side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub peering_labels: Vec<PeeringLabel>,
    /// See [`Tags`].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(skip)]
    pub tags: Tags,
    /// Settings of Azure's that have no effect here, its subnets' and peerings' among them, as a JSON object; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(skip)]
    pub foreign: String,
}

/// The region of a VNet that names none: it only matters where a file has several.
fn local() -> String {
    "local".to_owned()
}

/// A VNet's resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Dns", transform = in_order::<Self>)]
pub struct DnsSettings {
    /// Addresses to listen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Address>")]
    pub listen: Vec<IpAddr>,
    /// Servers for all other names; without any they are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<Address>")]
    pub upstream: Vec<IpAddr>,
    /// States of a connection that answer with the address: "Approved" unless set.
    #[schemars(with = "OneOrMany<Keyword<ConnectionState>>")]
    pub answer: Vec<ConnectionState>,
    /// How long an answer may be kept: 10 seconds unless set.
    #[serde(with = "time")]
    #[schemars(with = "Time")]
    pub ttl: Duration,
    /// Names of endpoints in peered VNets that may answer here, such as "api.example.com" or "*.example.com",
    /// besides those that answer by themselves.
    // `None`: a file or a request that says nothing of them leaves them as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<NamePattern>")]
    pub accept_names: Option<Box<AcceptedNames>>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        let answer = vec![ConnectionState::Approved];
        Self { listen: Vec::new(), upstream: Vec::new(), answer, ttl: DNS_TTL, accept_names: None }
    }
}

/// How long a private answer may be kept unless the VNet says otherwise: a change of state is seen soon.
pub const DNS_TTL: Duration = Duration::from_secs(10);

/// Part of a VNet's address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>, transform = prefix_for_prefixes)]
pub struct Subnet {
    /// Name, unique in its VNet.
    pub name: String,
    /// Its prefixes, where it has several.
    #[serde(default)]
    #[schemars(with = "OneOrMany<Prefix>")]
    pub prefixes: Vec<IpNet>,
    /// Whether it holds endpoints only and is routed to the device whole.
    #[serde(default)]
    pub dedicated: bool,
    /// Whether NAT addresses may lie in it; left out: as it is.
    // ARM says `privateLinkServiceNetworkPolicies: "Disabled"` where they may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
    /// Specialised workloads it is delegated to; it takes no endpoints then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub delegations: Vec<String>,
    /// Service endpoints enabled on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub service_endpoints: Vec<String>,
    /// Whether its endpoints obey the security group.
    #[serde(default)]
    #[schemars(with = "Keyword<NetworkPolicies>")]
    pub network_policies: NetworkPolicies,
    /// Name of its security group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Named<SecurityGroup>")]
    pub security_group: Option<Key>,
}

fn prefix_for_prefixes(schema: &mut Schema) {
    short_form::<OneOrMany<Prefix>>(schema, "prefix", "prefixes", None, "Its prefix.");
}

/// `privateEndpointNetworkPolicies` of a subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// A class of sources within a VNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct Workload {
    /// Such as "Azure Container Instance".
    pub class: String,
    /// Where it lives.
    #[schemars(with = "Prefix")]
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
    const SINGULAR: &'static str = "vnet";
    const TYPE: &'static str = actions::NETWORKS;

    /// Tags, names and switches of peerings; marks of subnets of which nothing is said.
    fn adopt(&self, live: &Self) -> Self {
        let mut vnet = self.with_marks_of(live);
        vnet.tags.clone_from(&live.tags);
        let passes = |label: &PeeringLabel| label.access && !label.severed;
        let labels = live.peering_labels.iter().filter(|label| self.peerings.contains(&label.remote) == passes(label));
        vnet.peering_labels = labels.cloned().collect();
        vnet
    }

    fn complete(&mut self, _: &Known<'_>) {
        if let Some(dns) = self.dns.as_mut().filter(|dns| dns.answer.is_empty()) {
            dns.answer = DnsSettings::default().answer;
        }
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
