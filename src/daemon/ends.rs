//! Ends approvals when they expire by the wall clock, also if that clock is changed.

use std::sync::Arc;
use std::time::Duration;

use crate::control::ControlPlane;

/// How often the clock is checked while any approval can expire: there is no notification when it is set.
const LOOK: Duration = Duration::from_millis(250);

/// The time between attempts after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// Ends every approval when it expires.
pub(super) async fn follow(control: Arc<ControlPlane>) {
    let mut epochs = control.epochs();
    loop {
        let Some(end) = control.view().next_end() else {
            if epochs.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Ok(left) = Duration::try_from(end.duration_since(control.now()))
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(LOOK)).await;
            continue;
        }
        let writer = Arc::clone(&control);
        match tokio::task::spawn_blocking(move || writer.end_approvals()).await {
            Ok(Ok(())) => {}
            Ok(Err(refusal)) => {
                tracing::error!("an approval whose time is over: {refusal}");
                tokio::time::sleep(AGAIN).await;
            }
            // A panic in a command stops the daemon by itself.
            Err(_) => return,
        }
    }
}
