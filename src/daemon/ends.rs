//! Approvals that were given for a time are ended by the wall clock, also where that is set anew.

use std::sync::Arc;
use std::time::Duration;

use crate::control::ControlPlane;

/// The clock is looked at so often while any approval is to end: nobody says when it is set.
const LOOK: Duration = Duration::from_millis(250);

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Ends every approval when its time is over.
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
