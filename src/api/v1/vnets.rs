//! VNets: listed, shown, deleted.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::{ListResult, delete_item, seen};
use crate::api::error::Error;
use crate::api::{ApiState, convert};
use crate::model::Caller;
use crate::model::state::ItemKind;
use crate::types::{Done, List, Vnet};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/vnets", get(vnets)).route("/vnets/{vnet}", get(vnet).delete(delete_vnet))
}

/// `GET /v1/vnets`
async fn vnets(State(state): State<ApiState>, caller: Extension<Caller>) -> ListResult<Vnet> {
    Ok(Json(List::new(seen(&state, &caller).vnets().into_iter().map(convert::vnet).collect())))
}

/// `GET /v1/vnets/{vnet}`
async fn vnet(
    State(state): State<ApiState>,
    caller: Extension<Caller>,
    Path(reference): Path<String>,
) -> ListResult<Vnet> {
    let view = seen(&state, &caller).vnet(&reference).map_err(|refusal| Error::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::vnet(view))))
}

/// `DELETE /v1/vnets/{vnet}`
async fn delete_vnet(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Error> {
    delete_item(state, caller, name, ItemKind::Vnet).await
}
