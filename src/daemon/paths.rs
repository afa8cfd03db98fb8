//! How much the ways behind the attachments carry, while the daemon runs.

use std::sync::Arc;
use std::time::Duration;

use privlink::host::path_mtu::PathWatch;
use privlink::snapshot::PathMtus;

use super::crew::now;

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
    /// Asks the kernel once.
    pub(super) fn measure(&self) {
        if let Err(error) = self.watch.measure(&self.mtus) {
            tracing::debug!("the path MTUs stay as they were: {error:#}");
        }
    }

    /// Asks the kernel again and again.
    pub(super) async fn follow(self) {
        loop {
            let (paths, began) = (self.clone(), now());
            // A look that panics says nothing new, and the next one comes.
            let _ = tokio::task::spawn_blocking(move || paths.measure()).await;
            tokio::time::sleep(LOOK_EVERY.max((now() - began) * LOOK_SHARE)).await;
        }
    }
}
