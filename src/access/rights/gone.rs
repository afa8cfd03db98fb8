//! What goes with an object that is deleted and is nobody's to hold back: roles that were assigned at it or below it,
//! and the other side of its peerings.

use super::{Right, Verb};
use crate::model::decisions::{ChangeExtent, Item, ItemKind};
use crate::model::{DnsZone, Key, Map, Model, Scope, Vnet, actions, ids};

/// The places of everything that is in `before`, as far as `extent` reaches, and not in `after`: objects, and parts of
/// objects that stay.
pub(crate) fn vanished(before: &Model, after: &Model, extent: &ChangeExtent) -> Vec<Scope> {
    let mut places = Vec::new();
    match extent {
        ChangeExtent::Endpoint(key) if after.endpoints.contains_key(key) => {}
        ChangeExtent::Endpoint(key) => endpoint(before, key, &mut places),
        ChangeExtent::Whole => {
            of_kind(before, ItemKind::LoadBalancer, &before.load_balancers, &after.load_balancers, &mut places);
            of_kind(before, ItemKind::SecurityGroup, &before.security_groups, &after.security_groups, &mut places);
            of_kind(before, ItemKind::Resource, &before.resources, &after.resources, &mut places);
            of_kind(before, ItemKind::ResourceGroup, &before.groups, &after.groups, &mut places);
            for (key, new) in before.vnets.changes(&after.vnets) {
                let old = before.vnets.get(key).map(|vnet| parts_of_vnet(key, vnet)).unwrap_or_default();
                let new = new.map(|vnet| parts_of_vnet(key, vnet)).unwrap_or_default();
                places.extend(old.into_iter().filter(|place| !new.contains(place)));
            }
            for (key, new) in before.dns_zones.changes(&after.dns_zones) {
                let old = before.dns_zones.get(key).map(|zone| parts_of_zone(key, zone)).unwrap_or_default();
                let new = new.map(|zone| parts_of_zone(key, zone)).unwrap_or_default();
                places.extend(old.into_iter().filter(|place| !new.contains(place)));
            }
            for (key, new) in before.endpoints.changes(&after.endpoints) {
                if new.is_none() {
                    endpoint(before, key, &mut places);
                }
            }
        }
    }
    places
}

/// The roles of `after` that are assigned at `places` or below them.
pub(crate) fn assigned_at(after: &Model, places: &[Scope]) -> Vec<Key> {
    if places.is_empty() {
        return Vec::new();
    }
    let there = |scope: &Scope| places.iter().any(|place| place.covers(scope));
    after.assignments.iter().filter(|(_, given)| there(&given.scope)).map(|(key, _)| key.clone()).collect()
}

/// Whether all that became of the VNet `key` is that the other sides of its peerings are gone.
pub(super) fn is_severed_alone((before, after): (&Model, &Model), key: &Key, old: &Vnet, new: &Vnet) -> bool {
    let mut expected = old.clone();
    for label in old.labelled() {
        let there = |model: &Model| model.vnets.contains_key(&label.remote);
        let mutual = |model: &Model| model.vnets.get(&label.remote).is_some_and(|remote| remote.peers_with(key));
        if there(before) && !there(after) || mutual(before) && !mutual(after) {
            expected.sever(&label.remote);
        }
    }
    let sorted = |vnet: &Vnet| {
        let mut labels = vnet.peering_labels.clone();
        labels.sort_by(|one, other| one.remote.cmp(&other.remote));
        Vnet { peering_labels: labels, ..vnet.clone() }
    };
    sorted(&expected) == sorted(new)
}

fn of_kind<T: PartialEq>(before: &Model, kind: ItemKind, old: &Map<T>, new: &Map<T>, places: &mut Vec<Scope>) {
    let gone = old.changes(new).into_iter().filter(|(_, new)| new.is_none());
    places.extend(gone.map(|(key, _)| place(before, kind, key)));
}

/// Where an object is.
pub(crate) fn place(model: &Model, kind: ItemKind, key: &Key) -> Scope {
    Right::on(model, &Item { kind, key: key.clone() }, Verb::Read).scope
}

/// An endpoint and its interface.
fn endpoint(model: &Model, key: &Key, places: &mut Vec<Scope>) {
    let Some(endpoint) = model.endpoints.get(key) else { return };
    let interface = ids::network_interface(key, endpoint);
    places.push(place(model, ItemKind::Endpoint, key));
    places.push(Scope::resource(interface.key(), actions::INTERFACES));
}

fn parts_of_vnet(key: &Key, vnet: &Vnet) -> Vec<Scope> {
    let part = |kind: &str, name: &str| Scope::part(key, actions::NETWORKS, kind, name);
    let subnets = vnet.subnets.iter().map(|subnet| part("subnets", &subnet.name));
    let peerings = vnet.labelled().into_iter().map(|label| part("virtualNetworkPeerings", &label.name));
    std::iter::once(Scope::resource(key, actions::NETWORKS)).chain(subnets).chain(peerings).collect()
}

fn parts_of_zone(key: &Key, zone: &DnsZone) -> Vec<Scope> {
    let part = |kind: &str, name: &str| Scope::part(key, actions::DNS_ZONES, kind, name);
    let links = zone.links.iter().map(|link| part("virtualNetworkLinks", &link.name));
    let records = zone.records.iter().map(|record| part(record.set.data.kind().name(), &record.name));
    std::iter::once(Scope::resource(key, actions::DNS_ZONES)).chain(links).chain(records).collect()
}
