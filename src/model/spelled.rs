//! How the values of a spec are written: the JSON schemas of what stands under its keys, and their forms in JSON where
//! serde has no name for them.
//!
//! Some keywords of the schemas are privlink's own. `format` names the reader of a text. Those that begin with `x-`:
//!
//! | keyword | where | meaning |
//! |---|---|---|
//! | `x-order` | a table | its keys, in the order in which they are explained and written |
//! | `x-alone` | a value, or a key with `x-for` | what is no table is the value of this key of one |
//! | `x-inline` | a table | a file writes it in one line |
//! | `x-any` | a value | `*` stands for every value, which the spec says by leaving the key out |
//! | `x-for` | a key | it is short for another key of the table |
//! | `x-kind` | a text | it names an object of this kind |

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::registry::Kind;
use super::{DEFAULT, Key};

/// What an object is called. With a spec beside it: the object as files, requests and answers write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = in_order::<Self>)]
pub struct Identity {
    /// Name, unique in its resource group.
    pub name: String,
    /// Resource group.
    #[serde(default = "default_group", skip_serializing_if = "is_default_group")]
    pub resource_group: String,
    /// Owning subscription.
    #[serde(default = "default_group", skip_serializing_if = "is_default_group")]
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

fn is_default_group(name: &str) -> bool {
    name == DEFAULT
}

/// Whether `value` is what it is unless something is said of it.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One of a closed set of words.
pub fn words(words: &[&str]) -> Schema {
    json_schema!({ "enum": words })
}

/// Declares how values are written: types that have a schema and nothing else.
macro_rules! written {
    ($($(#[$doc:meta])* $name:ident => $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

written! {
    /// An IP address.
    Address => { "type": "string", "format": "ip" };
    /// A prefix without host bits.
    Prefix => { "type": "string", "format": "prefix", "pattern": "/[0-9]+$" };
    /// A port, or a range of ports.
    Ports => {
        "format": "ports",
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65535 },
            { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
        ],
    };
    /// A time such as `2h4m`.
    Time => { "type": "string", "format": "idle-time", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$" };
    /// The name of a role.
    RoleText => { "type": "string", "format": "role-name" };
    /// Actions, with `*` for any characters.
    ActionText => { "type": "string", "format": "action" };
    /// A scope of roles.
    ScopeText => { "type": "string", "format": "scope" };
    /// Who has a role.
    PrincipalText => { "type": "string", "format": "principal" };
    /// A name that may be accepted, or `*.` before one for every name below it.
    NamePattern => { "type": "string", "format": "name-pattern" };
}

/// The name of an object of the kind `K`, or its resource ID.
#[derive(Debug)]
pub struct Named<K>(PhantomData<K>);

impl<K: Kind> JsonSchema for Named<K> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        K::PLURAL.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-kind": K::KIND })
    }
}

/// One word of the enum `T`.
#[derive(Debug)]
pub struct Keyword<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Keyword<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // Variants with a description each are constants each.
        let schema = T::json_schema(generator);
        let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
        let words = list("oneOf").flat_map(|one| match one.get("enum").and_then(Value::as_array) {
            Some(words) => words.clone(),
            None => one.get("const").cloned().into_iter().collect(),
        });
        let words: Vec<Value> = list("enum").cloned().chain(words).collect();
        json_schema!({ "enum": words })
    }
}

/// A list, for which one value may stand.
#[derive(Debug)]
pub struct OneOrMany<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// The same, where `*` stands for every value.
#[derive(Debug)]
pub struct Any<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Any<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Any_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        RecursiveTransform(|schema: &mut Schema| {
            if let Some(Value::String(pattern)) = schema.get_mut("pattern") {
                pattern.push_str("|^[*]$");
            }
            if let Some(Value::Array(words)) = schema.get_mut("enum") {
                words.push("*".into());
            }
        })
        .transform(&mut schema);
        schema.insert("x-any".to_owned(), true.into());
        schema
    }
}

/// A table, or the value of its key `x-alone` alone.
pub fn alone<S: JsonSchema, T: JsonSchema>(generator: &mut SchemaGenerator, key: &str) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<S>(), generator.subschema_for::<T>()], "x-alone": key })
}

/// Adds to the schema of a table the key `key`, which says in short what `whole` says. Where `whole` is a list of tables,
/// `alone` is the key of the only one of them that is said.
pub fn short_form<T: JsonSchema>(schema: &mut Schema, key: &str, whole: &str, alone: Option<&str>, about: &str) {
    let mut short = T::json_schema(&mut SchemaGenerator::default());
    short.insert("x-for".to_owned(), whole.into());
    short.insert("description".to_owned(), about.into());
    if let Some(alone) = alone {
        short.insert("x-alone".to_owned(), alone.into());
    }
    add_key(schema, key, whole, short);
}

/// Adds the key `key` to the schema of a table, before the key `next`.
pub fn add_key(schema: &mut Schema, key: &str, next: &str, value: Schema) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(key.to_owned(), value.into());
    }
    if let Some(order) = schema.get_mut("x-order").and_then(Value::as_array_mut) {
        let at = order.iter().position(|known| known == next).unwrap_or(order.len());
        order.insert(at, key.into());
    }
}

/// Times in days, hours, minutes and seconds, as texts: `2h4m`.
pub mod time {
    use std::time::Duration;

    use jiff::{Span, SpanRelativeTo};
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Days, hours, minutes and seconds, each at most once and in this order. Of what jiff reads, no more than that.
    pub fn parse(text: &str) -> Option<Duration> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"dhms".contains(&byte)) && !text.contains("ms");
        let span: Span = text.parse().ok().filter(|_| plain)?;
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
    }

    /// In whole seconds, as everything that is configured.
    pub fn text(time: Duration) -> String {
        let seconds = time.as_secs();
        let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        let parts = parts.into_iter().filter(|(number, _)| *number > 0);
        let text = parts.fold(String::new(), |text, (number, unit)| text + &number.to_string() + unit);
        if text.is_empty() { "0s".to_owned() } else { text }
    }

    /// As a text.
    ///
    /// # Errors
    /// Those of `serializer`.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*time))
    }

    /// From a text.
    ///
    /// # Errors
    /// It is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        read(&String::deserialize(deserializer)?)
    }

    fn read<E: serde::de::Error>(text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::custom(format!("`{text}` is not a time")))
    }

    /// Times that may be left out.
    pub mod optional {
        use serde::Deserialize as _;

        use super::{Deserializer, Duration, Serializer};

        /// As a text.
        ///
        /// # Errors
        /// Those of `serializer`.
        pub fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// From a text.
        ///
        /// # Errors
        /// It is no time.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| super::read(&text)).transpose()
        }
    }
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

/// Notes in the schema of a struct the order of its fields, which a JSON object does not have, and that there are no others.
pub fn in_order<T: DeserializeOwned>(schema: &mut Schema) {
    let mut names = FieldNames::default();
    // Asked for its fields, it reads nothing.
    let _ = T::deserialize(&mut names);
    let properties = schema.get("properties").and_then(Value::as_object);
    let written = |name: &&&str| properties.is_some_and(|all| all.contains_key(**name));
    let names: Vec<&str> = names.0.iter().filter(written).copied().collect();
    schema.insert("x-order".to_owned(), names.into());
    schema.insert("additionalProperties".to_owned(), false.into());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::time;

    #[test]
    fn times_are_days_hours_minutes_and_seconds() {
        for (text, expected) in [
            ("2h4m", Some(7440)),
            ("90s", Some(90)),
            ("7d", Some(604_800)),
            ("1d1h", Some(90_000)),
            ("1h1d", None),
            ("5m", Some(300)),
            ("1h30m20s", Some(5420)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 m", None),
            ("4m2h", None),
            ("+5m", None),
            ("5m5m", None),
            ("5ms", None),
            ("1hour", None),
            ("-5m", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(time::parse(text), expected.map(Duration::from_secs), "{text}");
        }
    }
}
