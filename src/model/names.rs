//! DNS names of endpoints: those that the resource lists, or those derived from its name by Azure's tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::resource_types::Cloud;
use super::state::{Connection, ControlState};
use super::{APEX, DnsZone, Key, LinkResource, Model, PrivateEndpoint, RecordType, resource_types};

/// Names of typed resources.
pub(crate) mod tables;

pub(crate) use tables::resource_of;

/// One name of one address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn {
    /// The name that applications ask for.
    pub public: String,
    /// Its alias target in the private zone. `None`: the name is its own zone.
    pub private: Option<String>,
    /// The private zone.
    pub zone: String,
    /// Whether Azure's tables derive this name from the resource's name. Any other name needs the network's consent.
    pub own: bool,
}

impl Fqdn {
    /// The name with the address records.
    pub fn host(&self) -> &str {
        self.private.as_deref().unwrap_or(&self.public)
    }

    /// The name within the private zone `zone`: the alias target if that lies in the zone, or the public name if that
    /// does.
    fn within(&self, zone: &str) -> Option<Self> {
        let zone = zone.to_lowercase();
        if zone == self.zone {
            return Some(self.clone());
        }
        let front = self.public.strip_suffix(&zone)?;
        let lies = front.is_empty() || front.ends_with('.');
        lies.then(|| Self { public: self.public.clone(), private: None, zone, own: self.own })
    }
}

/// The names of one member of an endpoint: those that its resource lists, else those of Azure's tables. If its resource
/// is deleted, the names of that one count, even if its key is used again.
pub fn of_member(model: &Model, key: &Key, endpoint: &PrivateEndpoint, member: &str) -> Vec<Fqdn> {
    let bound = |subresource: &str, of: &str| {
        let same = endpoint.subresource.is_empty() || subresource.eq_ignore_ascii_case(&endpoint.subresource);
        same && (member.is_empty() || of.eq_ignore_ascii_case(member))
    };
    let live = model.resources.get(&endpoint.resource).filter(|_| !model.is_left(key, endpoint));
    let Some(resource) = live else {
        let Some(former) = model.former_of(key, endpoint) else { return Vec::new() };
        let target = former.targets.iter().find(|target| bound(&target.subresource, &target.member));
        let given = target.map_or(&former.fqdns, |target| &target.fqdns);
        return names(model.cloud, endpoint, former.kind.as_deref(), (&former.region, &endpoint.subresource), given);
    };
    let target = resource.targets.iter().find(|target| bound(&target.subresource, &target.member));
    let subresource = target.map_or(&*endpoint.subresource, |target| &*target.subresource);
    let given = target.map(|target| &target.fqdns).filter(|given| !given.is_empty()).unwrap_or(&resource.fqdns);
    names(model.cloud, endpoint, resource.kind.as_deref(), (&resource.region, subresource), given)
}

/// The part of [`of_member`] that readers of the endpoint may see. A requester who knows only the resource's ID, and is
/// not approved yet, sees only names derived from that ID.
pub fn told(state: &ControlState, key: &Key, endpoint: &PrivateEndpoint, member: &str) -> Vec<Fqdn> {
    let model = &state.model;
    if state.connections.get(key).is_none_or(Connection::tells_parts) {
        return of_member(model, key, endpoint, member);
    }
    let kind = model.bound_kind(key, endpoint).unwrap_or_default();
    tables::names(model.cloud, kind, &endpoint.resource.name, (&endpoint.subresource, ""))
}

/// The listed names, or those of Azure's tables if none are listed.
fn names(
    cloud: Cloud,
    endpoint: &PrivateEndpoint,
    kind: Option<&str>,
    (region, subresource): (&str, &str),
    given: &[String],
) -> Vec<Fqdn> {
    let kind = kind.unwrap_or_default();
    let of_tables = tables::names(cloud, kind, &endpoint.resource.name, (subresource, region));
    if given.is_empty() {
        return of_tables;
    }
    let zones = tables::zones(cloud, kind, subresource, region);
    let own: Vec<String> = of_tables.into_iter().map(|name| name.public).collect();
    let named = given.iter().map(|name| named(name, &zones));
    named.map(|name| Fqdn { own: own.contains(&name.public), ..name }).collect()
}

/// All default names of a resource, over all its parts, with their alias targets. Empty if its type has no names.
pub fn public_names(cloud: Cloud, key: &Key, resource: &LinkResource) -> BTreeSet<String> {
    let kind = resource.kind.as_deref().unwrap_or_default();
    let parts = resource_types::find(kind).map(|known| known.subresources.as_slice()).unwrap_or_default();
    let names = parts.iter().flat_map(|part| tables::names(cloud, kind, &key.name, (part, &resource.region)));
    names.flat_map(|name| [name.host().to_owned(), name.public]).collect()
}

/// Every name of an endpoint without a zone group.
pub fn of_endpoint(model: &Model, key: &Key, endpoint: &PrivateEndpoint) -> Vec<Fqdn> {
    endpoint.addresses.iter().flat_map(|address| of_member(model, key, endpoint, &address.member)).collect()
}

/// The records that an endpoint with a zone group writes into each zone of the group. Names in none of these zones are
/// left out.
pub fn grouped(model: &Model, key: &Key, endpoint: &PrivateEndpoint) -> Vec<(Key, Fqdn)> {
    let records = records(endpoint, |member| of_member(model, key, endpoint, member));
    records.into_iter().map(|(zone, name, ..)| (zone, name)).collect()
}

/// The visible part of [`grouped`], with the member and the address of each name.
pub fn group_records<'a>(
    state: &ControlState,
    key: &Key,
    endpoint: &'a PrivateEndpoint,
) -> Vec<(Key, Fqdn, &'a str, IpAddr)> {
    records(endpoint, |member| told(state, key, endpoint, member))
}

fn records(endpoint: &PrivateEndpoint, names: impl Fn(&str) -> Vec<Fqdn>) -> Vec<(Key, Fqdn, &str, IpAddr)> {
    let Some(group) = &endpoint.zone_group else { return Vec::new() };
    let mut records = Vec::new();
    for address in &endpoint.addresses {
        let Some(ip) = address.ip else { continue };
        for name in names(&address.member) {
            let within = group.zones.iter().filter_map(|one| Some((one.zone.clone(), name.within(&one.zone.name)?)));
            records.extend(within.map(|(zone, name)| (zone, name, &*address.member, ip)));
        }
    }
    records
}

/// Whether a reader may see an endpoint.
pub type IsVisible<'a> = &'a dyn Fn(&Key) -> bool;

/// The records in `zone` from zone groups of endpoints that are `seen`: relative names, endpoints and addresses.
pub fn in_zone<'a>(
    state: &'a ControlState,
    zone: &Key,
    seen: IsVisible<'_>,
) -> BTreeMap<String, Vec<(&'a Key, IpAddr)>> {
    let mut names: BTreeMap<String, Vec<(&Key, IpAddr)>> = BTreeMap::new();
    let puts = |endpoint: &PrivateEndpoint| {
        endpoint.zone_group.as_ref().is_some_and(|group| group.zones.iter().any(|one| one.zone == *zone))
    };
    let endpoints = state.model.endpoints.iter();
    for (key, endpoint) in endpoints.filter(|(key, endpoint)| puts(endpoint) && seen(key)) {
        for (of, name, _, ip) in group_records(state, key, endpoint) {
            if of == *zone {
                names.entry(relative(name.host(), &zone.name)).or_default().push((key, ip));
            }
        }
    }
    names
}

/// The number of record sets in `zone`: written ones, those of endpoints that are `seen`, and the SOA.
pub fn record_sets(state: &ControlState, key: &Key, zone: &DnsZone, seen: IsVisible<'_>) -> usize {
    let owned = in_zone(state, key, seen);
    let kind = |ip: &IpAddr| if ip.is_ipv4() { RecordType::A } else { RecordType::Aaaa };
    let of_endpoints = owned.iter().flat_map(|(name, all)| all.iter().map(move |(_, ip)| (&**name, kind(ip))));
    let written = zone.records.iter().map(|record| (&*record.name, record.set.data.kind()));
    written.chain(of_endpoints).collect::<BTreeSet<_>>().len() + 1
}

/// A full name in `zone`, relative to it.
pub fn relative(name: &str, zone: &str) -> String {
    let front = name.strip_suffix(&*zone.to_lowercase()).map_or(name, |front| front.trim_end_matches('.'));
    if front.is_empty() { APEX.to_owned() } else { front.to_owned() }
}

/// A name in its form for comparisons.
pub(crate) fn folded(name: &str) -> String {
    name.trim_end_matches('.').to_lowercase()
}

/// A listed name: in a zone of its type, or as a zone of its own (never in its parent's).
fn named(name: &str, zones: &[(String, String)]) -> Fqdn {
    let public = folded(name);
    let within = zones.iter().find_map(|(parent, private)| {
        let front = public.strip_suffix(parent)?.strip_suffix('.')?;
        Some((format!("{front}.{private}"), private.clone()))
    });
    match within {
        Some((private, zone)) => Fqdn { public, private: Some(private), zone, own: false },
        None => Fqdn { zone: public.clone(), private: None, public, own: false },
    }
}

/// Whether both VNets list each other.
pub(crate) fn are_peers(model: &Model, one: &Key, other: &Key) -> bool {
    let lists = |from: &Key, to: &Key| model.vnets.get(from).is_some_and(|vnet| vnet.peerings.contains(to));
    one != other && lists(one, other) && lists(other, one)
}
