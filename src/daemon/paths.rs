//! Measures path MTUs behind the attachments while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use crate::host::path_mtu::PathWatch;
use crate::snapshot::PathMtus;

use super::worker_pool::now;

/// The path MTUs behind the attachments. They are measured repeatedly, because links and routes change without the
/// daemon.
#[derive(Clone)]
pub(super) struct Paths {
    pub(super) watch: PathWatch,
    pub(super) mtus: Arc<PathMtus>,
}

/// The time between two measurements. A host with very many routes is measured less often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_SHARE: u32 = 50;

impl Paths {
    /// Measures once. Returns whether routes to our devices have been lost.
    pub(super) fn measure(&self) -> bool {
        self.watch.measure(&self.mtus).unwrap_or_else(|error| {
            tracing::debug!("the path MTUs stay as they were: {error:#}");
            false
        })
    }

    /// Measures repeatedly, and calls `mend` when routes have been lost.
    pub(super) async fn follow(self, mend: impl Fn() + Clone + Send + 'static) {
        loop {
            let (paths, mend, began) = (self.clone(), mend.clone(), now());
            let look = move || {
                if paths.measure() {
                    mend();
                }
            };
            // After a panic the old values stay, and the next measurement follows.
            let _ = tokio::task::spawn_blocking(look).await;
            tokio::time::sleep(LOOK_EVERY.max((now() - began) * LOOK_SHARE)).await;
        }
    }
}
