//! Objects of layouts 1 and 2, in which specs were not written as files and requests write them.

use serde_json::{Value, json};

/// The first layout with specs as files write them.
pub(super) const SPECS: u32 = 3;

/// An entry of the store's `table` as layout [`SPECS`] has it.
pub(super) fn upgraded(table: &str, entry: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut entry: Value = serde_json::from_slice(entry)?;
    let Some(value) = entry.get_mut("value") else { return serde_json::to_vec(&entry) };
    match table {
        "security_groups" => security_group(value),
        "files" => objects(value, "security_groups").for_each(security_group),
        _ => {}
    }
    serde_json::to_vec(&entry)
}

/// The objects of one kind in what a file said.
fn objects<'v>(file: &'v mut Value, kind: &str) -> impl Iterator<Item = &'v mut Value> {
    let objects = file.get_mut("model").and_then(|model| model.get_mut(kind)?.as_object_mut());
    objects.into_iter().flat_map(serde_json::Map::values_mut)
}

/// `allow` was true or false, and ports were pairs of numbers.
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
