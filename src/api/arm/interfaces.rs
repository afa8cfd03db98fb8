//! The network interface of each private endpoint. It is created and deleted with the endpoint, and has no settings of
//! its own but tags.

use super::Error;
use super::adapter::write;
use super::body::{JsonField, NOT_BY_PATCH};
use super::nic::{owner, show};
use super::request::ArmRequest;
use super::response::{ArmResponse, page};
use crate::access::rights::Right;
use crate::model::{EndpointLabels, Key, PrivateEndpoint, actions, ids};

/// `GET …/networkInterfaces`
pub(super) fn list(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let all = request.model().endpoints.iter().filter(|(key, _)| request.covers(key));
    let named = all.map(|(key, endpoint)| (ids::network_interface(key, endpoint).key().clone(), key, endpoint));
    let here = named.filter(|(name, _, _)| request.hold(&Right::interface(name)));
    let mut here: Vec<_> = here.collect();
    here.sort_by(|one, other| one.0.cmp(&other.0));
    let show = |(_, key, endpoint): (Key, &Key, &PrivateEndpoint)| Some(show(&request.view, key, endpoint));
    page(request, here.into_iter(), |(name, _, _)| name.folded().to_owned(), show)
}

/// `GET …/networkInterfaces/{name}`
pub(super) fn get(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.key();
    request.demand(&Right::interface(&name))?;
    let (key, endpoint) = owner(request, &name).ok_or_else(|| Error::absent(ids::NETWORK_INTERFACE, &name))?;
    Ok(ArmResponse::ok(show(&request.view, key, endpoint)))
}

/// `PUT`: refused if it changes anything, because only the endpoint can be changed.
pub(super) fn put(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.key();
    request.demand(&Right::interface(&name))?;
    if let Some((key, endpoint)) = owner(request, &name) {
        let shown = show(&request.view, key, endpoint);
        request.check_conditions(Some(&shown))?;
        if JsonField::over(&request.body, Some(&shown))?.is_as_shown() {
            return Ok(ArmResponse::ok(shown));
        }
    }
    delete(request)?;
    let message = "A network interface appears with its private endpoint only.";
    Err(Error::bad_request_of("NotSupported", message, "create a private endpoint"))
}

/// `PATCH`: changes only tags.
pub(super) fn patch(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.key();
    request.demand(&Right::write_of(actions::INTERFACES, &name))?;
    let absent = || Error::absent(ids::NETWORK_INTERFACE, &name);
    let found = owner(request, &name).map(|(key, endpoint)| (key.clone(), endpoint.clone()));
    let (key, mut endpoint) = found.ok_or_else(absent)?;
    let shown = show(&request.view, &key, &endpoint);
    request.check_conditions(Some(&shown))?;
    let body = JsonField::over(&request.body, Some(&shown))?;
    body.refuse_others(&["tags"], NOT_BY_PATCH)?;
    let mut labels = endpoint.labels.take().unwrap_or_default();
    labels.interface_tags = body.tags()?.unwrap_or(labels.interface_tags);
    endpoint.labels = Some(labels).filter(|labels| **labels != EndpointLabels::default());
    write(request, &key, endpoint)?;
    let view = request.afresh();
    let (key, endpoint) = view.state.model.endpoints.entry(&key).ok_or_else(absent)?;
    Ok(ArmResponse::ok(show(&view, key, endpoint)))
}

/// `DELETE`: refused, because the interface is deleted with its endpoint.
pub(super) fn delete(request: &ArmRequest) -> Result<ArmResponse, Error> {
    let name = request.key();
    request.demand(&Right::interface(&name))?;
    let Some((key, _)) = owner(request, &name) else { return Ok(ArmResponse::absent()) };
    let message = format!("Network interface {name} belongs to private endpoint {key}, and goes with it.");
    Err(Error::bad_request_of("NicInUseWithPrivateEndpoint", &message, &ids::endpoint(key).to_string()))
}
