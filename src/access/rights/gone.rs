//! What is deleted with an object, without further rights: role assignments at or below it, and the other side of its
//! peerings.

use super::{Right, Verb};
use crate::model::registry::each_kind;
use crate::model::state::{ChangeExtent, Item, ItemKind};
use crate::model::{DnsZone, Key, Model, Scope, Vnet, actions, ids};

/// The scopes of everything deleted between `before` and `after`, within `extent`: objects, and parts of objects.
pub(crate) fn vanished(before: &Model, after: &Model, extent: &ChangeExtent) -> Vec<Scope> {
    let mut places = Vec::new();
    match extent {
        ChangeExtent::Endpoint(key) if after.endpoints.contains_key(key) => {}
        ChangeExtent::Endpoint(key) => places = places_of(before, ItemKind::Endpoint, key),
        ChangeExtent::Whole => {
            each_kind!(K => for (key, new) in K::map(before).changes(K::map(after)) {
                let old = places_of(before, K::KIND, key);
                let new = if new.is_some() { places_of(after, K::KIND, key) } else { Vec::new() };
                places.extend(old.into_iter().filter(|place| !new.contains(place)));
            });
        }
    }
    places
}

/// The role assignments of `after` at or below `places`.
pub(crate) fn assigned_at(after: &Model, places: &[Scope]) -> Vec<Key> {
    if places.is_empty() {
        return Vec::new();
    }
    let there = |scope: &Scope| places.iter().any(|place| place.covers(scope));
    after.assignments.iter().filter(|(_, given)| there(&given.scope)).map(|(key, _)| key.clone()).collect()
}

/// Whether the VNet `key` changed only in that the other sides of its peerings are gone.
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

/// The scope of an object.
pub(crate) fn place(model: &Model, kind: ItemKind, key: &Key) -> Scope {
    Right::on(model, &Item { kind, key: key.clone() }, Verb::Read).scope
}

/// The scopes of an object of `model` and of its parts. Roles and assignments have none.
fn places_of(model: &Model, kind: ItemKind, key: &Key) -> Vec<Scope> {
    if matches!(kind, ItemKind::Role | ItemKind::Assignment) {
        return Vec::new();
    }
    let mut places = vec![place(model, kind, key)];
    if let (ItemKind::Vnet, Some(vnet)) = (kind, model.vnets.get(key)) {
        places.extend(parts_of_vnet(key, vnet));
    }
    if let (ItemKind::DnsZone, Some(zone)) = (kind, model.dns_zones.get(key)) {
        places.extend(parts_of_zone(key, zone));
    }
    if let (ItemKind::Endpoint, Some(endpoint)) = (kind, model.endpoints.get(key)) {
        places.push(Scope::resource(ids::network_interface(key, endpoint).key(), actions::INTERFACES));
    }
    places
}

fn parts_of_vnet(key: &Key, vnet: &Vnet) -> Vec<Scope> {
    let part = |kind: &str, name: &str| Scope::part(key, actions::NETWORKS, kind, name);
    let subnets = vnet.subnets.iter().map(|subnet| part("subnets", &subnet.name));
    let peerings = vnet.labelled().into_iter().map(|label| part("virtualNetworkPeerings", &label.name));
    subnets.chain(peerings).collect()
}

fn parts_of_zone(key: &Key, zone: &DnsZone) -> Vec<Scope> {
    let part = |kind: &str, name: &str| Scope::part(key, actions::DNS_ZONES, kind, name);
    let links = zone.links.iter().map(|link| part("virtualNetworkLinks", &link.name));
    let records = zone.records.iter().map(|record| part(record.set.data.kind().name(), &record.name));
    links.chain(records).collect()
}
