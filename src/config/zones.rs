//! `[[dns_zone]]`, and its way to the model.

use std::collections::BTreeMap;
use std::ops::Range;

use super::build::Builder;
use super::file::{DnsZone, File, Link, Record};
use crate::model;
use crate::model::rules::Object;
use crate::model::{Key, RECORD_TTL, RecordSet, RecordType, Tags, ZoneLink, ZoneRecord, domain_name, read_values};

/// Record sets and where they stand, by name and type.
type Sets = BTreeMap<(String, RecordType), (ZoneRecord, Range<usize>)>;

impl Builder {
    /// Builds every private DNS zone.
    pub(super) fn zones(&mut self, file: &File) {
        for (index, table) in file.dns_zones.iter().flatten().enumerate() {
            if let Some(key) = self.key::<model::DnsZone>(index) {
                let zone = self.zone(&key, table);
                self.model.dns_zones.insert(key, zone);
            }
        }
    }

    fn zone(&mut self, key: &Key, table: &DnsZone) -> model::DnsZone {
        let object = Object::DnsZone(key.clone());
        self.place(object.at(""), &table.span);
        self.broken(&object, table.broken);
        self.value(&object, "name", table.name.as_ref());
        self.value(&object, "resource_group", table.resource_group.as_ref());
        self.value(&object, "subscription", table.subscription.as_ref());
        let mut sets = BTreeMap::new();
        for table in table.records.iter().flatten() {
            self.record(&object, key, &mut sets, table);
        }
        let mut zone = model::DnsZone::default();
        // Sets stand in the order of name and type, not in that of the file.
        for (index, (record, span)) in sets.into_values().enumerate() {
            self.place(object.at(format!("records[{index}]")), &span);
            zone.records.push(record);
        }
        for (index, link) in table.links.iter().flatten().enumerate() {
            zone.links.extend(self.link(&object, key, index, link));
        }
        zone
    }

    /// Enters a record set.
    fn record(&mut self, object: &Object, key: &Key, sets: &mut Sets, table: &Record) {
        let (Some(name), Some(kind), Some(values)) = (&table.name, &table.kind, &table.values) else { return };
        let kind = kind.value.0;
        let texts: Vec<String> = values.items.iter().map(|value| value.value.clone()).collect();
        let data = match read_values(kind, &texts) {
            Ok(data) => data,
            Err((at, form)) => {
                let span = values.items.get(at).map_or(&values.span, |value| &value.span);
                let found = texts.get(at).map_or("nothing".to_owned(), |text| format!("`{text}`"));
                let message = format!("{found} is no value of a record of type {kind}");
                self.error(object, span, message, &format!("write {form}"));
                return;
            }
        };
        let Some(relative) = relative(&name.value, &key.name) else {
            let message = format!("`{}` is no name in zone `{}`", name.value, key.name);
            let remedy =
                "write it relative to the zone: \"www\", \"@\" for the zone itself, \"*\" for every other name";
            self.error(object, &name.span, message, remedy);
            return;
        };
        if sets.contains_key(&(relative.clone(), kind)) {
            let message = format!("a second record set of type {kind} at `{relative}`");
            self.error(object, &name.span, message, "write all values of one type into one `values` list");
            return;
        }
        let ttl = table.ttl.as_ref().map_or(u64::from(RECORD_TTL), |ttl| ttl.value.0.as_secs());
        let set = RecordSet { ttl: u32::try_from(ttl).unwrap_or(u32::MAX), data };
        let record = ZoneRecord { name: relative.clone(), set, metadata: Tags::new() };
        sets.insert((relative, kind), (record, table.span.clone()));
    }

    fn link(&mut self, object: &Object, key: &Key, index: usize, table: &Link) -> Option<ZoneLink> {
        let field = |name: &str| format!("links[{index}].{name}");
        self.place(object.at(format!("links[{index}]")), &table.span);
        let named = table.vnet.as_ref()?;
        self.value(object, &field("vnet"), Some(named));
        let vnet = self.refer::<model::Vnet>(key, named);
        let policy = self.value(object, &field("resolution_policy"), table.resolution_policy.as_ref());
        let policy = policy.map(|word| word.0).unwrap_or_default();
        Some(ZoneLink { name: vnet.name.clone(), vnet, policy, registration: false, tags: Tags::new() })
    }
}

/// The name relative to its zone; one with a dot at its end is whole. `None`: it is none.
fn relative(name: &str, zone: &str) -> Option<String> {
    if name == model::APEX {
        return Some(name.to_owned());
    }
    let (folded, zone) = (domain_name(name, true)?, zone.to_lowercase());
    if folded == zone {
        return Some(model::APEX.to_owned());
    }
    if !name.ends_with('.') {
        return Some(folded);
    }
    folded.strip_suffix(&zone)?.strip_suffix('.').map(str::to_owned)
}
