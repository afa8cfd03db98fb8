//! The stored state of the control plane.

use jiff::Timestamp;
use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::links::Links;
use super::token::Token;
use super::{Actor, Key, Map, Model, TokenName};
pub use super::{Item, ItemKind};
use crate::snapshot::ConnectionState;

/// The author of the daemon's own file.
pub const DAEMON: &str = "daemon";

/// The most earlier states that a connection keeps. The audit log has all of them.
const HISTORY: usize = 32;

/// The whole stored state. Cloning it costs a few reference counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlState {
    /// The model in force: objects from files, objects created live, and objects that files no longer name.
    pub model: Model,
    /// The last applied file of each author.
    pub files: Map<Applied, String>,
    /// Connections by endpoint.
    pub connections: Map<Connection>,
    /// Endpoints deleted live that a file still names.
    pub deleted: Map<Deleted>,
    /// Bearer tokens by name.
    pub tokens: Map<Token, TokenName>,
    /// The number of the last link identifier. None is used twice.
    pub last_link: u32,
    /// Turns numbers into link identifiers.
    #[serde(default)]
    pub links: Links,
}

/// The last version of one author's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// Its content.
    pub model: Model,
    /// Objects in force that an earlier version named and this one does not.
    pub left: RedBlackTreeSetSync<Item>,
}

/// One endpoint's connection to its link resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Its network identifier (`linkIdentifier`): unique, and never given to another connection.
    pub link: u32,
    /// State in force.
    pub state: ConnectionState,
    /// The reason given with the decision. Empty: none.
    pub description: String,
    /// Whose decision it was.
    pub decided_by: DecidedBy,
    /// When it entered that state.
    pub decided_at: Timestamp,
    /// When its approval expires. `None`: it is not Approved, or does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When the endpoint was created.
    pub created_at: Timestamp,
    /// The requester.
    pub requester: Actor,
    /// Whether the requester knew only the resource's ID.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_id: bool,
    /// The states it was in before, oldest first.
    pub history: Vec<PastState>,
}

/// A state that a connection was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastState {
    /// Which.
    pub state: ConnectionState,
    /// Why.
    pub description: String,
    /// Whose decision it was.
    pub decided_by: DecidedBy,
    /// Since when.
    pub decided_at: Timestamp,
}

impl Connection {
    /// Whether the consumer may see the names of the resource's members. A requester who knew only its ID may not
    /// before an approval.
    #[must_use]
    pub fn tells_parts(&self) -> bool {
        let approved = |state| state == ConnectionState::Approved;
        !self.by_id || approved(self.state) || self.history.iter().any(|step| approved(step.state))
    }

    /// The connection after a decision, with its previous state added to its history. An approval does not expire
    /// unless an end is set afterwards.
    #[must_use]
    pub fn decided(&self, state: ConnectionState, description: String, by: DecidedBy, at: Timestamp) -> Self {
        let mut next = self.clone();
        next.history.push(PastState {
            state: self.state,
            description: std::mem::replace(&mut next.description, description),
            decided_by: std::mem::replace(&mut next.decided_by, by),
            decided_at: std::mem::replace(&mut next.decided_at, at),
        });
        let surplus = next.history.len().saturating_sub(HISTORY);
        next.history.drain(..surplus);
        next.state = state;
        next.ends_at = None;
        next
    }
}

/// Who decided the state of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecidedBy {
    /// Nobody yet: it has its first state.
    Nobody,
    /// The author of a file.
    File(Actor),
    /// The requester holds the approval right.
    Right(Actor),
    /// The resource's auto-approval list.
    AutoApproval,
    /// A command.
    Live(Actor),
    /// Its resource was deleted.
    ResourceDeleted(Actor),
    /// Its approval expired.
    ApprovalEnded,
}

impl std::fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.pad("nobody"),
            Self::File(actor) => write!(f, "the file of {actor}"),
            Self::Right(actor) => write!(f, "{actor}, who may approve"),
            Self::AutoApproval => f.pad("the resource's auto-approval list"),
            Self::Live(actor) => f.pad(&actor.name),
            Self::ResourceDeleted(actor) => write!(f, "{actor}, who deleted the resource"),
            Self::ApprovalEnded => f.pad("the end of its approval"),
        }
    }
}

/// An endpoint that was deleted live while a file named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// Who deleted it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// The extent of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeExtent {
    /// One endpoint and its connection.
    Endpoint(Key),
    /// Anything.
    Whole,
}
