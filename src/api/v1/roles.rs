//! Roles.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::{Body, ListResult, read};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::done;
use crate::control::{Delete, Put};
use crate::model::state::ItemKind;
use crate::model::{Caller, Key, Model, RoleDefinition, Scope};
use crate::types::{Done, List, Role};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/roles", get(roles).post(create_role)).route("/roles/{role}", get(role).delete(delete_role))
}

/// `GET /v1/roles`: every local user may know what roles there are, as in Azure.
async fn roles(State(state): State<ApiState>) -> ListResult<Role> {
    let view = state.control.view();
    let own = |role: &RoleDefinition| view.state.model.roles.contains_key(&Key::global(role.name.to_string()));
    Ok(Json(List::new(view.access.roles().map(|role| shown(role, !own(role))).collect())))
}

/// `GET /v1/roles/{role}`
async fn role(state: State<ApiState>, Path(name): Path<String>) -> ListResult<Role> {
    let Json(all) = roles(state).await?;
    let found = all.items.into_iter().find(|role| role.name.eq_ignore_ascii_case(&name));
    let missing = || Error::missing("role", &name, "`privlink role list` shows what there is");
    Ok(Json(List::one(found.ok_or_else(missing)?)))
}

/// `POST /v1/roles`
async fn create_role(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> ListResult<Done> {
    let wanted: Role = read(&body?)?;
    let texts = |list: &[String]| list.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    let bad = |error: crate::model::Malformed| Error::bad_value("role", error);
    let mut scopes = wanted.assignable_scopes.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    if wanted.assignable_scopes.is_empty() {
        scopes = Ok(vec![Scope::root()]);
    }
    let role = RoleDefinition {
        name: wanted.name.parse().map_err(bad)?,
        description: wanted.description,
        actions: texts(&wanted.actions).map_err(bad)?,
        not_actions: texts(&wanted.not_actions).map_err(bad)?,
        assignable_scopes: scopes.map_err(bad)?,
    };
    let mut items = Box::new(Model::default());
    items.roles.insert(Key::global(role.name.to_string()), role);
    done(state, caller, Put { items, create_only: true }).await
}

/// `DELETE /v1/roles/{role}`
async fn delete_role(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> ListResult<Done> {
    done(state, caller, Delete { kind: ItemKind::Role, reference }).await
}

fn shown(role: &RoleDefinition, built_in: bool) -> Role {
    let texts = |patterns: &[crate::model::ActionPattern]| patterns.iter().map(ToString::to_string).collect();
    Role {
        name: role.name.to_string(),
        description: role.description.clone(),
        actions: texts(&role.actions),
        not_actions: texts(&role.not_actions),
        assignable_scopes: role.assignable_scopes.iter().map(ToString::to_string).collect(),
        built_in,
    }
}
