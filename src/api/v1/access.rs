//! Roles, assignments, tokens, and why somebody may do something.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::access::rights::Right;
use crate::access::rights::visibility::sees_grant;
use crate::api::ApiState;
use crate::api::error::Rejection;
use crate::api::execute::{apply, done};
use crate::control::{CreateToken, Delete, Put, RevokeToken, RotateToken, TokenCreated};
use crate::interface::{Assignment, Done, List, NewToken, Role, Token, Whoami};
use crate::model::decisions::ItemKind;
use crate::model::{Caller, Key, Model, RoleAssignment, RoleDefinition, Scope, Subject, actions, token};

type Answer<T> = Result<Json<List<T>>, Rejection>;
type Body = Result<Bytes, BytesRejection>;

/// `GET /v1/roles`: every local user may know what roles there are, as in Azure.
pub(super) async fn roles(State(state): State<ApiState>) -> Answer<Role> {
    let view = state.control.view();
    let own = |role: &RoleDefinition| view.decisions.model.roles.contains_key(&Key::global(role.name.to_string()));
    Ok(Json(List::new(view.access.roles().map(|role| shown(role, !own(role))).collect())))
}

/// `GET /v1/roles/{role}`
pub(super) async fn role(state: State<ApiState>, Path(name): Path<String>) -> Answer<Role> {
    let Json(all) = roles(state).await?;
    let found = all.items.into_iter().find(|role| role.name.eq_ignore_ascii_case(&name));
    let missing = || Rejection::missing("role", &name, "`privlink role list` shows what there is");
    Ok(Json(List::one(found.ok_or_else(missing)?)))
}

/// `POST /v1/roles`
pub(super) async fn create_role(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<Done> {
    let wanted: Role = read(&body?)?;
    let texts = |list: &[String]| list.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    let bad = |error: crate::model::Malformed| Rejection::bad_value("role", error);
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
pub(super) async fn delete_role(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Done> {
    done(state, caller, Delete { kind: ItemKind::Role, reference }).await
}

/// `GET /v1/assignments`: those that the caller may read, and its own.
pub(super) async fn assignments(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Answer<Assignment> {
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
pub(super) async fn assignment(
    state: State<ApiState>,
    caller: Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Assignment> {
    let Json(all) = assignments(state, caller).await?;
    let found = all.items.into_iter().find(|assignment| assignment.id.eq_ignore_ascii_case(&id));
    let missing = || Rejection::missing("assignment", &id, "`privlink assignment list` shows what there is");
    Ok(Json(List::one(found.ok_or_else(missing)?)))
}

/// `POST /v1/assignments`
pub(super) async fn create_assignment(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<Done> {
    let wanted: Assignment = read(&body?)?;
    let bad = |error: crate::model::Malformed| Rejection::bad_value("assignment", error);
    // What narrows a right and is not honoured must not be stored as if it were.
    for (name, value) in [("condition", wanted.condition), ("conditionVersion", wanted.condition_version)] {
        if value.is_some_and(|value| !value.trim().is_empty()) {
            let why = "conditions are not judged here: leave it out, and assign at a narrower scope instead";
            return Err(Rejection::bad_value(name, why));
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
pub(super) async fn delete_assignment(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Answer<Done> {
    done(state, caller, Delete { kind: ItemKind::Assignment, reference }).await
}

/// `GET /v1/tokens`
pub(super) async fn tokens(State(state): State<ApiState>, Extension(caller): Extension<Caller>) -> Answer<Token> {
    let view = state.control.view();
    view.rights(&caller).demand(&Right::anywhere(actions::read(actions::TOKENS)))?;
    Ok(Json(List::new(view.decisions.tokens.values().map(without_secret).collect())))
}

/// `POST /v1/tokens`
pub(super) async fn create_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Answer<Token> {
    let NewToken { name, lifetime_seconds } = read(&body?)?;
    let name = name.parse().map_err(|error| Rejection::bad_value("name", error))?;
    let lifetime = SignedDuration::from_secs(i64::try_from(lifetime_seconds).unwrap_or(i64::MAX));
    let random = random()?;
    let (made, _) = apply(state, caller, CreateToken { name, lifetime, random }).await?;
    Ok(with_secret(&made))
}

/// `POST /v1/tokens/{name}/rotate`
pub(super) async fn rotate_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<Token> {
    let name = name.parse().map_err(|error| Rejection::bad_value("name", error))?;
    let (made, _) = apply(state, caller, RotateToken { name, random: random()? }).await?;
    Ok(with_secret(&made))
}

/// 256 bits from the system's generator.
fn random() -> Result<Box<[u8; 32]>, Rejection> {
    let mut random = Box::new([0; 32]);
    getrandom::fill(&mut *random).map_err(|error| Rejection::internal(&std::io::Error::other(error.to_string())))?;
    Ok(random)
}

/// The one answer that holds a secret.
fn with_secret(made: &TokenCreated) -> Json<List<Token>> {
    let secret = Some(made.secret.expose().to_owned());
    Json(List::one(Token { secret, ..without_secret(&made.token) }))
}

/// `DELETE /v1/tokens/{name}`
pub(super) async fn revoke_token(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<Done> {
    let name = name.parse().map_err(|error| Rejection::bad_value("name", error))?;
    done(state, caller, RevokeToken { name }).await
}

/// Who may do what where?
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyQuery {
    principal: String,
    action: String,
    scope: String,
}

/// `GET /v1/access/why?principal=…&action=…&scope=…`: about oneself, or with the right to read assignments.
pub(super) async fn why(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<WhyQuery>, QueryRejection>,
) -> Answer<crate::access::Explanation> {
    let Query(WhyQuery { principal, action, scope }) = query?;
    let bad = |name: &'static str| move |error: crate::model::Malformed| Rejection::bad_value(name, error);
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
pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Json<List<Whoami>> {
    let principals = caller.subject.principals().map(|principal| principal.to_string()).collect();
    Json(List::one(Whoami { name: caller.name, principals }))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Rejection> {
    serde_json::from_slice(body).map_err(Rejection::bad_body)
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

fn without_secret(token: &token::Token) -> Token {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Token {
        name: token.name.to_string(),
        id: token.id.to_string(),
        created_at: time(token.created_at),
        created_by: token.created_by.to_string(),
        expires_at: time(token.expires_at),
        ..Token::default()
    }
}
