//! What owners decide: about one connection, or about all of a resource that are chosen.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use super::error::Rejection;
use super::execute::{apply, unexpected};
use super::{ApiState, convert};
use crate::control::{Command, Decided, Decision, Outcome, Selection, Until};
use crate::interface::{Decide, DecideAll, DecidedAll, List, Transition};
use crate::model::{Caller, ConnectionState};

/// `POST /v1/connections/{endpoint}/approve`
pub(super) async fn approve(
    state: State<ApiState>,
    caller: Extension<Caller>,
    endpoint: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Transition>>, Rejection> {
    decide(state, caller, endpoint, body, Command::Approve).await
}

/// `POST /v1/connections/{endpoint}/reject`
pub(super) async fn reject(
    state: State<ApiState>,
    caller: Extension<Caller>,
    endpoint: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Transition>>, Rejection> {
    decide(state, caller, endpoint, body, Command::Reject).await
}

/// `POST /v1/connections/{endpoint}/remove`
pub(super) async fn remove(
    state: State<ApiState>,
    caller: Extension<Caller>,
    endpoint: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<Transition>>, Rejection> {
    decide(state, caller, endpoint, body, Command::Remove).await
}

/// `POST /v1/resources/{resource}/connections/approve`
pub(super) async fn approve_all(
    state: State<ApiState>,
    caller: Extension<Caller>,
    resource: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<DecidedAll>>, Rejection> {
    decide_all(state, caller, resource, body, Command::ApproveAll).await
}

/// `POST /v1/resources/{resource}/connections/reject`
pub(super) async fn reject_all(
    state: State<ApiState>,
    caller: Extension<Caller>,
    resource: Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<List<DecidedAll>>, Rejection> {
    decide_all(state, caller, resource, body, Command::RejectAll).await
}

async fn decide(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(endpoint): Path<String>,
    body: Result<Bytes, BytesRejection>,
    command: fn(Decision) -> Command,
) -> Result<Json<List<Transition>>, Rejection> {
    let Decide { reason, resource, if_state, for_seconds } = read(&body?)?;
    let if_state = if_state.map(state_of).transpose()?;
    let until = for_seconds.map(until);
    let command = command(Decision { endpoint: endpoint.clone(), resource, if_state, reason, until });
    refuse_end(&command, until)?;
    let now = state.control.now();
    match apply(state, caller, command).await.map_err(|rejection| rejection.about(&endpoint))? {
        (Outcome::Decided(decided), microseconds) => Ok(Json(List::one(transition(decided, microseconds, now)))),
        (
            other @ (Outcome::DecidedAll(_)
            | Outcome::Deleted(_)
            | Outcome::Put(_)
            | Outcome::TokenCreated(_)
            | Outcome::Rotated(_)
            | Outcome::Revoked(_)
            | Outcome::Applied(_)),
            _,
        ) => Err(unexpected(&other)),
    }
}

async fn decide_all(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(resource): Path<String>,
    body: Result<Bytes, BytesRejection>,
    command: fn(Selection) -> Command,
) -> Result<Json<List<DecidedAll>>, Rejection> {
    let DecideAll { reason, subscription, vnet, if_state, for_seconds, dry_run, listed } = read(&body?)?;
    let if_state = if_state.map(state_of).transpose()?;
    let until = for_seconds.map(until);
    let name = resource.clone();
    let command = command(Selection { resource, subscription, vnet, if_state, listed, reason, until, dry_run });
    refuse_end(&command, until)?;
    let now = state.control.now();
    match apply(state, caller, command).await.map_err(|rejection| rejection.about(&name))? {
        (Outcome::DecidedAll(all), microseconds) => Ok(Json(List::one(DecidedAll {
            listed: all.listed,
            connections: all.connections.into_iter().map(|one| transition(one, microseconds, now)).collect(),
            warnings: all.warnings,
        }))),
        (
            other @ (Outcome::Decided(_)
            | Outcome::Deleted(_)
            | Outcome::Put(_)
            | Outcome::TokenCreated(_)
            | Outcome::Rotated(_)
            | Outcome::Revoked(_)
            | Outcome::Applied(_)),
            _,
        ) => Err(unexpected(&other)),
    }
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
fn read<T: Default + DeserializeOwned>(body: &Bytes) -> Result<T, Rejection> {
    match body.as_ref() {
        [] => Ok(T::default()),
        json => serde_json::from_slice(json).map_err(Rejection::bad_body),
    }
}

fn state_of(name: String) -> Result<ConnectionState, Rejection> {
    serde_json::from_value(name.into()).map_err(Rejection::bad_body)
}

fn until(seconds: u64) -> Until {
    Until::For(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

/// Only an approval ends by itself.
fn refuse_end(command: &Command, until: Option<Until>) -> Result<(), Rejection> {
    let approves = matches!(command, Command::Approve(_) | Command::ApproveAll(_));
    if until.is_none() || approves {
        return Ok(());
    }
    Err(Rejection::bad_request("only an approval holds for a time: leave `forSeconds` out", "forSeconds"))
}
