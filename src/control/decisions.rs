//! What the control plane has decided and must remember: the durable part of its state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::Caller;
use super::model::{Map, Model};
use crate::snapshot::ConnectionState;

/// Everything that outlives the process until the store of a later version takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// The model as last in force, allocated addresses included.
    pub model: Model,
    /// The file as last applied; `None`: none yet.
    pub file: Option<Model>,
    /// One connection per endpoint of `model`.
    pub connections: Map<Connection>,
    /// Endpoints that were deleted live while the file names them: an unchanged entry does not
    /// bring them back.
    pub deleted: Map<Deleted>,
    /// An earlier state file was damaged, and is kept aside until somebody removes it.
    pub damaged: Option<Damage>,
}

/// The connection between an endpoint and its resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Only `Approved` passes traffic.
    pub state: ConnectionState,
    /// Network identifier, unique over time (Azure's LINKID); 0: none was given.
    #[serde(default)]
    pub link: u32,
    /// Reason given with the last decision.
    pub description: String,
    /// Who decided last.
    pub decided_by: DecidedBy,
    /// When the state last changed.
    pub decided_at: Timestamp,
    /// When the endpoint was created.
    pub created_at: Timestamp,
}

/// Who decided a connection's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecidedBy {
    /// Nobody yet: it waits for the owner.
    Nobody,
    /// The configuration file, by the daemon's own right.
    File,
    /// The resource's auto-approval list.
    AutoApproval,
    /// A caller of the control socket.
    Live(Caller),
    /// The daemon, because its state was damaged: nothing it remembers can be trusted.
    DamagedState,
}

impl std::fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.pad("nobody"),
            Self::File => f.pad("the file"),
            Self::AutoApproval => f.pad("the resource's auto-approval list"),
            Self::Live(caller) => f.pad(&caller.name),
            Self::DamagedState => f.pad("the daemon, because its state was damaged"),
        }
    }
}

/// A live deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// Who.
    pub by: Caller,
    /// When.
    pub at: Timestamp,
}

/// A state file that could not be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// What is wrong with it.
    pub reason: String,
    /// When it was found.
    pub at: Timestamp,
    /// Name it is kept under, in the state directory; `None`: it could not be moved.
    pub kept_as: Option<String>,
}
