//! Responses: a body in ARM's envelope, its status, and a tag that changes with its content.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Error;
use super::request::{ArmRequest, Looks, lists};
use crate::model::Tags;
use crate::model::ids::ArmId;
use crate::types::segment;

/// Objects of one page unless `$top` asks for fewer.
const PAGE: usize = 1_000;

/// A successful answer.
#[derive(Debug)]
pub(super) struct ArmResponse {
    status: StatusCode,
    body: Option<Value>,
}

impl ArmResponse {
    /// An object, or a list, as it is.
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body) }
    }

    /// An object after a PUT.
    pub(super) fn put(body: Value, created: bool) -> Self {
        Self { status: if created { StatusCode::CREATED } else { StatusCode::OK }, body: Some(body) }
    }

    /// The same, told as a change whether or not the object is new.
    pub(super) fn without_created(self) -> Self {
        Self { status: StatusCode::OK, ..self }
    }

    /// An object is gone since this call.
    pub(super) fn deleted() -> Self {
        Self { status: StatusCode::OK, body: None }
    }

    /// Adapts the response to the request: no body if the client has it already, or for HEAD.
    pub(super) fn fitted(self, request: &ArmRequest) -> Self {
        let tag = self.body.as_ref().and_then(|body| body.get("etag")).and_then(Value::as_str);
        let known = || request.if_none_match.as_deref().zip(tag).is_some_and(|(tags, tag)| lists(tags, tag));
        match request.looks {
            Looks::At if known() => Self { status: StatusCode::NOT_MODIFIED, ..self },
            Looks::Whether => Self { status: StatusCode::NO_CONTENT, body: None },
            Looks::At | Looks::Not => self,
        }
    }

    /// There was nothing to delete.
    pub(super) fn absent() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None }
    }
}

impl IntoResponse for ArmResponse {
    fn into_response(self) -> Response {
        let Some(body) = self.body else { return self.status.into_response() };
        let tag = body.get("etag").and_then(Value::as_str).and_then(|tag| HeaderValue::from_str(tag).ok());
        let mut response = match self.status {
            StatusCode::NOT_MODIFIED => self.status.into_response(),
            status => (status, Json(body)).into_response(),
        };
        if let Some(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

/// `object` with its tag. Equal contents have equal tags.
pub(super) fn tagged(mut object: Value) -> Value {
    let digest = Sha256::digest(object.to_string());
    let tag = digest.iter().take(12).fold(0_u128, |tag, byte| (tag << 8) | u128::from(*byte));
    if let Some(fields) = object.as_object_mut() {
        fields.insert("etag".into(), Value::String(format!("W/\"{tag:024x}\"")));
    }
    object
}

/// An object in ARM's envelope. `placed` is its location and tags, for top-level objects.
pub(super) fn object(id: &ArmId, placed: Option<(&String, &Tags)>, properties: Value) -> Value {
    let mut shown = json!({ "id": id.to_string(), "name": id.name(), "type": id.kind() });
    shown["properties"] = properties;
    if let Some((region, tags)) = placed {
        shown["location"] = json!(region);
        shown["tags"] = json!(tags);
    }
    tagged(shown)
}

/// One page of `objects`, which come in the order of their marks; each is shown only if it is on the page.
///
/// # Errors
/// `$top` is no number.
pub(super) fn page<T>(
    request: &ArmRequest,
    objects: impl Iterator<Item = T>,
    mark: impl Fn(&T) -> String,
    show: impl Fn(T) -> Option<Value>,
) -> Result<ArmResponse, Error> {
    let top = match request.query("$top") {
        Some(text) => text
            .parse::<std::num::NonZeroUsize>()
            .map_err(|_| Error::bad_value("$top", "write a number from 1 on"))?
            .get(),
        None => PAGE,
    }
    .min(PAGE);
    let after = request.query("$skiptoken");
    let mut rest = objects.skip_while(|object| after.is_some_and(|after| mark(object).as_str() <= after)).peekable();
    let (mut value, mut last) = (Vec::new(), None);
    while value.len() < top
        && let Some(object) = rest.next()
    {
        last = Some(mark(&object));
        value.extend(show(object));
    }
    let mut body = Map::new();
    body.insert("value".into(), Value::Array(value));
    if let Some(last) = last.filter(|_| rest.peek().is_some()) {
        // The link to the next page repeats the query parameters.
        let kept = request.query.iter().filter(|(name, _)| *name != "$skiptoken");
        let token = ("$skipToken".to_owned(), last);
        let query =
            kept.chain([(&token.0, &token.1)]).map(|(name, value)| format!("{}={}", segment(name), segment(value)));
        let (base, path, query) = (&request.base, &request.path, query.collect::<Vec<_>>().join("&"));
        body.insert("nextLink".into(), json!(format!("{base}{path}?{query}")));
    }
    Ok(ArmResponse::ok(Value::Object(body)))
}
