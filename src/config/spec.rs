//! Objects of one kind, read by the JSON schema of its spec. Every mistake is noted at its place; what could be read
//! takes the form in which serde reads it, and what could not is left blank.

use std::any::TypeId;
use std::ops::Range;
use std::sync::Arc;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::DeTable;

use super::read::{At, Node, Read, Reader};
use super::values::{Ports, Prefix, word};
use crate::model::spelled::{Identity, port_ranges};

/// One object of a document, and where each of its values stands.
#[derive(Clone, Debug)]
pub(super) struct Spec<K> {
    /// Where its table stands.
    pub(super) span: Range<usize>,
    /// Whether something in it could not be read.
    pub(super) broken: bool,
    /// Its name.
    pub(super) name: Option<At<String>>,
    /// Its resource group, where one is named.
    pub(super) resource_group: Option<At<String>>,
    /// Its subscription, where one is named.
    pub(super) subscription: Option<At<String>>,
    /// The field path and the place of each value, such as `rules[0].priority`.
    pub(super) places: Vec<(String, Range<usize>)>,
    /// What it says, with blanks where it is broken.
    pub(super) value: K,
}

impl<K: JsonSchema + DeserializeOwned + 'static> Read for Spec<K> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        // A document may hold thousands of a kind.
        let schema = Arc::clone(reader.schemas.entry(TypeId::of::<K>()).or_insert_with(|| Arc::new(whole::<K>())));
        let schema = schema.as_object()?;
        let table = reader.table(node, &format!("a table with the keys {}", keys(schema).join(" ")))?;
        let before = reader.mistakes.len();
        let mut walk = Walk { reader, places: Vec::new() };
        let mut read = walk.table(schema, table, &node.span(), "");
        let places = walk.places;
        let broken = reader.mistakes.len() > before;
        let mut identity = |key: &str| {
            let value = read.remove(key)?.as_str()?.to_owned();
            let (_, span) = places.iter().find(|(path, _)| path == key)?;
            Some(At { value, span: span.clone() })
        };
        let (name, resource_group) = (identity("name"), identity("resource_group"));
        let subscription = identity("subscription");
        let value = match serde_json::from_value(Value::Object(read)) {
            Ok(value) => value,
            Err(error) => {
                if !broken {
                    reader.error(node.span(), error.to_string(), "correct the value");
                }
                return None;
            }
        };
        Some(Self { span: node.span(), broken, name, resource_group, subscription, places, value })
    }
}

impl<K: JsonSchema> JsonSchema for Spec<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        K::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        written::<K>(generator)
    }
}

/// [`written`] with everything that it refers to in its place.
fn whole<K: JsonSchema>() -> Schema {
    written::<K>(&mut SchemaSettings::default().with(|it| it.inline_subschemas = true).into())
}

/// The schema of an object of the kind as it is written: what it is called, and its spec.
fn written<K: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = K::json_schema(generator);
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
fn keys(schema: &Map<String, Value>) -> Vec<&str> {
    schema.get("x-order").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One walk over a table.
struct Walk<'r> {
    reader: &'r mut Reader,
    places: Vec<(String, Range<usize>)>,
}

impl Walk<'_> {
    /// What stands in `table`; a missing key is noted at `at`.
    fn table(
        &mut self,
        schema: &Map<String, Value>,
        table: &DeTable<'_>,
        at: &Range<usize>,
        path: &str,
    ) -> Map<String, Value> {
        let mut read = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let property = |key: &str| properties.and_then(|all| all.get(key)?.as_object());
        for (key, node) in table {
            let name = key.get_ref().as_ref();
            let Some(property) = property(name) else {
                self.reader.unknown_key(key.span(), name, &keys(schema));
                continue;
            };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            read.extend(self.value(property, node, &path).map(|value| (name.to_owned(), value)));
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let property = property(key);
            if !table.contains_key(key) {
                let about = property.and_then(|one| one.get("description")?.as_str()).unwrap_or_default();
                self.reader.error(at.clone(), format!("`{key}` is missing"), format!("add `{key}`: {about}"));
            }
            if !read.contains_key(key) {
                read.extend(property.and_then(blank).map(|blank| (key.to_owned(), blank)));
            }
        }
        read
    }

    /// What stands in `node`; `None`: nothing that could be read, or the word for every value.
    fn value(&mut self, schema: &Map<String, Value>, node: &Node<'_>, path: &str) -> Option<Value> {
        self.places.push((path.to_owned(), node.span()));
        let any = schema.contains_key("x-any");
        if let Some(item) = item_of(schema) {
            return self.list(&item, any, node, path);
        }
        if any && node.get_ref().as_str() == Some(ANY) {
            return None;
        }
        let reader = &mut *self.reader;
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            return word(node, reader, &words).map(Into::into);
        }
        match (text(schema, "format"), text(schema, "type")) {
            ("prefix", _) => Prefix::read(node, reader).map(|Prefix(net)| net.to_string().into()),
            ("ports", _) => {
                Ports::read(node, reader).map(|Ports(first, last)| port_ranges::text(&(first, last)).into())
            }
            ("uint16", _) => u16::read(node, reader).map(Into::into),
            ("uint32", _) => u32::read(node, reader).map(Into::into),
            ("uint64", _) => u64::read(node, reader).map(Into::into),
            (_, "boolean") => bool::read(node, reader).map(Into::into),
            (_, "object") => {
                let table = reader.table(node, &format!("a table with the keys {}", keys(schema).join(" ")))?;
                Some(Value::Object(self.table(schema, table, &node.span(), path)))
            }
            _ => String::read(node, reader).map(Into::into),
        }
    }

    /// The items of a list, or the one value that stands for a list of one.
    fn list(&mut self, item: &Item<'_>, any: bool, node: &Node<'_>, path: &str) -> Option<Value> {
        let nodes: Vec<&Node<'_>> = match node.get_ref().as_array() {
            None if item.may_be_alone => vec![node],
            Some(nodes) => nodes.iter().collect(),
            None => self.reader.list(node)?.iter().collect(),
        };
        if any && nodes.is_empty() {
            let remedy = "leave it out or write \"*\" to mean every one; name prefixes to mean those";
            self.reader.warning(node.span(), "an empty list means every address, not none", remedy);
        }
        let is_any = |node: &Node<'_>| any && node.get_ref().as_str() == Some(ANY);
        let every = nodes.iter().any(|node| is_any(node));
        let mut items = Vec::new();
        for (index, node) in nodes.into_iter().enumerate().filter(|(_, node)| !is_any(node)) {
            items.extend(self.value(item.schema, node, &format!("{path}[{index}]")));
        }
        Some(if every { Value::Array(Vec::new()) } else { items.into() })
    }
}

/// Stands for every value.
const ANY: &str = "*";

/// What a list holds.
struct Item<'s> {
    schema: &'s Map<String, Value>,
    /// One value may stand for a list of one.
    may_be_alone: bool,
}

/// What a list that `schema` describes holds; `None`: it describes none.
fn item_of(schema: &Map<String, Value>) -> Option<Item<'_>> {
    let items = |schema: &'_ Value| schema.get("items").is_some();
    let forms = schema.get("anyOf").and_then(Value::as_array);
    if let Some(schema) = forms.filter(|forms| forms.iter().any(items)).and_then(|forms| forms.first()?.as_object()) {
        return Some(Item { schema, may_be_alone: true });
    }
    Some(Item { schema: schema.get("items")?.as_object()?, may_be_alone: false })
}

fn text<'s>(schema: &'s Map<String, Value>, keyword: &str) -> &'s str {
    schema.get(keyword).and_then(Value::as_str).unwrap_or_default()
}

/// Stands for a value that is missing or that could not be read: the object is refused anyway.
fn blank(schema: &Map<String, Value>) -> Option<Value> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.first().cloned();
    }
    match text(schema, "type") {
        _ if item_of(schema).is_some() => Some(Value::Array(Vec::new())),
        "string" => Some(Value::String(String::new())),
        "integer" => Some(0.into()),
        "boolean" => Some(false.into()),
        _ => None,
    }
}

/// Every key of the kind as it is written, those of the tables within it too.
#[cfg(test)]
pub(super) fn every_key<K: JsonSchema>() -> Vec<String> {
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
    collect(&Value::from(whole::<K>()), &mut keys);
    keys
}

#[cfg(test)]
mod tests {
    use crate::config::parse_tables;
    use crate::model::{Access, Key, Model, Protocol};

    fn read(text: &str) -> Result<Model, String> {
        let tables = serde_json::from_str(text).expect("JSON");
        parse_tables(&tables, "d", &Model::default()).map(|read| read.model).map_err(|report| report.to_string())
    }

    #[test]
    fn a_spec_in_json_is_read_like_a_table_of_the_file() {
        let model = read(
            r#"{ "security_group": [{ "name": "web", "resource_group": "shop", "rules": [
                { "name": "in", "priority": 100, "access": "Allow", "protocol": "*", "sources": "10.0.0.0/8",
                  "destinations": ["*"], "ports": [443, "8000-8100"] },
                { "name": "rest", "priority": 200, "access": "deny", "protocol": "udp", "ports": null }
            ] }] }"#,
        );
        let model = model.expect("nothing wrong");
        let group = &model.security_groups[&Key::new("shop", "web")];
        let [first, rest] = group.rules.as_slice() else { panic!("two rules: {group:?}") };
        assert_eq!((first.access, first.protocol), (Access::Allow, None));
        assert_eq!((first.sources.len(), first.destinations.len()), (1, 0));
        assert_eq!(first.ports, [(443, 443), (8000, 8100)]);
        assert_eq!((rest.access, rest.protocol, rest.ports.len()), (Access::Deny, Some(Protocol::Udp), 0));
        // What it says is written as it is read.
        let written =
            serde_json::to_string(&crate::model::spelled::Written::new(&Key::new("shop", "web"), group.clone()));
        assert_eq!(read(&format!(r#"{{ "security_group": [{}] }}"#, written.expect("JSON"))), Ok(model));
    }

    #[test]
    fn every_mistake_in_json_has_its_field_path() {
        let said = read(
            r#"{ "security_group": [
                { "name": "web", "rule": 1, "rules": [
                    { "name": "a", "priority": 99, "access": "alow", "sources": ["10.0.0.1/8", 1], "ports": "x" },
                    { "priority": -1, "access": true } ] },
                { "name": "WEB", "rules": {} } ],
              "daemon": { "workers": 2 } }"#,
        )
        .expect_err("many mistakes");
        for expected in [
            "d: security_group[0].rule: error: unknown key `rule`",
            "d: security_group[0].rules[0].priority: error: priority 99 is out of range",
            "d: security_group[0].rules[0].access: error: `alow` is not a valid word here",
            "d: security_group[0].rules[0].sources[0]: error: 10.0.0.1/8 has bits set",
            "d: security_group[0].rules[0].sources[1]: error: found an integer",
            "d: security_group[0].rules[0].ports: error: `x` is neither a port nor a range of ports",
            "d: security_group[0].rules[1]: error: `name` is missing",
            "d: security_group[0].rules[1].priority: error: -1 is out of range",
            "d: security_group[0].rules[1].access: error: found a boolean where a word is expected",
            "d: security_group[1].name: error: a second security_group named `WEB`",
            "d: security_group[1].rules: error: found a table",
            "d: daemon: error: `daemon` concerns the host",
        ] {
            assert!(said.contains(expected), "{expected}\nis not in\n{said}");
        }
        assert_eq!(said.lines().last(), Some("12 errors"), "{said}");
    }
}
