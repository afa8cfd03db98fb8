//! Link resources: listed, shown, deleted. What is decided over all their connections stands with those.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::{ListResult, delete_item, seen};
use crate::api::error::Error;
use crate::api::{ApiState, convert};
use crate::model::Caller;
use crate::model::state::ItemKind;
use crate::types::{Done, List, Resource};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/resources", get(resources))
        .route("/resources/{resource}", get(resource).delete(delete_resource))
}

/// `GET /v1/resources`
async fn resources(State(state): State<ApiState>, caller: Extension<Caller>) -> ListResult<Resource> {
    let view = seen(&state, &caller);
    let sample = state.observer.sample();
    Ok(Json(List::new(view.resources().iter().map(|resource| convert::resource(resource, &sample)).collect())))
}

/// `GET /v1/resources/{resource}`
async fn resource(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> ListResult<Resource> {
    let view = seen(&state, &caller).resource(&reference).map_err(|refusal| Error::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::resource(&view, &state.observer.sample()))))
}

/// `DELETE /v1/resources/{resource}`
async fn delete_resource(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Error> {
    delete_item(state, caller, name, ItemKind::Resource).await
}
