//! Compares objects before and after a change, field by field. Used for audit records, dry runs and restored backups.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map as Fields, Value, json};

use crate::model::registry::of_kind;
use crate::model::state::{Connection, ControlState, Item, ItemKind};
use crate::model::token::Token;
use crate::model::{Key, Map, Model, TokenName};
use crate::types::{FieldChange, ObjectChange};

/// The most fields in one record. Further ones are counted.
const MOST_FIELDS: usize = 64;

/// The most bytes of one value in a record.
const LONGEST_VALUE: usize = 1_024;

/// The most bytes of all values in a record.
const MOST_BYTES: usize = 16 * 1_024;

/// A changed object.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    /// The object.
    pub(super) object: Object,
    /// Its fields before. `null`: it did not exist.
    before: Value,
    /// Its fields after. `null`: it no longer exists.
    after: Value,
}

/// An object that can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// An object of the model.
    Item(Item),
    /// The connection of an endpoint.
    Connection(Key),
    /// A bearer token.
    Token(TokenName),
    /// A type of resources.
    ResourceType(String),
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Item(item) => item.fmt(f),
            Self::Connection(key) => write!(f, "connection {key}"),
            Self::Token(name) => write!(f, "token {name}"),
            Self::ResourceType(name) => write!(f, "resource type {name}"),
        }
    }
}

impl Changed {
    /// `create`, `update` or `delete`.
    pub(super) fn action(&self) -> &'static str {
        match (&self.before, &self.after) {
            (Value::Null, _) => "create",
            (_, Value::Null) => "delete",
            _ => "update",
        }
    }

    /// The fields that differ.
    pub(super) fn fields(&self) -> Vec<FieldChange> {
        fields(&self.before, &self.after)
    }

    /// The form that readers get.
    pub(super) fn told(&self) -> ObjectChange {
        ObjectChange { object: self.object.to_string(), action: self.action().to_owned(), fields: self.fields() }
    }
}

/// The changed fields of the object `item`.
pub(super) fn of_item(before: &Model, after: &Model, item: &Item) -> Vec<FieldChange> {
    fields(&shown(before, item), &shown(after, item))
}

/// The changed fields of a connection.
pub(super) fn of_connection(before: Option<&Connection>, after: Option<&Connection>) -> Vec<FieldChange> {
    let shown = |connection: Option<&Connection>| connection.map(show_connection).unwrap_or_default();
    fields(&shown(before), &shown(after))
}

/// The changed fields of a token.
pub(super) fn of_token(before: Option<&Token>, after: Option<&Token>) -> Vec<FieldChange> {
    let shown = |token: Option<&Token>| token.map(|token| show_token(token, before)).unwrap_or_default();
    fields(&shown(before), &shown(after))
}

/// Every changed object. Remembered files and records of deleted resources do not count.
pub(super) fn between(before: &ControlState, after: &ControlState) -> Vec<Changed> {
    let ControlState { model, connections, tokens, files: _, deleted: _, last_link: _, links: _ } = before;
    let mut changed = Vec::new();
    for kind in ItemKind::ALL {
        let keys = model.changed_keys(&after.model, kind);
        changed.extend(keys.into_iter().map(|key| {
            let item = Item { kind, key };
            let (before, after) = (shown(model, &item), shown(&after.model, &item));
            Changed { object: Object::Item(item), before, after }
        }));
    }
    add(&mut changed, connections, &after.connections, |key| Object::Connection(key.clone()), show_connection);
    let show = |token: &Token| show_token(token, tokens.get(&token.name));
    add(&mut changed, tokens, &after.tokens, |name| Object::Token(name.clone()), show);
    let types = (&model.resource_types, &after.model.resource_types);
    add(&mut changed, types.0, types.1, |name| Object::ResourceType(name.clone()), tidied);
    changed
}

fn add<V: PartialEq, K: Ord>(
    changed: &mut Vec<Changed>,
    before: &Map<V, K>,
    after: &Map<V, K>,
    object: impl Fn(&K) -> Object,
    show: impl Fn(&V) -> Value,
) {
    changed.extend(before.changes(after).into_iter().map(|(key, now)| Changed {
        object: object(key),
        before: before.get(key).map(&show).unwrap_or_default(),
        after: now.map(&show).unwrap_or_default(),
    }));
}

/// An object's fields under the names of the configuration file. `null`: there is no object.
fn shown(model: &Model, item: &Item) -> Value {
    of_kind!(item.kind, K => K::map(model).get(&item.key).map(tidied)).unwrap_or_default()
}

fn show_connection(connection: &Connection) -> Value {
    tidy(json!({
        "state": connection.state, "reason": connection.description, "until": connection.ends_at
    }))
}

/// Shows neither the secret nor its hash, only that it has changed.
fn show_token(token: &Token, before: Option<&Token>) -> Value {
    let Token { name, id, hash, created_at, created_by, expires_at } = token;
    let replaced = before.is_some_and(|before| before.hash != *hash);
    tidy(json!({
        "name": name,
        "id": id,
        "created_at": created_at,
        "created_by": created_by,
        "expires_at": expires_at,
        "secret": if replaced { "(replaced)" } else { "" },
    }))
}

fn tidied<T: Serialize>(object: &T) -> Value {
    let mut shown = tidy(serde_json::to_value(object).unwrap_or_default());
    // This is stored as text. It holds only properties from the list of kept ones.
    if let Value::Object(fields) = &mut shown
        && let Some(properties) = fields.remove("foreign")
    {
        let parsed = properties.as_str().and_then(|text| serde_json::from_str(text).ok());
        fields.insert("properties".into(), parsed.unwrap_or(properties));
    }
    shown
}

/// Removes empty values, and formats times for people.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(fields) => tidy_fields(fields),
        Value::Array(list) => Value::Array(list.into_iter().map(tidy).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn tidy_fields(fields: Fields<String, Value>) -> Value {
    let fields = fields.into_iter().map(|(name, value)| (name, tidy(value)));
    Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The fields in which `after` differs from `before`.
pub(super) fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare(String::new(), before, after, &mut changes);
    changes
}

fn compare(field: String, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    if before == after || is_empty(before) && is_empty(after) {
        return;
    }
    if is_object(before) && is_object(after) {
        let names: BTreeSet<&String> =
            [before, after].into_iter().filter_map(Value::as_object).flat_map(Fields::keys).collect();
        for name in names {
            let inner = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
            compare(inner, part(before, name), part(after, name), changes);
        }
        return;
    }
    if let (Some(old), Some(new)) = (named(before), named(after)) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let known = changes.len();
        for name in names {
            let (old, new) = (old.get(name).copied(), new.get(name).copied());
            let inner = format!("{field}[{name}]");
            compare(inner, old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null), changes);
        }
        if changes.len() > known {
            return;
        }
        // The same elements in another order.
    }
    let (before, after) = match (before, after) {
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).any(Value::is_object) => {
            // Leave out elements that both lists contain.
            let without = |list: &[Value], other: &[Value]| -> Value {
                list.iter().filter(|one| !other.contains(one)).cloned().collect()
            };
            let (gone, come) = (without(old, new), without(new, old));
            if is_empty(&gone) && is_empty(&come) { (before.clone(), after.clone()) } else { (gone, come) }
        }
        _ => (before.clone(), after.clone()),
    };
    let told = |value: Value| if is_empty(&value) { Value::Null } else { value };
    changes.push(FieldChange { field, before: told(before), after: told(after) });
}

fn part<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// `null` counts as an object without fields.
fn is_object(value: &Value) -> bool {
    value.is_object() || value.is_null()
}

/// A list's elements by name, if each has a unique name. `null` counts as an empty list.
fn named(value: &Value) -> Option<BTreeMap<String, &Value>> {
    let list: &[Value] = match value {
        Value::Array(list) => list,
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return None,
    };
    let mut parts = BTreeMap::new();
    for part in list {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        let is_target = part.get("backends").is_some();
        let name = match text("name") {
            Some(name) => name.to_owned(),
            // A target's name is its subresource and member. Both may be empty.
            None if is_target => {
                [text("subresource"), text("member")].into_iter().flatten().collect::<Vec<_>>().join("/")
            }
            None => return None,
        };
        if parts.insert(name, part).is_some() {
            return None;
        }
    }
    Some(parts)
}

/// Cuts `changes` to the limits of one record, and returns how many are left out.
pub(super) fn bounded(changes: Vec<FieldChange>) -> (Vec<FieldChange>, usize) {
    let (all, mut bytes) = (changes.len(), 0);
    let mut kept = Vec::new();
    for FieldChange { field, before, after } in changes {
        let ((before, of_before), (after, of_after)) = (shortened(before), shortened(after));
        bytes += field.len() + of_before + of_after;
        if kept.len() == MOST_FIELDS || bytes > MOST_BYTES {
            break;
        }
        kept.push(FieldChange { field, before, after });
    }
    let left_out = all - kept.len();
    (kept, left_out)
}

/// The value, or the beginning of its text with its length; and its size as JSON in bytes.
fn shortened(value: Value) -> (Value, usize) {
    let json = value.to_string();
    let text = value.as_str().unwrap_or(&json);
    if text.len() <= LONGEST_VALUE {
        let bytes = json.len();
        return (value, bytes);
    }
    let end = text.floor_char_boundary(LONGEST_VALUE);
    let short = Value::String(format!("{}… ({} bytes)", &text[..end], text.len()));
    let bytes = short.to_string().len();
    (short, bytes)
}

#[cfg(test)]
mod tests;
