//! Why somebody may do something, and who the caller is.

use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters};
use crate::access::rights::Right;
use crate::access::rights::visibility::sees_grant;
use crate::api::ApiState;
use crate::api::error::Error;
use crate::model::{Caller, Subject, actions};
use crate::types::{List, Whoami};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/access/why", get(why)).route("/whoami", get(whoami))
}

/// Who may do what where?
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhyQuery {
    principal: String,
    action: String,
    scope: String,
}

/// `GET /v1/access/why?principal=…&action=…&scope=…`: about oneself, or with the right to read assignments.
async fn why(
    Call { state, caller }: Call,
    Parameters(WhyQuery { principal, action, scope }): Parameters<WhyQuery>,
) -> ListResult<crate::access::Explanation> {
    let bad = |name: &'static str| move |error: crate::model::Malformed| Error::bad_value(name, error);
    let principal = principal.parse().map_err(bad("principal"))?;
    let subject =
        if principal == *caller.subject.principal() { caller.subject.clone() } else { Subject::only(principal) };
    let view = state.control.view();
    if subject != caller.subject {
        view.rights(&caller).demand(&Right::anywhere(actions::read(actions::ROLE_ASSIGNMENTS)))?;
    }
    let (action, scope) = (action.parse().map_err(bad("action"))?, scope.parse().map_err(bad("scope"))?);
    let rights = view.rights(&caller);
    Ok(Json(List::one(view.access.why(&subject, &action, &scope, &|grant| sees_grant(&rights, grant)))))
}

/// `GET /v1/whoami`: about oneself, which needs no right.
async fn whoami(Extension(caller): Extension<Caller>) -> Json<List<Whoami>> {
    let principals = caller.subject.principals().map(|principal| principal.to_string()).collect();
    Json(List::one(Whoami { name: caller.name, principals }))
}
