//! Objects of one kind, read by the JSON schema of its spec. Every mistake is noted at its place; what could be read
//! takes the form in which serde reads it, and what could not is left blank.

use std::marker::PhantomData;
use std::ops::Range;
use std::str::FromStr;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::DeTable;

use super::read::{At, Node, Read, Reader};
use super::schema::{Item, blank, forms, item_of, keys, text, tidy, whole, written};
use super::values::{Address, IdleTime, Ports, Prefix, word};
use crate::model::registry::Kind;
use crate::model::spelled::{port_ranges, time};
use crate::model::{AcceptedNames, ActionPattern, ItemKind, Malformed, Principal, RoleName, Scope};

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
    /// Values that name other objects.
    pub(super) references: Vec<Reference>,
    /// What it says, with blanks where it is broken: what serde reads once the references are resolved.
    pub(super) written: Map<String, Value>,
    kind: PhantomData<K>,
}

/// A value that names another object.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// The field path of the value.
    pub(super) path: String,
    /// What it names.
    pub(super) kind: ItemKind,
    /// The text.
    pub(super) name: At<String>,
}

impl<K> Spec<K> {
    /// The place of the value with this field path.
    pub(super) fn place(&self, path: &str) -> Option<&Range<usize>> {
        self.places.iter().find(|(known, _)| known == path).map(|(_, span)| span)
    }

    /// The same; where there is none, that of the object.
    pub(super) fn at(&self, path: &str) -> Range<usize> {
        self.place(path).unwrap_or(&self.span).clone()
    }

    /// The text with this key and its place.
    pub(super) fn text(&self, key: &str) -> Option<At<String>> {
        Some(At { value: self.written.get(key)?.as_str()?.to_owned(), span: self.place(key)?.clone() })
    }
}

impl<K: Kind + JsonSchema> Read for Spec<K> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let schema = whole::<K>();
        let schema = schema.as_object()?;
        let table = reader.table(node, &format!("a table with the keys {}", keys(schema).join(" ")))?;
        let before = reader.mistakes.len();
        let mut walk = Walk { reader, places: Vec::new(), references: Vec::new() };
        let written = walk.table(schema, table, &node.span(), "");
        let Walk { places, references, .. } = walk;
        let broken = reader.mistakes.len() > before;
        let mut spec = Self {
            span: node.span(),
            broken,
            name: None,
            resource_group: None,
            subscription: None,
            places,
            references,
            written,
            kind: PhantomData,
        };
        spec.name = spec.text("name");
        spec.resource_group = spec.text("resource_group");
        spec.subscription = spec.text("subscription");
        Some(spec)
    }
}

/// A table that is no object of its own, as a whole.
#[derive(Clone, Debug)]
pub(super) struct Part<T> {
    /// The path within it, which is empty for the whole, and the place of each value.
    pub(super) places: Vec<(String, Range<usize>)>,
    /// What it says.
    pub(super) value: T,
}

impl<T: JsonSchema + DeserializeOwned + Default> Read for Part<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let generator = SchemaSettings::default().with(|it| it.inline_subschemas = true).into_generator();
        let mut schema = generator.into_root_schema_for::<T>();
        RecursiveTransform(tidy).transform(&mut schema);
        let mut walk = Walk { reader, places: Vec::new(), references: Vec::new() };
        let written = walk.value(schema.as_object()?, node, "")?;
        let places = walk.places;
        // What could not be read is said already.
        Some(Self { places, value: serde_json::from_value(written).unwrap_or_default() })
    }
}

impl<T: JsonSchema> JsonSchema for Part<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

impl<K: Kind + JsonSchema> JsonSchema for Spec<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        K::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        written::<K>(generator)
    }
}

/// One walk over a table.
struct Walk<'r> {
    reader: &'r mut Reader,
    places: Vec<(String, Range<usize>)>,
    references: Vec<Reference>,
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
            let whole = property.get("x-for").and_then(Value::as_str);
            let alone = property.get("x-alone").and_then(Value::as_str).filter(|_| whole.is_some());
            if let Some(whole) = whole.filter(|whole| table.contains_key(*whole)) {
                let one = alone.map_or("x".to_owned(), |key| format!("{{ {key} = x }}"));
                let remedy = format!("`{name} = x` means `{whole} = [{one}]`: keep one");
                self.reader.error(node.span(), format!("`{name}` beside `{whole}`"), remedy);
                continue;
            }
            let name = whole.unwrap_or(name);
            let path = joined_path(path, name);
            let value = match alone {
                Some(key) => self.only_item(property, key, node, &path),
                None => self.value(property, node, &path),
            };
            read.extend(value.map(|value| (name.to_owned(), value)));
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
        if let Some([value, table]) = forms(schema).filter(|_| schema.contains_key("x-alone")) {
            let key = text(schema, "x-alone");
            if node.get_ref().is_table() {
                return self.value(table, node, path);
            }
            return Some(only(key, self.value(value, node, &joined_path(path, key))?));
        }
        if let Some(kind) = schema.get("x-kind") {
            let name: At<String> = At::read(node, self.reader)?;
            let value = name.value.as_str().into();
            let kind = serde_json::from_value(kind.clone()).ok()?;
            self.references.push(Reference { path: path.to_owned(), kind, name });
            return Some(value);
        }
        let reader = &mut *self.reader;
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            return word(node, reader, &words).map(Into::into);
        }
        match (text(schema, "format"), text(schema, "type")) {
            ("ip", _) => Address::read(node, reader).map(|Address(ip)| ip.to_string().into()),
            ("prefix", _) => Prefix::read(node, reader).map(|Prefix(net)| net.to_string().into()),
            ("ports", _) => {
                Ports::read(node, reader).map(|Ports(first, last)| port_ranges::text(&(first, last)).into())
            }
            ("idle-time", _) => IdleTime::read(node, reader).map(|IdleTime(elapsed)| time::text(elapsed).into()),
            ("name-pattern", _) => accepted(node, reader).map(Into::into),
            ("role-name", _) => understood::<RoleName>(node, reader).map(Into::into),
            ("action", _) => understood::<ActionPattern>(node, reader).map(Into::into),
            ("scope", _) => understood::<Scope>(node, reader).map(Into::into),
            ("principal", _) => understood::<Principal>(node, reader).map(Into::into),
            ("uint16", _) => u16::read(node, reader).map(Into::into),
            ("uint32", _) => u32::read(node, reader).map(Into::into),
            ("uint64", _) => u64::read(node, reader).map(Into::into),
            (_, "boolean") => bool::read(node, reader).map(Into::into),
            (_, "object") => {
                let keys: Vec<String> = keys(schema).into_iter().map(|key| format!("`{key}`")).collect();
                let table = reader.table(node, &format!("a table with the keys {}", keys.join(" ")))?;
                Some(Value::Object(self.table(schema, table, &node.span(), path)))
            }
            _ => String::read(node, reader).map(Into::into),
        }
    }

    /// A list of one table, of which the value of `key` is said alone.
    fn only_item(&mut self, schema: &Map<String, Value>, key: &str, node: &Node<'_>, path: &str) -> Option<Value> {
        for path in [path.to_owned(), format!("{path}[0]")] {
            self.places.push((path, node.span()));
        }
        let value = self.value(schema, node, &format!("{path}[0].{key}"))?;
        Some(Value::Array(vec![only(key, value)]))
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
        for node in nodes.into_iter().filter(|node| !is_any(node)) {
            // What cannot be read has no place among the others.
            items.extend(self.value(item.schema, node, &format!("{path}[{}]", items.len())));
        }
        Some(if every { Value::Array(Vec::new()) } else { items.into() })
    }
}

fn joined_path(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A text that says a `T`.
fn understood<T: FromStr<Err = Malformed>>(node: &Node<'_>, reader: &mut Reader) -> Option<String> {
    let text = String::read(node, reader)?;
    match text.parse::<T>() {
        Ok(_) => Some(text),
        Err(malformed) => {
            reader.error(node.span(), malformed.message(), malformed.remedy());
            None
        }
    }
}

/// A name that may be accepted, in lower case.
fn accepted(node: &Node<'_>, reader: &mut Reader) -> Option<String> {
    let text = String::read(node, reader)?;
    let read = AcceptedNames::read(&[&text]).ok().and_then(|names| names.iter().next().map(str::to_owned));
    if read.is_none() {
        let message = format!("`{text}` names nothing that could be accepted");
        reader.error(node.span(), message, format!("write {}", AcceptedNames::FORM));
    }
    read
}

/// A table of one key.
fn only(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

/// Stands for every value.
const ANY: &str = "*";

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
