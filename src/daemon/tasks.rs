//! Background tasks that the daemon needs.

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
            // This fails only if the daemon is stopping already.
            let _ = stop.send(true);
        }
    });
}

/// Writes refused requests of the last interval to the audit log.
pub(super) fn note_last_refusals(control: &ControlPlane) {
    if let Err(refusal) = control.audit_refusals() {
        tracing::warn!("{refusal}");
    }
}
