//! Endpoints: listed, shown, deleted; names that they accept.

use axum::extract::Path;
use axum::routing::{delete, post};
use axum::{Json, Router};

use super::noun::{Shown, shown};
use super::{Call, ListResult, Sent, about};
use crate::api::error::Error;
use crate::api::execute::{apply, done};
use crate::api::{ApiState, convert};
use crate::control::{Delete, Deletion, EndpointView, Put, Unchanged, View};
use crate::model::state::{Item, ItemKind};
use crate::model::{AcceptedNames, Model};
use crate::types::{AcceptNames, Deleted, Done, Endpoint, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    shown::<Endpoint>()
        .route("/endpoints/{name}", delete(delete_endpoint))
        .route("/endpoints/{name}/accept-names", post(accept_names))
}

impl Shown for Endpoint {
    fn all(call: &Call) -> Vec<Self> {
        let whole = call.state.control.view();
        call.seen().endpoints().iter().map(|view| endpoint(&call.state, &whole, view)).collect()
    }

    fn named(call: &Call, reference: &str) -> Result<Vec<Self>, Error> {
        let whole = call.state.control.view();
        Ok(vec![endpoint(&call.state, &whole, &call.seen().endpoint(reference)?)])
    }
}

fn endpoint(state: &ApiState, whole: &View, view: &EndpointView) -> Endpoint {
    convert::endpoint(view, &whole.state, &state.observer, state.control.now())
}

/// `DELETE /v1/endpoints/{endpoint}`
async fn delete_endpoint(Call { state, caller }: Call, Path(endpoint): Path<String>) -> ListResult<Deleted> {
    let command = Delete { kind: ItemKind::Endpoint, reference: endpoint.clone() };
    let deleted = apply(state, caller, command).await.map_err(|rejection| rejection.about(&endpoint))?;
    let (Deletion { item, warnings, .. }, in_force_microseconds) = deleted;
    Ok(Json(List::one(Deleted { endpoint: item.key.to_string(), in_force_microseconds, warnings })))
}

/// `POST /v1/endpoints/{endpoint}/accept-names`
async fn accept_names(
    Call { state, caller }: Call,
    Path(reference): Path<String>,
    Sent(AcceptNames { names, remove }): Sent<AcceptNames>,
) -> ListResult<Done> {
    let given = AcceptedNames::read(&names).map_err(|at| {
        let name = names.get(at).map_or("", |name| name);
        Error::bad_request(&format!("`{name}` is none; write {}", AcceptedNames::FORM), "names")
    })?;
    let view = state.control.view();
    let seen = view.seen_by(&caller).endpoint(&reference);
    let EndpointView { key, endpoint: seen, .. } = about(&reference, seen)?;
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
