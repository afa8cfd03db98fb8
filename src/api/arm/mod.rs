//! Azure Resource Manager's REST, so that its SDKs work with a changed base URL and nothing else.
//!
//! A request is matched against one table of templates (`routes`); case does not matter. Its handler reads the view in
//! force, runs a command, and shows the object after it. If the objects that it read have changed in the meantime, the
//! command fails and the handler starts again.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::error::Error;
use crate::control::command::PRECONDITION_FAILED;
use crate::model::Caller;

/// What is done to an object of any kind.
mod adapter;

/// What is answered, and its tag.
mod response;

/// A parsed request.
mod request;
pub(in crate::api) use request::base;

/// Reading bodies.
mod body;

/// Connections, from the side of what is connected to.
mod connections;

/// Private endpoints.
mod endpoints;

/// Resource groups.
mod groups;

/// Interfaces of endpoints.
mod interfaces;

/// As Azure shows them.
mod nic;

/// Types that paths name.
mod kinds;

/// Load balancers.
mod balancers;

/// What may be connected to from somewhere.
mod locations;

/// VNets.
mod networks;

/// The metadata that Azure clients read first.
pub(super) mod metadata;

/// What Azure has no word for: `properties.privlink`.
mod extension;

/// Every path there is.
pub(super) mod routes;

/// Link resources.
mod resources;

/// Private link services.
mod services;

/// Settings without effect.
mod stored;

/// Subnets and peerings.
mod subnets;

/// Servers, ports and checks.
mod targets;

/// Private DNS zones and their links.
mod zones;

/// Record sets of private DNS zones.
mod records;

/// The zones that an endpoint's records stand in.
mod zone_groups;

/// Typed resources.
mod typed;

/// Refusals in Azure's words.
mod words;

pub(super) use nic::fqdns;
use request::ArmRequest;
pub(super) use request::decode;
use response::ArmResponse;
use routes::Handler;
#[cfg(test)]
pub(super) use routes::ROUTES;

/// How often a handler starts again because the objects that it read have changed.
const ATTEMPTS: usize = 32;

/// Whether a path is one of Resource Manager's.
pub(super) fn is_arm(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    first.eq_ignore_ascii_case("subscriptions")
}

/// Every request below `/subscriptions`.
pub(super) async fn serve(State(state): State<ApiState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(caller) = parts.extensions.get::<Caller>().cloned() else {
        return Error::unauthenticated("nobody is known to ask").into_response();
    };
    let body: Result<Bytes, BytesRejection> =
        <Bytes as axum::extract::FromRequest<()>>::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let asked = body.map_err(Error::from).and_then(|body| asked(&state, caller, &parts, body));
    let answered = asked.and_then(|asked| {
        let key = asked.1.key();
        answer(asked).map_err(|rejection| words::of_properties(rejection, &key))
    });
    answered.map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

/// Checks a request before its body: the path must exist, and its names must be valid.
///
/// # Errors
/// See [`serve`].
pub(super) fn check_head(state: &ApiState, caller: &Caller, parts: &Parts) -> Result<(), Error> {
    asked(state, caller.clone(), parts, Bytes::new()).map(drop)
}

fn asked(state: &ApiState, caller: Caller, parts: &Parts, body: Bytes) -> Result<(Handler, ArmRequest), Error> {
    let Parts { method, uri, headers, extensions, .. } = parts;
    let (route, parameters) = routes::find(&state.control.view(), uri.path())?;
    let operation = route.operation(method).ok_or_else(|| Error::wrong_method_of(&route.methods()))?;
    let request = ArmRequest {
        state: state.clone(),
        caller,
        view: Arc::clone(&state.control.view()),
        query: request::query(uri, operation.options)?,
        parameters,
        body: body::Body::new(body),
        if_match: request::tag(headers, &header::IF_MATCH),
        if_none_match: request::tag(headers, &header::IF_NONE_MATCH),
        base: request::base(headers, uri, extensions.get::<super::Secure>().is_some()),
        path: uri.path().to_owned(),
        looks: route.looks(method),
    };
    request.check_names()?;
    request.expands_interfaces()?;
    Ok((operation.handler, request))
}

fn answer((handler, mut request): (Handler, ArmRequest)) -> Result<ArmResponse, Error> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match handler(&request) {
            Err(rejection) if rejection.is(PRECONDITION_FAILED) => last = Some(rejection),
            done => return done.map(|answer| answer.fitted(&request)),
        }
        request.view = request.state.control.view();
    }
    Err(last.unwrap_or_else(Error::unknown_path))
}
