//! Connections as their resource's owner sees them: of a private link service, or a resource of any type.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::JsonField;
use super::request::{ArmRequest, Reader};
use super::response::{ArmResponse, object, page, tagged};
use super::{Error, kinds};
use crate::access::rights::Right;
use crate::api::convert;
use crate::control::{Decide, Decision, Until, View};
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::state::{Connection, Item, ItemKind};
use crate::model::{ConnectionState, Key, PrivateEndpoint, ids};

/// `GET …/privateEndpointConnections`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = owner(request)?;
    request.demand(&Right::connections(request.model(), &key))?;
    let here = bound(&request.view, &key);
    let kind = kind.as_deref();
    let one = |(e, endpoint, c): Bound<'_>| Some(with_time_left(request, show(&key, kind, e, endpoint, c), e));
    page(request, here, |(e, _, _)| e.folded().to_owned(), one)
}

/// `GET …/privateEndpointConnections/{connection}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = owner(request)?;
    request.demand(&Right::connections(request.model(), &key))?;
    let (endpoint, shown) =
        found(request, &request.view, &key, kind.as_deref()).ok_or_else(|| absent(request, kind.as_deref()))?;
    Ok(ArmResponse::ok(with_time_left(request, shown, &endpoint)))
}

/// `PUT …/privateEndpointConnections/{connection}`
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = owner(request)?;
    let kind = kind.as_deref();
    request.demand(&Right::approve(request.model(), &key))?;
    let (endpoint, shown) = found(request, &request.view, &key, kind).ok_or_else(|| absent(request, kind))?;
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?.properties();
    let Some(state) = body.get("privateLinkServiceConnectionState") else {
        return Err(body.lacks("privateLinkServiceConnectionState"));
    };
    // A complete state is a copy of an earlier answer. A decision has fewer members.
    let ends_otherwise = body.get("privlink").is_some_and(|part| part.changed("approvalEndsAt").is_some());
    if state.is_as_shown() && state.get("actionsRequired").is_some() && !ends_otherwise {
        return Ok(ArmResponse::ok(with_time_left(request, shown, &endpoint)));
    }
    let decision = Decision {
        endpoint: endpoint.folded().to_owned(),
        reason: state.text("description")?.unwrap_or_default(),
        until: until(&body)?,
        ..Decision::default()
    };
    let command = match state.required("status")?.to_lowercase().as_str() {
        "approved" => Decide::approve(decision),
        "rejected" => Decide::reject(decision),
        "removed" | "disconnected" => Decide::remove(decision),
        _ => return Err(state.refused("`status` is Approved or Rejected")),
    };
    request.change(vec![Item { kind: ItemKind::Endpoint, key: endpoint.clone() }], command)?;
    // This answer still shows the removed connection: it is the last one that its owner gets.
    let view = request.afresh();
    let shown =
        connection(&view, &endpoint).map(|(endpoint, of, connection)| show(&key, kind, endpoint, of, connection));
    let shown = shown.map(|shown| with_time_left(request, shown, &endpoint));
    shown.map(ArmResponse::ok).ok_or_else(|| absent(request, kind))
}

/// `DELETE …/privateEndpointConnections/{connection}`
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let (key, kind) = owner(request)?;
    request.demand(&Right::approve(request.model(), &key))?;
    let found = found(request, &request.view, &key, kind.as_deref());
    request.check_conditions(found.as_ref().map(|(_, shown)| shown))?;
    let Some((endpoint, _)) = found else { return Ok(ArmResponse::absent()) };
    let decision = Decision { endpoint: endpoint.folded().to_owned(), ..Decision::default() };
    request.change(vec![Item { kind: ItemKind::Endpoint, key: endpoint }], Decide::remove(decision))?;
    Ok(ArmResponse::deleted())
}

/// The resource in the path, and its type (`None`: a private link service). If it does not exist, it has no
/// connections. Rights are checked before that.
fn owner(request: &ArmRequest) -> Result<(Key, Option<String>), Error> {
    let key = request.key();
    let kind = if request.parameters.contains_key("type") {
        Some(kinds::kind(request.model(), &request.parameters)?)
    } else {
        None
    };
    let named = kind.clone().unwrap_or_else(|| PRIVATE_LINK_SERVICE.to_owned());
    let right = kinds::connections(&key, kind.as_deref());
    request.demand(&right)?;
    let model = request.model();
    let same = |other: Option<&str>| match (other, kind.as_deref()) {
        (Some(other), Some(kind)) => other.eq_ignore_ascii_case(kind),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let found = model.resources.entry(&key).filter(|(_, resource)| same(resource.kind.as_deref()));
    found.map(|(key, _)| (key.clone(), kind.clone())).ok_or_else(|| Error::absent(&named, &key))
}

fn absent(request: &ArmRequest, kind: Option<&str>) -> Error {
    let kind = format!("{}/{}", kind.unwrap_or(PRIVATE_LINK_SERVICE), ids::CONNECTIONS);
    Error::absent(&kind, &request.key().beside(&format!("{}/{}", request.key().group, request.parameter("connection"))))
}

/// The endpoint whose connection the path names, and how that is shown.
fn found(request: &ArmRequest, view: &View, key: &Key, kind: Option<&str>) -> Option<(Key, Value)> {
    let name = request.parameter("connection");
    // The name begins with the endpoint's name, so only endpoints with that name are searched.
    let (front, _) = name.rsplit_once('.')?;
    let named = |endpoint: &Key| ids::connection(kind, key, endpoint).name().eq_ignore_ascii_case(name);
    let candidates = view.endpoints_named(front).filter_map(|endpoint| connection(view, endpoint));
    let mut bound = candidates.filter(|(endpoint, of, connection)| is_bound(key, of, connection) && named(endpoint));
    bound.next().map(|(endpoint, of, connection)| (endpoint.clone(), show(key, kind, endpoint, of, connection)))
}

/// A removed connection is gone here. The consumer still has the endpoint.
fn is_bound(resource: &Key, endpoint: &PrivateEndpoint, connection: &Connection) -> bool {
    endpoint.resource == *resource && connection.state != ConnectionState::Disconnected
}

type Bound<'a> = (&'a Key, &'a PrivateEndpoint, &'a Connection);

/// Endpoints with a connection to `resource`, also pending ones.
fn bound<'a>(view: &'a View, resource: &Key) -> impl Iterator<Item = Bound<'a>> {
    let with = view.bound_to(resource).filter_map(|key| connection(view, key));
    with.filter(|(_, endpoint, connection)| is_bound(resource, endpoint, connection))
}

fn connection<'a>(view: &'a View, key: &Key) -> Option<Bound<'a>> {
    let (key, endpoint) = view.state.model.endpoints.entry(key)?;
    Some((key, endpoint, view.state.connections.get(key)?))
}

/// Every connection of a resource, as its owner sees it. Empty for a caller who may not see them.
pub(super) fn of(reader: &Reader<'_>, key: &Key, kind: Option<&str>) -> Vec<Value> {
    if !reader.holds(&kinds::connections(key, kind)) {
        return Vec::new();
    }
    bound(reader.view(), key).map(|(endpoint, of, connection)| show(key, kind, endpoint, of, connection)).collect()
}

/// When the approval expires: `properties.privlink.approvalEndsAt`. Without it, never.
fn until(properties: &JsonField<'_>) -> Result<Option<Until>, Error> {
    let Some(part) = properties.get("privlink") else { return Ok(None) };
    Ok(part.parsed::<Timestamp>("approvalEndsAt", "a time such as 2026-12-01T08:00:00Z")?.map(Until::At))
}

/// `shown` with the remaining time of its approval. The tag is computed before that, so that it does not change every
/// second.
pub(super) fn with_time_left(request: &ArmRequest, mut shown: Value, endpoint: &Key) -> Value {
    let ends_at = request.afresh().state.connections.get(endpoint).and_then(|connection| connection.ends_at);
    if let Some(ending) = convert::ending(ends_at, request.state.control.now()) {
        shown["properties"]["privlink"]["approvalSecondsLeft"] = json!(ending.approval_seconds_left);
    }
    shown
}

fn show(key: &Key, kind: Option<&str>, endpoint: &Key, of: &PrivateEndpoint, connection: &Connection) -> Value {
    let mut properties = json!({
        "provisioningState": "Succeeded",
        "privateEndpoint": { "id": ids::endpoint(endpoint).to_string() },
        "privateLinkServiceConnectionState": state(connection, of),
        "linkIdentifier": connection.link.to_string(),
        "privateEndpointLocation": of.region,
        "privlink": {
            "requestMessage": of.request_message,
            "requester": connection.requester.name,
            "createdAt": connection.created_at.to_string(),
            "decidedBy": connection.decided_by.to_string(),
            "decidedAt": connection.decided_at.to_string(),
        },
    });
    if let Some(end) = connection.ends_at {
        properties["privlink"]["approvalEndsAt"] = json!(end.to_string());
    }
    if kind.is_some() {
        properties["groupIds"] = json!([of.subresource]);
    }
    object(&ids::connection(kind, key, endpoint), None, properties)
}

/// `privateLinkServiceConnectionState`, the same on both sides.
pub(super) fn state(connection: &Connection, endpoint: &PrivateEndpoint) -> Value {
    let automatic = matches!(
        connection.decided_by,
        crate::model::state::DecidedBy::AutoApproval | crate::model::state::DecidedBy::Right(_)
    );
    let description = match connection.description.as_str() {
        "" if automatic && connection.state == ConnectionState::Approved => "Auto-approved",
        "" if connection.state == ConnectionState::Pending => &endpoint.request_message,
        said => said,
    };
    let required =
        if connection.state == ConnectionState::Disconnected { "Delete the private endpoint" } else { "None" };
    json!({ "status": connection.state.to_string(), "description": description, "actionsRequired": required })
}

/// A connection as a part of its endpoint.
pub(super) fn within(id: &ids::ArmId, name: &str, properties: Value) -> Value {
    let kind = id.kind();
    let mut shown = json!({ "id": id.to_string(), "name": name, "type": kind });
    shown["properties"] = properties;
    tagged(shown)
}
