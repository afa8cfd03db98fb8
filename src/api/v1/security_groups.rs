//! Rule sets: listed, shown, deleted.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::delete_item;
use crate::api::ApiState;
use crate::api::error::Error;
use crate::model;
use crate::model::references::resolve;
use crate::model::state::ItemKind;
use crate::types::{Done, List, SecurityGroup, SecurityGroupStatus};

use crate::model::{Caller, Key, Model};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/security-groups", get(list)).route("/security-groups/{group}", get(one).delete(delete_group))
}

/// `GET /v1/security-groups`
async fn list(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Json<List<SecurityGroup>> {
    let model = &state.control.view().seen_by(&caller).state.model;
    Json(List::new(model.security_groups.iter().map(|(key, group)| shown(model, key, group)).collect()))
}

/// `GET /v1/security-groups/{group}`
async fn one(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Json<List<SecurityGroup>>, Error> {
    let model = &state.control.view().seen_by(&caller).state.model;
    let about = |refusal: model::Error| Error::from(refusal).about(&reference);
    let key = resolve("security group", &reference, &model.security_groups).map_err(about)?;
    Ok(Json(List::new(model.security_groups.get(key).map(|group| shown(model, key, group)).into_iter().collect())))
}

/// `DELETE /v1/security-groups/{group}`
async fn delete_group(
    state: State<ApiState>,
    caller: Extension<Caller>,
    name: Path<String>,
) -> Result<Json<List<Done>>, Error> {
    delete_item(state, caller, name, ItemKind::SecurityGroup).await
}

fn shown(model: &Model, key: &Key, group: &model::SecurityGroup) -> SecurityGroup {
    let subnets = model.vnets.iter().flat_map(|(vnet, network)| network.subnets.iter().map(move |one| (vnet, one)));
    let bound = subnets.filter(|(_, subnet)| subnet.security_group.as_ref() == Some(key));
    let subnets = bound.map(|(vnet, subnet)| format!("{vnet}/{}", subnet.name)).collect();
    SecurityGroup::new(key, group.clone(), SecurityGroupStatus { subnets })
}
