//! What the control plane has decided and must remember: the durable part of its state.

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

/// How many steps of its past a connection carries along; all of them stand in the audit log.
const HISTORY: usize = 32;

/// The whole durable state. A clone costs a few counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlState {
    /// What is in force: what files named, what was created live, and what files no longer name.
    pub model: Model,
    /// What each author's file said when it was last applied.
    pub files: Map<Applied, String>,
    /// Connections by endpoint.
    pub connections: Map<Connection>,
    /// Endpoints deleted live that a file still names.
    pub deleted: Map<Deleted>,
    /// Bearer tokens by name.
    pub tokens: Map<Token, TokenName>,
    /// The number of the last link identifier given out; none is given out twice.
    pub last_link: u32,
    /// What makes identifiers of numbers.
    #[serde(default)]
    pub links: Links,
}

/// The last version of one author's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// What it said.
    pub model: Model,
    /// What an earlier version named and this one does not, as long as it is in force.
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
    /// Why, as given with the decision; empty: no reason given.
    pub description: String,
    /// Whose decision it was.
    pub decided_by: DecidedBy,
    /// When it came into that state.
    pub decided_at: Timestamp,
    /// When its approval ends by itself; `None`: it is not Approved, or for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// When the endpoint was created.
    pub created_at: Timestamp,
    /// Who asked for it.
    pub requester: Actor,
    /// The requester knew no more of the resource than its ID.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_id: bool,
    /// The states it was in before, oldest first.
    pub history: Vec<Step>,
}

/// A state that a connection was in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
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
    /// Whether the consumer is told what the resource calls its parts: who knew its ID alone is not before an approval.
    #[must_use]
    pub fn tells_parts(&self) -> bool {
        let approved = |state| state == ConnectionState::Approved;
        !self.by_id || approved(self.state) || self.history.iter().any(|step| approved(step.state))
    }

    /// The same connection after a decision; its past grows by the state it was in. An approval is for good unless an end
    /// is given to it afterwards.
    #[must_use]
    pub fn decided(&self, state: ConnectionState, description: String, by: DecidedBy, at: Timestamp) -> Self {
        let mut next = self.clone();
        next.history.push(Step {
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

/// Whose decision a connection's state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecidedBy {
    /// Nobody decided yet: the state it was created in.
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
    /// An approval that was given for a time is over.
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
    /// By whom.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// How far a change reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeExtent {
    /// One endpoint and its connection.
    Endpoint(Key),
    /// Anything.
    Whole,
}
