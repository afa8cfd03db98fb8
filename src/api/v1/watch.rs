//! Waiting for a change without asking again and again.

use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Call, ListResult, Parameters};
use crate::api::ApiState;
use crate::api::error::Error;
use crate::api::server::places::CallerLimit;
use crate::model::Caller;
use crate::types::{Epoch, List};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/epoch", get(epoch))
}

/// Longest wait in seconds: well within what any request may take.
const LONGEST: u64 = 15;

/// Questions that may wait at once, of each caller and all together: each holds a connection, and others need some, too.
/// One more is answered at once.
static LONG_POLLS: CallerLimit = CallerLimit::new(8, 48);

/// Between two looks at what somebody sees who does not see everything: each walks the model.
const PAUSE: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EpochQuery {
    after: Option<u64>,
    #[serde(default)]
    wait: u64,
}

/// `GET /v1/epoch?after=…&wait=…`: the number of what is in force, as soon as it is another one than `after`, but at
/// the latest after `wait` seconds. It says that something has changed that the caller may see, not what, and so needs no
/// right: who sees everything gets the number of the publication, others one that tells no more than whether it is another.
async fn epoch(
    Call { state, caller }: Call,
    Parameters(EpochQuery { after, wait }): Parameters<EpochQuery>,
) -> ListResult<Epoch> {
    let mut epochs = state.control.epochs();
    if let (Some(after), Some(_permit)) = (after, LONG_POLLS.take(caller.subject.principal())) {
        let limit = Duration::from_secs(wait.min(LONGEST));
        let other = async {
            loop {
                epochs.mark_unchanged();
                match number(&state, &caller).await {
                    Ok(now) if now == after => {}
                    Ok(_) | Err(_) => return,
                }
                if epochs.changed().await.is_err() {
                    return;
                }
                if !state.control.view().is_whole_to(&caller) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        // Neither the end of the wait nor that of the control plane is an error: the answer says what is so.
        let _ = tokio::time::timeout(limit, other).await;
    }
    let epoch = number(&state, &caller).await?;
    Ok(Json(List::one(Epoch { epoch })))
}

/// The number of what `caller` sees.
async fn number(state: &ApiState, caller: &Caller) -> Result<u64, Error> {
    let view = state.control.view();
    if view.is_whole_to(caller) {
        return Ok(view.epoch);
    }
    let caller = caller.clone();
    let number = tokio::task::spawn_blocking(move || view.seen_by(&caller).fingerprint()).await;
    number.map_err(|error| Error::internal(&error))
}
