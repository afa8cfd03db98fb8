//! Identifies the caller, by its token or as the socket's peer, and checks rights that concern no object. Rights on
//! objects are checked where the objects are looked up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::places::{EACH_CALLER, Place};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::demand;
use crate::control::{Asker, ControlPlane, REFUSALS_INTERVAL};
use crate::model::{Caller, actions, token};

/// GET paths that concern no object, and the type on which each needs `read`.
const GENERAL: [(&str, &str); 5] = [
    ("/v1/status", actions::STATUS),
    ("/v1/flows", actions::FLOWS),
    ("/v1/who", actions::FLOWS),
    ("/v1/explain", actions::EXPLAIN),
    ("/metrics", actions::STATUS),
];

/// Paths that need no caller: liveness and version.
pub(in crate::api) const OPEN: [&str; 5] = ["/healthz", "/readyz", "/version", "/openapi.json", "/metadata/endpoints"];

/// Intervals between two prunings of the audit log: one hour.
const PRUNED_EVERY: u64 = 12;

/// If records are kept for less than this, the log is pruned in every interval.
const SHORT_RETENTION: Duration = Duration::from_hours(1);

/// The most characters of a refused request's path in a record.
const SHOWN: usize = 200;

/// The network address that a request came from.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Peer(pub(in crate::api) IpAddr);

/// Middleware of the control socket and the network listener.
pub(in crate::api) async fn identify(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let place = request.extensions().get::<Arc<Place>>().cloned();
    let admitted = admitted(&state, &mut request);
    let caller = request.extensions().get::<Caller>().cloned();
    let (method, path) = (request.method().clone(), request.uri().path().chars().take(SHOWN).collect::<String>());
    let response = match admitted {
        Ok(()) => next.run(request).await,
        Err(rejection) => rejection.into_response(),
    };
    let status = response.status();
    if let (StatusCode::UNAUTHORIZED, Some(place)) = (status, place) {
        place.is_of_nobody();
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let address = || peer.map_or(Asker::Others, |Peer(address)| Asker::Address(address));
        let asker = caller.map_or_else(address, |caller| Asker::Known(caller.actor()));
        state.control.note_refused(&asker, || format!("{method} {path}: {}", status.as_u16()), Timestamp::now());
    }
    response
}

/// Repeatedly writes refusals to the audit log, and prunes it.
pub async fn keep_audit(control: Arc<ControlPlane>) {
    let retain = control.view().host.audit.retain;
    let interval = REFUSALS_INTERVAL.min(retain.max(Duration::from_secs(1)));
    for number in 0_u64.. {
        let control = Arc::clone(&control);
        // Pruning reads the records that stay.
        let prune = number % PRUNED_EVERY == 0 || retain < SHORT_RETENTION;
        let work = move || {
            let pruned = if prune { control.prune_audit(Timestamp::now())? } else { 0 };
            control.audit_refusals().map(|()| pruned)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(0)) => {}
            Ok(Ok(pruned)) => tracing::info!(pruned, "the oldest audit records were removed, as `audit` says"),
            Ok(Err(refusal)) => tracing::warn!("{refusal}"),
            Err(error) => tracing::error!(%error, "the audit log is not kept within its limits"),
        }
        tokio::time::sleep(interval).await;
    }
}

fn admitted(state: &ApiState, request: &mut Request) -> Result<(), Error> {
    let presented = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::to_str).transpose();
    let presented = presented.map_err(|_| Error::unauthenticated("the Authorization header is not text"))?;
    if let Some(holder) = bearer(state, presented)? {
        request.extensions_mut().insert(holder);
    }
    let caller = request.extensions().get::<Caller>();
    if caller.is_none() && OPEN.contains(&request.uri().path()) {
        return Ok(());
    }
    let caller = caller.ok_or_else(|| Error::unauthenticated("the request has no `Authorization: Bearer TOKEN`"))?;
    if let Some(place) = request.extensions().get::<Arc<Place>>() {
        place.is_of(caller.subject.principal()).map_err(|_| Error::too_many_connections(EACH_CALLER))?;
    }
    // For every method: HEAD is answered like GET, and reveals the answer's length.
    let general = GENERAL.iter().find(|(path, _)| request.uri().path() == *path);
    general.map_or(Ok(()), |(_, kind)| demand(state, caller, actions::read(kind)))
}

/// The caller in the `Authorization` header. `None`: there is no header.
///
/// # Errors
/// The token is not valid.
fn bearer(state: &ApiState, header: Option<&str>) -> Result<Option<Caller>, Error> {
    let Some(header) = header else { return Ok(None) };
    let presented = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| token)
        .ok_or_else(|| Error::unauthenticated("the Authorization header is not of the form `Bearer TOKEN`"))?;
    let view = state.control.view();
    let found = token::authenticate(presented.trim(), &view.state.tokens, Timestamp::now());
    let token = found.map_err(|error| Error::unauthenticated(error.to_string()))?;
    Ok(Some(Caller { subject: token.bearer(), name: token.principal().to_string() }))
}
