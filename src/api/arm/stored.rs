//! Azure settings without effect here. They are stored and shown again, so that a client finds what it wrote, and
//! `properties.privlink.storedOnly` lists them. Settings that would narrow access are refused instead. Of settings that
//! this table does not list, only the name is stored: the value may be a secret.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Error;
use super::body::{JsonField, is_empty};
use super::response::tagged;
use crate::model::foreign::{KEPT_MAX, NAME_MAX, NAMES_MAX, NOT_KEPT};

/// How a setting is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is used elsewhere, or it is output.
    Known,
    /// It is stored, unless it has this default value.
    Kept(&'static str),
    /// It is refused, with this reason, unless it has this default value.
    Refused(&'static str, &'static str),
    /// A container: its members have their own entries.
    Inner,
}

/// Settings by their paths in lower case, each as Azure spells it.
type Settings = BTreeMap<String, (String, Fate)>;

/// The table by kind in lower case.
static SETTINGS: LazyLock<HashMap<String, Settings>> = LazyLock::new(|| {
    let mut kinds: HashMap<String, Settings> = HashMap::new();
    let mut kind = String::new();
    for line in lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let named = |text: &'static str| text.split_once('=').unwrap_or((text, ""));
        match word {
            "kind" => kind = rest.to_lowercase(),
            "with" => {
                let (front, other) = rest.split_once(' ').unwrap_or_default();
                let below = kinds.get(&other.to_lowercase()).cloned().unwrap_or_default();
                let settings = kinds.entry(kind.clone()).or_default();
                for (path, fate) in below.into_values() {
                    add(settings, &format!("{front}.{path}"), fate);
                }
            }
            "refused" => {
                let (setting, why) = rest.split_once(' ').unwrap_or((rest, ""));
                let (path, usual) = named(setting);
                add(kinds.entry(kind.clone()).or_default(), path, Fate::Refused(usual, why));
            }
            _ => {
                for (path, usual) in rest.split_whitespace().map(named) {
                    let fate = if word == "kept" { Fate::Kept(usual) } else { Fate::Known };
                    add(kinds.entry(kind.clone()).or_default(), path, fate);
                }
            }
        }
    }
    kinds
});

fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("settings.txt").lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Adds a setting and its containers.
fn add(settings: &mut Settings, path: &str, fate: Fate) {
    for (at, _) in path.match_indices('.') {
        if let Some(front) = path.get(..at) {
            settings.entry(front.to_lowercase()).or_insert_with(|| (front.to_owned(), Fate::Inner));
        }
    }
    settings.insert(path.to_lowercase(), (path.to_owned(), fate));
}

/// What every object may have.
const ANYWHERE: [&str; 9] =
    ["id", "name", "type", "etag", "location", "tags", "systemData", "provisioningState", "resourceGuid"];

/// The stored settings of an object, nested as in a body. Items of a list are keyed by their lower-case names.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    settings: Map<String, Value>,
    lost: BTreeSet<String>,
}

/// The stored settings of an object of `kind`, as JSON, after merging `body` into those stored `before`. Empty: none.
/// Settings that the body does not mention stay.
///
/// # Errors
/// 400: a setting that would narrow access, or too much.
pub(super) fn read(kind: &str, before: &str, body: &JsonField<'_>) -> Result<String, Error> {
    let mut kept = Kept::of(before);
    kept.take(kind, body)?;
    kept.text()
}

/// [`read`] of the item `name` of the list `list`, whose settings are kept with those of what it is in.
///
/// # Errors
/// As of [`read`].
pub(super) fn read_part(
    kind: &str,
    before: &str,
    (list, name): (&str, &str),
    body: &JsonField<'_>,
) -> Result<String, Error> {
    let kept = Kept::of(before);
    let mut part = kept.part(list, name);
    part.take(kind, body)?;
    kept.with_part(list, name, Some(part)).text()
}

impl Kept {
    /// What `text` says.
    pub(super) fn of(text: &str) -> Self {
        let mut settings: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let lost = settings.remove(NOT_KEPT).and_then(|names| serde_json::from_value(names).ok()).unwrap_or_default();
        Self { settings, lost }
    }

    /// What is kept of the item `name` of the list `list`.
    pub(super) fn part(&self, list: &str, name: &str) -> Self {
        let items = self.settings.get("properties").and_then(|properties| properties.get(list));
        let item = items.and_then(|items| items.get(name.to_lowercase())).and_then(Value::as_object);
        let inside = format!("{list}.{}.", name.to_lowercase());
        let missed = self.lost.iter().filter_map(|name| name.strip_prefix(&inside)).map(str::to_owned);
        Self { settings: item.cloned().unwrap_or_default(), lost: missed.collect() }
    }

    /// The same with what is kept of the item `name` of the list `list`; `None`: nothing any more.
    pub(super) fn with_part(mut self, list: &str, name: &str, part: Option<Self>) -> Self {
        let name = name.to_lowercase();
        let inside = format!("{list}.{name}.");
        self.lost.retain(|missed| !missed.starts_with(&inside));
        let part = part.unwrap_or_default();
        self.lost.extend(part.lost.iter().map(|missed| format!("{inside}{missed}")));
        within(&mut self.settings, "properties", |properties| {
            within(properties, list, |items| within(items, &name, |item| *item = part.settings));
        });
        self
    }

    /// Adds the settings in `body` of `kind`.
    ///
    /// # Errors
    /// 400: a setting that would narrow access.
    fn take(&mut self, kind: &str, body: &JsonField<'_>) -> Result<(), Error> {
        let Some(settings) = SETTINGS.get(&kind.to_lowercase()) else { return Ok(()) };
        Reading { settings, lost: &mut self.lost }.object(body.json(), "", "", &mut self.settings)
    }

    /// As text.
    ///
    /// # Errors
    /// 400: it is too much.
    pub(super) fn text(mut self) -> Result<String, Error> {
        if !self.lost.is_empty() {
            self.settings.insert(NOT_KEPT.into(), self.lost.into_iter().take(NAMES_MAX).collect());
        }
        let text = if self.settings.is_empty() { String::new() } else { Value::Object(self.settings).to_string() };
        if text.len() > KEPT_MAX {
            let message = format!("what has no effect here is kept up to {KEPT_MAX} bytes, and this is more");
            return Err(Error::bad_request(&message, "properties"));
        }
        Ok(text)
    }

    /// `shown` with the stored settings, the list of those without effect, and its tag.
    pub(super) fn show(&self, mut shown: Value) -> Value {
        if let Some(fields) = shown.as_object_mut() {
            fields.remove("etag");
        }
        let settings = present(&self.settings, &shown);
        overlay(&mut shown, &settings);
        let mut names = names(&settings);
        names.extend(self.lost.iter().map(|name| format!("{name}: not known, and not kept")));
        if !names.is_empty() {
            let properties = &mut shown["properties"]["privlink"];
            match properties["storedOnly"].as_array_mut() {
                Some(all) => all.extend(names.into_iter().map(Value::String)),
                None => properties["storedOnly"] = json!(names),
            }
        }
        tagged(shown)
    }
}

struct Reading<'a> {
    settings: &'static Settings,
    lost: &'a mut BTreeSet<String>,
}

impl Reading<'_> {
    /// `path` leads to `value` in the table, `place` for people.
    fn object(&mut self, value: &Value, path: &str, place: &str, kept: &mut Map<String, Value>) -> Result<(), Error> {
        let join = |front: &str, name: &str| if front.is_empty() { name.to_owned() } else { format!("{front}.{name}") };
        for (name, value) in value.as_object().into_iter().flatten() {
            if name.eq_ignore_ascii_case("properties") {
                within(kept, "properties", |kept| self.object(value, path, place, kept))?;
                continue;
            }
            let Some((spelled, fate)) = self.settings.get(&join(path, name).to_lowercase()) else {
                let anywhere = ANYWHERE.iter().any(|known| known.eq_ignore_ascii_case(name));
                if !anywhere && !is_empty(value) {
                    self.lost.insert(join(place, name).chars().take(NAME_MAX).collect());
                }
                continue;
            };
            let name = spelled.rsplit('.').next().unwrap_or(spelled);
            let front = place;
            let place = join(front, name);
            match *fate {
                Fate::Known => {}
                Fate::Kept(usual) if is_usual(value, usual) => _ = kept.remove(name),
                // It is called so anyway.
                Fate::Kept(_) if name == "name" && is_called(front, value) => _ = kept.remove(name),
                Fate::Kept(_) if is_plain(value) => _ = kept.insert(name.to_owned(), value.clone()),
                Fate::Kept(_) => _ = self.lost.insert(place),
                Fate::Refused(usual, _) if is_usual(value, usual) => {}
                Fate::Refused(_, why) => return Err(Error::bad_request(&format!("{place}: {why}"), &place)),
                Fate::Inner => within(kept, name, |kept| self.inner(value, spelled, &place, kept))?,
            }
        }
        Ok(())
    }

    /// An object, or the items of a list; what of the list is not there any more is forgotten.
    fn inner(&mut self, value: &Value, path: &str, place: &str, kept: &mut Map<String, Value>) -> Result<(), Error> {
        let Some(items) = value.as_array() else { return self.object(value, path, place, kept) };
        let names: Vec<String> = items.iter().enumerate().map(|(index, item)| item_name(index, item)).collect();
        for (item, name) in items.iter().zip(&names) {
            within(kept, name, |kept| self.object(item, path, &format!("{place}.{name}"), kept))?;
        }
        kept.retain(|name, _| names.contains(name));
        Ok(())
    }
}

/// What the item of a list is called: by its name, as far as it has one; a delegation by its service, which a subnet is
/// delegated to once.
fn item_name(index: usize, item: &Value) -> String {
    let service = item.pointer("/properties/serviceName").and_then(Value::as_str);
    let named = || ["name", "service"].into_iter().find_map(|name| item.get(name)?.as_str());
    let named = service.or_else(named);
    named.map_or_else(|| index.to_string(), str::to_lowercase)
}

/// Whether the item at `place` has the name `value` without being told.
fn is_called(place: &str, value: &Value) -> bool {
    value.as_str().is_some_and(|name| place.to_lowercase().ends_with(&format!(".{}", name.to_lowercase())))
}

/// What of `kept` belongs to something that is shown: the items of a list may have gone since.
fn present(kept: &Map<String, Value>, shown: &Value) -> Map<String, Value> {
    let within = |(name, value): (&String, &Value)| {
        let Value::Object(inner) = value else { return Some((name.clone(), value.clone())) };
        let inner = match shown.get(name) {
            Some(Value::Array(items)) => {
                let named = items.iter().enumerate().map(|(index, item)| (item_name(index, item), item));
                let kept = named.filter_map(|(name, item)| {
                    let part = present(inner.get(&name)?.as_object()?, item);
                    (!part.is_empty()).then_some((name, Value::Object(part)))
                });
                kept.collect()
            }
            Some(other @ Value::Object(_)) => present(inner, other),
            _ => inner.clone(),
        };
        (!inner.is_empty()).then_some((name.clone(), Value::Object(inner)))
    };
    kept.iter().filter_map(within).collect()
}

/// Lets `change` change the object `name` of `kept`, which is there as long as there is something in it.
fn within<T>(kept: &mut Map<String, Value>, name: &str, change: impl FnOnce(&mut Map<String, Value>) -> T) -> T {
    let mut inner = match kept.remove(name) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    };
    let done = change(&mut inner);
    if !inner.is_empty() {
        kept.insert(name.to_owned(), Value::Object(inner));
    }
    done
}

/// Whether `value` is the default.
fn is_usual(value: &Value, usual: &str) -> bool {
    match value {
        Value::Bool(flag) => flag.to_string() == usual,
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case(usual),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => is_empty(value),
    }
}

/// Whether a value is a word, a number, an ID, or a list of them: nothing else hides in it.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(fields) => {
            fields.iter().all(|(name, value)| name.eq_ignore_ascii_case("id") && value.is_string())
        }
        Value::Null => false,
    }
}

/// Merges stored settings into the shown object. Items of a list are matched by name.
fn overlay(shown: &mut Value, kept: &Map<String, Value>) {
    for (name, value) in kept {
        match (shown.get_mut(name), value) {
            (Some(Value::Array(items)), Value::Object(kept)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(kept) = kept.get(&item_name(index, item)).and_then(Value::as_object) {
                        overlay(item, kept);
                    }
                }
            }
            (Some(inner @ Value::Object(_)), Value::Object(kept)) => overlay(inner, kept),
            _ => shown[name] = value.clone(),
        }
    }
}

/// Of a typed resource: the settings that are kept for its own clients.
pub(super) fn names(kept: &Map<String, Value>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    list(kept, "", &mut names);
    names
}

/// The settings that `kept` has, each by its place.
fn list(kept: &Map<String, Value>, front: &str, names: &mut BTreeSet<String>) {
    for (name, value) in kept {
        let place = match (front, name.as_str()) {
            (_, "properties") => front.to_owned(),
            ("", name) => name.to_owned(),
            (front, name) => format!("{front}.{name}"),
        };
        if let Value::Object(inner) = value
            && !is_plain(value)
        {
            list(inner, &place, names);
        } else {
            names.insert(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::arm::body::Body;

    fn read(kind: &str, before: &str, body: &Value) -> Result<String, Error> {
        let body = Body::new(body.to_string().into());
        super::read(kind, before, &JsonField::root(&body)?)
    }

    fn stored(text: &str, shown: Value) -> (Value, Value) {
        let shown = Kept::of(text).show(shown);
        (shown["properties"]["privlink"]["storedOnly"].clone(), shown)
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        for line in lines() {
            let (word, rest) = line.split_once(' ').expect("a word, and what it is about");
            assert!(["kind", "known", "kept", "refused", "with"].contains(&word), "{line}");
            if let ("with", Some((_, other))) = (word, rest.split_once(' ')) {
                assert!(SETTINGS.contains_key(&other.to_lowercase()), "{line}: name it before");
            }
            if word == "refused" {
                assert!(rest.split_once(' ').is_some_and(|(setting, _)| setting.contains('=')), "{line}");
            }
        }
        assert_eq!(SETTINGS.len(), 7);
    }

    #[test]
    fn what_has_no_effect_is_kept_shown_and_listed_and_what_leaves_it_out_leaves_it() {
        let kind = "Microsoft.Network/virtualNetworks";
        let subnets =
            json!([{ "name": "PE", "properties": { "addressPrefix": "10.1.1.0/24", "natGateway": { "id": "/x" } } }]);
        let body = json!({ "location": "here", "properties": { "privateEndpointvnetpolicies": "Basic", "enableDdosProtection": false,
            "subnets": subnets, "dhcpOptions": { "dnsServers": ["10.1.0.4"] }, "apiKey": "hidden" } });
        let text = read(kind, "", &body).expect("taken");
        assert!(!text.contains("hidden"), "{text}");
        let shown = json!({ "properties": { "subnets": [{ "name": "pe", "properties": {} }] } });
        let (names, shown) = stored(&text, shown);
        let lost = "apiKey: not known, and not kept";
        let listed = [lost, "dhcpOptions.dnsServers", "privateEndpointVNetPolicies", "subnets.pe.natGateway"];
        assert_eq!(names, json!(listed));
        assert_eq!(shown["properties"]["privateEndpointVNetPolicies"], "Basic");
        assert_eq!(shown["properties"]["subnets"][0]["properties"]["natGateway"], json!({ "id": "/x" }));
        assert_eq!(read(kind, &text, &json!({ "location": "here" })).expect("taken"), text);
        assert_eq!(read(kind, &text, &shown).expect("taken"), text);
        let gone =
            json!({ "properties": { "privateEndpointVNetPolicies": "Disabled", "dhcpOptions": null, "subnets": [] } });
        assert_eq!(stored(&read(kind, &text, &gone).expect("taken"), json!({})).0.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn what_would_narrow_access_is_refused() {
        for (kind, body) in [
            ("Microsoft.Network/privateLinkServices", json!({ "properties": { "accessMode": "Restricted" } })),
            (
                "Microsoft.Network/virtualNetworks/subnets",
                json!({ "properties": { "serviceEndpointPolicies": [{ "id": "/x" }] } }),
            ),
            (
                "Microsoft.Network/virtualNetworks",
                json!({ "properties": { "virtualNetworkPeerings": [
                { "name": "p", "properties": { "peerCompleteVnets": false } }] } }),
            ),
        ] {
            assert!(read(kind, "", &body).is_err(), "{kind}");
        }
        let usual = json!({ "properties": { "accessMode": "Default", "serviceEndpointPolicies": [], "peerCompleteVnets": true } });
        for kind in
            ["Microsoft.Network/privateLinkServices", "Microsoft.Network/virtualNetworks/virtualNetworkPeerings"]
        {
            assert!(read(kind, "", &usual).is_ok(), "{kind}");
        }
    }
}
