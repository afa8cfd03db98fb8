//! Commands: handed to the control plane on a thread that may wait. The answer means durable and in
//! force everywhere (law 7).

use std::time::Instant;

use axum::Json;

use super::ApiState;
use super::error::Error;
use crate::access::rights::{Right, Rights};
use crate::control::{Command, Vanishing};
use crate::model::{Action, Caller};
use crate::observe::EndpointFacts;
use crate::types::{Done, List};

/// The outcome of `command` and the microseconds it took.
pub(super) async fn apply<C: Command>(state: ApiState, caller: Caller, command: C) -> Result<(C::Output, u64), Error> {
    apply_with(state, caller, command, false).await
}

/// [`apply`]; with `force`, NAT addresses are taken although a neighbour answers for them.
#[allow(clippy::disallowed_methods, reason = "how long a caller waited is measured in real time")]
pub(super) async fn apply_with<C: Command>(
    state: ApiState,
    caller: Caller,
    command: C,
    force: bool,
) -> Result<(C::Output, u64), Error> {
    note_what_may_vanish(&state, &command);
    let began = Instant::now();
    let outcome = state.control.apply_with(&caller, command, force)?;
    Ok((outcome, u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)))
}

/// An endpoint about to vanish must have been seen: its traffic still counts for its resource.
pub(super) fn note_what_may_vanish(state: &ApiState, command: &impl Command) {
    match command.vanishing() {
        Vanishing::Nothing => {}
        Vanishing::Endpoint(reference) => {
            if let Ok(view) = state.control.view().endpoint(reference) {
                let (name, resource) = (view.key.to_string(), view.endpoint.resource.to_string());
                state.observer.note(EndpointFacts { id: view.id, name, resource, link: view.connection.link });
            }
        }
        Vanishing::Several => state.observer.refresh(),
    }
}

/// The lines that an outcome is told in.
pub(super) async fn done<C: Command>(state: ApiState, caller: Caller, command: C) -> Result<Json<List<Done>>, Error> {
    let (outcome, _) = apply(state, caller, command).await?;
    Ok(Json(List::one(Done { lines: outcome.to_string().lines().map(str::to_owned).collect() })))
}

/// Checks that `caller` may perform `action` on nothing in particular.
pub(super) fn demand(state: &ApiState, caller: &Caller, action: Action) -> Result<(), Error> {
    let view = state.control.view();
    Ok(Rights::of(caller, &view.access).demand(&Right::anywhere(action))?)
}
