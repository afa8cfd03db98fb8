//! What a file has no word for stays as it is in a live object, and is no difference between the two.

use super::super::model::{DnsZone, LinkResource, PrivateEndpoint, Vnet, ZoneGroup, ZoneLink};

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
        let labels = live.peering_labels.iter().filter(|label| self.peerings.contains(&label.remote) == label.access);
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
        let mut resource = Self { tags: live.tags.clone(), foreign: live.foreign.clone(), ..self.clone() };
        if self.nat == live.nat && self.vnet == live.vnet {
            resource.nat_configs.clone_from(&live.nat_configs);
        }
        if self.targets == live.targets {
            resource.frontends.clone_from(&live.frontends);
            resource.destination = live.destination;
        }
        resource
    }
}

impl Adopt for PrivateEndpoint {
    /// Tags and names of its parts; addresses, which are its own for life; names that it accepts, and what its zones are
    /// called, unless the file says otherwise.
    fn adopt(&self, live: &Self) -> Self {
        let zones = |group: &ZoneGroup| group.zones.iter().map(|one| one.zone.clone()).collect::<Vec<_>>();
        let same_zones = self.zone_group.as_deref().map(zones) == live.zone_group.as_deref().map(zones);
        Self {
            addresses: live.addresses.clone(),
            labels: live.labels.clone(),
            accept_names: self.accept_names.clone().or_else(|| live.accept_names.clone()),
            zone_group: if same_zones { live.zone_group.clone() } else { self.zone_group.clone() },
            ..self.clone()
        }
    }
}
