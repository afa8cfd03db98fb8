//! What may be asked of the control plane, by whom, and how it answers.

use serde::{Deserialize, Serialize};

use super::model::{HostConfig, Key, Model};
use super::report::Report;
use crate::snapshot::ConnectionState;

/// Who asks: the peer of a Unix socket, or the daemon itself when it applies its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User id the kernel vouches for.
    pub uid: u32,
    /// Name of that user, for people; `uid:1000` where it has none.
    pub name: String,
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name)
    }
}

/// A change. Endpoints are named by `name` or `group/name`, without regard to case.
#[derive(Clone, Debug)]
pub enum Command {
    /// The owner lets the endpoint's connection pass traffic.
    Approve(Decision),
    /// The owner refuses it; may be approved later.
    Reject(Decision),
    /// The owner removes it for good: Disconnected.
    Remove(Decision),
    /// The consumer deletes the endpoint, in any state.
    DeleteEndpoint {
        /// Which one.
        endpoint: String,
    },
    /// The configuration file speaks (start, SIGHUP, `apply`): DESIGN §4 *The file and the live state*.
    ApplyFile(Box<FileVersion>),
}

/// What approve, reject and remove are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// The endpoint whose connection it is.
    pub endpoint: String,
    /// When given, the resource it must be bound to: guards against a slip of the keyboard.
    pub resource: Option<String>,
    /// Kept as the connection's description; empty: none.
    pub reason: String,
}

/// One version of the configuration file, parsed.
#[derive(Clone, Debug)]
pub struct FileVersion {
    /// Its resources.
    pub model: Model,
    /// Its host matters: those that differ from the running ones are reported, not applied.
    pub host: Option<HostConfig>,
    /// Delete what it does not name.
    pub prune: bool,
    /// Report what would happen, and change nothing.
    pub dry_run: bool,
}

/// An acknowledged command: durable and in force (law 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Of approve, reject and remove.
    Decided(Decided),
    /// Of an endpoint's deletion.
    Deleted(Deletion),
    /// Of a file.
    Applied(Report),
}

/// A connection's change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The endpoint.
    pub endpoint: Key,
    /// The resource it is bound to.
    pub resource: Key,
    /// State before.
    pub from: ConnectionState,
    /// State now; equal to `from` when there was nothing to change.
    pub to: ConnectionState,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

impl Decided {
    /// Whether the command changed anything.
    pub fn changed(&self) -> bool {
        self.from != self.to
    }
}

/// An endpoint that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// Which one.
    pub endpoint: Key,
    /// What the operator should know besides.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let warnings = match self {
            Self::Decided(decided) if decided.changed() => {
                write!(f, "{}: {} → {}", decided.endpoint, decided.from, decided.to)?;
                &decided.warnings
            }
            Self::Decided(decided) => {
                write!(f, "{}: already {}, no change", decided.endpoint, decided.to)?;
                &decided.warnings
            }
            Self::Deleted(deletion) => {
                write!(f, "{}: deleted", deletion.endpoint)?;
                &deletion.warnings
            }
            Self::Applied(report) => return report.fmt(f),
        };
        warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}
