//! The narrower of two states, by kind and field: the backup, with all later decisions that revoke something. This file
//! names every map and every field, so that a new one cannot be forgotten.

use std::net::IpAddr;

use super::rules;
use crate::control::tokens::forget_absent;
use crate::model::state::{Connection, ControlState};
use crate::model::token::Token;
use crate::model::{
    AcceptedNames, ConnectionState, DnsSettings, Key, LinkResource, LoadBalancer, Map, Model, NetworkPolicies,
    PeeringLabel, PrivateEndpoint, Rates, RoleDefinition, SecurityGroup, SecurityRule, Subnet, TargetSpec, TokenName,
    Visibility, Vnet, Workload,
};

/// `backup` without what was revoked between it and `now`. The result allows only what `now` allows, or what the backup
/// allowed and nobody has revoked since.
pub(super) fn restrictive(backup: &ControlState, now: &ControlState) -> ControlState {
    let ControlState { model, files, connections: _, deleted: _, tokens, last_link, links } = backup;
    let Model {
        cloud,
        roles,
        assignments,
        // Regions, tags.
        groups,
        vnets,
        security_groups,
        // Names give no access. Networks and endpoints decide who gets them.
        dns_zones,
        load_balancers,
        // The daemon's file sets this at the next start.
        resource_types,
        resources,
        // Derived from the endpoints.
        former_resources: _,
        endpoints,
    } = model;
    let since = &now.model;
    let endpoints: Map<PrivateEndpoint> = in_both(endpoints, &since.endpoints, |key, one, other| {
        let link = |of: &ControlState| of.connections.get(key).map(|connection| connection.link);
        // An object that was deleted and created again is another one.
        (link(backup) == link(now)).then(|| endpoint(one, other))
    });
    let connections = in_both(&backup.connections, &now.connections, |key, one, other| {
        endpoints.contains_key(key).then(|| connection(one, other))
    });
    let resources = in_both(resources, &since.resources, |_, one, other| Some(resource(one, other)));
    let mut security_groups = with_gone(security_groups, &since.security_groups, |_, one, other| {
        if rules::within(&one.rules, &other.rules) { one.clone() } else { other.clone() }
    });
    let vnets = with_gone(vnets, &since.vnets, |key, one, other| {
        let holds_nat = |subnet: &Subnet| holds_nat(key, subnet, &resources);
        vnet(
            &Network { vnet: one, groups: &model.security_groups },
            &Network { vnet: other, groups: &since.security_groups },
            &holds_nat,
        )
    });
    for group in vnets.values().flat_map(|vnet| &vnet.subnets).filter_map(|subnet| subnet.security_group.as_ref()) {
        if let Some(later) = since.security_groups.get(group).filter(|_| !security_groups.contains_key(group)) {
            security_groups.insert(group.clone(), later.clone());
        }
    }
    let mut former_resources = since.former_resources.clone();
    for (key, former) in &since.former_resources {
        match former.kept(|one| endpoints.contains_key(one)) {
            Some(kept) => former_resources.insert(key.clone(), kept),
            None => _ = former_resources.remove(key),
        }
    }
    let model = Model {
        cloud: *cloud,
        roles: in_both(roles, &since.roles, |_, one, other| Some(role(one, other))),
        assignments: in_both(assignments, &since.assignments, |_, one, _| Some(one.clone())),
        groups: groups.clone(),
        load_balancers: followed(load_balancers, &since.load_balancers, &resources, &model.resources),
        vnets,
        security_groups,
        dns_zones: dns_zones.clone(),
        resource_types: resource_types.clone(),
        resources,
        former_resources,
        endpoints,
    };
    // Keeps files from creating endpoints again that were deleted since.
    let deleted = now.deleted.iter().filter(|(key, _)| !model.endpoints.contains_key(key));
    let deleted = deleted.map(|(key, deleted)| (key.clone(), deleted.clone())).collect();
    let tokens: Map<Token, TokenName> = in_both(tokens, &now.tokens, |_, one, other| Some(token(one, other)));
    let last_link = (*last_link).max(now.last_link);
    // Identifiers given out since are not used again.
    let links = if now.links.key.is_some() { now.links } else { *links };
    let mut restrictive = ControlState { model, files: files.clone(), connections, deleted, tokens, last_link, links };
    forget_absent(&mut restrictive);
    restrictive
}

/// Objects in both maps, merged by `narrower`. Objects deleted since stay deleted.
fn in_both<V, K: Ord + Clone>(
    backup: &Map<V, K>,
    now: &Map<V, K>,
    narrower: impl Fn(&K, &V, &V) -> Option<V>,
) -> Map<V, K> {
    let both = backup.iter().filter_map(|(key, one)| Some((key, one, now.get(key)?)));
    both.filter_map(|(key, one, other)| Some((key.clone(), narrower(key, one, other)?))).collect()
}

/// All objects of the backup. Objects deleted since come back, because they give no access by themselves.
fn with_gone<V: Clone>(backup: &Map<V>, now: &Map<V>, narrower: impl Fn(&Key, &V, &V) -> V) -> Map<V> {
    let as_both = |key: &Key, one: &V| now.get(key).map_or_else(|| one.clone(), |other| narrower(key, one, other));
    backup.iter().map(|(key, one)| (key.clone(), as_both(key, one))).collect()
}

fn connection(backup: &Connection, now: &Connection) -> Connection {
    // Link, requester and history come from the chosen one.
    let passes = |state: ConnectionState| match state {
        ConnectionState::Approved => 3,
        ConnectionState::Pending => 2,
        ConnectionState::Rejected => 1,
        ConnectionState::Disconnected => 0,
    };
    // Of two approvals, the one that expires first.
    let gives = |one: &Connection| (passes(one.state), one.ends_at.is_none(), one.ends_at);
    if gives(now) < gives(backup) { now.clone() } else { backup.clone() }
}

fn endpoint(backup: &PrivateEndpoint, now: &PrivateEndpoint) -> PrivateEndpoint {
    let PrivateEndpoint {
        // The endpoint's own fields. Decisions about it are in its connection.
        region: _,
        vnet: _,
        subnet: _,
        addresses: _,
        resource: _,
        subresource: _,
        manual: _,
        request_message: _,
        status: _,
        reason: _,
        sources,
        max_sessions,
        rates,
        accept_names,
        zone_group: _,
        labels: _,
    } = now;
    PrivateEndpoint {
        sources: if rules::covers(sources, &backup.sources) { &backup.sources } else { sources }.clone(),
        max_sessions: least(backup.max_sessions, *max_sessions),
        rates: slower(backup.rates.as_ref(), rates.as_ref()),
        accept_names: common_names(backup.accept_names.as_deref(), accept_names.as_deref()),
        ..backup.clone()
    }
}

fn resource(backup: &LinkResource, now: &LinkResource) -> LinkResource {
    let LinkResource {
        kind,
        region: _,
        vnet: _,
        nat: _,
        nat_configs: _,
        frontends,
        destination,
        visibility,
        auto_approval,
        alias: _,
        cross_region,
        // Its names give no access.
        fqdns: _,
        proxy_protocol: _,
        shared_backend,
        deny: _,
        max_sessions,
        max_sessions_per_endpoint,
        rates,
        timeouts: _,
        drain: _,
        balance: _,
        targets,
        tags: _,
        foreign: _,
    } = now;
    if *kind != backup.kind {
        // It was created again with another kind.
        return now.clone();
    }
    let mut narrower = LinkResource {
        visibility: seen_by_both(&backup.visibility, visibility),
        auto_approval: common(&backup.auto_approval, auto_approval),
        cross_region: backup.cross_region && *cross_region,
        max_sessions: least(backup.max_sessions, *max_sessions),
        max_sessions_per_endpoint: least(backup.max_sessions_per_endpoint, *max_sessions_per_endpoint),
        rates: slower(backup.rates.as_ref(), rates.as_ref()),
        ..backup.clone()
    };
    if !backup.targets.iter().all(|target| is_exposed(target, targets)) {
        narrower.targets.clone_from(targets);
        narrower.frontends.clone_from(frontends);
        narrower.destination = *destination;
        narrower.shared_backend = *shared_backend;
    }
    narrower
}

/// Whether one of `others` exposes all that `target` exposes.
fn is_exposed(target: &TargetSpec, others: &[TargetSpec]) -> bool {
    // Health checks and names give no access.
    let TargetSpec { subresource, member, fqdns: _, backends, ports, icmp, health: _, port_checks: _, balance: _ } =
        target;
    let same = |other: &&TargetSpec| other.subresource == *subresource && other.member == *member;
    let Some(other) = others.iter().find(same) else { return false };
    let serves =
        |address: IpAddr, drain: bool| other.backends.iter().any(|one| one.address == address && (drain || !one.drain));
    backends.iter().all(|backend| serves(backend.address, backend.drain))
        && (other.icmp || !icmp)
        && ports.iter().all(|port| {
            other.ports.iter().any(|one| {
                let shift = i32::from(one.backend_first) - i32::from(one.first);
                one.protocol == port.protocol
                    && one.first <= port.first
                    && port.last <= one.last
                    && i32::from(port.backend_first) - i32::from(port.first) == shift
            })
        })
}

/// The backup's load balancers. If a resource keeps its current targets, its load balancer stays as it is now.
fn followed(
    backup: &Map<LoadBalancer>,
    now: &Map<LoadBalancer>,
    resources: &Map<LinkResource>,
    before: &Map<LinkResource>,
) -> Map<LoadBalancer> {
    let mut balancers = backup.clone();
    for (key, resource) in resources {
        if before.get(key).is_some_and(|before| before.targets == resource.targets) {
            continue;
        }
        for key in resource.frontends.iter().map(|frontend| &frontend.balancer) {
            now.get(key).into_iter().for_each(|balancer| balancers.insert(key.clone(), balancer.clone()));
        }
    }
    balancers
}

/// A VNet with the rule sets of its state.
struct Network<'a> {
    vnet: &'a Vnet,
    groups: &'a Map<SecurityGroup>,
}

impl Network<'_> {
    /// The rules for endpoints in `subnet`. None: everything passes.
    fn rules(&self, subnet: &Subnet) -> &[SecurityRule] {
        match subnet.network_policies {
            NetworkPolicies::Disabled | NetworkPolicies::RouteTableEnabled => &[],
            NetworkPolicies::Enabled | NetworkPolicies::NetworkSecurityGroupEnabled => {
                let group = subnet.security_group.as_ref().and_then(|group| self.groups.get(group));
                group.map(|group| group.rules.as_slice()).unwrap_or_default()
            }
        }
    }
}

fn vnet(backup: &Network<'_>, now: &Network<'_>, holds_nat: &dyn Fn(&Subnet) -> bool) -> Vnet {
    let Vnet {
        region: _,
        address_space: _,
        on_premises,
        peerings,
        subnets: _,
        workloads,
        dns,
        lockdown,
        public_prefixes,
        peering_labels: _,
        tags: _,
        foreign: _,
    } = now.vnet;
    let old = backup.vnet;
    let kept: Vec<Key> = old.peerings.iter().filter(|peer| peerings.contains(peer)).cloned().collect();
    Vnet {
        on_premises: rules::common(&old.on_premises, on_premises),
        subnets: old.subnets.iter().map(|one| subnet(backup, now, one, holds_nat)).collect(),
        workloads: fewer_workloads(old, workloads),
        dns: old.dns.as_ref().map(|one| names_of_both(one, dns.as_ref())),
        lockdown: old.lockdown || *lockdown,
        public_prefixes: rules::all_of(&old.public_prefixes, public_prefixes),
        peering_labels: labels(old, now.vnet, &kept),
        peerings: kept,
        ..old.clone()
    }
}

/// Names and settings of peerings, and whether one ended since.
fn labels(backup: &Vnet, now: &Vnet, peerings: &[Key]) -> Vec<PeeringLabel> {
    let ended = |remote: &Key| now.peering_labels.iter().find(|label| label.severed && label.remote == *remote);
    let stands = |label: &&PeeringLabel| {
        let PeeringLabel { name: _, remote, access, severed } = label;
        ended(remote).is_none() && (*severed || !access || peerings.contains(remote))
    };
    let mut labels: Vec<PeeringLabel> = backup.peering_labels.iter().filter(stands).cloned().collect();
    let was = |label: &&PeeringLabel| {
        backup.peerings.contains(&label.remote) || backup.peering_labels.iter().any(|old| old.remote == label.remote)
    };
    labels.extend(now.peering_labels.iter().filter(|label| label.severed).filter(was).cloned());
    labels
}

fn subnet(backup: &Network<'_>, now: &Network<'_>, one: &Subnet, holds_nat: &dyn Fn(&Subnet) -> bool) -> Subnet {
    let Some(other) = now.vnet.subnets.iter().find(|other| other.name.eq_ignore_ascii_case(&one.name)) else {
        return one.clone();
    };
    let Subnet {
        name: _,
        prefixes: _,
        dedicated: _,
        delegations: _,
        service_endpoints: _,
        network_policies,
        security_group,
        nat,
    } = other;
    let mut narrower = one.clone();
    // Compare the combined effect of the rules.
    if !rules::within(backup.rules(one), now.rules(other)) {
        (narrower.network_policies, narrower.security_group) = (*network_policies, security_group.clone());
    }
    if one.takes_nat() && !other.takes_nat() && !holds_nat(one) {
        narrower.nat = *nat;
    }
    narrower
}

/// Whether a NAT address of a resource lies in `subnet` of the VNet `home`.
fn holds_nat(home: &Key, subnet: &Subnet, resources: &Map<LinkResource>) -> bool {
    let here = |address: &IpAddr| subnet.prefixes.iter().any(|prefix| prefix.contains(address));
    resources.values().filter(|one| one.vnet.as_ref() == Some(home)).any(|one| one.nat.iter().any(here))
}

/// Sources that either state excludes from endpoints.
fn fewer_workloads(backup: &Vnet, now: &[Workload]) -> Vec<Workload> {
    let denied = |one: &Workload| {
        now.iter().any(|other| other.class == one.class && other.prefix == one.prefix && !other.private_endpoints)
    };
    let mut fewer = backup.workloads.clone();
    for one in &mut fewer {
        one.private_endpoints &= !denied(one);
    }
    let known = |one: &&Workload| fewer.iter().any(|known| known.class == one.class && known.prefix == one.prefix);
    let lies_here = |one: &&Workload| backup.address_space.iter().any(|prefix| prefix.contains(&one.prefix));
    let new: Vec<Workload> =
        now.iter().filter(|one| !one.private_endpoints && !known(one) && lies_here(one)).cloned().collect();
    fewer.extend(new);
    fewer
}

fn names_of_both(backup: &DnsSettings, now: Option<&DnsSettings>) -> DnsSettings {
    let Some(DnsSettings { listen: _, upstream: _, answer, ttl: _, accept_names }) = now else { return backup.clone() };
    let both: Vec<ConnectionState> = backup.answer.iter().filter(|state| answer.contains(state)).copied().collect();
    DnsSettings {
        answer: if both.is_empty() { answer.clone() } else { both },
        accept_names: common_names(backup.accept_names.as_deref(), accept_names.as_deref()),
        ..backup.clone()
    }
}

fn role(backup: &RoleDefinition, now: &RoleDefinition) -> RoleDefinition {
    let RoleDefinition { name: _, description: _, actions: _, not_actions: _, assignable_scopes } = backup;
    let assignable = |scope| now.assignable_scopes.iter().any(|wider| wider.covers(scope));
    let narrower = backup.is_within(now) && assignable_scopes.iter().all(assignable);
    if narrower { backup } else { now }.clone()
}

/// A token that was created again or rotated since keeps its new secret: the old one stays invalid.
fn token(backup: &Token, now: &Token) -> Token {
    let Token { name: _, id, hash: _, created_at: _, created_by: _, expires_at } = now;
    if *id == backup.id {
        return Token { expires_at: backup.expires_at.min(*expires_at), ..now.clone() };
    }
    now.clone()
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn slower(one: Option<&Rates>, other: Option<&Rates>) -> Option<Rates> {
    let (one, other) = (one.copied().unwrap_or_default(), other.copied().unwrap_or_default());
    let both = Rates {
        bits_per_second: least(one.bits_per_second, other.bits_per_second),
        new_sessions_per_second: least(one.new_sessions_per_second, other.new_sessions_per_second),
    };
    both.limit_anything().then_some(both)
}

/// Subscriptions that both list.
fn common(one: &[String], other: &[String]) -> Vec<String> {
    one.iter().filter(|name| other.iter().any(|same| same.eq_ignore_ascii_case(name))).cloned().collect()
}

fn seen_by_both(one: &Visibility, other: &Visibility) -> Visibility {
    match (one, other) {
        (Visibility::Everyone, narrower) | (narrower, Visibility::Everyone) => narrower.clone(),
        (Visibility::Readers, _) | (_, Visibility::Readers) => Visibility::Readers,
        // The two settings admit different requesters: listed ones, or those who know the ID. Neither is narrower.
        (Visibility::ById, Visibility::Subscriptions(_)) | (Visibility::Subscriptions(_), Visibility::ById) => {
            Visibility::Readers
        }
        (Visibility::ById, Visibility::ById) => Visibility::ById,
        (Visibility::Subscriptions(one), Visibility::Subscriptions(other)) => {
            Visibility::Subscriptions(common(one, other))
        }
    }
}

/// Names that both accept. Without a setting, none are accepted.
fn common_names(backup: Option<&AcceptedNames>, now: Option<&AcceptedNames>) -> Option<Box<AcceptedNames>> {
    let mut common = backup?.clone();
    let mut taken = common.clone();
    if let Some(now) = now {
        taken.take(now);
    }
    common.take(&taken);
    Some(Box::new(common))
}
