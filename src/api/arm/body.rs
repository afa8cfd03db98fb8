//! Reading bodies: each value is known by its place, so that a mistake is said where it is.

use std::cell::OnceCell;
use std::net::IpAddr;

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Rejection;
use crate::control::access::grammar;
use crate::control::ids::ArmId;
use crate::control::model::{Tags, region};

/// A value of the body.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    value: &'a Value,
    path: String,
}

/// The body of a request, read when a handler first asks for it: it has judged rights by then.
#[derive(Debug, Default)]
pub(super) struct Body {
    bytes: Bytes,
    json: OnceCell<Value>,
}

/// Objects and lists within one another in a body, at most. Azure's deepest are far below.
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
    pub(super) fn json(&self) -> Result<&Value, Rejection> {
        if let Some(json) = self.json.get() {
            return Ok(json);
        }
        let json = parse(&self.bytes)?;
        if let Some(place) = too_deep(&json, DEPTH_MAX) {
            let message = format!("{place}: objects and lists stand within one another more than {DEPTH_MAX} deep");
            return Err(Rejection::bad_request(&message, &place));
        }
        Ok(self.json.get_or_init(|| json))
    }
}

fn parse(body: &[u8]) -> Result<Value, Rejection> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| Rejection::bad_request(&format!("the body is not JSON: {error}"), ""))
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

impl<'a> Field<'a> {
    /// The whole body, which must be an object.
    ///
    /// # Errors
    /// 400.
    pub(super) fn root(body: &'a Body) -> Result<Self, Rejection> {
        let root = Self { value: body.json()?, path: String::new() };
        if root.value.is_object() { Ok(root) } else { Err(root.wrong("an object")) }
    }

    /// The member `name`, without regard to case; null is as if it were not there.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let object = self.value.as_object()?;
        let folded = || object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = object.get(name).or_else(folded).filter(|value| !value.is_null())?;
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Some(Self { value, path })
    }

    /// `properties`, or nothing in its place.
    pub(super) fn properties(&self) -> Self {
        static NOTHING: Value = Value::Null;
        let path = if self.path.is_empty() { "properties".to_owned() } else { format!("{}.properties", self.path) };
        self.get("properties").unwrap_or(Self { value: &NOTHING, path })
    }

    /// The items of the list `name`; `None` where it is not there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<Self>>, Rejection> {
        let Some(field) = self.get(name) else { return Ok(None) };
        let items = field.value.as_array().ok_or_else(|| field.wrong("a list"))?;
        let item = |(index, value)| Self { value, path: format!("{}[{index}]", field.path) };
        Ok(Some(items.iter().enumerate().map(item).collect()))
    }

    /// The items of the list `name`; none where it is not there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn items(&self, name: &str) -> Result<Vec<Self>, Rejection> {
        self.list(name).map(Option::unwrap_or_default)
    }

    /// The text `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Rejection> {
        self.get(name).map(|field| field.as_text()).transpose()
    }

    /// `location`, as Azure writes regions.
    ///
    /// # Errors
    /// 400.
    pub(super) fn location(&self) -> Result<Option<String>, Rejection> {
        self.text("location").map(|text| text.map(|text| region(&text)))
    }

    /// The text `name`, which must be there.
    ///
    /// # Errors
    /// 400.
    pub(super) fn required(&self, name: &str) -> Result<String, Rejection> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.lacks(name))
    }

    /// The text `name`, which is part of an ID.
    ///
    /// # Errors
    /// 400.
    pub(super) fn name(&self, name: &str) -> Result<String, Rejection> {
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
    pub(super) fn as_text(&self) -> Result<String, Rejection> {
        self.value.as_str().map(str::to_owned).ok_or_else(|| self.wrong("a text"))
    }

    /// The texts of the list `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, Rejection> {
        self.items(name)?.iter().map(Self::as_text).collect()
    }

    /// The truth value `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Rejection> {
        self.get(name).map(|field| field.value.as_bool().ok_or_else(|| field.wrong("true or false"))).transpose()
    }

    /// The number `name`, at most 65535.
    ///
    /// # Errors
    /// 400.
    pub(super) fn port(&self, name: &str) -> Result<Option<u16>, Rejection> {
        let number = |field: Self| field.value.as_u64().and_then(|number| u16::try_from(number).ok()).ok_or(field);
        self.get(name).map(number).transpose().map_err(|field| field.wrong("a number from 0 to 65535"))
    }

    /// The address `name`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn address(&self, name: &str) -> Result<Option<IpAddr>, Rejection> {
        self.parsed(name, "an IP address")
    }

    /// The text `name` as what it stands for; empty is as if it were not there.
    ///
    /// # Errors
    /// 400, which says what it should be.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, Rejection> {
        let Some(field) = self.get(name) else { return Ok(None) };
        let text = field.as_text()?;
        if text.is_empty() {
            return Ok(None);
        }
        text.trim().parse().map(Some).map_err(|_| field.wrong(what))
    }

    /// The texts of the list `name` as what they stand for.
    ///
    /// # Errors
    /// 400, which says what they should be.
    pub(super) fn all<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Vec<T>, Rejection> {
        self.items(name)?.iter().map(|item| item.as_text()?.trim().parse().map_err(|_| item.wrong(what))).collect()
    }

    /// `{"id": …}` under `name`, of something of type `kind`: what a name alone means depends on that.
    ///
    /// # Errors
    /// 400.
    pub(super) fn id(&self, name: &str, kind: &str) -> Result<Option<ArmId>, Rejection> {
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
    pub(super) fn required_id(&self, name: &str, kind: &str) -> Result<ArmId, Rejection> {
        self.id(name, kind)?.ok_or_else(|| self.lacks(&format!("{name}.id")))
    }

    /// `tags`; `None` where there are none to read.
    ///
    /// # Errors
    /// 400.
    pub(super) fn tags(&self) -> Result<Option<Tags>, Rejection> {
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
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        T::deserialize(self.value).map_err(|error| self.refused(&error.to_string()))
    }

    /// A refusal of this value.
    pub(super) fn refused(&self, why: &str) -> Rejection {
        let place = if self.path.is_empty() { "the body" } else { &self.path };
        Rejection::bad_request(&format!("{place}: {why}"), &self.path)
    }

    /// A refusal of this value, which is not `what` it should be.
    pub(super) fn wrong(&self, what: &str) -> Rejection {
        self.refused(&format!("this is not {what}"))
    }

    fn lacks(&self, name: &str) -> Rejection {
        self.refused(&format!("`{name}` is missing"))
    }
}
