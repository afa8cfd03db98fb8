//! Endpoints: listed, shown, deleted; names that they accept.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};

use super::{ListResult, seen};
use crate::api::error::Error;
use crate::api::execute::{apply, done};
use crate::api::{ApiState, convert};
use crate::control::{Delete, Deletion, EndpointView, Put, Unchanged};
use crate::model::state::{Item, ItemKind};
use crate::model::{AcceptedNames, Caller, Model};
use crate::types::{AcceptNames, Deleted, Done, Endpoint, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/endpoints", get(endpoints))
        .route("/endpoints/{endpoint}", get(endpoint).delete(delete_endpoint))
        .route("/endpoints/{endpoint}/accept-names", post(accept_names))
}

/// `GET /v1/endpoints`
async fn endpoints(State(state): State<ApiState>, caller: Extension<Caller>) -> ListResult<Endpoint> {
    let items = seen(&state, &caller).endpoints();
    let whole = state.control.view();
    let one = |view| convert::endpoint(view, &whole.state, &state.observer, state.control.now());
    Ok(Json(List::new(items.iter().map(one).collect())))
}

/// `GET /v1/endpoints/{endpoint}`
async fn endpoint(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> ListResult<Endpoint> {
    let view = seen(&state, &caller).endpoint(&reference).map_err(|refusal| Error::from(refusal).about(&reference))?;
    let whole = state.control.view();
    Ok(Json(List::one(convert::endpoint(&view, &whole.state, &state.observer, state.control.now()))))
}

/// `DELETE /v1/endpoints/{endpoint}`
async fn delete_endpoint(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
) -> Result<Json<List<Deleted>>, Error> {
    let command = Delete { kind: ItemKind::Endpoint, reference: endpoint.clone() };
    let deleted = apply(state, caller, command).await.map_err(|rejection| rejection.about(&endpoint))?;
    let (Deletion { item, warnings, .. }, in_force_microseconds) = deleted;
    Ok(Json(List::one(Deleted { endpoint: item.key.to_string(), in_force_microseconds, warnings })))
}

/// `POST /v1/endpoints/{endpoint}/accept-names`
async fn accept_names(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Done>>, Error> {
    let AcceptNames { names, remove } = serde_json::from_slice(&body?).map_err(Error::bad_body)?;
    let given = AcceptedNames::read(&names).map_err(|at| {
        let name = names.get(at).map_or("", |name| name);
        Error::bad_request(&format!("`{name}` is none; write {}", AcceptedNames::FORM), "names")
    })?;
    let view = state.control.view();
    let seen = view.seen_by(&caller).endpoint(&reference);
    let EndpointView { key, endpoint: seen, .. } = seen.map_err(|refusal| Error::from(refusal).about(&reference))?;
    // All of it: the view holds what the caller may read.
    let mut endpoint = view.state.model.endpoints.get(&key).cloned().unwrap_or(seen);
    let mut accepted = endpoint.accept_names.take().unwrap_or_default();
    if remove {
        accepted.take(&given);
    } else {
        accepted.add(given);
    }
    endpoint.accept_names = Some(accepted);
    let items = vec![Item { kind: ItemKind::Endpoint, key: key.clone() }];
    let mut wanted = Model::default();
    wanted.endpoints.insert(key, endpoint);
    let then = Put { items: Box::new(wanted), create_only: false };
    done(state, caller, Unchanged { items, seen: std::sync::Arc::clone(&view.state), then }).await
}
