//! Private DNS zones: those of somebody's own, and those that came about with the endpoints in them.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;

use super::Call;
use super::dns::{policy, written};
use super::noun::{Shown, shown};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::control::View;
use crate::model::references::resolve;
use crate::model::{DnsZone, Key, names};
use crate::snapshot::dns::Name;
use crate::types::{PrivateRecord, PrivateZone, PrivateZoneLink};

/// Their paths.
pub(super) fn routes() -> Router<ApiState> {
    shown::<PrivateZone>()
}

impl Shown for PrivateZone {
    /// Without their records.
    fn all(call: &Call) -> Vec<Self> {
        let whole = call.state.control.view();
        let seen = whole.seen_by(&call.caller);
        let mut zones = own(&whole, &seen, &|_| true);
        zones.extend(automatic(&whole, &seen, None));
        for zone in &mut zones {
            zone.records.clear();
        }
        zones
    }

    /// One of somebody's own and one that came about beside it have one name.
    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error> {
        let whole = call.state.control.view();
        let seen = whole.seen_by(&call.caller);
        let found = resolve("private DNS zone", reference, &seen.state.model.dns_zones);
        let named = |key: &Key| found.as_ref().is_ok_and(|found| *found == key);
        let mut zones = own(&whole, &seen, &named);
        zones.extend(automatic(&whole, &seen, Some(&reference.trim_end_matches('.').to_lowercase())));
        match found {
            Err(refusal) if zones.is_empty() => Err(refusal.into()),
            Ok(_) | Err(_) => Ok(zones),
        }
    }
}

fn own(whole: &View, seen: &View, wanted: &dyn Fn(&Key) -> bool) -> Vec<PrivateZone> {
    let zones = seen.state.model.dns_zones.iter().filter(|(key, _)| wanted(key));
    zones.map(|(key, zone)| private(whole, seen, key, zone)).collect()
}

/// What stands in a zone, without the names of endpoints that the caller may not read.
fn private(whole: &View, seen: &View, key: &Key, zone: &DnsZone) -> PrivateZone {
    let record = |name: &str, kind: String, data: String| PrivateRecord {
        name: name.to_owned(),
        kind,
        data,
        ..PrivateRecord::default()
    };
    let mut records = Vec::new();
    for one in &zone.records {
        let all = written(&one.set).into_iter();
        records.extend(
            all.map(|value| PrivateRecord { ttl: Some(value.ttl), ..record(&one.name, value.kind, value.data) }),
        );
    }
    let reads = |endpoint: &Key| seen.reads_endpoint(endpoint);
    for (name, owners) in names::in_zone(&whole.state, key, &reads) {
        records.extend(owners.into_iter().map(|(endpoint, address)| PrivateRecord {
            endpoint: endpoint.to_string(),
            ..record(&name, kind_of(address), address.to_string())
        }));
    }
    records.sort();
    let link = |link: &crate::model::ZoneLink| PrivateZoneLink {
        name: link.name.clone(),
        vnet: link.vnet.to_string(),
        resolution_policy: policy(link.policy),
    };
    PrivateZone {
        id: key.to_string(),
        name: key.name.to_lowercase(),
        kind: "own".to_owned(),
        links: zone.links.iter().map(link).collect(),
        record_sets: names::record_sets(&whole.state, key, zone, &reads) as u64,
        records,
    }
}

/// Zones of endpoints that the caller may read, in VNets that the caller may read: each once, whoever sees it.
fn automatic(whole: &View, seen: &View, wanted: Option<&str>) -> Vec<PrivateZone> {
    let mut zones: BTreeMap<Name, (Vec<PrivateZoneLink>, BTreeSet<PrivateRecord>)> = BTreeMap::new();
    let own: BTreeSet<String> = seen.endpoints_read().map(ToString::to_string).collect();
    for vnet in seen.state.model.vnets.keys().map(ToString::to_string) {
        let Some(plan) = whole.dns.resolvers.get(&vnet) else { continue };
        let mut here: BTreeMap<&Name, BTreeSet<PrivateRecord>> = BTreeMap::new();
        for (name, node) in plan.names.iter().filter(|(_, node)| !node.owners.is_empty()) {
            let Some((zone, known)) = plan.zone_of(name) else { continue };
            if known.own.is_some() || wanted.is_some_and(|wanted| **zone != *wanted) {
                continue;
            }
            let readable = node.owners.iter().filter(|owner| own.contains(&*owner.endpoint));
            here.entry(zone).or_default().extend(readable.map(|owner| PrivateRecord {
                name: names::relative(name, zone),
                kind: kind_of(owner.address),
                data: owner.address.to_string(),
                ttl: None,
                endpoint: owner.endpoint.to_string(),
            }));
        }
        for (zone, records) in here.into_iter().filter(|(_, records)| !records.is_empty()) {
            let (links, all) = zones.entry(Name::clone(zone)).or_default();
            let resolution_policy = plan.zones.get(zone).map(|zone| policy(zone.policy)).unwrap_or_default();
            links.push(PrivateZoneLink { name: String::new(), vnet: vnet.clone(), resolution_policy });
            all.extend(records);
        }
    }
    let zone = |(name, (links, records)): (Name, (Vec<PrivateZoneLink>, BTreeSet<PrivateRecord>))| {
        let sets: BTreeSet<(&str, &str)> = records.iter().map(|one| (&*one.name, &*one.kind)).collect();
        let record_sets = sets.len() as u64 + 1;
        let records = records.into_iter().collect();
        let kind = "automatic".to_owned();
        PrivateZone { id: name.to_string(), name: name.to_string(), kind, links, record_sets, records }
    };
    zones.into_iter().map(zone).collect()
}

fn kind_of(address: std::net::IpAddr) -> String {
    if address.is_ipv4() { "A" } else { "AAAA" }.to_owned()
}
