//! From the syntax tree of a TOML file to values, without stopping at the first mistake: what cannot be read
//! is noted with its place and left out. `table` declares a table once, for its reader and for its JSON schema.

use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Mistake;

/// Errors that hide what follows from them, at most: a file with more of them has its first ones corrected first.
pub(super) const UNREAD_MAX: usize = 200;

/// A value of the syntax tree with its place.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// What can be read from a value.
pub(super) trait Read: Sized {
    /// The value, or `None` after its mistakes went to `reader`.
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self>;
}

/// Collects mistakes, and keeps what it reads by.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// In the order they were met.
    pub(super) mistakes: Vec<Mistake>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Its place, bytes of the text.
    pub(super) span: Range<usize>,
}

/// A list; one value stands for a list of one.
#[derive(Clone, Debug)]
pub(super) struct OneOrMany<T> {
    /// The values that could be read.
    pub(super) items: Vec<At<T>>,
    /// Place of the whole list.
    pub(super) span: Range<usize>,
}

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It may not.
    Required,
    /// It may.
    Optional,
}

impl Reader {
    /// Notes an error.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.push(Mistake::error(span, message, remedy));
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.push(Mistake::warning(span, message, remedy));
    }

    /// Notes that `node` is not what it should be.
    pub(super) fn wrong_type(&mut self, node: &Node<'_>, wanted: &str, example: &str) {
        let found = match node.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(node.span(), format!("found {found} where {wanted} is expected"), format!("write {example}"));
    }

    /// The table in `node`.
    pub(super) fn table<'n, 'i>(&mut self, node: &'n Node<'i>, example: &str) -> Option<&'n DeTable<'i>> {
        if let DeValue::Table(table) = node.get_ref() {
            return Some(table);
        }
        self.wrong_type(node, "a table", example);
        None
    }

    /// The list in `node`.
    pub(super) fn list<'n, 'i>(&mut self, node: &'n Node<'i>) -> Option<&'n [Node<'i>]> {
        match node.get_ref() {
            DeValue::Array(array) => return Some(array),
            DeValue::Table(_) => {
                self.wrong_type(node, "a list of tables", "the header with two brackets, such as `[[vnet]]`");
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => self.wrong_type(node, "a list", "a list in square brackets"),
        }
        None
    }

    /// The string in `node`.
    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>, wanted: &str, example: &str) -> Option<&'n str> {
        let text = node.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(node, wanted, example);
        }
        text
    }

    /// Notes a key that the table does not have.
    pub(super) fn unknown_key(&mut self, span: Range<usize>, key: &str, keys: &[&str]) {
        if self.mistakes.len() >= UNREAD_MAX {
            // Nobody reads what the thousandth may have meant.
            self.error(span, format!("unknown key `{key}`"), "correct the mistakes above first");
            return;
        }
        let remedy = match nearest(key, keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? Valid keys here: {}", keys.join(", ")),
            None => format!("valid keys here: {}", keys.join(", ")),
        };
        self.error(span, format!("unknown key `{key}`"), remedy);
    }
}

/// The candidate closest to `word`, if one is close enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    candidates
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|&(distance, candidate)| distance <= (word.len().min(candidate.len()) / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

impl<T: Read> Read for At<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        Some(Self { value: T::read(node, reader)?, span: node.span() })
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        Some(reader.list(node)?.iter().filter_map(|item| T::read(item, reader)).collect())
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let items = match node.get_ref() {
            DeValue::Array(array) => array.iter().filter_map(|item| At::read(item, reader)).collect(),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => {
                vec![At::read(node, reader)?]
            }
        };
        Some(Self { items, span: node.span() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Declares a table of the file: its keys, what stands under each and whether it may be left out. One declaration makes
/// the type, its reader and its JSON schema, so that the three cannot differ.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $key:literal $field:ident $need:ident $kind:ty, )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        #[allow(clippy::struct_field_names, reason = "fields are named as the keys of the file")]
        pub(in crate::config) struct $name {
            /// Where the table stands.
            #[allow(dead_code, reason = "some tables have no mistake that is about the table as a whole")]
            pub(in crate::config) span: std::ops::Range<usize>,
            /// Whether something in it could not be read.
            pub(in crate::config) broken: bool,
            $( $(#[doc = $doc])+ pub(in crate::config) $field: Option<$kind>, )*
        }

        impl $name {
            /// Every key.
            pub(in crate::config) const KEYS: &'static [&'static str] = &[$($key),*];

            /// Reads the table's keys; `at` is where a missing one is noted.
            pub(in crate::config) fn from_table(
                table: &toml::de::DeTable<'_>,
                at: std::ops::Range<usize>,
                reader: &mut $crate::config::read::Reader,
            ) -> Self {
                use $crate::config::read::{Need, Read};
                let before = reader.mistakes.len();
                let mut out = Self { span: at.clone(), ..Self::default() };
                for (key, node) in table.iter() {
                    match key.get_ref().as_ref() {
                        $( $key => out.$field = <$kind as Read>::read(node, reader), )*
                        other => reader.unknown_key(key.span(), other, Self::KEYS),
                    }
                }
                $(
                    if Need::$need == Need::Required && !table.contains_key($key) {
                        let about = concat!($($doc),+).trim();
                        reader.error(at.clone(), concat!("`", $key, "` is missing"),
                            format!(concat!("add `", $key, "`: {}"), about));
                    }
                )*
                out.broken = reader.mistakes.len() > before;
                out
            }
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::read::Node<'_>,
                reader: &mut $crate::config::read::Reader,
            ) -> Option<Self> {
                let table = reader.table(node, concat!("a table with the keys ", $("`", $key, "` "),*))?;
                Some(Self::from_table(table, node.span(), reader))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::config::read::Need;
                let mut properties = serde_json::Map::new();
                let mut required: Vec<&str> = Vec::new();
                $(
                    let about = concat!($($doc),+).trim();
                    let property = generator.subschema_for::<$kind>();
                    properties.insert($key.into(), $crate::config::read::described(property, about));
                    if Need::$need == Need::Required {
                        required.push($key);
                    }
                )*
                schemars::json_schema!({
                    "type": "object",
                    "description": concat!($($about),+).trim(),
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                })
            }
        }
    };
}
pub(super) use table;

/// `property` with the description of its key.
pub(super) fn described(mut property: Schema, about: &str) -> serde_json::Value {
    property.insert("description".into(), about.into());
    property.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_key_and_another_word_none() {
        let keys = ["subnet", "resource", "ip", "status"];
        for (word, expected) in [
            ("subent", Some("subnet")),
            ("resouce", Some("resource")),
            ("Status", Some("status")),
            ("id", Some("ip")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys.into_iter()), expected, "{word}");
        }
    }
}
