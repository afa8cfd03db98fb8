//! Roles.

use axum::Router;
use axum::routing::post;

use super::noun::{Shown, owned};
use super::{Call, ListResult, Sent};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::execute::done;
use crate::control::Put;
use crate::model::{Key, Model, RoleDefinition, Scope};
use crate::types::{Done, Listed as _, Role};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    owned::<Role, RoleDefinition>().route(Role::PATH, post(create_role))
}

impl Shown for Role {
    /// Every local user may know what roles there are, as in Azure.
    fn all(call: &Call) -> Vec<Self> {
        let view = call.state.control.view();
        let own = |role: &RoleDefinition| view.state.model.roles.contains_key(&Key::global(role.name.to_string()));
        view.access.roles().map(|role| shown(role, !own(role))).collect()
    }

    fn named(call: &Call, name: &str) -> Result<Vec<Self>, Error> {
        let found = Self::all(call).into_iter().find(|role| role.name.eq_ignore_ascii_case(name));
        let missing = || Error::missing("role", name, "`privlink role list` shows what there is");
        Ok(vec![found.ok_or_else(missing)?])
    }
}

/// `POST /v1/roles`
async fn create_role(Call { state, caller }: Call, Sent(wanted): Sent<Role>) -> ListResult<Done> {
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
