//! From the model to what every VNet's resolver answers, and on from there with each change of one endpoint, at a cost
//! that does not grow with their number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::decisions::Decisions;
use super::super::model::{DnsSettings, Key, Model};
use super::{Fqdn, are_peers, of_member};
use crate::snapshot::ConnectionState;
use crate::snapshot::dns::{Alias, DnsPlan, Name, Node, Owner, ResolutionPolicy, ResolverPlan, Zone, enclosing};

/// What every VNet's resolver answers.
pub fn plan(decisions: &Decisions, serial: u64) -> DnsPlan {
    DnsPlan::clone(&Planner::of(decisions, serial).plan)
}

/// The plan in force, and who sees what of it. A clone is two counters.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    plan: Arc<DnsPlan>,
    audience: Arc<Audience>,
}

/// Resolvers by what they see, each by the key of its VNet.
#[derive(Debug, Default)]
struct Audience {
    /// Of each VNet: its own, and those of its peers.
    vnets: BTreeMap<Key, Vec<Key>>,
}

impl Planner {
    /// The plan of `decisions`.
    pub fn of(decisions: &Decisions, serial: u64) -> Self {
        let model = &decisions.model;
        let with_dns = model.vnets.iter().filter_map(|(key, vnet)| Some((key, vnet.dns.as_ref()?)));
        let mut resolvers: BTreeMap<Key, ResolverPlan> =
            with_dns.map(|(key, dns)| (key.clone(), blank(model, key, dns, serial))).collect();
        if resolvers.is_empty() {
            return Self::default();
        }
        let audience = Audience::of(model, resolvers.keys());
        for key in model.endpoints.keys() {
            for claim in claims(decisions, key) {
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

    /// Takes over what became of the endpoint `key`, where nothing else has changed.
    pub fn follow(&mut self, key: &Key, before: &Decisions, after: &Decisions, serial: u64) {
        if self.plan.resolvers.is_empty() {
            return;
        }
        let (old, new) = (claims(before, key), claims(after, key));
        if old == new {
            return;
        }
        let mut plan = DnsPlan::clone(&self.plan);
        let mut change = |claim: &Claim, how: fn(&mut ResolverPlan, &Claim)| {
            for vnet in self.audience.of_claim(claim) {
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
        Self { vnets }
    }

    fn of_claim(&self, claim: &Claim) -> impl Iterator<Item = &Key> {
        self.vnets.get(&claim.vnet).into_iter().flatten()
    }
}

/// What one address of an endpoint asks of the resolvers that see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// Whose endpoint it is.
    vnet: Key,
    /// Where applications look for it, and the zone of that name; `None`: they look for `host`.
    public: Option<(Name, Name)>,
    /// The name that has the address.
    host: Name,
    /// The zone it lies in.
    zone: Name,
    /// Whose the address is.
    owner: Owner,
}

/// Every claim of the endpoint `key`.
fn claims(decisions: &Decisions, key: &Key) -> BTreeSet<Claim> {
    let Some((key, endpoint)) = decisions.model.endpoints.entry(key) else { return BTreeSet::new() };
    let state = decisions.connections.get(key).map_or(ConnectionState::Disconnected, |connection| connection.state);
    let name = Name::from(key.to_string());
    let mut claims = BTreeSet::new();
    for address in &endpoint.addresses {
        let Some(ip) = address.ip else { continue };
        for fqdn in of_member(&decisions.model, endpoint, &address.member) {
            let owner = Owner { endpoint: Arc::clone(&name), member: Box::from(&*address.member), address: ip, state };
            claims.insert(Claim::of(&endpoint.vnet, &fqdn, owner));
        }
    }
    claims
}

impl Claim {
    fn of(vnet: &Key, fqdn: &Fqdn, owner: Owner) -> Self {
        let zone_of = |name: &str| Name::from(name.split_once('.').map_or(name, |(_, zone)| zone));
        let public = fqdn.private.as_ref().map(|_| (Name::from(&*fqdn.public), zone_of(&fqdn.public)));
        let (host, zone) = (Name::from(fqdn.host()), Name::from(&*fqdn.zone));
        Self { vnet: vnet.clone(), public, host, zone, owner }
    }
}

fn enter(resolver: &mut ResolverPlan, claim: &Claim) {
    if let Some((public, zone)) = &claim.public {
        change(resolver, public, zone, |node| match node.aliases.binary_search_by(|alias| alias.to.cmp(&claim.host)) {
            Ok(at) => node.aliases.get_mut(at).into_iter().for_each(|alias| alias.claims += 1),
            Err(at) => node.aliases.insert(at, Alias { to: Arc::clone(&claim.host), claims: 1 }),
        });
    }
    change(resolver, &claim.host, &claim.zone, |node| {
        if let Err(at) = node.owners.binary_search(&claim.owner) {
            node.owners.reserve_exact(1);
            node.owners.insert(at, claim.owner.clone());
        }
    });
    if let Some(zone) = resolver.zones.enter(&claim.zone) {
        if zone.claims == 0 && zone.own.is_none() {
            zone.policy = ResolutionPolicy::NxDomainRedirect;
        }
        zone.claims += 1;
    }
}

fn withdraw(resolver: &mut ResolverPlan, claim: &Claim) {
    if let Some((public, zone)) = &claim.public {
        change(resolver, public, zone, |node| {
            node.aliases.iter_mut().filter(|alias| alias.to == claim.host).for_each(|alias| {
                alias.claims = alias.claims.saturating_sub(1);
            });
            node.aliases.retain(|alias| alias.claims > 0);
        });
    }
    change(resolver, &claim.host, &claim.zone, |node| node.owners.retain(|owner| *owner != claim.owner));
    let over = resolver.zones.get_mut(&claim.zone).is_some_and(|zone: &mut Zone| {
        zone.claims = zone.claims.saturating_sub(1);
        zone.claims == 0 && zone.own.is_none()
    });
    if over {
        resolver.zones.remove(&claim.zone);
    }
}

/// Changes what stands at `name`; names between it and its zone are there as long as it is.
fn change(resolver: &mut ResolverPlan, name: &Name, zone: &str, how: impl FnOnce(&mut Node)) {
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
    let within = |part: &&str| part.len() > zone.len() && part.ends_with(zone);
    for part in enclosing(name).skip(1).take_while(within) {
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
        listen: dns.listen.clone(),
        upstream: dns.upstream.clone(),
        ttl: dns.ttl,
        answer: dns.answer.clone(),
        sources: sources.collect(),
        serial: short(serial),
        ..ResolverPlan::default()
    }
}

/// RFC 1982: what is compared is how far two are apart.
fn short(serial: u64) -> u32 {
    u32::try_from(serial & u64::from(u32::MAX)).unwrap_or(0)
}
