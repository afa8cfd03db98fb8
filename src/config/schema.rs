//! The JSON schema of the objects of a kind, as they are written, and what of it a reader and a writer ask.

use std::any::TypeId;
use std::sync::{Arc, LazyLock};

use dashmap::DashMap;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use crate::model::Key;
use crate::model::registry::Kind;
use crate::model::spelled::Identity;

/// The schemas of all kinds: a document may hold thousands of objects of one.
static SCHEMAS: LazyLock<DashMap<TypeId, Arc<Schema>>> = LazyLock::new(DashMap::new);

/// [`written`] with everything that it refers to in its place.
pub(super) fn whole<K: Kind + JsonSchema>() -> Arc<Schema> {
    let made = || {
        let mut schema = written::<K>(&mut SchemaSettings::default().with(|it| it.inline_subschemas = true).into());
        RecursiveTransform(tidy).transform(&mut schema);
        Arc::new(schema)
    };
    Arc::clone(&SCHEMAS.entry(TypeId::of::<K>()).or_insert_with(made))
}

/// Leaves out of a schema what only serde knows: that a value may be `null`, which is left out instead, and what an empty
/// text stands for.
pub(super) fn tidy(schema: &mut Schema) {
    let null = |form: &Value| form == "null" || form.get("type").is_some_and(|kind| kind == "null");
    for keyword in ["type", "anyOf"] {
        let Some(Value::Array(forms)) = schema.get_mut(keyword) else { continue };
        forms.retain(|form| !null(form));
        if forms.len() > 1 {
            continue;
        }
        match forms.pop() {
            Some(Value::Object(form)) => {
                schema.remove(keyword);
                for (keyword, value) in form {
                    // What is said of the key goes before what is said of its type.
                    if schema.get(&keyword).is_none() {
                        schema.insert(keyword, value);
                    }
                }
            }
            Some(form) => _ = schema.insert(keyword.to_owned(), form),
            None => {}
        }
    }
    if schema.get("default").is_some_and(|value| !value.is_boolean() && schema.get("enum").is_none()) {
        schema.remove("default");
    }
    if let Some(Value::String(about)) = schema.get_mut("description") {
        *about = about.replace('\n', " ");
    }
}

/// The schema of an object of the kind as it is written: what it is called, and its spec.
pub(super) fn written<K: Kind + JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = K::json_schema(generator);
    if !K::KIND.is_in_groups() {
        return schema;
    }
    let mut identity = Identity::json_schema(generator);
    for keyword in ["properties", "required", "x-order"] {
        let of_identity = identity.remove(keyword);
        let of_spec = schema.remove(keyword);
        schema.insert(keyword.to_owned(), joined(of_identity, of_spec));
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

fn joined(one: Option<Value>, other: Option<Value>) -> Value {
    match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => one.into_iter().chain(other).collect(),
        (Some(Value::Array(one)), Some(Value::Array(other))) => one.into_iter().chain(other).collect(),
        (one, other) => one.or(other).unwrap_or_default(),
    }
}

/// The keys of an object in their order.
pub(super) fn keys(schema: &Map<String, Value>) -> Vec<&str> {
    schema.get("x-order").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Two forms of a value.
pub(super) fn forms(schema: &Map<String, Value>) -> Option<[&Map<String, Value>; 2]> {
    let forms = schema.get("anyOf")?.as_array()?;
    Some([forms.first()?.as_object()?, forms.get(1)?.as_object()?])
}

/// What a list holds.
pub(super) struct Item<'s> {
    pub(super) schema: &'s Map<String, Value>,
    /// One value may stand for a list of one.
    pub(super) may_be_alone: bool,
}

/// What a list that `schema` describes holds; `None`: it describes none.
pub(super) fn item_of(schema: &Map<String, Value>) -> Option<Item<'_>> {
    if let Some([schema, _]) = forms(schema).filter(|[_, list]| list.contains_key("items")) {
        return Some(Item { schema, may_be_alone: true });
    }
    Some(Item { schema: schema.get("items")?.as_object()?, may_be_alone: false })
}

pub(super) fn text<'s>(schema: &'s Map<String, Value>, keyword: &str) -> &'s str {
    schema.get(keyword).and_then(Value::as_str).unwrap_or_default()
}

/// Stands for a value that is missing or that could not be read: the object is refused anyway.
pub(super) fn blank(schema: &Map<String, Value>) -> Option<Value> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.first().cloned();
    }
    if schema.contains_key("x-kind") {
        return Some(Key::nowhere().to_string().into());
    }
    match (text(schema, "format"), text(schema, "type")) {
        _ if item_of(schema).is_some() => Some(Value::Array(Vec::new())),
        ("ip", _) => Some("0.0.0.0".into()),
        ("prefix", _) => Some("0.0.0.0/0".into()),
        (_, "string") => Some(Value::String(String::new())),
        (_, "integer") => Some(0.into()),
        (_, "boolean") => Some(false.into()),
        _ => None,
    }
}

/// Every key of the kind as it is written, those of the tables within it too.
#[cfg(test)]
pub(super) fn every_key(schema: &Schema) -> Vec<String> {
    fn collect(schema: &Value, into: &mut Vec<String>) {
        match schema {
            Value::Object(keywords) => {
                let properties = keywords.get("properties").and_then(Value::as_object);
                into.extend(properties.into_iter().flat_map(Map::keys).cloned());
                keywords.values().for_each(|schema| collect(schema, into));
            }
            Value::Array(schemas) => schemas.iter().for_each(|schema| collect(schema, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut keys = Vec::new();
    collect(schema.as_value(), &mut keys);
    keys
}
