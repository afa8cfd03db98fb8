//! How the values of a spec are written: the JSON schemas of what stands under its keys, and their forms in JSON where
//! serde has no name for them.
//!
//! Three keywords of the schemas are privlink's own. `x-order` lists the keys of an object in the order in which they
//! are explained. `x-any` marks what `*` may stand for: every value, which the spec says by leaving the key out.
//! `format` names the reader of a text.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::{DEFAULT, Key};

/// What an object is called. With a spec beside it: the object as files, requests and answers write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct Identity {
    /// Name, unique in its resource group.
    pub name: String,
    /// Resource group.
    #[serde(default = "default_group", skip_serializing_if = "is_default")]
    pub resource_group: String,
    /// Owning subscription.
    #[serde(default = "default_group", skip_serializing_if = "is_default")]
    pub subscription: String,
}

impl From<&Key> for Identity {
    fn from(key: &Key) -> Self {
        Self { name: key.name.clone(), resource_group: key.group.clone(), subscription: key.subscription.clone() }
    }
}

/// An object as files, requests and answers write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written<S> {
    /// What it is called.
    #[serde(flatten)]
    pub identity: Identity,
    /// Everything else that its author says.
    #[serde(flatten)]
    pub spec: S,
}

impl<S> Written<S> {
    /// The object `key` that is as `spec` says.
    pub fn new(key: &Key, spec: S) -> Self {
        Self { identity: key.into(), spec }
    }
}

impl<S> std::ops::Deref for Written<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.spec
    }
}

fn default_group() -> String {
    DEFAULT.to_owned()
}

fn is_default(name: &str) -> bool {
    name == DEFAULT
}

/// One of a closed set of words.
pub fn words(words: &[&str]) -> Schema {
    json_schema!({ "enum": words })
}

/// A prefix without host bits.
pub fn prefix(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "prefix", "pattern": "/[0-9]+$" })
}

/// Prefixes, or one; every one unless set.
pub fn any_or_prefixes(_: &mut SchemaGenerator) -> Schema {
    one_or_many(&json_schema!({ "type": "string", "format": "prefix", "pattern": "/[0-9]+$|^[*]$" }), true)
}

/// Ports and ranges of ports, or one; every one unless set.
pub fn any_or_ports(_: &mut SchemaGenerator) -> Schema {
    let ports = json_schema!({
        "format": "ports",
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$|^[*]$" },
        ],
    });
    one_or_many(&ports, true)
}

/// A list, for which one value may stand.
fn one_or_many(one: &Schema, any: bool) -> Schema {
    let mut schema = json_schema!({ "anyOf": [one, { "type": "array", "items": one }] });
    if any {
        schema.insert("x-any".to_owned(), true.into());
    }
    schema
}

/// Ranges of ports as texts: `443`, `8000-8100`.
pub mod port_ranges {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    /// One range of ports, the first and the last; `None`: the text is none.
    pub fn parse(text: &str) -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(first) && digits(last)).then(|| Some((first.parse().ok()?, last.parse().ok()?))).flatten()
    }

    /// The text of a range.
    pub fn text(&(first, last): &(u16, u16)) -> String {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }

    /// As texts.
    ///
    /// # Errors
    /// Those of `serializer`.
    pub fn serialize<S: Serializer>(ranges: &[(u16, u16)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ranges.iter().map(text))
    }

    /// From texts.
    ///
    /// # Errors
    /// One of them is no range of ports.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(u16, u16)>, D::Error> {
        let range = |text: String| parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` names no ports")));
        Vec::<String>::deserialize(deserializer)?.into_iter().map(range).collect()
    }
}

/// Notes in the schema of a struct the order of its fields: a JSON object has none.
pub fn in_order<T: DeserializeOwned>(schema: &mut Schema) {
    let mut names = FieldNames::default();
    // Asked for its fields, it reads nothing.
    let _ = T::deserialize(&mut names);
    schema.insert("x-order".to_owned(), names.0.into());
}

/// Reads nothing: asked for a struct, it notes the names of the fields.
#[derive(Default)]
struct FieldNames(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        self.deserialize_any(de::IgnoredAny).and_then(|_| Err(de::Error::custom("")))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("there is nothing to read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
