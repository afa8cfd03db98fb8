//! How far the audit log has been exported, and what was removed before that: whoever keeps the log elsewhere is told of
//! its gaps, also by a daemon that was started since.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::store::audit::AuditRecord;
use crate::store::{Operation, Store, StoreError, Transaction};

/// The store's entry for it.
pub(super) const EXPORTED_KEY: &str = "meta/audit_exported";

/// How long records that went unexported are told of: they do not come back, and what is mended is mended.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What is kept of exports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Exported {
    /// Number of the last record that an export had; 0: nobody exports.
    through: u64,
    /// Up to this number, what was removed unexported is counted.
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

    /// The records up to `through` are gone.
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
    /// What is durable. Held while the log is exported or cut short, which take turns.
    durable: Mutex<Exported>,
    /// What is so: the next turn makes it durable where the last could not.
    now: Mutex<Exported>,
}

impl Exports {
    /// What `journal` keeps.
    pub(super) fn of(journal: Option<&dyn Store>) -> Self {
        let read = |journal: &dyn Store| journal.get(EXPORTED_KEY).ok().flatten();
        let kept: Exported =
            journal.and_then(read).and_then(|entry| serde_json::from_slice(&entry.value).ok()).unwrap_or_default();
        Self { durable: Mutex::new(kept.clone()), now: Mutex::new(kept) }
    }

    /// What went unexported lately.
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

    /// Has `remove` cut the log short.
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

    /// Notes something, and makes it durable. What cannot be is tried again at the next turn, and stops nobody.
    fn change(&self, durable: &mut Exported, journal: &dyn Store, change: impl FnOnce(&mut Exported)) {
        let now = {
            let mut now = locked(&self.now);
            change(&mut now);
            now.clone()
        };
        // As long as nobody exports there is nothing to be remembered.
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
