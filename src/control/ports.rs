//! What the control plane asks of the rest of the daemon. `main` alone knows who answers.

use std::time::Duration;

use super::state::Record;

pub use crate::snapshot::Snapshot;
pub use crate::snapshot::topology::Topology;

/// The packet path: takes a snapshot and says when every worker works by it.
pub trait Workers: Send + Sync {
    /// Puts `snapshot` in force and returns when every worker has begun a batch with it.
    ///
    /// # Errors
    /// A worker stayed silent for `limit`; the daemon must stop, closed.
    fn publish(&self, snapshot: Snapshot, limit: Duration) -> anyhow::Result<()>;
}

/// This Linux host: makes routes and rules what the topology says.
pub trait Host: Send + Sync {
    /// Brings routes, neighbours and the steering program's NAT addresses to `topology`; attachments
    /// themselves stay as they were at start.
    ///
    /// # Errors
    /// The first step that the kernel refused; what was done stays recorded for clean-up.
    fn reconcile(&self, topology: &Topology) -> anyhow::Result<()>;

    /// A connection waits for its owner; returns at once.
    fn requested(&self, _request: &Record) {}
}
