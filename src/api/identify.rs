//! Who asks, and whether they may ask at all: a token's holder instead of the socket's peer, and the rights that
//! concern no object. What concerns objects is judged where they are looked up.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::access::{bearer, demand};
use super::error::Rejection;
use crate::control::Caller;
use crate::control::access::actions;

/// Questions that are about no object, and the type that each needs `read` on.
const GENERAL: [(&str, &str); 7] = [
    ("/v1/status", actions::STATUS),
    ("/v1/flows", actions::FLOWS),
    ("/v1/who", actions::FLOWS),
    ("/v1/explain", actions::EXPLAIN),
    ("/v1/audit", actions::AUDIT),
    ("/v1/audit/verify", actions::AUDIT),
    ("/metrics", actions::STATUS),
];

/// What nobody has to say who they are for: whether this lives, and what it is.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/version", "/openapi.json"];

/// Middleware of the control socket and the network listener.
pub(super) async fn identify(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    match admitted(&state, &mut request) {
        Ok(()) => next.run(request).await,
        Err(rejection) => rejection.into_response(),
    }
}

fn admitted(state: &ApiState, request: &mut Request) -> Result<(), Rejection> {
    let presented = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::to_str).transpose();
    let presented = presented.map_err(|_| Rejection::unauthenticated("the Authorization header is not text"))?;
    if let Some(holder) = bearer(state, presented)? {
        request.extensions_mut().insert(holder);
    }
    let caller = request.extensions().get::<Caller>();
    if caller.is_none() && OPEN.contains(&request.uri().path()) {
        return Ok(());
    }
    let caller =
        caller.ok_or_else(|| Rejection::unauthenticated("the request has no `Authorization: Bearer TOKEN`"))?;
    // Whatever the method: HEAD is answered like GET, and tells how long the answer would be.
    let general = GENERAL.iter().find(|(path, _)| request.uri().path() == *path);
    general.map_or(Ok(()), |(_, kind)| demand(state, caller, actions::read(kind)))
}
