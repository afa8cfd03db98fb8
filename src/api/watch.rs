//! Waiting for a change without asking again and again.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::ApiState;
use super::error::Rejection;
use crate::interface::{Epoch, List};

/// Longest wait in seconds: well within what any request may take.
const LONGEST: u64 = 15;

/// Questions that may wait at once: each holds a connection, and others need some, too. One more is answered at once.
static SEATS: Semaphore = Semaphore::const_new(48);

/// What is waited for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EpochQuery {
    after: Option<u64>,
    #[serde(default)]
    wait: u64,
}

/// `GET /v1/epoch?after=…&wait=…`: the number of what is in force, as soon as it is another one than `after`, but at
/// the latest after `wait` seconds. It says that something has changed, not what, and so needs no right.
pub(super) async fn epoch(
    State(state): State<ApiState>,
    query: Result<Query<EpochQuery>, QueryRejection>,
) -> Result<Json<List<Epoch>>, Rejection> {
    let Query(EpochQuery { after, wait }) = query?;
    let mut epochs = state.control.epochs();
    if let (Some(after), Ok(_seat)) = (after, SEATS.try_acquire()) {
        let limit = Duration::from_secs(wait.min(LONGEST));
        // Neither the end of the wait nor that of the control plane is an error: the answer says what is so.
        let _ = tokio::time::timeout(limit, epochs.wait_for(|epoch| *epoch != after)).await;
    }
    let epoch = *epochs.borrow();
    Ok(Json(List::one(Epoch { epoch })))
}
