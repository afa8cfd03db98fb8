//! Reads bodies. Each value knows its place, so that errors can name it.

use std::cell::OnceCell;
use std::net::IpAddr;

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;
use crate::model::ids::ArmId;
use crate::model::{Tags, grammar, region};

/// A value of the body, with the value that the object shows at the same place. Output that a client sends back
/// unchanged requests nothing.
#[derive(Clone, Debug)]
pub(super) struct JsonField<'a> {
    value: &'a Value,
    shown: Option<&'a Value>,
    path: String,
}

/// The body of a request. It is parsed when a handler first uses it, after the check of rights.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Bytes,
    json: OnceCell<Value>,
}

/// The reason to refuse a PATCH of anything that Azure's PATCH does not change.
pub(super) const NOT_BY_PATCH: &str = "a PATCH does not change this: send the whole object by PUT";

/// The deepest nesting of a body. Azure's bodies are much flatter.
const DEPTH_MAX: usize = 32;

impl Body {
    /// The body that `bytes` are.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, json: OnceCell::new() }
    }

    /// The body as JSON; null where it is empty.
    ///
    /// # Errors
    /// 400.
    pub(super) fn json(&self) -> Result<&Value, Error> {
        if let Some(json) = self.json.get() {
            return Ok(json);
        }
        let json = parse(&self.bytes)?;
        if let Some(place) = too_deep(&json, DEPTH_MAX) {
            let message = format!("{place}: objects and lists stand within one another more than {DEPTH_MAX} deep");
            return Err(Error::bad_request(&message, &place));
        }
        Ok(self.json.get_or_init(|| json))
    }
}

fn parse(body: &[u8]) -> Result<Value, Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| Error::bad_request(&format!("the body is not JSON: {error}"), ""))
}

/// Where `value` has more than `most` objects and lists within one another.
fn too_deep(value: &Value, most: usize) -> Option<String> {
    let inner = |name: String, inner: &Value| {
        let Some(most) = most.checked_sub(1) else { return Some(name) };
        too_deep(inner, most).map(|place| format!("{name}.{place}"))
    };
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| inner(name.chars().take(80).collect(), value)),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| inner(index.to_string(), item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The member `name` of an object; case does not matter. Null counts as absent.
fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let object = object.as_object()?;
    let folded = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    object.get(name).or_else(folded).filter(|value| !value.is_null())
}

/// Whether `value` is empty: clients send empty lists and texts for absent values.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether two texts name one region: `West Europe` is `westeurope`.
fn is_region(said: &Value, shown: &Value) -> bool {
    let named = |value: &Value| value.as_str().map(region);
    said.is_null() || named(said).is_some() && named(said) == named(shown)
}

/// Whether `shown` contains everything in `said`. Texts and IDs are compared without case. Tags and similar maps are
/// compared as a whole: leaving one out removes it.
fn repeats(said: &Value, shown: &Value) -> bool {
    let free = |name: &str| name.eq_ignore_ascii_case("tags") || name.eq_ignore_ascii_case("metadata");
    match (said, shown) {
        (Value::Object(fields), Value::Object(_)) if !fields.is_empty() => {
            fields.iter().all(|(name, value)| match member(shown, name) {
                Some(shown) if free(name) => value.is_null() || value == shown,
                Some(shown) if name.eq_ignore_ascii_case("location") => is_region(value, shown),
                Some(shown) => repeats(value, shown),
                None => is_empty(value),
            })
        }
        (Value::Array(said), Value::Array(shown)) => {
            said.len() == shown.len() && said.iter().zip(shown).all(|(said, shown)| repeats(said, shown))
        }
        (Value::String(said), Value::String(shown)) => said.eq_ignore_ascii_case(shown),
        (said, shown) => said.is_null() || said == shown,
    }
}

impl<'a> JsonField<'a> {
    /// The whole body, which must be an object.
    ///
    /// # Errors
    /// 400.
    pub(super) fn root(body: &'a Body) -> Result<Self, Error> {
        Self::over(body, None)
    }

    /// The whole body, sent to an object that is `shown` so.
    ///
    /// # Errors
    /// 400.
    pub(super) fn over(body: &'a Body, shown: Option<&'a Value>) -> Result<Self, Error> {
        let root = Self { value: body.json()?, shown, path: String::new() };
        if root.value.is_object() { Ok(root) } else { Err(root.wrong("an object")) }
    }

    /// Whether this only repeats shown values. Left-out members do not count.
    pub(super) fn is_as_shown(&self) -> bool {
        self.shown.is_some_and(|shown| repeats(self.value, shown))
    }

    /// The member `name` if it differs from the shown value.
    pub(super) fn changed(&self, name: &str) -> Option<Self> {
        let same = |field: &Self| match field.shown {
            Some(shown) if name.eq_ignore_ascii_case("location") => is_region(field.value, shown),
            _ => field.is_as_shown(),
        };
        self.get(name).filter(|field| !same(field))
    }

    /// Checks that nothing is changed but the members in `honoured`.
    ///
    /// # Errors
    /// 400, naming the first other one, and `why`.
    pub(super) fn refuse_others(&self, honoured: &[&str], why: &str) -> Result<(), Error> {
        let fields = self.value.as_object().into_iter().flatten();
        let other = |name: &String| !honoured.iter().any(|known| known.eq_ignore_ascii_case(name));
        for name in fields.map(|(name, _)| name).filter(|name| other(name)) {
            let Some(field) = self.changed(name) else { continue };
            if field.value.is_object() && field.shown.is_some_and(Value::is_object) {
                field.refuse_others(&[], why)?;
                continue;
            }
            if is_empty(field.value) && field.shown.is_none_or(is_empty) {
                continue;
            }
            return Err(field.refused(why));
        }
        Ok(())
    }

    /// The member `name`, else its shown value, so that members unknown to older clients stay as they are.
    pub(super) fn or_shown(&self, name: &str) -> Option<Self> {
        let shown = || self.shown.and_then(|shown| member(shown, name));
        self.get(name).or_else(|| Some(Self { value: shown()?, shown: shown(), path: format!("{}.{name}", self.path) }))
    }

    /// The value itself.
    pub(super) fn json(&self) -> &'a Value {
        self.value
    }

    /// Whether the object shows a member `name`.
    pub(super) fn shows(&self, name: &str) -> bool {
        self.shown.and_then(|shown| member(shown, name)).is_some()
    }

    /// The changed members as a `T`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn read_changed<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let Some(fields) = self.value.as_object() else { return self.read() };
        let same = |name: &str, value: &Value| {
            let shown = self.shown.and_then(|shown| member(shown, name));
            shown.is_some_and(|shown| repeats(value, shown) && repeats(shown, value))
        };
        let changed = fields.iter().filter(|(name, value)| !same(name, value));
        let changed = Value::Object(changed.map(|(name, value)| (name.clone(), value.clone())).collect());
        T::deserialize(changed).map_err(|error| self.refused(&error.to_string()))
    }

    /// The member `name`; case does not matter. Null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = member(self.value, name)?;
        let shown = self.shown.and_then(|shown| member(shown, name));
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Some(Self { value, shown, path })
    }

    /// `properties`, or nothing in its place.
    pub(super) fn properties(&self) -> Self {
        static NOTHING: Value = Value::Null;
        let path = if self.path.is_empty() { "properties".to_owned() } else { format!("{}.properties", self.path) };
        let shown = self.shown.and_then(|shown| member(shown, "properties"));
        self.get("properties").unwrap_or(Self { value: &NOTHING, shown, path })
    }

    /// The items of the list `name`. `None` if it is absent. Items are matched with shown ones by name.
    ///
    /// # Errors
    /// 400.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<Self>>, Error> {
        let Some(field) = self.get(name) else { return Ok(None) };
        let items = field.value.as_array().ok_or_else(|| field.wrong("a list"))?;
        let all = field.shown.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let named = |value: &Value| member(value, "name").and_then(Value::as_str).map(str::to_lowercase);
        let item = |(index, value): (usize, &'a Value)| {
            let shown = match named(value) {
                Some(name) => all.iter().find(|one| named(one).as_ref() == Some(&name)),
                None => all.get(index),
            };
            Self { value, shown, path: format!("{}[{index}]", field.path) }
        };
        Ok(Some(items.iter().enumerate().map(item).collect()))
    }

    /// The items of the list `name`; none where it is not there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Self>, Error> {
        self.list(name).map(Option::unwrap_or_default)
    }

    /// The items of the list `name`, each as `read` takes it.
    ///
    /// # Errors
    /// 400, or what `read` refuses.
    pub(super) fn each<T>(&self, name: &str, read: impl Fn(&Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        self.items(name)?.iter().map(read).collect()
    }

    /// The text `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        self.get(name).map(|field| field.as_text()).transpose()
    }

    /// `location`, as Azure writes regions.
    ///
    /// # Errors
    /// 400.
    pub(super) fn location(&self) -> Result<Option<String>, Error> {
        let Some(field) = self.get("location") else { return Ok(None) };
        let named = region(&field.as_text()?);
        let fits = named.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits || self.changed("location").is_none() {
            return Ok(Some(named));
        }
        Err(field.wrong("a region, such as westeurope or West Europe"))
    }

    /// The text `name`, which must be there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn required(&self, name: &str) -> Result<String, Error> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.lacks(name))
    }

    /// The text `name`, which is part of an ID.
    ///
    /// # Errors
    /// 400.
    pub(super) fn name(&self, name: &str) -> Result<String, Error> {
        let text = self.required(name)?;
        if grammar::is_part(&text) {
            return Ok(text);
        }
        Err(self.refused(&format!("`{name}` is `{text}`, which is not a name: {}", grammar::PART_REMEDY)))
    }

    /// This value as text.
    ///
    /// # Errors
    /// 400.
    pub(super) fn as_text(&self) -> Result<String, Error> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a text"))
    }

    /// The texts of the list `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        self.each(name, Self::as_text)
    }

    /// The truth value `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Error> {
        self.get(name).map(|field| field.value.as_bool().ok_or_else(|| field.wrong("true or false"))).transpose()
    }

    /// The number `name`, at most 65535.
    ///
    /// # Errors
    /// 400.
    pub(super) fn port(&self, name: &str) -> Result<Option<u16>, Error> {
        self.get(name).map(|field| field.as_port()).transpose()
    }

    /// This value as a number, at most 65535.
    ///
    /// # Errors
    /// 400.
    pub(super) fn as_port(&self) -> Result<u16, Error> {
        let number = self.value.as_u64().and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| self.wrong("a number from 0 to 65535"))
    }

    /// The address `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn address(&self, name: &str) -> Result<Option<IpAddr>, Error> {
        self.parsed(name, "an IP address")
    }

    /// The text `name`, parsed. Empty counts as absent.
    ///
    /// # Errors
    /// 400, with the expected form.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Error> {
        let Some(field) = self.get(name) else { return Ok(None) };
        let text = field.as_text()?;
        if text.is_empty() {
            return Ok(None);
        }
        text.trim().parse().map(Some).map_err(|_| field.wrong(what))
    }

    /// The text `name` as what it stands for, which must be there.
    ///
    /// # Errors
    /// 400, which says what it should be.
    pub(super) fn given<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T, Error> {
        self.parsed(name, what)?.ok_or_else(|| self.lacks(name))
    }

    /// The texts of the list `name` as what they stand for.
    ///
    /// # Errors
    /// 400, with the expected form.
    pub(super) fn all<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Vec<T>, Error> {
        self.each(name, |item| item.as_text()?.trim().parse().map_err(|_| item.wrong(what)))
    }

    /// `{"id": …}` under `name`, of something of type `kind`: what a name alone means depends on that.
    ///
    /// # Errors
    /// 400.
    pub(super) fn id(&self, name: &str, kind: &str) -> Result<Option<ArmId>, Error> {
        let Some(field) = self.get(name) else { return Ok(None) };
        let Some(text) = field.text("id")? else { return Ok(None) };
        let id = ArmId::parse(&text).map_err(|error| field.refused(&error))?;
        if !id.is(kind) {
            return Err(field.refused(&format!("`{name}.id` is not that of a {kind}")));
        }
        Ok(Some(id))
    }

    /// `{"id": …}` under `name`, which must be there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn required_id(&self, name: &str, kind: &str) -> Result<ArmId, Error> {
        self.id(name, kind)?.ok_or_else(|| self.lacks(&format!("{name}.id")))
    }

    /// `tags`; `None` where there are none to read.
    ///
    /// # Errors
    /// 400.
    pub(super) fn tags(&self) -> Result<Option<Tags>, Error> {
        let Some(tags) = self.get("tags") else { return Ok(None) };
        let object = tags.value.as_object().ok_or_else(|| tags.wrong("an object"))?;
        if object.len() > 50 {
            return Err(tags.refused("an object has at most 50 tags"));
        }
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| tags.wrong("an object of texts"));
        object.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect::<Result<_, _>>().map(Some)
    }

    /// The whole value as a `T`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(self.value).map_err(|error| self.refused(&error.to_string()))
    }

    /// An error about this value.
    pub(super) fn refused(&self, why: &str) -> Error {
        let place = if self.path.is_empty() { "the body" } else { &self.path };
        Error::bad_request(&format!("{place}: {why}"), &self.path)
    }

    /// The error for a value that is not `what` is expected.
    pub(super) fn wrong(&self, what: &str) -> Error {
        self.refused(&format!("this is not {what}"))
    }

    /// A refusal, for a member is not there.
    pub(super) fn lacks(&self, name: &str) -> Error {
        self.refused(&format!("`{name}` is missing"))
    }
}

/// Whether a request accepts NAT addresses although a neighbour answers for them.
pub(super) fn is_forced(body: &Value) -> bool {
    body["properties"]["privlink"]["force"].as_bool().unwrap_or_default()
}
