//! What a file has no word for stays as it is in a live object, and is no difference between the two.

use std::collections::BTreeSet;

use crate::model::decisions::{Connection, Decisions, Item, ItemKind};
use crate::model::{
    DnsZone, Key, LinkResource, Map, Model, PeeringLabel, PrivateEndpoint, TargetSpec, Visibility, Vnet, ZoneGroup,
    ZoneLink,
};

/// An object of a file together with what stays of the live one.
pub(super) trait Adopt {
    /// `self` as it would replace `live`.
    #[must_use]
    fn adopt(&self, live: &Self) -> Self;
}

impl Adopt for Vnet {
    /// Tags, names and switches of peerings; marks of subnets of which nothing is said.
    fn adopt(&self, live: &Self) -> Self {
        let mut vnet = self.with_marks_of(live);
        vnet.tags.clone_from(&live.tags);
        let passes = |label: &PeeringLabel| label.access && !label.severed;
        let labels = live.peering_labels.iter().filter(|label| self.peerings.contains(&label.remote) == passes(label));
        vnet.peering_labels = labels.cloned().collect();
        vnet
    }
}

impl Adopt for DnsZone {
    /// Tags, the start of authority, metadata of records, and what links are called.
    fn adopt(&self, live: &Self) -> Self {
        let mut zone = Self { tags: live.tags.clone(), soa: live.soa.clone(), ..self.clone() };
        for record in &mut zone.records {
            if let Some(before) = live.record(&record.name, record.set.data.kind()) {
                record.metadata.clone_from(&before.metadata);
            }
        }
        for link in &mut zone.links {
            if let Some(before) = live.links.iter().find(|before| before.vnet == link.vnet) {
                *link = ZoneLink { policy: link.policy, ..before.clone() };
            }
        }
        zone
    }
}

impl Adopt for LinkResource {
    /// Tags and foreign properties; how NAT addresses and targets came about, as long as these are the same.
    fn adopt(&self, live: &Self) -> Self {
        let mut resource = Self { tags: live.tags.clone(), foreign: live.foreign.clone(), ..self.closed_as(live) };
        // Nobody but its readers, said in another way.
        if live.visibility == Visibility::Readers && self.visibility == Visibility::Subscriptions(Vec::new()) {
            resource.visibility = Visibility::Readers;
        }
        if self.nat == live.nat && self.vnet == live.vnet {
            resource.nat_configs.clone_from(&live.nat_configs);
        }
        // A file has no word for how one target's sessions are spread, and how single ports are checked.
        for target in &mut resource.targets {
            let same =
                |other: &&TargetSpec| (&other.subresource, &other.member) == (&target.subresource, &target.member);
            let Some(other) = live.targets.iter().find(same) else { continue };
            target.balance = other.balance;
            target.port_checks.clone_from(&other.port_checks);
        }
        if resource.targets == live.targets {
            resource.frontends.clone_from(&live.frontends);
            resource.destination = live.destination;
        } else {
            resource.targets.clone_from(&self.targets);
        }
        resource
    }
}

impl Adopt for PrivateEndpoint {
    /// Tags and names of its parts; addresses, which are its own for life; names that it accepts, and what its zones are
    /// called, unless the file says otherwise.
    fn adopt(&self, live: &Self) -> Self {
        // A group without zones is none in a file.
        let zones = |group: Option<&ZoneGroup>| -> Vec<Key> {
            group.iter().flat_map(|group| &group.zones).map(|one| one.zone.clone()).collect()
        };
        let same_zones = zones(self.zone_group.as_deref()) == zones(live.zone_group.as_deref());
        Self {
            addresses: live.addresses.clone(),
            labels: live.labels.clone(),
            accept_names: self.accept_names.clone().or_else(|| live.accept_names.clone()),
            zone_group: if same_zones { live.zone_group.clone() } else { self.zone_group.clone() },
            ..self.clone()
        }
    }
}

impl PrivateEndpoint {
    /// What of a file would replace `live`, whose connection is `connection`: that something stands as it was decided
    /// meanwhile asks for nothing.
    pub(super) fn beside(&self, live: &Self, connection: Option<&Connection>) -> Self {
        let mut updated = self.adopt(live);
        let stands = connection.filter(|connection| self.status == Some(connection.state));
        if stands.is_some_and(|connection| connection.description == self.reason) {
            (updated.status, updated.reason) = (live.status, live.reason.clone());
        }
        updated
    }
}

/// What of a file that says `said` is not in force as it says.
pub fn differing(live: &Decisions, said: &Model) -> BTreeSet<Item> {
    fn others<T: PartialEq>(
        kind: ItemKind,
        live: &Map<T>,
        said: &Map<T>,
        adopt: impl Fn(&Key, &T, &T) -> T,
    ) -> Vec<Item> {
        let same = |key: &Key, one: &T| live.get(key).is_some_and(|live| adopt(key, one, live) == *live);
        let others = said.iter().filter(|(key, one)| !same(key, one));
        others.map(|(key, _)| Item { kind, key: key.clone() }).collect()
    }
    let model = &live.model;
    let endpoint = |key: &Key, one: &PrivateEndpoint, now: &PrivateEndpoint| one.beside(now, live.connections.get(key));
    [
        others(ItemKind::Role, &model.roles, &said.roles, |_, one, _| one.clone()),
        others(ItemKind::Assignment, &model.assignments, &said.assignments, |_, one, _| one.clone()),
        others(ItemKind::Vnet, &model.vnets, &said.vnets, |_, one, live| one.adopt(live)),
        others(ItemKind::SecurityGroup, &model.security_groups, &said.security_groups, |_, one, _| one.clone()),
        others(ItemKind::DnsZone, &model.dns_zones, &said.dns_zones, |_, one, live| one.adopt(live)),
        others(ItemKind::Resource, &model.resources, &said.resources, |_, one, live| one.adopt(live)),
        others(ItemKind::Endpoint, &model.endpoints, &said.endpoints, endpoint),
    ]
    .into_iter()
    .flatten()
    .collect()
}
