//! Keeps track of how far the audit log was exported, and of records removed before that. This survives restarts, so
//! that a log kept elsewhere shows its gaps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::audit::AuditRecord;
use crate::store::{Operation, Store, StoreError, Transaction};

/// Its key in the store.
pub(super) const EXPORTED_KEY: &str = "meta/audit_exported";

/// How long lost records are reported. They cannot be recovered, so the report ends some time after the cause is fixed.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The stored export state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exported {
    /// The number of the last exported record. 0: the log is not exported.
    through: u64,
    /// Lost records are counted up to this number.
    counted: u64,
    /// Records that were removed before an export had them.
    missed: u64,
    /// When the last of them was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_missed: Option<Timestamp>,
}

/// Records that were removed before an export had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub records: u64,
    /// When the last of them was removed.
    pub last: Timestamp,
}

impl Exported {
    fn note(&mut self, records: &[AuditRecord]) {
        self.through = self.through.max(records.last().map_or(0, |last| last.seq));
    }

    /// Notes that the records up to `through` were removed.
    fn note_removed(&mut self, through: u64, now: Timestamp) {
        let missed = through.saturating_sub(self.counted.max(self.through));
        if self.through > 0 && missed > 0 {
            self.missed = self.missed.saturating_add(missed);
            self.last_missed = Some(now);
        }
        self.counted = self.counted.max(through);
    }

    fn missed(&self, now: Timestamp) -> Option<Missed> {
        let last = self.last_missed.filter(|last| now.duration_since(*last) <= TOLD_FOR)?;
        Some(Missed { records: self.missed, last })
    }
}

/// The exports of one daemon.
#[derive(Debug, Default)]
pub(super) struct Exports {
    /// The stored state. Its lock makes exporting and pruning exclude each other.
    durable: Mutex<Exported>,
    /// The current state. If storing it fails, the next turn tries again.
    now: Mutex<Exported>,
}

impl Exports {
    /// Reads the state from `journal`.
    pub(super) fn of(journal: Option<&dyn Store>) -> Self {
        let read = |journal: &dyn Store| journal.get(EXPORTED_KEY).ok().flatten();
        let kept: Exported =
            journal.and_then(read).and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
        Self { durable: Mutex::new(kept.clone()), now: Mutex::new(kept) }
    }

    /// Records that were lost lately.
    pub(super) fn missed(&self, now: Timestamp) -> Option<Missed> {
        locked(&self.now).missed(now)
    }

    /// Exports the records that `read` gives.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn export(
        &self,
        journal: &dyn Store,
        now: Timestamp,
        read: impl FnOnce() -> Result<Vec<AuditRecord>, StoreError>,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let mut durable = locked(&self.durable);
        let removed = journal.audit_anchor()?.count;
        let records = read()?;
        self.change(&mut durable, journal, |exported| {
            exported.note_removed(removed, now);
            exported.note(&records);
        });
        Ok(records)
    }

    /// Prunes the log by `remove`.
    ///
    /// # Errors
    /// As `remove`, or the log cannot be read.
    pub(super) fn cut<T>(
        &self,
        journal: &dyn Store,
        now: Timestamp,
        remove: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut durable = locked(&self.durable);
        let done = remove();
        let removed = journal.audit_anchor()?.count;
        self.change(&mut durable, journal, |exported| exported.note_removed(removed, now));
        done
    }

    /// Updates the state and stores it. A failure does not stop the caller; the next turn tries again.
    fn change(&self, durable: &mut Exported, journal: &dyn Store, change: impl FnOnce(&mut Exported)) {
        let now = {
            let mut now = locked(&self.now);
            change(&mut now);
            now.clone()
        };
        // If the log is not exported, nothing needs to be stored.
        if now == *durable || now.through == 0 {
            return;
        }
        let value = serde_json::to_vec(&now).unwrap_or_default();
        let operations = vec![Operation::put(EXPORTED_KEY, value)];
        match journal.commit(Transaction { operations, ..Transaction::default() }) {
            Ok(_) => *durable = now,
            Err(error) => tracing::warn!(%error, "how far the audit log was exported is not durable yet"),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noon;

    #[test]
    fn what_went_unexported_is_told_of_for_a_month() {
        let mut exported = Exported { through: 5, ..Exported::default() };
        exported.note_removed(5, noon());
        assert_eq!(exported.missed(noon()), None, "all of it had been exported");
        exported.note_removed(9, noon());
        exported.note_removed(9, noon() + TOLD_FOR);
        assert_eq!(exported.missed(noon() + TOLD_FOR), Some(Missed { records: 4, last: noon() }), "and counted once");
        assert_eq!(exported.missed(noon() + TOLD_FOR * 2), None);
    }
}
