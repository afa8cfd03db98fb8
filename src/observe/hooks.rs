//! What became of the runs of `on_request`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Runs by how they ended.
#[derive(Debug, Default)]
pub struct HookCounts {
    /// With success.
    pub done: AtomicU64,
    /// Otherwise.
    pub failed: AtomicU64,
    /// The program could not be started.
    pub not_started: AtomicU64,
    /// Killed, since they took too long.
    pub late: AtomicU64,
    /// Never begun, since too many were waiting.
    pub skipped: AtomicU64,
}

impl HookCounts {
    /// Each count with its name in metrics.
    pub fn read(&self) -> [(&'static str, u64); 5] {
        let counts = [
            ("done", &self.done),
            ("failed", &self.failed),
            ("not_started", &self.not_started),
            ("late", &self.late),
            ("skipped", &self.skipped),
        ];
        counts.map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
