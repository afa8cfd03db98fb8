//! The records of `[[dns_zone]]`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::build::Builder;
use super::spec::Spec;
use crate::model;
use crate::model::rules::Object;
use crate::model::{Key, RecordType, domain_name, read_values};

impl Builder {
    /// Puts the record sets of a zone into the order of name and type, with names as the zone has them.
    pub(super) fn unfold_zone<K>(&mut self, object: &Object, key: &Key, spec: &Spec<K>, written: &mut Value) {
        let Some(records) = written.get_mut("records").and_then(Value::as_array_mut) else { return };
        let mut sets = BTreeMap::new();
        for (index, mut record) in std::mem::take(records).into_iter().enumerate() {
            if let Some(name) = self.record(object, key, index, &record)
                && let Ok(kind) = serde_json::from_value::<RecordType>(record["type"].clone())
            {
                if sets.contains_key(&(name.clone(), kind)) {
                    let message = format!("a second record set of type {kind} at `{name}`");
                    let span = self.find(object.at(format!("records[{index}].name")));
                    self.error(object, &span, message, "write all values of one type into one `values` list");
                    continue;
                }
                record["name"] = name.as_str().into();
                sets.insert((name, kind), (index, record));
            }
        }
        let mut new = HashMap::new();
        for (old, record) in sets.into_values() {
            new.insert(old, records.len());
            records.push(record);
        }
        self.renumber(object, spec, "records", &new);
    }

    /// The name of a record set in the zone; `None`: the set is no such thing, which is noted.
    fn record(&mut self, object: &Object, key: &Key, index: usize, record: &Value) -> Option<String> {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let kind: RecordType = serde_json::from_value(record["type"].clone()).ok()?;
        let texts: Vec<String> = serde_json::from_value(record["values"].clone()).ok()?;
        if let Err((at, form)) = read_values(kind, &texts) {
            let span = self.find(object.at(format!("records[{index}].values[{at}]")));
            let found = texts.get(at).map_or("nothing".to_owned(), |text| format!("`{text}`"));
            let message = format!("{found} is no value of a record of type {kind}");
            self.error(object, &span, message, &format!("write {form}"));
            return None;
        }
        let name = relative(text("name"), &key.name);
        if name.is_none() {
            let span = self.find(object.at(format!("records[{index}].name")));
            let message = format!("`{}` is no name in zone `{}`", text("name"), key.name);
            let remedy =
                "write it relative to the zone: \"www\", \"@\" for the zone itself, \"*\" for every other name";
            self.error(object, &span, message, remedy);
        }
        name
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
