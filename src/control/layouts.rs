//! Objects of layouts 1 to 3, in which specs were not written as files and requests write them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::model::spelled::time;

/// The first layout that stores objects as files write them.
pub(super) const SPECS: u32 = 4;

/// Converts an entry of the store's `table` to layout [`SPECS`].
pub(super) fn upgraded(table: &str, entry: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut entry: Value = serde_json::from_slice(entry)?;
    let Some(value) = entry.get_mut("value") else { return serde_json::to_vec(&entry) };
    match table {
        "files" => {
            for (kind, upgrade) in KINDS {
                objects(value, kind).for_each(upgrade);
            }
        }
        table => KINDS.into_iter().filter(|(kind, _)| *kind == table).for_each(|(_, upgrade)| upgrade(value)),
    }
    serde_json::to_vec(&entry)
}

/// Makes an object a spec.
type Upgrade = fn(&mut Value);

/// Kinds that were not written as specs.
const KINDS: [(&str, Upgrade); 4] =
    [("security_groups", security_group), ("vnets", vnet), ("resources", resource), ("endpoints", values)];

/// The objects of one kind in a remembered file.
fn objects<'v>(file: &'v mut Value, kind: &str) -> impl Iterator<Item = &'v mut Value> {
    let objects = file.get_mut("model").and_then(|model| model.get_mut(kind)?.as_object_mut());
    objects.into_iter().flat_map(serde_json::Map::values_mut)
}

/// `allow` was a boolean, and port ranges were pairs of numbers.
fn security_group(group: &mut Value) {
    let rules = group.get_mut("rules").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(allow) = rule.remove("allow") {
            rule.insert("access".to_owned(), json!(if allow == true { "allow" } else { "deny" }));
        }
        let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
        for range in ports.into_iter().flatten() {
            if let [first, last] = range.as_array().map(Vec::as_slice).unwrap_or_default() {
                *range = if first == last { json!(first.to_string()) } else { json!(format!("{first}-{last}")) };
            }
        }
    }
}

/// NAT addresses were not allowed where the policies of services held.
fn vnet(vnet: &mut Value) {
    values(vnet);
    let subnets = vnet.get_mut("subnets").and_then(Value::as_array_mut);
    for subnet in subnets.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(Value::Bool(policies)) = subnet.remove("service_policies") {
            subnet.insert("nat".to_owned(), json!(!policies));
        }
    }
}

/// Some keys had other names, and ICMP echo was no port.
fn resource(resource: &mut Value) {
    values(resource);
    let Some(fields) = resource.as_object_mut() else { return };
    for (old, new) in [("kind", "type"), ("destination", "direct_destination")] {
        if let Some(value) = fields.remove(old) {
            fields.insert(new.to_owned(), value);
        }
    }
    match fields.get_mut("visibility") {
        Some(Value::Object(one)) => {
            let list = one.remove("Subscriptions").unwrap_or_default();
            fields.insert("visibility".to_owned(), list);
        }
        Some(word) if *word == "Everyone" => *word = json!(["*"]),
        _ => {}
    }
    let targets = fields.get_mut("targets").and_then(Value::as_array_mut);
    for target in targets.into_iter().flatten().filter_map(Value::as_object_mut) {
        let icmp = target.remove("icmp").is_some_and(|icmp| icmp == true);
        if let Some(ports) = target.get_mut("ports").and_then(Value::as_array_mut).filter(|_| icmp) {
            ports.push(json!({ "protocol": "icmp" }));
        }
    }
}

/// Times were numbers of seconds and nanoseconds, and exposed ports three numbers; an endpoint's zones had another key.
fn values(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(values),
        Value::Object(fields) => {
            if let Some(zones) = fields.remove("zone_group") {
                fields.insert("dns_zones".to_owned(), zones);
            }
            fields.values_mut().for_each(values);
            let number = |key: &str| fields.get(key).and_then(Value::as_u64);
            if let (Some(seconds), Some(_), 2) = (number("secs"), number("nanos"), fields.len()) {
                *value = json!(time::text(Duration::from_secs(seconds)));
            } else if let (Some(first), Some(last), Some(backend)) =
                (number("first"), number("last"), number("backend_first"))
            {
                let port = if first == last { first.to_string() } else { format!("{first}-{last}") };
                let backend = Some(backend).filter(|backend| *backend != first);
                *value = json!({ "protocol": fields["protocol"], "port": port, "backend_port": backend });
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
