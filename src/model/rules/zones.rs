//! Private DNS zones: names, record sets, links, and the zones of endpoints.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Object, check_name, check_owner, known, list, short};
use crate::model::sentence::{Mention, Part, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{
    APEX, DnsZone, Key, Model, PrivateEndpoint, RecordData, RecordType, ZoneRecord, domain_name, names,
};

/// Record sets of a zone at most (Azure: `maxNumberOfRecordSets`).
pub const RECORD_SETS_MAX: usize = 25_000;
/// Records of a set at most (Azure's limits of private DNS).
const RECORDS_MAX: usize = 20;
/// Links of a zone at most (Azure: `maxNumberOfVirtualNetworkLinks`).
pub const LINKS_MAX: usize = 1_000;
/// Zones of a group at most (Azure's limits of private endpoints).
const GROUP_MAX: usize = 5;
/// Characters of a TXT record at most (Azure's limits of private DNS).
const TXT_MAX: usize = 1_024;
/// RFC 2181 §8: 31 bits.
const TTL_MAX: u32 = i32::MAX.unsigned_abs();

/// What must hold for one zone, and between it and the others.
pub(super) fn check(model: &Model, key: &Key, zone: &DnsZone, findings: &mut Findings) {
    let object = Object::DnsZone(key.clone());
    check_owner(key, &object, findings);
    let labels = key.name.split('.').count();
    if domain_name(&key.name, false).is_none() || key.name.ends_with('.') || !(2..=34).contains(&labels) {
        let message = itself(format!("`{}` is not the name of a zone", key.name));
        let remedy =
            "use 2 to 34 labels of letters, digits, `-` and `_` with dots between, such as \"example.internal\"";
        findings.error("InvalidZoneName", object.at("name"), message, remedy);
    }
    if zone.records.len() > RECORD_SETS_MAX {
        let message =
            itself(format!("the zone has {} record sets, and {RECORD_SETS_MAX} is the limit", zone.records.len()));
        findings.error("TooManyRecordSets", object.at("records"), message, "move some into a zone of their own");
    }
    for (index, record) in zone.records.iter().enumerate() {
        check_record(&object, key, zone, index, record, findings);
    }
    check_links(model, &object, key, zone, findings);
}

fn check_record(
    object: &Object,
    key: &Key,
    zone: &DnsZone,
    index: usize,
    record: &ZoneRecord,
    findings: &mut Findings,
) {
    let at = |name: &str| object.at(format!("records[{index}].{name}"));
    let kind = record.set.data.kind();
    let whole = record.fqdn(&key.name);
    if record.name != APEX && domain_name(&record.name, true).is_none() || domain_name(&whole, true).is_none() {
        let remedy = "write it relative to the zone: \"www\", \"@\" for the zone itself, \"*\" for every other name";
        findings.error(
            "InvalidRecordName",
            at("name"),
            itself(format!("`{}` is not a name of a record", record.name)),
            remedy,
        );
    }
    if record.set.ttl > TTL_MAX {
        let message = itself(format!("a ttl of {} s is too long (RFC 2181 §8)", record.set.ttl));
        findings.error("InvalidTtl", at("ttl"), message, "write at most 2147483647 s");
    }
    let values = count(&record.set.data);
    if values > RECORDS_MAX {
        let message = itself(format!("{kind} of `{}` has {values} values", record.name));
        findings.error("InvalidRecordSet", at("values"), message, itself(format!("give it {RECORDS_MAX} at most")));
    }
    if let RecordData::Txt(texts) = &record.set.data
        && texts.iter().any(|text| text.iter().map(String::len).sum::<usize>() > TXT_MAX)
    {
        let message = itself(format!("a text of `{}` is longer than {TXT_MAX} bytes", record.name));
        findings.error("InvalidRecordSet", at("values"), message, "shorten it, or spread it over several values");
    }
    if kind != RecordType::Cname {
        return;
    }
    if record.name == APEX {
        let remedy = "write A or AAAA records there: the zone itself cannot be an alias (RFC 1034 §3.6.2)";
        findings.error("CnameAtApex", at("type"), "an alias stands at the zone itself", remedy);
    }
    let beside = zone.records.iter().filter(|other| other.name == record.name && other.set.data.kind() != kind);
    let beside: Vec<RecordType> = beside.map(|other| other.set.data.kind()).collect();
    if !beside.is_empty() {
        let message = itself(format!("`{}` is an alias, and has {} records too", record.name, list(&beside)));
        let remedy = "an alias stands alone at its name (RFC 1034 §3.6.2): keep one of the two";
        findings.error("CnameNotAlone", at("type"), message, remedy);
    }
}

fn count(data: &RecordData) -> usize {
    match data {
        RecordData::A(all) => all.len(),
        RecordData::Aaaa(all) => all.len(),
        RecordData::Cname(_) => 1,
        RecordData::Mx(all) => all.len(),
        RecordData::Ptr(all) => all.len(),
        RecordData::Srv(all) => all.len(),
        RecordData::Txt(all) => all.len(),
    }
}

fn check_links(model: &Model, object: &Object, key: &Key, zone: &DnsZone, findings: &mut Findings) {
    if zone.links.len() > LINKS_MAX {
        let message = itself(format!("the zone has {} links, and {LINKS_MAX} is the limit", zone.links.len()));
        findings.error("TooManyVirtualNetworkLinks", object.at("links"), message, "link fewer VNets");
    }
    for (index, link) in zone.links.iter().enumerate() {
        let at = |name: &str| object.at(format!("links[{index}].{name}"));
        check_name(&format!("links[{index}].name"), "link name", &link.name, object, findings);
        let Some(vnet) = model.vnets.get(&link.vnet) else {
            let message = itself(format!("there is no VNet `{}`", short(&link.vnet)));
            let remedy = known("known VNets", ItemKind::Vnet, &model.vnets);
            findings.error("InvalidResourceReference", at("vnet"), message, remedy);
            continue;
        };
        if vnet.dns.is_none() {
            let message =
                itself(format!("VNet `{}` has no resolver, so nobody there is told of this zone", short(&link.vnet)));
            findings.warning("ZoneNotServed", at("vnet"), message, "give it one: dns = { listen = \"…\" }");
        }
        let earlier = zone.links.iter().take(index);
        for other in earlier {
            if other.vnet == link.vnet {
                let message = itself(format!("VNet `{}` is linked twice", short(&link.vnet)));
                findings.error("VirtualNetworkLinkedTwice", at("vnet"), message, "keep one of the two links");
            }
            if other.name.eq_ignore_ascii_case(&link.name) {
                let message = itself(format!("the zone has a link `{}` already", link.name));
                findings.error("DuplicateName", at("name"), message, "choose another name");
            }
        }
        let twin = model.dns_zones.iter().find(|(other, candidate)| {
            *other != key
                && other.name.eq_ignore_ascii_case(&key.name)
                && candidate.links.iter().any(|one| one.vnet == link.vnet)
        });
        if let Some((twin, _)) = twin {
            let other = Mention::of(ItemKind::DnsZone, twin, format_args!("zone `{twin}` of the same name"));
            let message = sentence!("{} is linked to {}", Mention::vnet(&link.vnet), other);
            let remedy =
                "a VNet sees one zone of a name: remove one of the two links, or put all records into one zone";
            findings.error("ZoneNameLinkedTwice", at("vnet"), message, remedy);
            let twin = Object::DnsZone(twin.clone());
            findings.also_at(twin.at("links")).involving(twin);
        }
        if link.registration {
            let message = "hosts of the VNet are not registered: the switch is kept and shown, and has no effect here";
            findings.warning("SettingWithoutEffect", at("registration"), message, "leave it out");
        }
    }
}

/// The zones of an endpoint.
pub(super) fn check_group(
    model: &Model,
    object: &Object,
    (key, endpoint): (&Key, &PrivateEndpoint),
    findings: &mut Findings,
) {
    let Some(group) = &endpoint.zone_group else { return };
    if group.zones.len() > GROUP_MAX {
        let message = itself(format!("the endpoint names {} zones, and {GROUP_MAX} is the limit", group.zones.len()));
        findings.error("TooManyPrivateDnsZones", object.at("dns_zones"), message, "name fewer");
    }
    let taken = names::grouped(model, key, endpoint);
    for (index, one) in group.zones.iter().enumerate() {
        let at = || object.at(format!("dns_zones[{index}]"));
        let Some(zone) = model.dns_zones.get(&one.zone) else {
            let message = itself(format!("there is no private DNS zone `{}`", short(&one.zone)));
            let remedy = known("known zones", ItemKind::DnsZone, &model.dns_zones);
            findings.error("InvalidResourceReference", at(), message, remedy);
            continue;
        };
        let earlier = || group.zones.iter().take(index);
        if earlier().any(|other| other.zone == one.zone || other.name.eq_ignore_ascii_case(&one.name)) {
            findings.error("DuplicateName", at(), itself(format!("`{}` is named twice", one.name)), "name it once");
        }
        if let Some(other) = earlier().find(|other| other.zone.name.eq_ignore_ascii_case(&one.zone.name)) {
            let message = itself(format!("zones `{}` and `{}` have one name", other.zone, one.zone));
            findings.error("DuplicateZoneName", at(), message, "put the endpoint into one of the two");
        }
        let hosts: BTreeSet<&str> =
            taken.iter().filter(|(zone, _)| *zone == one.zone).map(|(_, name)| name.host()).collect();
        if hosts.is_empty() {
            let message =
                itself(format!("no name of the endpoint lies in zone `{}`, so it gets no record there", one.zone.name));
            let of =
                names::of_endpoint(model, key, endpoint).into_iter().map(|name| name.zone).collect::<BTreeSet<_>>();
            let remedy = itself(format!("its names belong into {}", list(of)));
            findings.warning("ZoneTakesNoRecord", at(), message, remedy);
        }
        if !zone.links.iter().any(|link| link.vnet == endpoint.vnet) {
            let message = itself(format!("zone `{}` is not linked to the endpoint's own VNet", short(&one.zone)));
            let remedy = itself(format!("link it: links = [{{ vnet = \"{}\" }}]", short(&endpoint.vnet)));
            findings.warning("ZoneNotLinked", at(), message, remedy).involving(Object::DnsZone(one.zone.clone()));
        }
        let alias = |host: &&str| zone.record(&names::relative(host, &one.zone.name), RecordType::Cname).is_some();
        if let Some(host) = hosts.into_iter().find(alias) {
            let alias = Mention::zone(&one.zone).with(format_args!(" has an alias `{host}`"));
            let message = sentence!("{}, and the endpoint's address would stand beside it", alias);
            let remedy = "remove the CNAME record: an alias stands alone at its name (RFC 1034 §3.6.2)";
            findings.error("CnameNotAlone", at(), message, remedy).involving(Object::DnsZone(one.zone.clone()));
        }
    }
}

/// Endpoints that have names by themselves in a zone that their VNet is linked to: both answer, and only what stands in
/// the zone is seen elsewhere.
pub(super) fn check_overlaps(model: &Model, findings: &mut Findings) {
    let mut linked: BTreeMap<(String, &Key), &Key> = BTreeMap::new();
    for (key, zone) in &model.dns_zones {
        linked.extend(zone.links.iter().map(|link| ((key.name.to_lowercase(), &link.vnet), key)));
    }
    if linked.is_empty() {
        return;
    }
    let mut beside: BTreeMap<&Key, Vec<&Key>> = BTreeMap::new();
    for (key, endpoint) in model.endpoints.iter().filter(|(_, endpoint)| endpoint.zone_group.is_none()) {
        let zones: BTreeSet<String> =
            names::of_endpoint(model, key, endpoint).into_iter().map(|name| name.zone).collect();
        for zone in zones {
            linked.get(&(zone, &endpoint.vnet)).into_iter().for_each(|own| beside.entry(*own).or_default().push(key));
        }
    }
    for (zone, endpoints) in beside {
        let users = endpoints.into_iter().map(|key| Mention::of(ItemKind::Endpoint, key, key)).collect();
        let message = sentence!("{} have names in it by themselves, beside its own records", Part::Users(users));
        let remedy = itself(format!(
            "name it in their `dns_zones`: [\"{}\"]; then their records stand in the zone",
            short(zone)
        ));
        findings.warning("AutomaticNamesBesideZone", Object::DnsZone(zone.clone()).at("name"), message, remedy);
    }
}
