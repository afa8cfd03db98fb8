//! Commands: handed to the control plane on a thread that may wait. The answer means durable and in
//! force everywhere (law 7).

use std::time::Instant;

use super::ApiState;
use super::error::Rejection;
use crate::control::{Command, Outcome};
use crate::model::Caller;
use crate::model::decisions::ItemKind;
use crate::observe::EndpointFacts;

/// The outcome of `command` and the microseconds it took.
pub(super) async fn apply(state: ApiState, caller: Caller, command: Command) -> Result<(Outcome, u64), Rejection> {
    apply_with(state, caller, command, false).await
}

/// [`apply`]; with `force`, NAT addresses are taken although a neighbour answers for them.
#[allow(clippy::disallowed_methods, reason = "how long a caller waited is measured in real time")]
pub(super) async fn apply_with(
    state: ApiState,
    caller: Caller,
    command: Command,
    force: bool,
) -> Result<(Outcome, u64), Rejection> {
    note_what_may_vanish(&state, &command);
    let began = Instant::now();
    let outcome = state.control.apply_with(&caller, command, force)?;
    Ok((outcome, u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)))
}

/// An endpoint about to vanish must have been seen: its traffic still counts for its resource.
pub(super) fn note_what_may_vanish(state: &ApiState, command: &Command) {
    match command {
        Command::Delete { kind: ItemKind::Endpoint, reference } => {
            if let Ok(view) = state.control.view().endpoint(reference) {
                let (name, resource) = (view.key.to_string(), view.endpoint.resource.to_string());
                state.observer.note(EndpointFacts { id: view.id, name, resource, link: view.connection.link });
            }
        }
        Command::Unchanged { then, .. } => note_what_may_vanish(state, then),
        Command::Delete { kind: ItemKind::ResourceGroup, .. } | Command::ApplyFile(_) => state.observer.refresh(),
        Command::Approve(_)
        | Command::ApproveAll(_)
        | Command::Reject(_)
        | Command::RejectAll(_)
        | Command::Remove(_)
        | Command::Put { .. }
        | Command::Delete { .. }
        | Command::CreateToken { .. }
        | Command::RotateToken { .. }
        | Command::RevokeToken { .. } => {}
    }
}

pub(super) fn unexpected(outcome: &Outcome) -> Rejection {
    Rejection::internal(&std::io::Error::other(format!("the command had another outcome: {outcome}")))
}
