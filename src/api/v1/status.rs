//! What is so: state, conditions, who vouches for the daemon.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::{Call, ListResult, conditions};
use crate::access::rights::Right;
use crate::api::error::Error;
use crate::api::execute::demand;
use crate::api::{ApiState, convert};
use crate::model::{Caller, actions};
use crate::observe::totals;
use crate::types::{Authority, LastReload, List, Status};

/// Its paths.
pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/status", get(status)).route("/ca", get(authority))
}

/// `GET /v1/status`
async fn status(Call { state, caller }: Call) -> ListResult<Status> {
    let view = state.control.view().seen_by(&caller);
    let operates = view.rights(&caller).hold(&Right::anywhere(actions::read(actions::CONFIGURATION)));
    let endpoints = view.endpoints();
    let lines = endpoints.iter().map(|endpoint| {
        let sessions = state.observer.endpoint(endpoint.id).sessions;
        convert::line(endpoint, sessions, state.control.now())
    });
    let (clean_up, endpoints) = lines.partition(|line| line.state == "Disconnected");
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        config: if operates { state.host.config.clone() } else { String::new() },
        last_reload: last_reload(&state, &caller).filter(|_| operates),
        ready: state.ready.load(Ordering::Relaxed),
        workers: state.observer.worker_count() as u64,
        steering: state.host.steering,
        conditions: conditions::of(&state, &view, &caller, operates),
        endpoints,
        clean_up,
        totals: totals(&state.observer.verdicts()),
    };
    Ok(Json(List::one(status)))
}

/// What became of the file when it was last read anew; of its text only for who may change it.
fn last_reload(state: &ApiState, caller: &Caller) -> Option<LastReload> {
    let last = state.observer.reloads().read().last?;
    let may_read = demand(state, caller, actions::write(actions::CONFIGURATION)).is_ok();
    let outcome = if last.applied { "applied" } else { "refused" };
    Some(LastReload { at: last.at, by: last.by, outcome: outcome.to_owned(), message: may_read.then_some(last.said) })
}

/// `GET /v1/ca`
async fn authority(State(state): State<ApiState>) -> ListResult<Authority> {
    let authority = state.authority.as_deref().map(|authority| Authority {
        fingerprint: format!("sha256:{}", authority.fingerprint),
        certificate: authority.pem.clone(),
    });
    let remedy = "set `api` under [daemon] to an address, without `tls`";
    authority.map(|one| Json(List::one(one))).ok_or_else(|| Error::missing("authority", "of this daemon", remedy))
}
