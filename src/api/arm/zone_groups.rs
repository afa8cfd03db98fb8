//! The zones that an endpoint's records stand in: one group per endpoint.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::Rejection;
use super::answer::{ArmResponse, object, page, tagged};
use super::ask::ArmRequest;
use super::body::JsonField;
use super::endpoints;
use crate::access::rights::Right;
use crate::control::View;
use crate::model::decisions::ItemKind;
use crate::model::{GroupZone, Key, PrivateEndpoint, ZoneGroup, actions, ids, names};

/// `GET …/privateEndpoints/{name}/privateDnsZoneGroups`
pub(super) fn list(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, endpoint) = endpoints::found(ask)?;
    let groups = endpoint.zone_group.as_deref().into_iter();
    page(ask, groups, |group| group.name.to_lowercase(), |group| Some(show(&ask.view, &key, &endpoint, group)))
}

/// `GET …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn get(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let (key, endpoint) = endpoints::found(ask)?;
    let group = named(ask, &endpoint).ok_or_else(|| Rejection::absent(actions::ZONE_GROUPS, &here(ask, &key)))?;
    Ok(ArmResponse::ok(show(&ask.view, &key, &endpoint, group)))
}

/// `PUT …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn put(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    ask.demand(&Right::zone_group(&ask.key(), actions::write(actions::ZONE_GROUPS)))?;
    let (key, endpoint) = endpoints::found(ask)?;
    let before = named(ask, &endpoint).cloned();
    ask.check_conditions(before.as_ref().map(|group| show(&ask.view, &key, &endpoint, group)).as_ref())?;
    if let Some(other) = endpoint.zone_group.as_ref().filter(|_| before.is_none()) {
        let message = format!("Private endpoint {} has a private DNS zone group already: {}.", key.name, other.name);
        return Err(Rejection::bad_request_of("PrivateDnsZoneGroupLimitExceeded", &message, &other.name));
    }
    let group = read(ask, before.as_ref())?;
    let endpoint = PrivateEndpoint { zone_group: Some(Box::new(group)), ..endpoint };
    endpoints::write(ask, &key, endpoint)?;
    let view = ask.afresh();
    let shown = view
        .decisions
        .model
        .endpoints
        .get(&key)
        .and_then(|endpoint| endpoint.zone_group.as_deref().map(|group| show(&view, &key, endpoint, group)));
    let shown = shown.ok_or_else(|| Rejection::absent(actions::ZONE_GROUPS, &here(ask, &key)))?;
    Ok(ArmResponse::put(shown, before.is_none()))
}

/// `DELETE …/privateEndpoints/{name}/privateDnsZoneGroups/{zones}`
pub(super) fn delete(ask: &ArmRequest) -> Result<ArmResponse, Rejection> {
    let key = ask.key();
    ask.demand(&Right::zone_group(&key, actions::delete(actions::ZONE_GROUPS)))?;
    let Some(endpoint) = ask.model().endpoints.get(&key).cloned() else { return Ok(ArmResponse::absent()) };
    let Some(group) = named(ask, &endpoint) else { return Ok(ArmResponse::absent()) };
    ask.check_conditions(Some(&show(&ask.view, &key, &endpoint, group)))?;
    endpoints::write(ask, &key, PrivateEndpoint { zone_group: None, ..endpoint })?;
    Ok(ArmResponse::deleted())
}

fn named<'a>(ask: &ArmRequest, endpoint: &'a PrivateEndpoint) -> Option<&'a ZoneGroup> {
    let group = endpoint.zone_group.as_deref()?;
    group.name.eq_ignore_ascii_case(ask.parameter("zones")).then_some(group)
}

fn here(ask: &ArmRequest, endpoint: &Key) -> Key {
    endpoint.beside(ask.parameter("zones"))
}

fn read(ask: &ArmRequest, before: Option<&ZoneGroup>) -> Result<ZoneGroup, Rejection> {
    let properties = JsonField::root(&ask.body)?.properties();
    let mut zones = Vec::new();
    for config in properties.items("privateDnsZoneConfigs")? {
        let inner = config.properties();
        let text = inner.required("privateDnsZoneId")?;
        let id = ids::ArmId::parse(&text).map_err(|error| inner.refused(&error))?;
        let known = before.is_some_and(|before| before.zones.iter().any(|one| one.zone == *id.key()));
        let seen = ask.model().dns_zones.contains_key(id.key()) && ask.sees(ItemKind::DnsZone, id.key());
        if !id.is(ids::DNS_ZONE) || !(known || seen) {
            let message = format!("there is no private DNS zone {id} that this caller may see");
            let at = "properties.privateDnsZoneConfigs";
            return Err(Rejection::bad_request_of("InvalidResourceReference", &message, at));
        }
        let zone = ask.model().dns_zones.entry(id.key()).map_or_else(|| id.key().clone(), |(key, _)| key.clone());
        let name = config.text("name")?.filter(|name| !name.is_empty());
        zones.push(GroupZone { name: name.unwrap_or_else(|| zone.name.replace('.', "-")), zone });
    }
    let name = before.map_or_else(|| ask.parameter("zones").to_owned(), |before| before.name.clone());
    Ok(ZoneGroup { name, zones })
}

/// As Azure shows it, with the records that stand in each zone.
fn show(view: &View, key: &Key, endpoint: &PrivateEndpoint, group: &ZoneGroup) -> Value {
    let id = ids::endpoint(key).below("privateDnsZoneGroups", &group.name);
    let model = &view.decisions.model;
    let vnet = model.vnets.get(&endpoint.vnet);
    let ttl = vnet.and_then(|vnet| vnet.dns.as_ref()).map_or(crate::model::DNS_TTL, |dns| dns.ttl).as_secs();
    let config = |one: &GroupZone| {
        let mut sets: BTreeMap<(String, &str), Vec<IpAddr>> = BTreeMap::new();
        for (zone, name, _, address) in names::group_records(&view.decisions, key, endpoint) {
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
