//! How much the ways behind the attachments carry, while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use crate::host::path_mtu::PathWatch;
use crate::snapshot::PathMtus;

use super::worker_pool::now;

/// How much the ways behind the attachments carry: found out again and again, since links and routes change
/// without the daemon.
#[derive(Clone)]
pub(super) struct Paths {
    pub(super) watch: PathWatch,
    pub(super) mtus: Arc<PathMtus>,
}

/// Between two looks at links and routes; a host with very many routes is asked less often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_SHARE: u32 = 50;

impl Paths {
    /// Asks the kernel once. Returns whether routes to our devices have been lost.
    pub(super) fn measure(&self) -> bool {
        self.watch.measure(&self.mtus).unwrap_or_else(|error| {
            tracing::debug!("the path MTUs stay as they were: {error:#}");
            false
        })
    }

    /// Asks the kernel again and again, and has lost routes put back by `mend`.
    pub(super) async fn follow(self, mend: impl Fn() + Clone + Send + 'static) {
        loop {
            let (paths, mend, began) = (self.clone(), mend.clone(), now());
            let look = move || {
                if paths.measure() {
                    mend();
                }
            };
            // A look that panics says nothing new, and the next one comes.
            let _ = tokio::task::spawn_blocking(look).await;
            tokio::time::sleep(LOOK_EVERY.max((now() - began) * LOOK_SHARE)).await;
        }
    }
}
