//! Record sets of private DNS zones: written ones, the SOA, and read-only ones of endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::Error;
use super::adapter::{found, write};
use super::body::JsonField;
use super::request::ArmRequest;
use super::response::{ArmResponse, page, tagged};
use super::zones::writable;
use crate::model::state::ItemKind;
use crate::model::{
    APEX, DnsZone, Key, Mx, RECORD_TTL, RecordData, RecordSet, RecordType, Soa, Srv, TXT_PIECE, Tags, ZoneRecord,
    actions, domain_name, ids, names, whole,
};

/// The record type in the path: a type that a zone may hold, or SOA.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Set(RecordType),
    Soa,
}

impl Asked {
    fn of(request: &ArmRequest) -> Result<Self, Error> {
        let text = request.parameter("record");
        if text.eq_ignore_ascii_case("SOA") {
            return Ok(Self::Soa);
        }
        text.parse().map(Self::Set).map_err(|_| Error::unknown_path())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set(kind) => kind.name(),
            Self::Soa => "SOA",
        }
    }
}

/// `GET …/privateDnsZones/{name}/{record}`: the sets of one type, or of all.
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let all = request.parameter("record").eq_ignore_ascii_case("ALL");
    let wanted = if all { None } else { Some(Asked::of(request)?) };
    let (key, zone) = found::<DnsZone>(request)?;
    let suffix = request.query("$recordsetnamesuffix").unwrap_or_default().to_lowercase();
    let fits = |name: &str| suffix.is_empty() || name.ends_with(suffix.trim_start_matches('.'));
    let owned = names::in_zone(&request.view.state, &key, &|endpoint| request.sees(ItemKind::Endpoint, endpoint));
    let mut sets: Vec<(String, &str, Value)> = Vec::new();
    if wanted.is_none_or(|wanted| wanted == Asked::Soa) && fits(APEX) {
        sets.push((APEX.to_owned(), "SOA", show_soa(&key, &zone.soa)));
    }
    let written = zone.records.iter().map(|one| (one.name.as_str(), one.set.data.kind()));
    let both = [RecordType::A, RecordType::Aaaa];
    let of_endpoints = owned.keys().flat_map(|name| both.into_iter().map(move |kind| (name.as_str(), kind)));
    let all: BTreeSet<(&str, RecordType)> = written.chain(of_endpoints).collect();
    for (name, kind) in all {
        if fits(name) && wanted.is_none_or(|wanted| wanted == Asked::Set(kind)) {
            let shown = show(&key, &zone, name, kind, owned.get(name).map_or(&[], Vec::as_slice));
            sets.extend(shown.map(|shown| (name.to_owned(), kind.name(), shown)));
        }
    }
    sets.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    page(request, sets.into_iter(), |(name, kind, _)| format!("{name}/{kind}"), |(_, _, shown)| Some(shown))
}

/// `GET …/privateDnsZones/{name}/{record}/{relative}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let asked = Asked::of(request)?;
    let (key, zone) = found::<DnsZone>(request)?;
    now(request, asked, &key, &zone).map(ArmResponse::ok).ok_or_else(|| absent(request, asked, &key))
}

/// `PUT …/privateDnsZones/{name}/{record}/{relative}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    change(request, true)
}

/// `PATCH …/privateDnsZones/{name}/{record}/{relative}`
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    change(request, false)
}

/// `DELETE …/privateDnsZones/{name}/{record}/{relative}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let asked = Asked::of(request)?;
    let (key, mut zone) = match writable(request, actions::delete(&actions::record_sets(asked.name()))) {
        Err(rejection)
            if request.model().dns_zones.get(&request.key()).is_none() && rejection.is("ResourceNotFound") =>
        {
            return Ok(ArmResponse::absent());
        }
        other => other?,
    };
    let before = now(request, asked, &key, &zone);
    request.check_conditions(before.as_ref())?;
    let Asked::Set(kind) = asked else {
        return Err(Error::bad_request("the start of authority goes with its zone", "SOA"));
    };
    if !zone.remove(&relative(request), kind) {
        if before.is_none() {
            return Ok(ArmResponse::absent());
        }
        let message = format!("{kind} {} is of private endpoints, and goes with them.", relative(request));
        return Err(Error::conflict("RecordSetOfPrivateEndpoint", &message));
    }
    write(request, &key, zone)?;
    Ok(ArmResponse::deleted())
}

/// What every record set shows besides.
const SHOWN: [&str; 4] = ["fqdn", "isAutoRegistered", "provisioningState", "privlink"];

fn change(request: &ArmRequest, whole: bool) -> Result<ArmResponse, Error> {
    let asked = Asked::of(request)?;
    let (key, mut zone) = writable(request, actions::write(&actions::record_sets(asked.name())))?;
    let before = now(request, asked, &key, &zone);
    request.check_conditions(before.as_ref())?;
    if !whole && before.is_none() {
        return Err(absent(request, asked, &key));
    }
    let body = JsonField::over(&request.body, before.as_ref())?;
    let properties = body.properties();
    let own = match asked {
        Asked::Soa => "soaRecord",
        Asked::Set(kind) => field_of(kind),
    };
    // Values that cannot be stored are refused, such as those of another type.
    let known = [&[own, "ttl", "metadata"], SHOWN.as_slice()].concat();
    properties.refuse_others(&known, "a record set of this type has no such member")?;
    match asked {
        Asked::Soa if relative(request) != APEX => return Err(absent(request, asked, &key)),
        Asked::Soa => zone.soa = read_soa(&zone.soa, &properties)?,
        Asked::Set(kind) => {
            let name = relative(request);
            if name != APEX && domain_name(&name, true).is_none() {
                return Err(body.refused(&format!("`{name}` is no name of a record set")));
            }
            let old = zone.record(&name, kind).cloned();
            let kept = old.as_ref().filter(|_| !whole);
            // A set without values is one that is filled later.
            let data = read_data(kind, &properties)?.or_else(|| kept.map(|old| old.set.data.clone()));
            let data = data.unwrap_or_else(|| RecordData::none(kind));
            let ttl = number(&properties, "ttl")?.or(kept.map(|old| old.set.ttl)).unwrap_or(RECORD_TTL);
            let metadata = metadata(&properties)?.or_else(|| kept.map(|old| old.metadata.clone())).unwrap_or_default();
            let data = without(data, old.as_ref(), &owned(request, &key, &name));
            match data {
                Some(data) => zone.put(ZoneRecord { name, set: RecordSet { ttl, data }, metadata }),
                // The request changes nothing.
                None => {
                    return now(request, asked, &key, &zone)
                        .map(ArmResponse::ok)
                        .ok_or_else(|| absent(request, asked, &key));
                }
            }
        }
    }
    write(request, &key, zone.clone())?;
    let shown = now(request, asked, &key, &zone).ok_or_else(|| absent(request, asked, &key))?;
    Ok(ArmResponse::put(shown, before.is_none()))
}

/// The name of the path, in lower case and relative to its zone.
fn relative(request: &ArmRequest) -> String {
    request.parameter("relative").to_lowercase()
}

fn absent(request: &ArmRequest, asked: Asked, zone: &Key) -> Error {
    let kind = format!("{}/{}", ids::DNS_ZONE, asked.name());
    Error::absent(&kind, &zone.beside(&relative(request)))
}

fn now(request: &ArmRequest, asked: Asked, key: &Key, zone: &DnsZone) -> Option<Value> {
    match asked {
        Asked::Soa => (relative(request) == APEX).then(|| show_soa(key, &zone.soa)),
        Asked::Set(kind) => show(key, zone, &relative(request), kind, &owned(request, key, &relative(request))),
    }
}

/// Addresses of visible endpoints at a name of the zone.
fn owned<'a>(request: &'a ArmRequest, key: &Key, name: &str) -> Vec<(&'a Key, IpAddr)> {
    let seen = |endpoint: &Key| request.sees(ItemKind::Endpoint, endpoint);
    names::in_zone(&request.view.state, key, &seen).remove(name).unwrap_or_default()
}

/// The values to write, without addresses of endpoints, so that a set that is read and written back does not keep them
/// after the endpoints. `None`: nothing else remains.
fn without(data: RecordData, old: Option<&ZoneRecord>, owned: &[(&Key, IpAddr)]) -> Option<RecordData> {
    let kept = |ip: IpAddr| {
        let written = old.is_some_and(|old| match &old.set.data {
            RecordData::A(all) => all.iter().any(|one| IpAddr::from(*one) == ip),
            RecordData::Aaaa(all) => all.iter().any(|one| IpAddr::from(*one) == ip),
            RecordData::Cname(_) | RecordData::Mx(_) | RecordData::Ptr(_) | RecordData::Srv(_) | RecordData::Txt(_) => {
                false
            }
        });
        written || !owned.iter().any(|(_, theirs)| *theirs == ip)
    };
    match data {
        RecordData::A(all) if !all.is_empty() => {
            let kept: Vec<_> = all.into_iter().filter(|one| kept((*one).into())).collect();
            (!kept.is_empty()).then_some(RecordData::A(kept))
        }
        RecordData::Aaaa(all) if !all.is_empty() => {
            let kept: Vec<_> = all.into_iter().filter(|one| kept((*one).into())).collect();
            (!kept.is_empty()).then_some(RecordData::Aaaa(kept))
        }
        other @ (RecordData::A(_)
        | RecordData::Aaaa(_)
        | RecordData::Cname(_)
        | RecordData::Mx(_)
        | RecordData::Ptr(_)
        | RecordData::Srv(_)
        | RecordData::Txt(_)) => Some(other),
    }
}

/// The list, or object, that holds the values of a type.
fn field_of(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "aRecords",
        RecordType::Aaaa => "aaaaRecords",
        RecordType::Cname => "cnameRecord",
        RecordType::Mx => "mxRecords",
        RecordType::Ptr => "ptrRecords",
        RecordType::Srv => "srvRecords",
        RecordType::Txt => "txtRecords",
    }
}

fn read_data(kind: RecordType, properties: &JsonField<'_>) -> Result<Option<RecordData>, Error> {
    let list = field_of(kind);
    let Some(field) = properties.get(list) else { return Ok(None) };
    let name = |field: &JsonField<'_>, at: &str| {
        let text = field.required(at)?;
        domain_name(&text, false).map(|name| name.as_str().into()).ok_or_else(|| field.wrong("a whole name"))
    };
    Ok(Some(match kind {
        RecordType::A => RecordData::A(properties.each(list, |item| item.given("ipv4Address", "an IPv4 address"))?),
        RecordType::Aaaa => {
            RecordData::Aaaa(properties.each(list, |item| item.given("ipv6Address", "an IPv6 address"))?)
        }
        RecordType::Cname => RecordData::Cname(name(&field, "cname")?),
        RecordType::Mx => RecordData::Mx(properties.each(list, |item| {
            let preference = item.port("preference")?.unwrap_or_default();
            Ok(Mx { preference, exchange: name(item, "exchange")? })
        })?),
        RecordType::Ptr => RecordData::Ptr(properties.each(list, |item| name(item, "ptrdname"))?),
        RecordType::Srv => RecordData::Srv(properties.each(list, |item| {
            Ok(Srv {
                priority: item.port("priority")?.unwrap_or_default(),
                weight: item.port("weight")?.unwrap_or_default(),
                port: item.port("port")?.ok_or_else(|| item.lacks("port"))?,
                target: name(item, "target")?,
            })
        })?),
        RecordType::Txt => RecordData::Txt(properties.each(list, |item| {
            let pieces = item.texts("value")?;
            let fits = pieces.iter().all(|piece| piece.len() <= TXT_PIECE);
            if fits { Ok(pieces) } else { Err(item.refused("a string of a text has at most 255 bytes")) }
        })?),
    }))
}

fn number(field: &JsonField<'_>, name: &str) -> Result<Option<u32>, Error> {
    field.get(name).map(|value| value.read::<u32>()).transpose()
}

fn metadata(properties: &JsonField<'_>) -> Result<Option<Tags>, Error> {
    properties.get("metadata").map(|value| value.read::<Tags>()).transpose()
}

fn read_soa(before: &Soa, properties: &JsonField<'_>) -> Result<Soa, Error> {
    let ttl = number(properties, "ttl")?.unwrap_or(before.ttl);
    let Some(record) = properties.get("soaRecord") else { return Ok(Soa { ttl, ..before.clone() }) };
    let known = ["email", "refreshTime", "retryTime", "expireTime", "minimumTtl"];
    record.refuse_others(&known, "this follows from the zone, and cannot be set")?;
    // The default that is shown is not a setting.
    let email = record.changed("email").map(|email| email.as_text()).transpose()?;
    let email = match email.filter(|text| !text.is_empty()) {
        Some(text) => domain_name(&text, false)
            .ok_or_else(|| record.refused("`email` is a name, such as hostmaster.example.com"))?,
        None => before.email.to_string(),
    };
    Ok(Soa {
        ttl,
        email: email.as_str().into(),
        refresh: number(&record, "refreshTime")?.unwrap_or(before.refresh),
        retry: number(&record, "retryTime")?.unwrap_or(before.retry),
        expire: number(&record, "expireTime")?.unwrap_or(before.expire),
        minimum: number(&record, "minimumTtl")?.unwrap_or(before.minimum),
    })
}

/// A record set: written values, and those of endpoints. `None`: there are neither.
fn show(key: &Key, zone: &DnsZone, name: &str, kind: RecordType, owned: &[(&Key, IpAddr)]) -> Option<Value> {
    let written = zone.record(name, kind);
    let mut values = written.map(|record| shown(&record.set.data)).unwrap_or_default();
    let mut endpoints = BTreeSet::new();
    for (endpoint, ip) in owned {
        let value = match (kind, ip) {
            (RecordType::A, IpAddr::V4(ip)) => json!({ "ipv4Address": ip }),
            (RecordType::Aaaa, IpAddr::V6(ip)) => json!({ "ipv6Address": ip }),
            _ => continue,
        };
        endpoints.insert(ids::endpoint(endpoint).to_string());
        match values.as_array_mut() {
            Some(all) if !all.contains(&value) => all.push(value),
            Some(_) => {}
            None => values = json!([value]),
        }
    }
    if values.is_null() && written.is_none() {
        return None;
    }
    let nothing = Tags::new();
    let (ttl, metadata) = written.map_or((ENDPOINT_TTL, &nothing), |record| (record.set.ttl, &record.metadata));
    let mut properties = properties(&whole(name, &key.name), ttl, metadata);
    if !values.is_null() {
        properties.insert(field_of(kind).into(), values);
    }
    if !endpoints.is_empty() {
        properties.insert("privlink".into(), json!({ "privateEndpoints": endpoints }));
    }
    Some(enveloped(key, kind.name(), name, &properties))
}

/// Seconds that Azure shows for records of endpoints; each VNet's resolver has its own.
const ENDPOINT_TTL: u32 = 10;

fn shown(data: &RecordData) -> Value {
    match data {
        RecordData::A(all) => all.iter().map(|one| json!({ "ipv4Address": one })).collect(),
        RecordData::Aaaa(all) => all.iter().map(|one| json!({ "ipv6Address": one })).collect(),
        RecordData::Cname(to) if to.is_empty() => Value::Null,
        RecordData::Cname(to) => json!({ "cname": &**to }),
        RecordData::Mx(all) => {
            all.iter().map(|one| json!({ "preference": one.preference, "exchange": &*one.exchange })).collect()
        }
        RecordData::Ptr(all) => all.iter().map(|one| json!({ "ptrdname": &**one })).collect(),
        RecordData::Srv(all) => {
            let one = |one: &Srv| json!({ "priority": one.priority, "weight": one.weight, "port": one.port, "target": &*one.target });
            all.iter().map(one).collect()
        }
        RecordData::Txt(all) => all.iter().map(|one| json!({ "value": one })).collect(),
    }
}

fn show_soa(key: &Key, soa: &Soa) -> Value {
    let mut properties = properties(&whole(APEX, &key.name), soa.ttl, &Tags::new());
    let email =
        if soa.email.is_empty() { format!("hostmaster.{}", key.name.to_lowercase()) } else { soa.email.to_string() };
    let record = json!({
        "host": key.name.to_lowercase(),
        "email": email,
        "serialNumber": 1,
        "refreshTime": soa.refresh,
        "retryTime": soa.retry,
        "expireTime": soa.expire,
        "minimumTtl": soa.minimum,
    });
    properties.insert("soaRecord".into(), record);
    enveloped(key, "SOA", APEX, &properties)
}

fn properties(fqdn: &str, ttl: u32, metadata: &Tags) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("ttl".into(), json!(ttl));
    properties.insert("fqdn".into(), json!(format!("{fqdn}.")));
    properties.insert("isAutoRegistered".into(), json!(false));
    if !metadata.is_empty() {
        properties.insert("metadata".into(), json!(metadata));
    }
    properties
}

fn enveloped(key: &Key, kind: &str, name: &str, properties: &Map<String, Value>) -> Value {
    tagged(json!({
        "id": ids::dns_zone(key).below(kind, name).to_string(),
        "name": name,
        "type": format!("{}/{kind}", ids::DNS_ZONE),
        "properties": properties,
    }))
}
