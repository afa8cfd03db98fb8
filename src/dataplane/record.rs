//! Sessions that have ended, on their way to the flow log. A worker puts a record of fixed size into its ring, without a
//! lock and without waiting; the log takes it out. A full ring loses records, and counts them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use crossbeam_queue::ArrayQueue;

pub use super::session::record::{FlowEndReason, FlowFilter, FlowRecord, SessionRecord};
pub use super::session::{Addresses, Phase, Tick};

/// One worker's ended sessions, taken out by one reader.
#[derive(Debug)]
pub struct RecordRing {
    queue: ArrayQueue<SessionRecord>,
    lost: AtomicU64,
    reader: OnceLock<Thread>,
}

impl RecordRing {
    /// A ring for `capacity` notes, all of its memory taken now.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), lost: AtomicU64::new(0), reader: OnceLock::new() }
    }

    /// Names the thread that is woken when the ring is half full.
    pub fn read_by(&self, reader: Thread) {
        // A second reader would change nothing but who is woken.
        let _ = self.reader.set(reader);
    }

    /// Leaves a note; counts it as lost where there is no room.
    pub fn push(&self, record: SessionRecord) {
        if self.queue.push(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        if self.queue.len() == self.queue.capacity() / 2
            && let Some(reader) = self.reader.get()
        {
            reader.unpark();
        }
    }

    /// Takes the oldest note.
    pub fn pop(&self) -> Option<SessionRecord> {
        self.queue.pop()
    }

    /// Whether the next note would be lost.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Notes lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::Table;
    use crate::dataplane::session::table::tests::{addresses, session};

    #[test]
    fn a_full_ring_counts_each_loss_and_keeps_the_oldest() {
        let ring = RecordRing::new(4);
        let mut table = Table::new(1, [1, 2]);
        let slot = table.insert(&addresses(1), session(1)).expect("room");
        let ended = |number| table.view(slot).expect("a session").ended(FlowEndReason::Idle, Tick(number));
        for number in 0..10 {
            ring.push(ended(number));
        }
        assert_eq!((ring.lost(), ring.is_full()), (6, true));
        let kept: Vec<u32> = std::iter::from_fn(|| ring.pop()).map(|record| record.last.0).collect();
        assert_eq!(kept, [0, 1, 2, 3]);
        ring.push(ended(0));
        assert_eq!(ring.lost(), 6, "there is room again");
    }
}
