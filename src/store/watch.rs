//! The events of a store, kept in memory up to a bound: watchers read them at their own pace, and one
//! that falls too far behind is told to read the range again. So a slow watcher costs no memory.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Entry, Revision, StoreError};

/// Bytes of events that are remembered.
const MAX_BYTES: usize = 16 << 20;

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has this value now.
    Put(Entry),
    /// It is gone.
    Delete {
        /// Which key.
        key: String,
        /// Since when.
        revision: Revision,
    },
}

impl Event {
    /// The key it happened to.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The transaction it belongs to.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }

    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        let value = match self {
            Self::Put(entry) => entry.value.len(),
            Self::Delete { .. } => 0,
        };
        size_of::<Self>() + self.key().len() + value
    }
}

/// Reads the events of one prefix.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    next: Revision,
    history: Arc<History>,
}

impl Watch {
    /// Every event since the last call, in order and whole transactions only; waits up to `wait` for the
    /// first, and returns none if there was none.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when the next event is forgotten, [`StoreError::Closed`] when no more can come.
    pub fn next(&mut self, wait: Duration) -> Result<Vec<Event>, StoreError> {
        let idle = |remembered: &mut Remembered| remembered.latest < self.next && !remembered.closed;
        let (remembered, _) = self
            .history
            .arrived
            .wait_timeout_while(self.history.lock(), wait, idle)
            .unwrap_or_else(PoisonError::into_inner);
        remembered.reaches(self.next)?;
        if remembered.latest < self.next {
            return if remembered.closed { Err(StoreError::Closed) } else { Ok(Vec::new()) };
        }
        let first = remembered.events.partition_point(|event| event.revision() < self.next);
        let events = remembered.events.range(first..).filter(|event| event.key().starts_with(&self.prefix));
        self.next = remembered.latest.next();
        Ok(events.cloned().collect())
    }
}

/// What watchers read from and a store writes to.
#[derive(Debug)]
pub(super) struct History {
    remembered: Mutex<Remembered>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Remembered {
    events: VecDeque<Event>,
    bytes: usize,
    /// The first revision that is known whole.
    oldest: Revision,
    latest: Revision,
    closed: bool,
}

impl History {
    /// Knows nothing up to `latest`.
    pub(super) fn since(latest: Revision) -> Arc<Self> {
        let remembered = Remembered { events: VecDeque::new(), bytes: 0, oldest: latest.next(), latest, closed: false };
        Arc::new(Self { remembered: Mutex::new(remembered), arrived: Condvar::new() })
    }

    /// Adds the events up to revision `latest`, in order.
    pub(super) fn publish(&self, latest: Revision, events: Vec<Event>) {
        let mut remembered = self.lock();
        remembered.bytes += events.iter().map(Event::bytes).sum::<usize>();
        remembered.events.extend(events);
        remembered.latest = latest;
        while remembered.bytes > MAX_BYTES
            && let Some(oldest) = remembered.events.front().map(Event::revision)
        {
            remembered.forget(oldest.next());
        }
        self.arrived.notify_all();
    }

    pub(super) fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.lock().reaches(from)?;
        Ok(Watch { prefix: prefix.to_owned(), next: from, history: Arc::clone(self) })
    }

    pub(super) fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut remembered = self.lock();
        if before > remembered.latest {
            let latest = remembered.latest;
            return Err(StoreError::Invalid(format!("cannot compact to revision {before}: the latest is {latest}")));
        }
        remembered.forget(before);
        Ok(())
    }

    /// Wakes every watcher: nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Every change of it is complete before anything could panic.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    fn reaches(&self, from: Revision) -> Result<(), StoreError> {
        if from < self.oldest { Err(StoreError::Compacted { oldest: self.oldest }) } else { Ok(()) }
    }

    fn forget(&mut self, before: Revision) {
        while self.events.front().is_some_and(|event| event.revision() < before) {
            self.bytes -= self.events.pop_front().as_ref().map_or(0, Event::bytes);
        }
        self.oldest = self.oldest.max(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(revision: u64, bytes: usize) -> Event {
        let revision = Revision(revision);
        let value = vec![0; bytes];
        Event::Put(Entry { key: "a".into(), value, create_revision: revision, mod_revision: revision })
    }

    #[test]
    fn a_watcher_that_falls_behind_the_bound_is_told_and_memory_stays_bounded() {
        let history = History::since(Revision(0));
        let mut slow = history.watch("", Revision(1)).expect("all known");
        let mut quick = history.watch("", Revision(1)).expect("all known");
        for revision in 1..=40 {
            history.publish(Revision(revision), vec![put(revision, 1 << 20)]);
            assert_eq!(quick.next(Duration::ZERO).expect("kept up").len(), 1);
        }
        assert!(history.lock().bytes <= MAX_BYTES);
        let Err(StoreError::Compacted { oldest }) = slow.next(Duration::ZERO) else { panic!("not told") };
        let mut resumed = history.watch("", oldest).expect("from the oldest on");
        let events = resumed.next(Duration::ZERO).expect("remembered");
        assert_eq!(events.first().map(Event::revision), Some(oldest));
        assert_eq!(events.last().map(Event::revision), Some(Revision(40)));
    }

    #[test]
    fn a_waiting_watcher_is_woken_by_an_event_and_by_the_end() {
        let history = History::since(Revision(6));
        let mut watch = history.watch("a", Revision(7)).expect("known");
        let publisher = Arc::clone(&history);
        let thread = std::thread::spawn(move || publisher.publish(Revision(7), vec![put(7, 1)]));
        assert_eq!(watch.next(Duration::from_mins(1)).expect("woken"), [put(7, 1)]);
        thread.join().expect("published");
        let closer = Arc::clone(&history);
        let thread = std::thread::spawn(move || closer.close());
        assert!(matches!(watch.next(Duration::from_mins(1)), Err(StoreError::Closed)));
        thread.join().expect("closed");
    }
}
