//! Properties of typed resources that privlink does not use. Those on a list are stored and shown again. Any other may
//! be a secret, so only its name is stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::state::ControlState;

/// The most bytes of stored properties.
pub const KEPT_MAX: usize = 16 * 1024;
/// The most names of properties that are not stored.
pub const NAMES_MAX: usize = 64;
/// The most characters of such a name.
pub const NAME_MAX: usize = 128;
/// The key of these names in the stored text.
pub const NOT_KEPT: &str = "notKept";

/// Properties that privlink uses or computes itself.
const OWN: [&str; 8] = ["id", "name", "type", "location", "tags", "etag", "systemData", "properties"];
const COMPUTED: [&str; 7] = [
    "provisioningState",
    "primaryEndpoints",
    "privateEndpointConnections",
    "privlink",
    "visibility",
    "autoApproval",
    "creationTime",
];

/// The listed properties, as a tree of lower-case names. Leaves are stored.
#[derive(Debug, Default)]
struct Listed(HashMap<String, Listed>);

impl Listed {
    fn add(&mut self, path: &str) {
        let mut place = self;
        for name in path.split('.') {
            place = place.0.entry(name.to_lowercase()).or_default();
        }
    }

    fn below(&self, name: &str) -> Option<&Self> {
        self.0.get(&name.to_lowercase()).or_else(|| self.0.get("*"))
    }
}

/// The list by lower-case type. Entries for all types are in each.
static LISTED: LazyLock<HashMap<String, Listed>> = LazyLock::new(|| {
    let lines = include_str!("kept_properties.txt").lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let all: Vec<(String, &str)> = lines.map(|(kind, paths)| (kind.to_lowercase(), paths)).collect();
    let mut listed: HashMap<String, Listed> = HashMap::new();
    for kind in all.iter().map(|(kind, _)| kind) {
        listed.entry(kind.clone()).or_default();
    }
    for (kind, tree) in &mut listed {
        let own = all.iter().filter(|(of, _)| of == ANY || of == kind);
        own.flat_map(|(_, paths)| paths.split_whitespace()).for_each(|path| tree.add(path));
    }
    listed
});

const ANY: &str = "any";

/// The stored properties of an object of `kind`, as JSON, after merging `body` into those stored `before`. Empty: none.
/// Properties that the body does not mention stay; null removes one. Names of properties that are not stored stay, too.
/// `None`: it is too much.
pub fn kept(kind: &str, before: &str, body: &Value) -> Option<String> {
    let (mut merged, lost) = shown(before);
    overlay(&mut merged, body.as_object()?);
    let lost = lost.and_then(|names| serde_json::from_value(names).ok()).unwrap_or_default();
    sorted(kind, &merged, lost)
}

/// Merges `body` into `kept`.
fn overlay(kept: &mut Map<String, Value>, body: &Map<String, Value>) {
    for (name, value) in body {
        let name = kept.keys().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name).clone();
        match (kept.get_mut(&name), value) {
            (_, Value::Null) => _ = kept.remove(&name),
            (Some(Value::Object(inner)), Value::Object(body)) => overlay(inner, body),
            _ => _ = kept.insert(name, value.clone()),
        }
    }
}

/// As [`kept`], with the names in `lost` from before.
fn sorted(kind: &str, body: &Map<String, Value>, mut lost: BTreeSet<String>) -> Option<String> {
    let listed = LISTED.get(&kind.to_lowercase()).or_else(|| LISTED.get(ANY))?;
    let mut kept = Map::new();
    for (name, value) in without(body, &OWN) {
        let value = listed.below(&format!("/{name}")).and_then(|below| pick(below, name, value, &mut lost));
        match value {
            Some(value) => _ = kept.insert(name.clone(), value),
            None => miss(&mut lost, name),
        }
    }
    let mut properties = Map::new();
    let said = body.get("properties").and_then(Value::as_object);
    for (name, value) in said.into_iter().flat_map(|properties| without(properties, &COMPUTED)) {
        let path = format!("properties.{name}");
        match listed.below(name).and_then(|below| pick(below, &path, value, &mut lost)) {
            Some(value) => _ = properties.insert(name.clone(), value),
            None => miss(&mut lost, &path),
        }
    }
    if !properties.is_empty() {
        kept.insert("properties".into(), Value::Object(properties));
    }
    if !lost.is_empty() {
        kept.insert(NOT_KEPT.into(), lost.into_iter().take(NAMES_MAX).collect());
    }
    let text = if kept.is_empty() { String::new() } else { Value::Object(kept).to_string() };
    (text.len() <= KEPT_MAX).then_some(text)
}

fn without<'a>(object: &'a Map<String, Value>, own: &'a [&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object.iter().filter(|(name, _)| !own.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

fn miss(lost: &mut BTreeSet<String>, path: &str) {
    lost.insert(path.chars().take(NAME_MAX).collect());
}

/// The listed part of `value` at `path`. The rest is added to the lost names. `None`: nothing is listed.
fn pick(listed: &Listed, path: &str, value: &Value, lost: &mut BTreeSet<String>) -> Option<Value> {
    match value {
        Value::Array(all) => {
            let picked: Vec<Value> = all.iter().filter_map(|one| pick(listed, path, one, lost)).collect();
            (all.is_empty() || !picked.is_empty()).then_some(Value::Array(picked))
        }
        Value::Object(object) => {
            let mut kept = Map::new();
            for (name, value) in object {
                let path = format!("{path}.{name}");
                match listed.below(name).and_then(|below| pick(below, &path, value, lost)) {
                    Some(value) => _ = kept.insert(name.clone(), value),
                    None => miss(lost, &path),
                }
            }
            (object.is_empty() || !kept.is_empty()).then_some(Value::Object(kept))
        }
        // An object is expected here, so a text in its place is dropped.
        Value::Bool(_) | Value::Number(_) | Value::String(_) if !listed.0.is_empty() => None,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.clone()),
    }
}

/// The properties in a text made by [`kept`], and the names of lost ones.
pub fn shown(text: &str) -> (Map<String, Value>, Option<Value>) {
    let mut kept: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let lost = kept.remove(NOT_KEPT);
    (kept, lost)
}

/// Removes stored properties that an older release kept and this one would not. Returns descriptions of the changed
/// resources.
pub(crate) fn clean(state: &mut ControlState) -> Vec<(String, String)> {
    let mut cleaned = Vec::new();
    let resources: Vec<_> = state.model.resources.iter().map(|(key, one)| (key.clone(), one.clone())).collect();
    for (key, mut resource) in resources {
        let (body, lost) = shown(&resource.foreign);
        let lost = lost.and_then(|names| serde_json::from_value(names).ok()).unwrap_or_default();
        let text = sorted(resource.kind.as_deref().unwrap_or_default(), &body, lost).unwrap_or_default();
        if text == resource.foreign {
            continue;
        }
        resource.foreign = text;
        let lost = shown(&resource.foreign).1.map(|names| names.to_string()).unwrap_or_default();
        cleaned.push((format!("resource {key}"), format!("values not kept any more: {lost}")));
        state.model.resources.insert(key, resource);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SQL: &str = "Microsoft.Sql/servers";

    fn split(kind: &str, body: &Value) -> (Value, Vec<String>) {
        let (kept, lost) = shown(&kept(kind, "", body).expect("little"));
        let names = lost.map(|lost| serde_json::from_value(lost).expect("names"));
        (Value::Object(kept), names.unwrap_or_default())
    }

    #[test]
    fn of_what_is_not_listed_only_the_name_is_kept() {
        let body = json!({ "location": "here", "kind": "v12", "apiKey": "hidden-1", "properties": {
            "administratorLogin": "admin", "administratorLoginPassword": "hidden-2",
            "administrators": { "login": "a", "secret": "hidden-3" }, "publicNetworkAccess": { "x": "hidden-4" },
            "encryption": "hidden-5", "provisioningState": "Succeeded" } });
        let text = kept(SQL, "", &body).expect("little");
        assert!(!text.contains("hidden"), "{text}");
        let (kept, lost) = split(SQL, &body);
        let properties = json!({ "administratorLogin": "admin", "administrators": { "login": "a" } });
        assert_eq!(kept, json!({ "kind": "v12", "properties": properties }));
        let names = ["administratorLoginPassword", "administrators.secret", "encryption", "publicNetworkAccess"];
        let mut expected = vec!["apiKey".to_owned()];
        expected.extend(names.map(|name| format!("properties.{name}")));
        expected.push("properties.publicNetworkAccess.x".into());
        assert_eq!(lost, expected);
    }

    #[test]
    fn what_is_listed_is_kept_whatever_its_name() {
        let storage = json!({ "sku": { "name": "Standard_LRS" }, "properties": {
            "allowSharedKeyAccess": false, "keyPolicy": { "keyExpirationPeriodInDays": 7 },
            "encryption": { "keySource": "Microsoft.Storage", "services": { "blob": { "enabled": true } } },
            "networkAcls": { "ipRules": [{ "value": "192.0.2.1", "action": "Allow" }], "virtualNetworkRules": [] } } });
        assert_eq!(split("microsoft.storage/STORAGEACCOUNTS", &storage), (storage, vec![]));
    }

    #[test]
    fn what_was_kept_is_kept_again_and_its_losses_are_remembered() {
        let first = kept(SQL, "", &json!({ "kind": "v12", "properties": { "password": "hidden" } })).expect("little");
        let (body, lost) = shown(&first);
        let lost = serde_json::from_value(lost.expect("a name")).expect("names");
        assert_eq!(sorted(SQL, &body, lost), Some(first));
        assert!(!kept(SQL, "", &json!({ "notKept": ["hidden"] })).expect("little").contains("hidden"));
        let of_nobody = json!({ "properties": { "anything": 1, "publicNetworkAccess": "Disabled" } });
        assert_eq!(
            split("Own.Provider/things", &of_nobody).0,
            json!({ "properties": { "publicNetworkAccess": "Disabled" } })
        );
    }

    #[test]
    fn what_a_later_body_leaves_out_stays_and_null_takes_it_away() {
        let first = json!({ "kind": "v12", "properties": { "version": "12.0", "password": "hidden",
            "administrators": { "login": "a" } } });
        let first = kept(SQL, "", &first).expect("little");
        assert_eq!(kept(SQL, &first, &json!({ "location": "x", "properties": {} })), Some(first.clone()));
        let shown_again = shown(&first).0;
        assert_eq!(kept(SQL, &first, &Value::Object(shown_again)), Some(first.clone()));
        let changed = kept(SQL, &first, &json!({ "KIND": null, "properties": { "version": "13.0" } })).expect("little");
        let (now, lost) = shown(&changed);
        let properties = json!({ "version": "13.0", "administrators": { "login": "a" } });
        assert_eq!(Value::Object(now), json!({ "properties": properties }));
        assert_eq!(lost, Some(json!(["properties.password"])));
    }

    #[test]
    fn too_much_is_refused() {
        let long = "x".repeat(KEPT_MAX);
        assert_eq!(kept(SQL, "", &json!({ "properties": { "version": long } })), None);
        let many: Map<String, Value> = (0..500).map(|n| (format!("n{n}"), json!(1))).collect();
        assert_eq!(split(SQL, &json!({ "properties": many })).1.len(), NAMES_MAX);
    }
}
