//! VNets: listed, shown, deleted.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::{Answer, delete_item, seen};
use crate::api::error::Rejection;
use crate::api::{ApiState, convert};
use crate::interface::{Done, List, Vnet};
use crate::model::Caller;
use crate::model::decisions::ItemKind;

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/vnets", get(vnets)).route("/vnets/{vnet}", get(vnet).delete(delete_vnet))
}

/// `GET /v1/vnets`
async fn vnets(State(state): State<ApiState>, caller: Extension<Caller>) -> Answer<Vnet> {
    Ok(Json(List::new(seen(&state, &caller).vnets().into_iter().map(convert::vnet).collect())))
}

/// `GET /v1/vnets/{vnet}`
async fn vnet(State(state): State<ApiState>, caller: Extension<Caller>, Path(reference): Path<String>) -> Answer<Vnet> {
    let view = seen(&state, &caller).vnet(&reference).map_err(|refusal| Rejection::from(refusal).about(&reference))?;
    Ok(Json(List::one(convert::vnet(view))))
}

/// `DELETE /v1/vnets/{vnet}`
async fn delete_vnet(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Rejection> {
    delete_item(state, caller, name, ItemKind::Vnet).await
}
