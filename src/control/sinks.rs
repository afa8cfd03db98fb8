//! What the control plane needs from the rest of the daemon. `daemon` implements these traits.

use std::net::IpAddr;
use std::time::Duration;

use super::codec::Record;
use crate::model::Key;

pub use crate::snapshot::Snapshot;
pub use crate::snapshot::topology::{AddressInUse, Topology};

/// The packet path: takes a snapshot, and reports when every worker uses it.
pub trait Workers: Send + Sync {
    /// Puts `snapshot` in force and returns when every worker has begun a batch with it.
    ///
    /// # Errors
    /// A worker was silent for `limit`. The daemon must stop, closed.
    fn publish(&self, snapshot: Snapshot, limit: Duration) -> anyhow::Result<()>;
}

/// A neighbour's answer for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address.
    pub address: IpAddr,
    /// The neighbour's hardware address, and the interface.
    pub by: String,
    /// The neighbour answers for unused addresses too (proxy ARP), so its answer proves nothing.
    pub answers_all: bool,
}

/// This Linux host: installs the routes and rules of a topology.
pub trait Host: Send + Sync {
    /// Changes routes, neighbours and the steering program's NAT addresses to match `topology`. Attachments stay as
    /// they were at start.
    ///
    /// # Errors
    /// [`AddressInUse`] if this host uses a wanted address for something else; otherwise the first step that the kernel
    /// refused. Completed steps stay recorded for clean-up.
    fn reconcile(&self, topology: &Topology) -> anyhow::Result<()>;

    /// Asks the neighbours at the attachment of `vnet` who uses `addresses`. Blocks until they answer, or until their
    /// time is over.
    fn neighbours(&self, _vnet: &Key, _addresses: &[IpAddr]) -> Vec<Answer> {
        Vec::new()
    }

    /// Reports a new pending connection. Returns at once.
    fn requested(&self, _request: &Record) {}
}
