//! What the control plane asks of the rest of the daemon. `main` alone knows who answers.

use std::net::IpAddr;
use std::time::Duration;

use super::codec::Record;
use crate::model::Key;

pub use crate::snapshot::Snapshot;
pub use crate::snapshot::topology::{AddressInUse, Topology};

/// The packet path: takes a snapshot and says when every worker works by it.
pub trait Workers: Send + Sync {
    /// Puts `snapshot` in force and returns when every worker has begun a batch with it.
    ///
    /// # Errors
    /// A worker stayed silent for `limit`; the daemon must stop, closed.
    fn publish(&self, snapshot: Snapshot, limit: Duration) -> anyhow::Result<()>;
}

/// Somebody answers for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address asked about.
    pub address: IpAddr,
    /// Who: a hardware address, and the interface.
    pub by: String,
    /// The same neighbour answers for addresses that nobody uses: that says nothing of this one.
    pub answers_all: bool,
}

/// This Linux host: makes routes and rules what the topology says.
pub trait Host: Send + Sync {
    /// Brings routes, neighbours and the steering program's NAT addresses to `topology`; attachments
    /// themselves stay as they were at start.
    ///
    /// # Errors
    /// [`AddressInUse`] where something that is asked for means something else on this host; otherwise the first step
    /// that the kernel refused. What was done stays recorded for clean-up.
    fn reconcile(&self, topology: &Topology) -> anyhow::Result<()>;

    /// Asks the neighbours at the attachment of `vnet` who has `addresses`: what was answered. Blocks until they have
    /// answered, or had time to.
    fn neighbours(&self, _vnet: &Key, _addresses: &[IpAddr]) -> Vec<Answer> {
        Vec::new()
    }

    /// A connection waits for its owner; returns at once.
    fn requested(&self, _request: &Record) {}
}
