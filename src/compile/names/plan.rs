//! Makes the DNS plan of every VNet from the model, and updates it after a change of one endpoint, at a cost that does
//! not grow with the number of endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use super::consent::Consent;
use crate::model::names::{Fqdn, are_peers, group_records, told};
use crate::model::state::ControlState;
use crate::model::{DnsSettings, DnsZone, Key, Model, ZoneLink, resource_types};
use crate::snapshot::ConnectionState;
use crate::snapshot::dns::{
    Alias, DnsPlan, Name, Node, Owner, RecordSet, ResolutionPolicy, ResolverPlan, Zone, enclosing,
};

/// The DNS plan of every VNet.
pub fn plan(state: &ControlState, serial: u64) -> DnsPlan {
    DnsPlan::clone(&Planner::of(state, serial).plan)
}

/// The plan in force, and which resolvers see which names. Cloning it costs two reference counts.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    plan: Arc<DnsPlan>,
    audience: Arc<Audience>,
}

/// Resolvers by what they see; each is named by its VNet.
#[derive(Debug, Default)]
struct Audience {
    /// For each VNet: its own resolver, and those of its peers.
    vnets: BTreeMap<Key, Vec<Key>>,
    /// For each private zone: the resolvers of linked VNets.
    zones: BTreeMap<Key, Vec<Key>>,
}

impl Planner {
    /// The plan of `state`.
    pub fn of<'a>(state: &'a ControlState, serial: u64) -> Self {
        let model = &state.model;
        let with_dns = model.vnets.iter().filter_map(|(key, vnet)| Some((key, vnet.dns.as_ref()?)));
        let mut resolvers: BTreeMap<Key, ResolverPlan> =
            with_dns.map(|(key, dns)| (key.clone(), blank(model, key, dns, serial))).collect();
        if resolvers.is_empty() {
            return Self::default();
        }
        let audience = Audience::of(model, resolvers.keys());
        let links = |(key, zone): (&'a Key, &'a DnsZone)| zone.links.iter().map(move |link| (key, zone, link));
        for (key, zone, link) in model.dns_zones.iter().flat_map(links) {
            resolvers.get_mut(&link.vnet).into_iter().for_each(|of| open(of, key, zone, link));
        }
        for (key, zone) in &model.dns_zones {
            let records = written(key, zone);
            for link in &zone.links {
                resolvers.get_mut(&link.vnet).into_iter().for_each(|of| fill(of, &records));
            }
        }
        for key in model.endpoints.keys() {
            for claim in claims(state, &audience, key) {
                for vnet in audience.of_claim(&claim) {
                    resolvers.get_mut(vnet).into_iter().for_each(|resolver| enter(resolver, &claim));
                }
            }
        }
        let resolvers = resolvers.into_iter().map(|(key, plan)| (key.to_string(), Arc::new(plan))).collect();
        Self { plan: Arc::new(DnsPlan { resolvers }), audience: Arc::new(audience) }
    }

    /// The plan itself.
    pub fn plan(&self) -> &Arc<DnsPlan> {
        &self.plan
    }

    /// Updates the plan after a change of the endpoint `key` only.
    pub fn follow(&mut self, key: &Key, before: &ControlState, after: &ControlState, serial: u64) {
        if self.plan.resolvers.is_empty() {
            return;
        }
        let audience = &self.audience;
        let (old, new) = (claims(before, audience, key), claims(after, audience, key));
        if old == new {
            return;
        }
        let mut plan = DnsPlan::clone(&self.plan);
        let mut change = |claim: &Claim, how: fn(&mut ResolverPlan, &Claim)| {
            for vnet in audience.of_claim(claim) {
                if let Some(resolver) = plan.resolvers.get_mut(&vnet.to_string()) {
                    let resolver = Arc::make_mut(resolver);
                    resolver.serial = short(serial);
                    how(resolver, claim);
                }
            }
        };
        old.difference(&new).for_each(|claim| change(claim, withdraw));
        new.difference(&old).for_each(|claim| change(claim, enter));
        self.plan = Arc::new(plan);
    }
}

impl Audience {
    fn of<'a>(model: &Model, resolvers: impl Iterator<Item = &'a Key>) -> Self {
        let mut vnets: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
        for resolver in resolvers {
            vnets.entry(resolver.clone()).or_default().push(resolver.clone());
            let listed = model.vnets.get(resolver).map(|vnet| vnet.peerings.as_slice()).unwrap_or_default();
            for peer in listed.iter().filter(|peer| are_peers(model, resolver, peer)) {
                let seen_by = vnets.entry(peer.clone()).or_default();
                if !seen_by.contains(resolver) {
                    seen_by.push(resolver.clone());
                }
            }
        }
        let linked = |zone: &DnsZone| {
            let seen = zone.links.iter().map(|link| link.vnet.clone());
            seen.filter(|vnet| model.vnets.get(vnet).is_some_and(|vnet| vnet.dns.is_some())).collect()
        };
        let zones = model.dns_zones.iter().map(|(key, zone)| (key.clone(), linked(zone))).collect();
        Self { vnets, zones }
    }

    fn of_claim<'a>(&'a self, claim: &'a Claim) -> impl Iterator<Item = &'a Key> {
        let vnets = match &claim.home {
            Home::Vnet(vnet) => self.vnets.get(vnet),
            Home::Consenting(vnets) => Some(vnets),
            Home::Zone(zone) => self.zones.get(zone),
        };
        vnets.into_iter().flatten()
    }
}

/// A name and address that an endpoint adds to resolvers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// Who sees it.
    home: Home,
    /// The name that applications ask for. `None`: they ask for `host`.
    public: Option<Name>,
    /// The name that has the address.
    host: Name,
    /// The zone it lies in.
    zone: Name,
    /// The owner of the address.
    owner: Owner,
}

/// The zone of an endpoint's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Home {
    /// In a zone made for it, visible in the endpoint's VNet and its peers.
    Vnet(Key),
    /// In a zone made for it, visible in those of the same VNets that accept the name.
    Consenting(Vec<Key>),
    /// In a private zone, visible in the VNets that it is linked to.
    Zone(Key),
}

/// Every claim of the endpoint `key`.
fn claims(state: &ControlState, audience: &Audience, key: &Key) -> BTreeSet<Claim> {
    let Some((key, endpoint)) = state.model.endpoints.entry(key) else { return BTreeSet::new() };
    let connected = state.connections.get(key).map_or(ConnectionState::Disconnected, |connection| connection.state);
    let name = Name::from(key.to_string());
    let vnet = Name::from(endpoint.vnet.to_string());
    let owner = |member: &str, address| {
        let (endpoint, vnet) = (Arc::clone(&name), Arc::clone(&vnet));
        Owner { endpoint, vnet, member: member.into(), address, state: connected }
    };
    if endpoint.zone_group.is_some() {
        let records = group_records(state, key, endpoint).into_iter();
        let claim =
            |(zone, fqdn, member, ip): (Key, Fqdn, &str, IpAddr)| Claim::of(Home::Zone(zone), &fqdn, owner(member, ip));
        return records.map(claim).collect();
    }
    let consent = Consent::of(state);
    let seen_by = audience.vnets.get(&endpoint.vnet).map(Vec::as_slice).unwrap_or_default();
    let mut claims = BTreeSet::new();
    for address in &endpoint.addresses {
        let Some(ip) = address.ip else { continue };
        for fqdn in told(state, key, endpoint, &address.member) {
            let home = if fqdn.own {
                Home::Vnet(endpoint.vnet.clone())
            } else {
                let consenting = seen_by.iter().filter(|vnet| consent.is_given(vnet, endpoint, &fqdn));
                Home::Consenting(consenting.cloned().collect())
            };
            claims.insert(Claim::of(home, &fqdn, owner(&address.member, ip)));
        }
    }
    claims
}

impl Claim {
    fn of(home: Home, fqdn: &Fqdn, owner: Owner) -> Self {
        let public = fqdn.private.as_ref().map(|_| Name::from(&*fqdn.public));
        let (host, zone) = (Name::from(fqdn.host()), Name::from(&*fqdn.zone));
        Self { home, public, host, zone, owner }
    }
}

/// The written records of a zone, by full names.
fn written(key: &Key, zone: &DnsZone) -> Vec<(Name, Arc<[RecordSet]>)> {
    let mut sets: BTreeMap<&str, Vec<RecordSet>> = BTreeMap::new();
    for record in zone.records.iter().filter(|record| !record.set.data.is_empty()) {
        sets.entry(&record.name).or_default().push(record.set.clone());
    }
    let whole = |name: &str| Name::from(crate::model::whole(name, &key.name));
    sets.into_iter().map(|(name, sets)| (whole(name), sets.into())).collect()
}

/// Adds a private zone.
fn open(resolver: &mut ResolverPlan, key: &Key, zone: &DnsZone, link: &ZoneLink) {
    let known = Zone { policy: link.policy, own: Some(Arc::new(zone.soa.clone())), claims: 0 };
    resolver.zones.insert(Name::from(key.name.to_lowercase()), known);
}

/// Adds the written records of a zone, after all zones.
fn fill(resolver: &mut ResolverPlan, records: &[(Name, Arc<[RecordSet]>)]) {
    for (name, sets) in records {
        change(resolver, name, |node| node.records = Some(Arc::clone(sets)));
    }
}

fn enter(resolver: &mut ResolverPlan, claim: &Claim) {
    if let Some(public) = &claim.public {
        change(resolver, public, |node| match node.aliases.binary_search_by(|alias| alias.to.cmp(&claim.host)) {
            Ok(at) => node.aliases.get_mut(at).into_iter().for_each(|alias| alias.claims += 1),
            Err(at) => node.aliases.insert(at, Alias { to: Arc::clone(&claim.host), claims: 1 }),
        });
    }
    change(resolver, &claim.host, |node| {
        if let Err(at) = node.owners.binary_search(&claim.owner) {
            node.owners.reserve_exact(1);
            node.owners.insert(at, claim.owner.clone());
        }
    });
    if !matches!(claim.home, Home::Zone(_))
        && let Some(zone) = resolver.zones.enter(&claim.zone)
    {
        if zone.claims == 0 && zone.own.is_none() {
            zone.policy = ResolutionPolicy::NxDomainRedirect;
        }
        zone.claims += 1;
    }
}

fn withdraw(resolver: &mut ResolverPlan, claim: &Claim) {
    if let Some(public) = &claim.public {
        change(resolver, public, |node| {
            node.aliases.iter_mut().filter(|alias| alias.to == claim.host).for_each(|alias| {
                alias.claims = alias.claims.saturating_sub(1);
            });
            node.aliases.retain(|alias| alias.claims > 0);
        });
    }
    change(resolver, &claim.host, |node| node.owners.retain(|owner| *owner != claim.owner));
    if matches!(claim.home, Home::Zone(_)) {
        return;
    }
    let over = resolver.zones.get_mut(&claim.zone).is_some_and(|zone: &mut Zone| {
        zone.claims = zone.claims.saturating_sub(1);
        zone.claims == 0 && zone.own.is_none()
    });
    if over {
        resolver.zones.remove(&claim.zone);
    }
}

/// Changes the records at `name`. The names between it and its private zone exist as long as it does.
fn change(resolver: &mut ResolverPlan, name: &Name, how: impl FnOnce(&mut Node)) {
    let Some(node) = resolver.names.enter(name) else { return };
    let before = node.is_empty();
    how(node);
    let (after, void) = (node.is_empty(), node.is_void());
    if void {
        resolver.names.remove(name);
    }
    if before == after {
        return;
    }
    let own = |part: &&str| resolver.zones.get(part).is_some_and(|zone| zone.own.is_some());
    let Some(apex) = enclosing(name).find(own).map(str::len) else { return };
    for part in enclosing(name).skip(1).take_while(|part| part.len() > apex) {
        let void = match resolver.names.get_mut(part) {
            Some(node) if after => {
                node.below = node.below.saturating_sub(1);
                node.is_void()
            }
            Some(node) => {
                node.below += 1;
                false
            }
            None => {
                resolver.names.insert(Name::from(part), Node { below: 1, ..Node::default() });
                false
            }
        };
        if void {
            resolver.names.remove(part);
        }
    }
}

fn blank(model: &Model, key: &Key, dns: &DnsSettings, serial: u64) -> ResolverPlan {
    let own = model.vnets.get(key).into_iter().flat_map(|vnet| vnet.address_space.iter().chain(&vnet.on_premises));
    let peers = model.vnets.iter().filter(|(other, _)| are_peers(model, key, other));
    let sources = own.chain(peers.flat_map(|(_, vnet)| &vnet.address_space)).copied();
    ResolverPlan {
        vnet: Name::from(key.to_string()),
        listen: dns.listen.clone(),
        upstream: dns.upstream.clone(),
        ttl: dns.ttl,
        answer: dns.answer.clone(),
        sources: sources.collect(),
        serial: short(serial),
        lockdown: model.vnets.get(key).filter(|vnet| vnet.lockdown).map(|_| Arc::clone(&GUARDED)),
        ..ResolverPlan::default()
    }
}

/// What lockdown covers.
static GUARDED: LazyLock<Arc<BTreeSet<Name>>> =
    LazyLock::new(|| Arc::new(resource_types::guarded_zones().into_iter().map(Name::from).collect()));

/// RFC 1982: serial numbers are compared by their distance.
fn short(serial: u64) -> u32 {
    u32::try_from(serial & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
