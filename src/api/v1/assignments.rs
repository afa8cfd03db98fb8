//! Assignments of roles.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Json, Router};

use super::{Body, ListResult, read};
use crate::access::rights::visibility::sees_grant;
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::done;
use crate::control::{Delete, Put};
use crate::model::state::ItemKind;
use crate::model::{Caller, Key, Model, RoleAssignment};
use crate::types::{Assignment, Done, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/assignments", get(assignments).post(create_assignment))
        .route("/assignments/{id}", get(assignment).delete(delete_assignment))
}

/// `GET /v1/assignments`: those that the caller may read, and its own.
async fn assignments(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> ListResult<Assignment> {
    let view = state.control.view();
    let rights = view.rights(&caller);
    let visible = view.access.grants().iter().filter(|grant| sees_grant(&rights, grant));
    let shown = visible.map(|grant| Assignment {
        id: grant.id.to_string(),
        principal: grant.assignment.principal.to_string(),
        role: grant.assignment.role.to_string(),
        scope: grant.assignment.scope.to_string(),
        built_in: grant.built_in,
        ..Assignment::default()
    });
    Ok(Json(List::new(shown.collect())))
}

/// `GET /v1/assignments/{id}`
async fn assignment(
    state: State<ApiState>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
) -> ListResult<Assignment> {
    let Json(all) = assignments(state, caller).await?;
    let found = all.items.into_iter().find(|assignment| assignment.id.eq_ignore_ascii_case(&id));
    let missing = || Error::missing("assignment", &id, "`privlink assignment list` shows what there is");
    Ok(Json(List::one(found.ok_or_else(missing)?)))
}

/// `POST /v1/assignments`
async fn create_assignment(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> ListResult<Done> {
    let wanted: Assignment = read(&body?)?;
    let bad = |error: crate::model::Malformed| Error::bad_value("assignment", error);
    // What narrows a right and is not honoured must not be stored as if it were.
    for (name, value) in [("condition", wanted.condition), ("conditionVersion", wanted.condition_version)] {
        if value.is_some_and(|value| !value.trim().is_empty()) {
            let why = "conditions are not judged here: leave it out, and assign at a narrower scope instead";
            return Err(Error::bad_value(name, why));
        }
    }
    let given = RoleAssignment {
        principal: wanted.principal.parse().map_err(bad)?,
        role: wanted.role.parse().map_err(bad)?,
        scope: wanted.scope.parse().map_err(bad)?,
    };
    let mut items = Box::new(Model::default());
    items.assignments.insert(Key::global(given.id().to_string()), given);
    done(state, caller, Put { items, create_only: true }).await
}

/// `DELETE /v1/assignments/{id}`
async fn delete_assignment(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> ListResult<Done> {
    done(state, caller, Delete { kind: ItemKind::Assignment, reference }).await
}
