//! Deletions, accepted names, and the reload of the daemon's file.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};

use crate::api::ApiState;
use crate::api::error::Rejection;
use crate::api::execute::{apply, done};
use crate::control::{Delete, Deletion, EndpointView, Put, Unchanged};
use crate::interface::{AcceptNames, Deleted, Done, List, Reload};
use crate::model::decisions::{Item, ItemKind};
use crate::model::{AcceptedNames, Caller, Model, actions};

/// `DELETE /v1/endpoints/{endpoint}`
pub(super) async fn delete_endpoint(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
) -> Result<Json<List<Deleted>>, Rejection> {
    let command = Delete { kind: ItemKind::Endpoint, reference: endpoint.clone() };
    let deleted = apply(state, caller, command).await.map_err(|rejection| rejection.about(&endpoint))?;
    let (Deletion { item, warnings, .. }, in_force_microseconds) = deleted;
    Ok(Json(List::one(Deleted { endpoint: item.key.to_string(), in_force_microseconds, warnings })))
}

/// `POST /v1/endpoints/{endpoint}/accept-names`
pub(super) async fn accept_names(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Done>>, Rejection> {
    let AcceptNames { names, remove } = serde_json::from_slice(&body?).map_err(Rejection::bad_body)?;
    let given = AcceptedNames::read(&names).map_err(|at| {
        let name = names.get(at).map_or("", |name| name);
        Rejection::bad_request(&format!("`{name}` is none; write {}", AcceptedNames::FORM), "names")
    })?;
    let view = state.control.view();
    let seen = view.seen_by(&caller).endpoint(&reference);
    let EndpointView { key, endpoint: seen, .. } =
        seen.map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    // All of it: the view holds what the caller may read.
    let mut endpoint = view.decisions.model.endpoints.get(&key).cloned().unwrap_or(seen);
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
    done(state, caller, Unchanged { items, seen: std::sync::Arc::clone(&view.decisions), then }).await
}

/// `DELETE /v1/resources/{resource}`
pub(super) async fn delete_resource(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Rejection> {
    delete_item(state, caller, name, ItemKind::Resource).await
}

/// `DELETE /v1/vnets/{vnet}`
pub(super) async fn delete_vnet(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Rejection> {
    delete_item(state, caller, name, ItemKind::Vnet).await
}

/// Deletes one object of `kind`.
pub(super) async fn delete_item(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
    kind: ItemKind,
) -> Result<Json<List<Done>>, Rejection> {
    done(state, caller, Delete { kind, reference }).await
}

/// `POST /v1/reload`: the same as SIGHUP, with the caller's rights.
pub(super) async fn reload(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<List<Reload>>, Rejection> {
    // Before the file is read: what it says is told to nobody else, its mistakes included.
    crate::api::execute::demand(&state, &caller, actions::write(actions::CONFIGURATION))?;
    let report = (state.reload)(&caller)?;
    let notes = report.to_string().lines().map(str::to_owned).collect();
    Ok(Json(List::one(Reload { notes, file: report.into() })))
}
