//! Tasks beside the API that the daemon cannot go on without.

use std::future::Future;
use std::pin::Pin;

use crate::control::ControlPlane;
use tokio::sync::watch;

/// Runs `task` in the background; a panic in it stops the daemon, closed.
pub(super) fn spawn(name: &'static str, stop: &watch::Sender<bool>, task: impl Future<Output = ()> + Send + 'static) {
    let (stop, task): (_, Pin<Box<dyn Future<Output = ()> + Send>>) = (stop.clone(), Box::pin(task));
    tokio::spawn(async move {
        if tokio::spawn(task).await.is_err_and(|error| error.is_panic()) {
            tracing::error!("the task that follows {name} panicked: the daemon stops, closed");
            // Nobody listens only when the daemon is ending already.
            let _ = stop.send(true);
        }
    });
}

/// Writes to the audit log what was refused since the last interval.
pub(super) fn note_last_refusals(control: &ControlPlane) {
    if let Err(refusal) = control.audit_refusals() {
        tracing::warn!("{refusal}");
    }
}
