//! Assignments of roles.

use axum::Router;
use axum::routing::post;

use super::noun::{Shown, owned};
use super::{Call, ListResult, Sent};
use crate::access::rights::visibility::sees_grant;
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::done;
use crate::control::Put;
use crate::model::{Key, Model, RoleAssignment};
use crate::types::{Assignment, Done, Listed as _};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    owned::<Assignment, RoleAssignment>().route(Assignment::PATH, post(create_assignment))
}

impl Shown for Assignment {
    /// Those that the caller may read, and its own.
    fn all(call: &Call) -> Vec<Self> {
        let view = call.state.control.view();
        let rights = view.rights(&call.caller);
        let visible = view.access.grants().iter().filter(|grant| sees_grant(&rights, grant));
        let shown = visible.map(|grant| Self {
            id: grant.id.to_string(),
            principal: grant.assignment.principal.to_string(),
            role: grant.assignment.role.to_string(),
            scope: grant.assignment.scope.to_string(),
            built_in: grant.built_in,
            ..Self::default()
        });
        shown.collect()
    }

    fn named(call: &Call, id: &str) -> Result<Vec<Self>, Error> {
        let found = Self::all(call).into_iter().find(|assignment| assignment.id.eq_ignore_ascii_case(id));
        let missing = || Error::missing("assignment", id, "`privlink assignment list` shows what there is");
        Ok(vec![found.ok_or_else(missing)?])
    }
}

/// `POST /v1/assignments`
async fn create_assignment(Call { state, caller }: Call, Sent(wanted): Sent<Assignment>) -> ListResult<Done> {
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
