//! Names of endpoints: those that a resource gives, or those that Azure's tables make of its own name (seed, *DNS
//! configuration*), and from them what each VNet's resolver answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::decisions::Decisions;
use super::model::{DnsSettings, Key, Model, PrivateEndpoint, Vnet};
use super::resource_types;
use crate::snapshot::ConnectionState;
pub use crate::snapshot::dns::{DnsPlan, Node, Owner, ResolverPlan};

/// One name of one address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn {
    /// What applications ask for.
    pub public: String,
    /// What it leads to, in the private zone; `None`: the name is its own zone.
    pub private: Option<String>,
    /// The private zone.
    pub zone: String,
}

impl Fqdn {
    /// The name that has the addresses.
    pub fn host(&self) -> &str {
        self.private.as_deref().unwrap_or(&self.public)
    }
}

/// The names of one member of an endpoint: those its resource gives, else those of Azure's tables.
pub fn of_member(model: &Model, endpoint: &PrivateEndpoint, member: &str) -> Vec<Fqdn> {
    let Some(resource) = model.resources.get(&endpoint.resource) else { return Vec::new() };
    let target = resource.targets.iter().find(|target| {
        let subresource =
            endpoint.subresource.is_empty() || target.subresource.eq_ignore_ascii_case(&endpoint.subresource);
        subresource && (member.is_empty() || target.member.eq_ignore_ascii_case(member))
    });
    let subresource = target.map_or(&*endpoint.subresource, |target| &*target.subresource);
    let zones = zones(resource.kind.as_deref().unwrap_or_default(), subresource, &resource.region);
    let given = target.map(|target| &target.fqdns).filter(|given| !given.is_empty());
    if let Some(given) = given.or(Some(&resource.fqdns).filter(|given| !given.is_empty())) {
        return given.iter().map(|name| named(name, &zones)).collect();
    }
    let name = resource_label(&endpoint.resource.name, subresource);
    let first = zones.first().map(|(public, private)| Fqdn {
        public: format!("{name}.{public}"),
        private: Some(format!("{name}.{private}")),
        zone: private.clone(),
    });
    first.into_iter().collect()
}

/// What stands in front of the zone: the second place of an account has a name of its own.
fn resource_label(name: &str, subresource: &str) -> String {
    let name = name.to_lowercase();
    if subresource.to_lowercase().ends_with("_secondary") { format!("{name}-secondary") } else { name }
}

/// Public and private zones of a subresource; one that asks for more than the region is left out.
fn zones(kind: &str, subresource: &str, region: &str) -> Vec<(String, String)> {
    let filled = |zone: &str| zone.replace("{regionName}", region).to_lowercase();
    let private = resource_types::private_zones(kind, subresource).into_iter().map(filled);
    let whole = private.filter(|zone| !zone.contains('{'));
    whole.filter_map(|private| Some((public_zone(&private)?, private))).collect()
}

/// `privatelink.blob.core.windows.net` stands behind `blob.core.windows.net`.
fn public_zone(private: &str) -> Option<String> {
    let labels: Vec<&str> = private.split('.').filter(|label| *label != "privatelink").collect();
    (labels.len() < private.split('.').count()).then(|| labels.join("."))
}

/// A name that the resource gives: in a zone of its type, or a zone of its own (never its parent's).
fn named(name: &str, zones: &[(String, String)]) -> Fqdn {
    let public = name.trim_end_matches('.').to_lowercase();
    let within = zones.iter().find_map(|(parent, private)| {
        let front = public.strip_suffix(parent)?.strip_suffix('.')?;
        Some((format!("{front}.{private}"), private.clone()))
    });
    match within {
        Some((private, zone)) => Fqdn { public, private: Some(private), zone },
        None => Fqdn { zone: public.clone(), private: None, public },
    }
}

/// What every VNet's resolver answers.
pub fn plan(decisions: &Decisions, serial: u64) -> DnsPlan {
    let model = &decisions.model;
    let settings = |(key, vnet): (&Key, &Vnet)| Some((key.clone(), vnet.dns.clone()?));
    let with_dns: BTreeMap<Key, DnsSettings> = model.vnets.iter().filter_map(settings).collect();
    let mut resolvers: BTreeMap<Key, ResolverPlan> = BTreeMap::new();
    for (key, dns) in &with_dns {
        resolvers.insert(key.clone(), blank(model, key, dns, serial));
    }
    if resolvers.is_empty() {
        return DnsPlan::default();
    }
    let sees = |vnet: &Key, of: &Key| vnet == of || are_peers(model, vnet, of);
    for (key, endpoint) in model.endpoints.iter() {
        let state = decisions.connections.get(key).map_or(ConnectionState::Disconnected, |connection| connection.state);
        for (vnet, resolver) in resolvers.iter_mut().filter(|(vnet, _)| sees(vnet, &endpoint.vnet)) {
            let answers = with_dns.get(vnet).is_some_and(|dns| dns.answer.contains(&state));
            for address in endpoint.addresses.iter().filter_map(|one| Some((&one.member, one.ip?))) {
                let owner = Owner { endpoint: key.to_string(), address: address.1, state, answers };
                for name in of_member(model, endpoint, address.0) {
                    enter(resolver, &name, owner.clone());
                }
            }
        }
    }
    DnsPlan { resolvers: resolvers.into_iter().map(|(key, plan)| (key.to_string(), Arc::new(plan))).collect() }
}

fn enter(resolver: &mut ResolverPlan, name: &Fqdn, owner: Owner) {
    if name.private.is_some() {
        resolver.names.insert(name.public.clone(), Node::Alias(name.host().to_owned()));
    }
    resolver.zones.insert(name.zone.clone());
    let node = resolver.names.entry(name.host().to_owned());
    let node = node.or_insert_with(|| Node::Host { zone: name.zone.clone(), owners: Vec::new() });
    if let Node::Host { owners, .. } = node
        && !owners.contains(&owner)
    {
        owners.push(owner);
    }
}

fn blank(model: &Model, key: &Key, dns: &DnsSettings, serial: u64) -> ResolverPlan {
    let own = model.vnets.get(key).into_iter().flat_map(|vnet| vnet.address_space.iter().chain(&vnet.on_premises));
    let peers = model.vnets.iter().filter(|(other, _)| are_peers(model, key, other));
    let sources = own.chain(peers.flat_map(|(_, vnet)| &vnet.address_space)).copied();
    ResolverPlan {
        listen: dns.listen.clone(),
        upstream: dns.upstream.clone(),
        ttl: dns.ttl,
        sources: sources.collect(),
        names: HashMap::new(),
        zones: BTreeSet::new(),
        // RFC 1982: what is compared is how far two are apart.
        serial: u32::try_from(serial & u64::from(u32::MAX)).unwrap_or(0),
    }
}

/// Whether both VNets list each other.
fn are_peers(model: &Model, one: &Key, other: &Key) -> bool {
    let lists = |from: &Key, to: &Key| model.vnets.get(from).is_some_and(|vnet| vnet.peerings.contains(to));
    one != other && lists(one, other) && lists(other, one)
}

#[cfg(test)]
mod tests;
