//! The zones that an endpoint's records stand in: one group per endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::Error;
use super::adapter::{found, write};
use super::body::JsonField;
use super::request::ArmRequest;
use super::response::{ArmResponse, object, page, tagged};
use crate::access::rights::Right;
use crate::control::View;
use crate::model::state::ItemKind;
use crate::model::{GroupZone, Key, PrivateEndpoint, ZoneGroup, actions, ids, names};

/// `GET …/privateEndpoints/{name}/privateDnsZoneGroups`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, endpoint) = found::<PrivateEndpoint>(request)?;
    let groups = endpoint.zone_group.as_deref().into_iter();
    page(request, groups, |group| group.name.to_lowercase(), |group| Some(show(&request.view, &key, &endpoint, group)))
}

/// `GET …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, endpoint) = found::<PrivateEndpoint>(request)?;
    let group = named(request, &endpoint).ok_or_else(|| Error::absent(actions::ZONE_GROUPS, &here(request, &key)))?;
    Ok(ArmResponse::ok(show(&request.view, &key, &endpoint, group)))
}

/// `PUT …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    request.demand(&Right::zone_group(&request.key(), actions::write(actions::ZONE_GROUPS)))?;
    let (key, endpoint) = found::<PrivateEndpoint>(request)?;
    let before = named(request, &endpoint).cloned();
    request.check_conditions(before.as_ref().map(|group| show(&request.view, &key, &endpoint, group)).as_ref())?;
    if let Some(other) = endpoint.zone_group.as_ref().filter(|_| before.is_none()) {
        let message = format!("Private endpoint {} has a private DNS zone group already: {}.", key.name, other.name);
        return Err(Error::bad_request_of("PrivateDnsZoneGroupLimitExceeded", &message, &other.name));
    }
    let group = read(request, before.as_ref())?;
    let endpoint = PrivateEndpoint { zone_group: Some(Box::new(group)), ..endpoint };
    write(request, &key, endpoint)?;
    let view = request.afresh();
    let shown = view
        .state
        .model
        .endpoints
        .get(&key)
        .and_then(|endpoint| endpoint.zone_group.as_deref().map(|group| show(&view, &key, endpoint, group)));
    let shown = shown.ok_or_else(|| Error::absent(actions::ZONE_GROUPS, &here(request, &key)))?;
    Ok(ArmResponse::put(shown, before.is_none()))
}

/// `DELETE …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let key = request.key();
    request.demand(&Right::zone_group(&key, actions::delete(actions::ZONE_GROUPS)))?;
    let Some(endpoint) = request.model().endpoints.get(&key).cloned() else { return Ok(ArmResponse::absent()) };
    let Some(group) = named(request, &endpoint) else { return Ok(ArmResponse::absent()) };
    request.check_conditions(Some(&show(&request.view, &key, &endpoint, group)))?;
    write(request, &key, PrivateEndpoint { zone_group: None, ..endpoint })?;
    Ok(ArmResponse::deleted())
}

fn named<'a>(request: &ArmRequest, endpoint: &'a PrivateEndpoint) -> Option<&'a ZoneGroup> {
    let group = endpoint.zone_group.as_deref()?;
    group.name.eq_ignore_ascii_case(request.parameter("zones")).then_some(group)
}

fn here(request: &ArmRequest, endpoint: &Key) -> Key {
    endpoint.beside(request.parameter("zones"))
}

fn read(request: &ArmRequest, before: Option<&ZoneGroup>) -> Result<ZoneGroup, Error> {
    let properties = JsonField::root(&request.body)?.properties();
    let mut zones = Vec::new();
    for config in properties.items("privateDnsZoneConfigs")? {
        let inner = config.properties();
        let text = inner.required("privateDnsZoneId")?;
        let id = ids::ArmId::parse(&text).map_err(|error| inner.refused(&error))?;
        let known = before.is_some_and(|before| before.zones.iter().any(|one| one.zone == *id.key()));
        let seen = request.model().dns_zones.contains_key(id.key()) && request.sees(ItemKind::DnsZone, id.key());
        if !id.is(ids::DNS_ZONE) || !(known || seen) {
            return Err(Error::unseen(format_args!("private DNS zone {id}"), "properties.privateDnsZoneConfigs"));
        }
        let zone = request.model().dns_zones.entry(id.key()).map_or_else(|| id.key().clone(), |(key, _)| key.clone());
        let name = config.text("name")?.filter(|name| !name.is_empty());
        zones.push(GroupZone { name: name.unwrap_or_else(|| zone.name.replace('.', "-")), zone });
    }
    let name = before.map_or_else(|| request.parameter("zones").to_owned(), |before| before.name.clone());
    Ok(ZoneGroup { name, zones })
}

/// As Azure shows it, with the records that stand in each zone.
fn show(view: &View, key: &Key, endpoint: &PrivateEndpoint, group: &ZoneGroup) -> Value {
    let id = ids::endpoint(key).below("privateDnsZoneGroups", &group.name);
    let model = &view.state.model;
    let vnet = model.vnets.get(&endpoint.vnet);
    let ttl = vnet.and_then(|vnet| vnet.dns.as_ref()).map_or(crate::model::DNS_TTL, |dns| dns.ttl).as_secs();
    let config = |one: &GroupZone| {
        let mut sets: BTreeMap<(String, &str), Vec<IpAddr>> = BTreeMap::new();
        for (zone, name, _, address) in names::group_records(&view.state, key, endpoint) {
            if zone == one.zone {
                let kind = if address.is_ipv6() { "AAAA" } else { "A" };
                sets.entry((name.host().to_owned(), kind)).or_default().push(address);
            }
        }
        let set = |((fqdn, kind), addresses): ((String, &str), Vec<IpAddr>)| {
            json!({
                "recordType": kind,
                "recordSetName": names::relative(&fqdn, &one.zone.name),
                "fqdn": fqdn,
                "ttl": ttl,
                "ipAddresses": addresses,
                "provisioningState": "Succeeded",
            })
        };
        let inner = id.clone().below("privateDnsZoneConfigs", &one.name);
        tagged(json!({
            "name": one.name,
            "id": inner.to_string(),
            "type": inner.kind(),
            "properties": {
                "privateDnsZoneId": ids::dns_zone(&one.zone).to_string(),
                "provisioningState": "Succeeded",
                "recordSets": sets.into_iter().map(set).collect::<Vec<_>>(),
            },
        }))
    };
    let properties = json!({
        "privateDnsZoneConfigs": group.zones.iter().map(config).collect::<Vec<_>>(),
        "provisioningState": "Succeeded",
    });
    object(&id, None, properties)
}
