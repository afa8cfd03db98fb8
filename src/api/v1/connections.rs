//! Connections: listed, shown, and what owners decide: about one, or about all of a resource that are chosen.

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Call, ListResult, Parameters, about};
use crate::api::error::Error;
use crate::api::execute::apply;
use crate::api::{ApiState, convert};
use crate::control::{Decide, DecideAll, Decided, Decision, Selection, Until};
use crate::model::ConnectionState;
use crate::types::{self, Connection, DecidedAll, List, Transition};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/connections", get(connections))
        .route("/connections/{endpoint}", get(connection))
        .route("/connections/{endpoint}/approve", decision(Decide::approve))
        .route("/connections/{endpoint}/reject", decision(Decide::reject))
        .route("/connections/{endpoint}/remove", decision(Decide::remove))
        .route("/resources/{resource}/connections/approve", selection(DecideAll::approve))
        .route("/resources/{resource}/connections/reject", selection(DecideAll::reject))
}

/// Which connections are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionQuery {
    #[serde(default)]
    pending: bool,
}

/// `GET /v1/connections?pending=true`
async fn connections(
    Call { state, caller }: Call,
    Parameters(ConnectionQuery { pending }): Parameters<ConnectionQuery>,
) -> ListResult<Connection> {
    Ok(Json(List::new(
        state
            .control
            .view()
            .seen_by(&caller)
            .connections(pending)
            .into_iter()
            .map(|one| convert::connection(one, &state.observer, state.control.now()))
            .collect(),
    )))
}

/// `GET /v1/connections/{endpoint}`
async fn connection(Call { state, caller }: Call, Path(reference): Path<String>) -> ListResult<Connection> {
    let view = state.control.view().seen_by(&caller).connection(&reference, None);
    let view = about(&reference, view)?;
    Ok(Json(List::one(convert::connection(view, &state.observer, state.control.now()))))
}

/// `POST /v1/connections/{endpoint}/…`
fn decision(command: fn(Decision) -> Decide) -> MethodRouter<ApiState> {
    post(async move |call: Call, endpoint: Path<String>, body: Body| decide(call, endpoint, body, command).await)
}

/// `POST /v1/resources/{resource}/connections/…`
fn selection(command: fn(Selection) -> DecideAll) -> MethodRouter<ApiState> {
    post(async move |call: Call, resource: Path<String>, body: Body| decide_all(call, resource, body, command).await)
}

/// It may be left out.
type Body = Result<Bytes, BytesRejection>;

async fn decide(
    Call { state, caller }: Call,
    Path(endpoint): Path<String>,
    body: Body,
    command: fn(Decision) -> Decide,
) -> ListResult<Transition> {
    let types::Decide { reason, resource, if_state, for_seconds } = read(&body?)?;
    let if_state = if_state.map(state_of).transpose()?;
    let until = for_seconds.map(until);
    let command = command(Decision { endpoint: endpoint.clone(), resource, if_state, reason, until });
    refuse_end(command.approves(), until)?;
    let now = state.control.now();
    let decided = apply(state, caller, command).await.map_err(|rejection| rejection.about(&endpoint))?;
    Ok(Json(List::one(transition(decided.0, decided.1, now))))
}

async fn decide_all(
    Call { state, caller }: Call,
    Path(resource): Path<String>,
    body: Body,
    command: fn(Selection) -> DecideAll,
) -> ListResult<DecidedAll> {
    let types::DecideAll { reason, subscription, vnet, if_state, for_seconds, dry_run, listed } = read(&body?)?;
    let if_state = if_state.map(state_of).transpose()?;
    let until = for_seconds.map(until);
    let name = resource.clone();
    let command = command(Selection { resource, subscription, vnet, if_state, listed, reason, until, dry_run });
    refuse_end(command.approves(), until)?;
    let now = state.control.now();
    let (all, microseconds) = apply(state, caller, command).await.map_err(|rejection| rejection.about(&name))?;
    Ok(Json(List::one(DecidedAll {
        listed: all.listed,
        connections: all.connections.into_iter().map(|one| transition(one, microseconds, now)).collect(),
        warnings: all.warnings,
    })))
}

fn transition(decided: Decided, in_force_microseconds: u64, now: Timestamp) -> Transition {
    Transition {
        endpoint: decided.endpoint.to_string(),
        from: decided.from.to_string(),
        to: decided.to.to_string(),
        changed: decided.changed,
        ending: convert::ending(decided.ends_at, now),
        in_force_microseconds,
        warnings: decided.warnings,
    }
}

/// A body that may be left out.
fn read<T: Default + DeserializeOwned>(body: &Bytes) -> Result<T, Error> {
    match body.as_ref() {
        [] => Ok(T::default()),
        json => serde_json::from_slice(json).map_err(Error::bad_body),
    }
}

fn state_of(name: String) -> Result<ConnectionState, Error> {
    serde_json::from_value(name.into()).map_err(Error::bad_body)
}

fn until(seconds: u64) -> Until {
    Until::For(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// Only an approval ends by itself.
fn refuse_end(approves: bool, until: Option<Until>) -> Result<(), Error> {
    if until.is_none() || approves {
        return Ok(());
    }
    Err(Error::bad_request("only an approval holds for a time: leave `forSeconds` out", "forSeconds"))
}
