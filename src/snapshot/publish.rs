//! Publication: one atomic pointer, one reader per worker, and the acknowledgement behind law 5.
//!
//! `publish` stores the snapshot and wakes sleeping workers; `wait` returns when every worker has begun
//! a batch with it. A worker writes all packets of a batch before it begins the next one, so from
//! then on no packet judged by an older snapshot can leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, cache::Cache};

use super::Snapshot;

/// Pause between two looks at the workers' progress; a batch takes microseconds.
const POLL: Duration = Duration::from_micros(20);

/// Time between two looks at what holds a silent worker up.
const LOOK: Duration = Duration::from_millis(10);

/// Times the limit after which a worker is silent whatever holds it up.
const AT_MOST: u32 = 15;

/// The control plane's end.
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    seen: Vec<Arc<AtomicU64>>,
    wakers: Vec<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("workers", &self.seen.len()).finish_non_exhaustive()
    }
}

/// A worker has not begun a batch within the time given: it hangs, and the daemon must stop, closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} has been silent for {waited:?}; the daemon stops, closed")]
pub struct SilentWorker {
    /// Its number.
    pub worker: usize,
    /// How long it was waited for.
    pub waited: Duration,
}

impl Publisher {
    /// A publisher whose current snapshot is empty, and no reader yet.
    #[must_use]
    pub fn new() -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(Snapshot::empty())), seen: Vec::new(), wakers: Vec::new() }
    }

    /// Adds a worker. `wake` must end its sleep; it is called from any thread.
    pub fn reader(&mut self, wake: Box<dyn Fn() + Send + Sync>) -> Reader {
        let seen = Arc::new(AtomicU64::new(0));
        self.seen.push(Arc::clone(&seen));
        self.wakers.push(wake);
        Reader { cache: Cache::new(Arc::clone(&self.current)), seen, acknowledged: 0 }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A handle that sees the snapshot in force without being a worker.
    #[must_use]
    pub fn shared(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.current)
    }

    /// Puts `snapshot` in force and wakes every worker.
    pub fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
        self.wakers.iter().for_each(|wake| wake());
    }

    /// Waits until every worker has begun a batch with the snapshot in force. `held_up` says how much of the time since
    /// it was last asked a worker was held up by itself: one that waits for a processor forwards nothing meanwhile, so
    /// it is waited for on a busy machine.
    ///
    /// # Errors
    /// Names the first worker that was held up for longer than `limit`.
    #[allow(clippy::disallowed_methods, reason = "the control plane waits in real time")]
    pub fn wait(&self, limit: Duration, held_up: impl Fn(usize, Duration) -> Duration) -> Result<(), SilentWorker> {
        let epoch = self.current.load().epoch;
        let started = Instant::now();
        for (worker, seen) in self.seen.iter().enumerate() {
            let (mut looked, mut silent) = (Duration::ZERO, Duration::ZERO);
            while seen.load(Ordering::Acquire) < epoch {
                let waited = started.elapsed();
                let passed = waited.saturating_sub(looked);
                if passed >= LOOK {
                    silent += held_up(worker, passed);
                    looked = waited;
                }
                if silent > limit || waited > limit.saturating_mul(AT_MOST) {
                    return Err(SilentWorker { worker, waited });
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    seen: Arc<AtomicU64>,
    acknowledged: u64,
}

impl Reader {
    /// The snapshot for the batch that begins now, and whether it differs from the last one. Calling
    /// this acknowledges it, so every packet of the previous batch must have been written.
    pub fn begin_batch(&mut self) -> (Arc<Snapshot>, bool) {
        let snapshot = Arc::clone(self.cache.load());
        let changed = snapshot.epoch != self.acknowledged;
        if changed {
            self.acknowledged = snapshot.epoch;
            self.seen.store(snapshot.epoch, Ordering::Release);
        }
        (snapshot, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SnapshotBuilder;

    #[test]
    fn a_publication_is_acknowledged_by_the_next_batch_only() {
        let mut publisher = Publisher::new();
        let mut reader = publisher.reader(Box::new(|| ()));
        publisher.publish(SnapshotBuilder::default().build(1));
        let silent = publisher.wait(Duration::from_millis(1), |_, passed| passed).expect_err("no batch has begun");
        assert_eq!(silent.worker, 0);
        let (snapshot, changed) = reader.begin_batch();
        assert_eq!((snapshot.epoch, changed), (1, true));
        publisher.wait(Duration::from_millis(1), |_, passed| passed).expect("acknowledged");
        assert!(!reader.begin_batch().1, "nothing new");
    }

    /// A busy machine fails no call: time without a processor is not silence, as long as there is an end to it.
    #[test]
    fn a_worker_that_waits_for_a_processor_is_waited_for() {
        const LIMIT: Duration = Duration::from_millis(20);
        let mut publisher = Publisher::new();
        let mut reader = publisher.reader(Box::new(|| ()));
        publisher.publish(SnapshotBuilder::default().build(1));
        let silent = publisher.wait(LIMIT, |_, _| Duration::ZERO).expect_err("no batch has begun");
        assert!(silent.waited > LIMIT * AT_MOST, "{silent}");
        let looks = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                publisher.wait(Duration::from_mins(1), |worker, passed| {
                    assert!(worker == 0 && passed >= LOOK);
                    looks.fetch_add(1, Ordering::Relaxed);
                    Duration::ZERO
                })
            });
            while looks.load(Ordering::Relaxed) < 3 {
                std::thread::yield_now();
            }
            reader.begin_batch();
            waiting.join().expect("ran").expect("it came");
        });
    }
}
