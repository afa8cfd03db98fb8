//! Azure Resource Manager's REST, so that its SDKs work with a changed base URL and nothing else.
//!
//! A request is matched against one table of templates (`routes`), without regard to case; its handler reads the
//! view in force, asks the control plane for what follows from it, and shows the object as it is then. What was
//! read may have changed meanwhile: the command says what it looked at, and the handler begins anew.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};

use super::error::Rejection;
use super::{ApiState, blocking};
use crate::control::Caller;
use crate::control::command::MOVED;

/// What is answered, and its tag.
mod answer;

/// One request: who asks what of which object.
mod ask;

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

/// Load balancers.
mod balancers;

/// What may be connected to from somewhere.
mod locations;

/// VNets.
mod networks;

/// What the routes are, for programs.
pub(super) mod openapi;

/// What Azure has no word for: `properties.privlink`.
mod extension;

/// Every path there is.
mod routes;

/// Private link services.
mod services;

/// Subnets and peerings.
mod subnets;

/// Private DNS zones and their links.
mod zones;

/// Record sets of private DNS zones.
mod records;

/// The zones that an endpoint's records stand in.
mod zone_groups;

/// Typed resources.
mod typed;

use answer::Answer;
use ask::Ask;
pub(super) use endpoints::fqdns;

/// How often a change begins anew because what it read has changed meanwhile.
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
        return Rejection::unauthenticated("nobody is known to ask").into_response();
    };
    let secure = parts.extensions.get::<super::Secure>().is_some();
    let body: Result<Bytes, BytesRejection> =
        <Bytes as axum::extract::FromRequest<()>>::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return Rejection::from(rejection).into_response(),
    };
    let answered = blocking(move || answer(&state, &caller, &parts.method, &parts.uri, &parts.headers, &body, secure));
    answered
        .await
        .and_then(std::convert::identity)
        .map_or_else(IntoResponse::into_response, IntoResponse::into_response)
}

fn answer(
    state: &ApiState,
    caller: &Caller,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    secure: bool,
) -> Result<Answer, Rejection> {
    let (route, parameters) = routes::find(&state.control.view(), uri.path())?;
    let handler = route.handler(method).ok_or_else(|| Rejection::wrong_method_of(&route.methods()))?;
    let mut ask = Ask {
        state: state.clone(),
        caller: caller.clone(),
        view: Arc::clone(&state.control.view()),
        query: ask::query(uri)?,
        parameters,
        body: body::parse(body)?,
        if_match: ask::tag(headers, &header::IF_MATCH),
        if_none_match: ask::tag(headers, &header::IF_NONE_MATCH),
        base: ask::base(headers, uri, secure),
        path: uri.path().to_owned(),
    };
    ask.check_names()?;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match handler(&ask) {
            Err(rejection) if rejection.is(MOVED) => last = Some(rejection),
            done => return done,
        }
        ask.view = state.control.view();
    }
    Err(last.unwrap_or_else(Rejection::unknown_path))
}
