//! The values that stand under keys: addresses, prefixes, idle times, ports and closed sets of words.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::read::{At, Node, Read, Reader, nearest};
use crate::model::spelled::{port_ranges, time};
use crate::model::{Cloud, DenyMode, Limits, OnExit};

/// An IP address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) IpAddr);

/// A prefix without host bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix(pub(super) IpNet);

/// An address and a port to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener(pub(super) SocketAddr);

/// Where the API is served, and whether without TLS.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiAddress(pub(super) SocketAddr, pub(super) bool);

/// A time such as `2h4m`.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleTime(pub(super) Duration);

/// A time that may be long, such as `7d`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention(pub(super) Duration);

/// A number of bytes, such as `256MiB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

/// A table, or the short form that says it in one word.
#[derive(Clone, Debug)]
pub(super) enum Shorthand<S, T> {
    /// The word.
    Keyword(At<S>),
    /// The table.
    Table(Box<T>),
}

/// One port or a range of ports, first and last; their order is checked with the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports(pub(super) u16, pub(super) u16);

/// One of a closed set of words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyword<T>(pub(super) T);

/// A closed set of words.
pub(super) trait Words: Copy + Debug + 'static {
    /// Every word and what it means.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of earlier releases, each with the one that replaces it: still understood, with a warning.
    const FORMER: &'static [(&'static str, &'static str)] = &[];
}

impl Words for OnExit {
    const WORDS: &'static [(&'static str, Self)] = &[("block", Self::Block), ("undo", Self::Undo)];
}
impl Words for Cloud {
    const WORDS: &'static [(&'static str, Self)] =
        &[("commercial", Self::Commercial), ("government", Self::Government), ("china", Self::China)];
}
impl Words for DenyMode {
    const WORDS: &'static [(&'static str, Self)] = &[("answer", Self::Answer), ("drop", Self::Drop)];
}
impl Words for Limits {
    const WORDS: &'static [(&'static str, Self)] = &[("today", Self::TODAY), ("azure-2019", Self::AZURE_2019)];
    const FORMER: &'static [(&'static str, &'static str)] = &[("seed", "azure-2019")];
}

impl<T: Words> Read for Keyword<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let words: Vec<&str> = T::WORDS.iter().map(|&(word, _)| word).collect();
        let former = T::FORMER.iter().find(|(former, _)| node.get_ref().as_str() == Some(former));
        let word = match former {
            Some(&(former, word)) => {
                let message = format!("`{former}` is the former word for `{word}`");
                reader.warning(node.span(), message, format!("write \"{word}\""));
                word
            }
            None => word(node, reader, &words)?,
        };
        T::WORDS.iter().find(|(known, _)| *known == word).map(|&(_, meaning)| Self(meaning))
    }
}

/// The one of `words` that stands in `node`.
pub(super) fn word<'w>(node: &Node<'_>, reader: &mut Reader, words: &[&'w str]) -> Option<&'w str> {
    let list = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let text = reader.text(node, "a word", &format!("one of {list}"))?;
    let found = words.iter().find(|word| **word == text).copied();
    if found.is_none() {
        let remedy = match nearest(text, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? Valid words here: {list}"),
            None => format!("write one of {list}"),
        };
        reader.error(node.span(), format!("`{text}` is not a valid word here"), remedy);
    }
    found
}

impl<S: Read, T: Read> Read for Shorthand<S, T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        if node.get_ref().is_table() {
            return T::read(node, reader).map(|table| Self::Table(Box::new(table)));
        }
        At::read(node, reader).map(Self::Keyword)
    }
}

impl<S: JsonSchema, T: JsonSchema> JsonSchema for Shorthand<S, T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Short_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let forms = [generator.subschema_for::<S>(), generator.subschema_for::<T>()];
        json_schema!({ "anyOf": forms })
    }
}

impl Read for String {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        Some(reader.text(node, "a string", "it in double quotes")?.to_owned())
    }
}

impl Read for bool {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            reader.wrong_type(node, "true or false", "`true` or `false`, without quotes");
        }
        value
    }
}

impl Read for u16 {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        integer(node, reader, Self::MAX.into()).and_then(|value| value.try_into().ok())
    }
}

impl Read for u32 {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        integer(node, reader, Self::MAX.into()).and_then(|value| value.try_into().ok())
    }
}

impl Read for u64 {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        // What TOML can say.
        integer(node, reader, i64::MAX.unsigned_abs())
    }
}

fn integer(node: &Node<'_>, reader: &mut Reader, most: u64) -> Option<u64> {
    let DeValue::Integer(integer) = node.get_ref() else {
        reader.wrong_type(node, "an integer", "a number without quotes");
        return None;
    };
    let value = u64::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|&value| value <= most);
    if value.is_none() {
        let range = format!("choose a number between 0 and {most}");
        reader.error(node.span(), format!("{integer} is out of range"), range);
    }
    value
}

impl Read for Address {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "an address", "an address in double quotes, such as \"10.1.9.4\"")?;
        let address = text.parse().ok().map(Self);
        if address.is_none() {
            let remedy = match text.split_once('/') {
                Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
                    format!("write the address alone: \"{address}\"")
                }
                _ => "write an address such as \"10.1.9.4\"; names are not looked up".to_owned(),
            };
            reader.error(node.span(), format!("`{text}` is not an IP address"), remedy);
        }
        address
    }
}

impl Read for Prefix {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "a prefix", "a prefix in double quotes, such as \"10.1.0.0/16\"")?;
        match text.parse::<IpNet>() {
            Ok(net) if net == net.trunc() => Some(Self(net)),
            Ok(net) => {
                let remedy = format!("write \"{}\", or a longer prefix", net.trunc());
                reader.error(node.span(), format!("{text} has bits set behind its prefix length"), remedy);
                None
            }
            Err(_) => {
                let remedy = match text.parse::<IpAddr>() {
                    Ok(address) => format!("for this one address write \"{}\"", IpNet::from(address)),
                    Err(_) => "write a prefix such as \"10.1.0.0/16\"".to_owned(),
                };
                reader.error(node.span(), format!("`{text}` is not a prefix"), remedy);
                None
            }
        }
    }
}

impl Read for Listener {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let example = "an address with a port, such as \"127.0.0.1:9464\"";
        let text = reader.text(node, "an address with a port", example)?;
        let listener = text.parse().ok().map(Self);
        if listener.is_none() {
            reader.error(node.span(), format!("`{text}` is not an address with a port"), format!("write {example}"));
        }
        listener
    }
}

impl Read for ApiAddress {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let example = "\"127.0.0.1:8480\" for HTTPS, or \"http://127.0.0.1:8480\"";
        let text = reader.text(node, "an address with a port", example)?;
        let plain = text.strip_prefix("http://");
        let address = plain.or_else(|| text.strip_prefix("https://")).unwrap_or(text).parse::<SocketAddr>().ok();
        let Some(address) = address else {
            reader.error(node.span(), format!("`{text}` is not an address with a port"), format!("write {example}"));
            return None;
        };
        if plain.is_some() && !address.ip().is_loopback() {
            let remedy = format!("write \"{address}\", which is HTTPS, or a loopback address");
            reader.error(node.span(), format!("plain HTTP on {address} would show tokens to the network"), remedy);
            return None;
        }
        Some(Self(address, plain.is_some()))
    }
}

impl Read for IdleTime {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        elapsed(node, reader, "\"2h4m\", \"5m\" or \"90s\"", "8760h").map(Self)
    }
}

impl Read for Retention {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        elapsed(node, reader, "\"7d\" or \"12h\"", "3650d").map(Self)
    }
}

/// A time between one second and `longest`, which is far from any overflow.
fn elapsed(node: &Node<'_>, reader: &mut Reader, examples: &str, longest: &str) -> Option<Duration> {
    let example = format!("a time with its units in double quotes, such as {examples}");
    let text = reader.text(node, "a time", &example)?;
    match time::parse(text) {
        Some(time) if time >= Duration::from_secs(1) && time::parse(longest).is_some_and(|most| time <= most) => {
            Some(time)
        }
        Some(_) => {
            let remedy = format!("choose a time between 1s and {longest}");
            reader.error(node.span(), format!("{text} is out of range"), remedy);
            None
        }
        None => {
            reader.error(node.span(), format!("`{text}` is not a time"), format!("write {example}"));
            None
        }
    }
}

/// A number of digits alone: no sign, no blank.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Less would hold no useful history, and more is taken for a mistake.
const SIZES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 50);

impl Read for Size {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let example = "a size with its unit in double quotes, such as \"256MiB\" or \"2GiB\"";
        let text = reader.text(node, "a size", example)?;
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        let size = units.into_iter().find_map(|(unit, shift)| {
            let number = digits(text.strip_suffix(unit)?.trim_end())?;
            number.checked_mul(1 << shift)
        });
        match size {
            Some(size) if SIZES.contains(&size) => Some(Self(size)),
            Some(_) => {
                reader.error(node.span(), format!("{text} is out of range"), "choose a size between 1MiB and 1024TiB");
                None
            }
            None => {
                reader.error(node.span(), format!("`{text}` is not a size"), format!("write {example}"));
                None
            }
        }
    }
}

impl Read for Ports {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::String(text) = node.get_ref() else {
            if node.get_ref().is_integer() {
                return u16::read(node, reader).map(|port| Self(port, port));
            }
            reader.wrong_type(node, "a port", PORT_EXAMPLE);
            return None;
        };
        let Some((first, last)) = port_ranges::parse(text) else {
            let message = format!("`{text}` is neither a port nor a range of ports");
            reader.error(node.span(), message, format!("write {PORT_EXAMPLE}; ports go from 1 to 65535"));
            return None;
        };
        Some(Self(first, last))
    }
}

/// How ports are written.
const PORT_EXAMPLE: &str = "a port such as `5432`, or a range such as \"8000-8100\"";

/// How times are written.
const TIMES: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

/// The JSON schema of a leaf type, always inline.
macro_rules! leaf_schema {
    ($($kind:ident $(<$set:ident>)? => $schema:expr;)*) => {$(
        impl$(<$set: Words>)? JsonSchema for $kind$(<$set>)? {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($kind).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

leaf_schema! {
    Address => json_schema!({ "type": "string", "format": "ip" });
    Prefix => json_schema!({ "type": "string", "pattern": "/[0-9]+$" });
    ApiAddress => json_schema!({ "type": "string", "pattern": "^(https?://)?.+:[0-9]+$" });
    Listener => json_schema!({ "type": "string", "pattern": ":[0-9]+$" });
    IdleTime => json_schema!({ "type": "string", "pattern": TIMES });
    Retention => json_schema!({ "type": "string", "pattern": TIMES });
    Size => json_schema!({ "type": "string", "pattern": "^[0-9]+ ?[KMGT]iB$" });
    Ports => json_schema!({ "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 65535 },
        { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
    ] });
    Keyword<T> => json_schema!({ "enum": T::WORDS.iter().map(|&(word, _)| word).collect::<Vec<_>>() });
}
