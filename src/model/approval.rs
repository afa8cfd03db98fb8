//! The states of a connection: two pure matches, without a wildcard on the state.

use serde::Serialize;

use crate::snapshot::ConnectionState::{self, Approved, Disconnected, Pending, Rejected};

/// The most pending requests of one requester to one resource that it may not read, so that nobody can flood an owner
/// with requests by knowing an ID.
pub const PENDING_MAX: usize = 20;

/// What can be done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Action {
    /// By the owner.
    Approve,
    /// By the owner.
    Reject,
    /// By the owner, for good: Disconnected.
    Remove,
    /// By the consumer: deletes the endpoint with its connection.
    Delete,
}

impl Action {
    /// The verb of the command line.
    pub fn verb(self) -> &'static str {
        self.into()
    }
}

/// This action is not allowed in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {} a connection that is {from}", action.verb())]
pub struct InvalidTransition {
    /// The current state.
    pub from: ConnectionState,
    /// The requested action.
    pub action: Action,
}

/// The state after `action`. Equal to `from` if nothing changes. `None`: the connection is deleted.
///
/// # Errors
/// A Disconnected connection can only be deleted, with its endpoint: the owner has removed it for good.
pub fn next(from: ConnectionState, action: Action) -> Result<Option<ConnectionState>, InvalidTransition> {
    match (from, action) {
        // From Rejected too: the owner may change their mind.
        (Pending | Approved | Rejected, Action::Approve) => Ok(Some(Approved)),
        (Pending | Approved | Rejected, Action::Reject) => Ok(Some(Rejected)),
        (Pending | Approved | Rejected, Action::Remove) => Ok(Some(Disconnected)),
        (Disconnected, Action::Approve | Action::Reject | Action::Remove) => Err(InvalidTransition { from, action }),
        (Pending | Approved | Rejected | Disconnected, Action::Delete) => Ok(None),
    }
}

/// How an endpoint is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether manual approval is requested, instead of automatic.
    pub manual: bool,
    /// The caller holds the approval right on the resource.
    pub holds_right: bool,
    /// The endpoint's subscription is on the resource's auto-approval list.
    pub on_list: bool,
}

/// Automatic approval was requested by somebody who may not approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("automatic approval needs the approval right on the resource; ask for manual approval instead")]
pub struct NotEntitled;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Approved, since the requester may approve.
    ByRight,
    /// Approved, since the resource's auto-approval list says so.
    ByList,
    /// Pending: the owner is asked.
    Asked,
}

/// How a connection begins.
///
/// # Errors
/// Nothing may be created.
pub fn first(request: Request) -> Result<First, NotEntitled> {
    match request {
        Request { manual: false, holds_right: true, .. } => Ok(First::ByRight),
        Request { on_list: true, .. } => Ok(First::ByList),
        Request { manual: false, .. } => Err(NotEntitled),
        Request { manual: true, .. } => Ok(First::Asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_the_one_of_the_table() {
        use Action::{Approve, Delete, Reject, Remove};
        let refused = |from, action| Err(InvalidTransition { from, action });
        for (from, action, expected) in [
            (Pending, Approve, Ok(Some(Approved))),
            (Pending, Reject, Ok(Some(Rejected))),
            (Pending, Remove, Ok(Some(Disconnected))),
            (Pending, Delete, Ok(None)),
            (Approved, Approve, Ok(Some(Approved))),
            (Approved, Reject, Ok(Some(Rejected))),
            (Approved, Remove, Ok(Some(Disconnected))),
            (Approved, Delete, Ok(None)),
            (Rejected, Approve, Ok(Some(Approved))),
            (Rejected, Reject, Ok(Some(Rejected))),
            (Rejected, Remove, Ok(Some(Disconnected))),
            (Rejected, Delete, Ok(None)),
            (Disconnected, Approve, refused(Disconnected, Approve)),
            (Disconnected, Reject, refused(Disconnected, Reject)),
            (Disconnected, Remove, refused(Disconnected, Remove)),
            (Disconnected, Delete, Ok(None)),
        ] {
            assert_eq!(next(from, action), expected, "{from:?} + {action:?}");
        }
    }

    #[test]
    fn every_creation_is_the_one_of_the_table() {
        for (manual, holds_right, on_list, expected) in [
            (false, true, false, Ok(First::ByRight)),
            (false, true, true, Ok(First::ByRight)),
            (false, false, true, Ok(First::ByList)),
            (false, false, false, Err(NotEntitled)),
            (true, true, true, Ok(First::ByList)),
            (true, false, true, Ok(First::ByList)),
            (true, true, false, Ok(First::Asked)),
            (true, false, false, Ok(First::Asked)),
        ] {
            let request = Request { manual, holds_right, on_list };
            assert_eq!(first(request), expected, "{request:?}");
        }
    }
}
