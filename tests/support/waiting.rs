//! Waiting for what comes.

use std::time::{Duration, Instant};

/// How long anything may take that is not timed. It ends as soon as it comes, and a loaded machine is no failure.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_mins(2);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_or(condition, WAIT_TIMEOUT).unwrap_or_else(|()| panic!("waited in vain: {what}"));
}

/// [`eventually`] within `limit`; an error where it did not come.
pub(crate) fn eventually_or(mut condition: impl FnMut() -> bool, limit: Duration) -> Result<(), ()> {
    let began = now();
    while !condition() {
        if began.elapsed() > limit {
            return Err(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a test against a real kernel waits in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
