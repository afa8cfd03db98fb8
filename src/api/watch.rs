//! Waiting for a change without asking again and again.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;

use super::ApiState;
use super::error::Rejection;
use super::places::Seats;
use crate::control::Caller;
use crate::interface::{Epoch, List};

/// Longest wait in seconds: well within what any request may take.
const LONGEST: u64 = 15;

/// Questions that may wait at once, of each caller and all together: each holds a connection, and others need some, too.
/// One more is answered at once.
static SEATS: Seats = Seats::new(8, 48);

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
    Extension(caller): Extension<Caller>,
    query: Result<Query<EpochQuery>, QueryRejection>,
) -> Result<Json<List<Epoch>>, Rejection> {
    let Query(EpochQuery { after, wait }) = query?;
    let mut epochs = state.control.epochs();
    if let (Some(after), Some(_seat)) = (after, SEATS.take(caller.subject.principal())) {
        let limit = Duration::from_secs(wait.min(LONGEST));
        // Neither the end of the wait nor that of the control plane is an error: the answer says what is so.
        let _ = tokio::time::timeout(limit, epochs.wait_for(|epoch| *epoch != after)).await;
    }
    let epoch = *epochs.borrow();
    Ok(Json(List::one(Epoch { epoch })))
}
