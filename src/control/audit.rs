//! The audit log: listed, checked, exported, and kept within its limits.

use jiff::{SignedDuration, Timestamp};

use super::exported::Missed;
use super::{ControlPlane, codec};
use crate::model::AuditLimits;
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::{Mention, Named, sentence};
use crate::store::audit::{AuditQuery, AuditRecord, Verified};
use crate::store::{Store, StoreError};

/// Audit records read at once.
const CHUNK: usize = 256;

/// Records that one commit removes. Other commands wait for that commit, so it is kept short.
const PRUNED_AT_ONCE: u64 = 4_096;

/// Bytes of a record besides its body: number, time, two hashes, and the row's overhead.
const OVERHEAD: u64 = 100;

/// The share of `max_bytes` for refused requests. When it is full they are only counted.
const REFUSALS_SHARE: u64 = 8;

/// One audit record: its number, its hash in hexadecimal, and the JSON of a [`codec::Record`].
pub type AuditEntry = (u64, String, Vec<u8>);

/// An intact audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditVerified {
    /// The number and hash of the last pruned record.
    pub anchor: Verified,
    /// The number and hash of the newest record.
    pub end: Verified,
}

impl ControlPlane {
    /// Records that were removed lately before they were exported.
    pub fn audit_missed(&self) -> Option<Missed> {
        self.exports.missed((self.setup.clock)())
    }

    /// The newest `limit` audit records since a time that `take` accepts, oldest first. The log is read from its end,
    /// and no further than needed.
    ///
    /// # Errors
    /// `Storage`: the log cannot be read; or as `take`.
    pub fn audit<T, E: From<Error>>(
        &self,
        since: Option<Timestamp>,
        limit: usize,
        mut take: impl FnMut(AuditEntry) -> Result<Option<T>, E>,
    ) -> Result<Vec<T>, E> {
        let Some(journal) = &self.journal else { return Ok(Vec::new()) };
        let mut query = AuditQuery { from: 1, before: None, since, limit: CHUNK, newest_first: true };
        let mut taken = Vec::new();
        while taken.len() < limit {
            let records = journal.audit(&query).map_err(|error| E::from(unreadable(error)))?;
            let Some(last) = records.last() else { break };
            query.before = Some(last.seq);
            for record in records {
                taken.extend(take((record.seq, record.hash.to_string(), record.body))?);
            }
        }
        taken.truncate(limit);
        taken.reverse();
        Ok(taken)
    }

    /// At most `limit` records from number `from` on, none before `since`, in order. They come as they are stored, so
    /// that a reader can check the chain.
    ///
    /// # Errors
    /// `Storage`: the log cannot be read.
    pub fn export_audit(&self, from: u64, since: Option<Timestamp>, limit: usize) -> Result<Vec<AuditRecord>, Error> {
        let Some(journal) = &self.journal else { return Ok(Vec::new()) };
        let read = || -> Result<Vec<AuditRecord>, StoreError> {
            let query = AuditQuery { from, before: None, since, limit: 1, newest_first: false };
            let first = journal.audit(&query)?;
            let Some(first) = first.first() else { return Ok(Vec::new()) };
            journal.audit(&AuditQuery { from: first.seq, since: None, limit, ..query })
        };
        self.exports.export(&**journal, (self.setup.clock)(), read).map_err(unreadable)
    }

    /// Checks the audit chain, from the last pruned record to its end.
    ///
    /// # Errors
    /// `Storage`, naming the first record that is wrong.
    pub fn verify_audit(&self) -> Result<AuditVerified, Error> {
        let none = AuditVerified { anchor: Verified::default(), end: Verified::default() };
        let Some(journal) = &self.journal else { return Ok(none) };
        let end = journal.verify().map_err(unreadable)?;
        Ok(AuditVerified { anchor: journal.audit_anchor().map_err(unreadable)?, end })
    }

    /// Writes one record for each requester that was refused since the last call. Blocks like [`ControlPlane::apply`].
    ///
    /// # Errors
    /// `Storage`: nothing was written; the next call tries again.
    pub fn audit_refusals(&self) -> Result<(), Error> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let taken = self.refused.take(&self.setup.daemon.actor());
        if taken.records.is_empty() {
            return Ok(());
        }
        codec::append(&**journal, &taken.records).map_err(|error| {
            self.refused.give_back(taken);
            let message =
                sentence!("refused requests are not in the audit log yet: {}", Mention::new(Named::Host, error));
            Error::new(ErrorKind::Storage, "NotDurable", message, "it is tried again")
        })
    }

    /// Removes the oldest records beyond the configured limits, and returns their number. Blocks like
    /// [`ControlPlane::apply`].
    ///
    /// # Errors
    /// `Storage`: the log cannot be read or written. Records removed before that stay removed.
    pub fn prune_audit(&self, now: Timestamp) -> Result<u64, Error> {
        let Some(journal) = &self.journal else { return Ok(0) };
        let limits = self.view().host.audit;
        let kept = Kept::within(&**journal, limits, now).map_err(unreadable)?;
        self.refused.fill(kept.refusals > limits.max_bytes / REFUSALS_SHARE);
        let remove = || -> Result<u64, StoreError> {
            let before = journal.audit_anchor()?.count;
            let mut through = before;
            while through + 1 < kept.first {
                through = (through + PRUNED_AT_ONCE).min(kept.first - 1);
                journal.prune_audit(through)?;
            }
            Ok(through - before)
        };
        self.exports.cut(&**journal, now, remove).map_err(unreadable)
    }
}

/// The part of the log that stays.
struct Kept {
    /// The oldest record's number.
    first: u64,
    /// Bytes of records about refused requests.
    refusals: u64,
}

impl Kept {
    fn within(journal: &dyn Store, limits: AuditLimits, now: Timestamp) -> Result<Self, StoreError> {
        let retain = SignedDuration::try_from(limits.retain).unwrap_or(SignedDuration::MAX);
        let oldest = now.checked_sub(retain).unwrap_or(Timestamp::MIN);
        let mut query = AuditQuery { from: 1, before: None, since: None, limit: CHUNK, newest_first: true };
        let (mut kept, mut bytes) = (Self { first: 1, refusals: 0 }, 0);
        loop {
            let records = journal.audit(&query)?;
            let Some(last) = records.last() else { return Ok(kept) };
            query.before = Some(last.seq);
            for record in records {
                let size = record.body.len() as u64 + OVERHEAD;
                bytes += size;
                if bytes > limits.max_bytes || record.at < oldest {
                    kept.first = record.seq + 1;
                    return Ok(kept);
                }
                if codec::is_refusal(&record.body) {
                    kept.refusals += size;
                }
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn unreadable(error: StoreError) -> Error {
    Error::new(
        ErrorKind::Storage,
        "AuditBroken",
        Mention::new(Named::Host, error),
        "compare with a backup: privlink backup, privlink restore",
    )
}
