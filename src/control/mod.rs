//! The control plane: the single writer of everything that may change.
//!
//! A command is authorised, resolved, validated and compiled before anything happens; then it is
//! committed, published and acknowledged by every worker and the host, in the order that [`writer`]
//! explains. Readers never wait for it: they load the [`View`] of the last change.

/// The model.
pub mod model;

/// What the control plane asks of the packet path and of the host.
pub mod ports;

/// Callers, commands, outcomes.
pub mod command;

/// Why a command is refused.
pub mod refusal;

/// From a name to the thing meant.
pub mod references;

/// The states of a connection.
pub mod approval;

/// Endpoint addresses.
pub mod addresses;

/// What must be remembered.
pub mod decisions;

/// The file it is remembered in.
pub mod state;

/// Model and decisions → snapshot and topology.
pub mod compile;

/// What applying a file did.
pub mod report;

/// What readers see.
pub mod views;

/// A small model for tests.
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub use command::{Caller, Command, Decided, Decision, Deletion, FileVersion, Outcome};
pub use refusal::{Kind, Refusal};
pub use report::Report;
pub use views::{ConnectionView, EndpointView, ResourceView, Status, View, VnetView};

use crate::snapshot::topology::Topology;
use model::{HostConfig, Model};
use ports::{Host, Workers};

/// Checks what must hold between the parts of a model; each string is one violation.
pub type Validate = fn(&Model, &HostConfig) -> Result<(), Vec<String>>;

/// What the control plane is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Host matters of the file.
    pub host: HostConfig,
    /// Resources of the file.
    pub file: Model,
    /// Delete what the file does not name.
    pub prune: bool,
    /// Look only: take no lock, move and write nothing.
    pub dry_run: bool,
    /// Data workers, hence queues per device.
    pub workers: u16,
    /// Identity of each attachment's namespace (its inode), in the order of the attachments; two
    /// names of one namespace have one identity.
    pub namespaces: Vec<u64>,
    /// The daemon itself: its uid may do everything.
    pub daemon: Caller,
    /// The time (law 8: it enters as an argument).
    pub clock: fn() -> Timestamp,
    /// See [`Validate`].
    pub validate: Validate,
}

/// A control plane that has read its state and the file, and has changed nothing yet.
#[derive(Debug)]
pub struct Prepared {
    topology: Topology,
    view: View,
}

impl Prepared {
    /// Reads the durable state, applies the file to it in memory, validates and compiles.
    ///
    /// # Errors
    /// `Invalid`: the file and the live state together break a rule. `Storage`: another daemon holds
    /// the state directory, or it cannot be used.
    pub fn new(_setup: Setup) -> Result<Self, Refusal> {
        Err(Refusal::new(Kind::Unavailable, "NotReady", "the control plane is being written", ""))
    }

    /// What this host must look like; devices are made from it before [`Prepared::start`].
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What will be in force.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Commits, brings the host up to the topology and publishes the first snapshot.
    ///
    /// `fatal` is called when a worker has been silent for 2 s: the daemon must stop, closed.
    ///
    /// # Errors
    /// `Storage` or `Unavailable`; nothing passes then.
    pub fn start(
        self,
        _workers: Arc<dyn Workers>,
        _host: Arc<dyn Host>,
        _fatal: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Result<ControlPlane, Refusal> {
        Ok(ControlPlane { view: Arc::new(ArcSwap::from_pointee(self.view)) })
    }
}

/// The single writer.
#[derive(Debug)]
pub struct ControlPlane {
    view: Arc<ArcSwap<View>>,
}

impl ControlPlane {
    /// Carries `command` out for `caller`. Blocks until it is durable and in force everywhere: call it
    /// from a thread that may wait (`spawn_blocking`).
    ///
    /// # Errors
    /// See [`Kind`]; nothing of a refused command is acknowledged.
    pub fn apply(&self, _caller: &Caller, _command: Command) -> Result<Outcome, Refusal> {
        Err(Refusal::new(Kind::Unavailable, "NotReady", "the control plane is being written", ""))
    }

    /// What is in force now; never waits for the writer.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }
}
