//! What the control plane makes durable: keys with values, and the audit log beside them, behind one
//! trait shaped like a subset of etcd. The values are opaque here; their meaning is `control`'s.
//!
//! ```text
//! commit(Transaction) ─► compares hold? ─► operations + audit records ─► fsync ─► events ─► answer
//! ```

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// Hash-chained records of who did what.
pub mod audit;

/// What a change does to rows, the same for every implementation.
mod draft;

/// In memory, with faults on demand: for tests of what stands on a store.
pub mod memory;

/// One directory on this machine.
pub mod sqlite;

/// Events in order, as far back as they are remembered.
pub mod watch;

/// What every implementation must do.
#[cfg(test)]
mod conformance;

use audit::{ANCHOR_KEY, AuditBody, AuditQuery, AuditRecord, ChainBroken, Verified};
use watch::Watch;

/// A durable map from keys to values that changes by transactions, each under one revision.
///
/// Calls block until they are durable or refused; none may be made from inside another's callback.
pub trait Store: Send + Sync + fmt::Debug {
    /// Calls `each` with every entry whose key starts with `prefix`, in byte order of the keys, all as of
    /// the returned revision.
    ///
    /// # Errors
    /// The store cannot be read, or an entry does not match its checksum. `each` may have seen entries by then.
    fn scan(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<Revision, StoreError>;

    /// Every entry whose key starts with `prefix`, in byte order of the keys, as of the returned revision.
    ///
    /// # Errors
    /// As [`Store::scan`].
    fn range(&self, prefix: &str) -> Result<(Revision, Vec<Entry>), StoreError> {
        let mut entries = Vec::new();
        let revision = self.scan(prefix, &mut |entry| entries.push(entry))?;
        Ok((revision, entries))
    }

    /// The entry of exactly this key.
    ///
    /// # Errors
    /// As [`Store::scan`].
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All of the transaction or nothing of it. Returns when it is durable.
    ///
    /// # Errors
    /// Nothing was applied, except after [`StoreError::Uncertain`].
    fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError>;

    /// The events of keys that start with `prefix`, from revision `from` on (that included). After
    /// [`Store::range`], `from` is its revision's [`Revision::next`].
    ///
    /// # Errors
    /// [`StoreError::Compacted`]: read the range again, and watch from there.
    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError>;

    /// Forgets the events before revision `before`. A store may forget earlier than told, at a
    /// restart for example; a watch is then told so.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a revision that has not been.
    fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// A lease that ends `ttl` after `now`, the caller's clock. A store with a clock of its own uses that.
    ///
    /// # Errors
    /// The lease was not made durable.
    fn grant(&self, ttl: Duration, now: Timestamp) -> Result<LeaseId, StoreError>;

    /// Makes the lease end its `ttl` after `now`.
    ///
    /// # Errors
    /// [`StoreError::NoLease`] when it has ended, or the change was not made durable.
    fn keep_alive(&self, lease: LeaseId, now: Timestamp) -> Result<(), StoreError>;

    /// Ends the lease and deletes its keys, under one revision.
    ///
    /// # Errors
    /// [`StoreError::NoLease`] when it has ended already, or the change was not made durable.
    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends every lease that is due at `now`; returns when the next one is.
    ///
    /// # Errors
    /// The change was not made durable; call again.
    fn expire(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Audit records that the query names. They are shown as they stand; [`Store::verify`] checks them.
    ///
    /// # Errors
    /// The store cannot be read.
    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError>;

    /// Forgets the audit records up to number `through`, never the newest. What is left goes on from an anchor, the
    /// number and hash of the last that is gone, which is durable with their removal.
    ///
    /// # Errors
    /// Nothing was removed.
    fn prune_audit(&self, through: u64) -> Result<(), StoreError>;

    /// Number and hash of the last audit record that was pruned; 0 and zeros: none was.
    ///
    /// # Errors
    /// The store cannot be read, or what it says of it cannot be.
    fn audit_anchor(&self) -> Result<Verified, StoreError> {
        let entry = self.get(ANCHOR_KEY)?;
        anchor(entry.as_ref().map(|entry| entry.value.as_slice()))
    }

    /// Sees that no byte of what was removed or replaced is left in the store's own files, copies made before a
    /// migration included.
    ///
    /// # Errors
    /// Some may be left.
    fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Walks the audit chain, from its anchor on.
    ///
    /// # Errors
    /// [`StoreError::Audit`] names the first record that was deleted, edited, moved or cut off.
    fn verify(&self) -> Result<Verified, StoreError>;
}

/// See [`Store::audit_anchor`].
fn anchor(value: Option<&[u8]>) -> Result<Verified, StoreError> {
    let damaged =
        || StoreError::Damaged { place: ANCHOR_KEY.to_owned(), reason: "it is no number with a hash".to_owned() };
    Verified::from_anchor(value).ok_or_else(damaged)
}

/// Counts the transactions that changed something; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Not empty. `/` parts it by convention only.
    pub key: String,
    /// Opaque to the store.
    pub value: Vec<u8>,
    /// When the key appeared (anew, if it was deleted in between).
    pub create_revision: Revision,
    /// When the value was last put.
    pub mod_revision: Revision,
}

/// What is committed at once. Each key stands in at most one operation.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// All must hold, or nothing happens.
    pub compares: Vec<Compare>,
    /// What changes.
    pub operations: Vec<Operation>,
    /// What is recorded, with the change or not at all.
    pub records: Vec<AuditBody>,
}

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which key.
    pub key: String,
    /// What it must be.
    pub expected: Expected,
}

/// What a key must be for a transaction to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is no such key.
    Absent,
    /// There is, whatever its revision.
    Present,
    /// Its value was last put at this revision.
    At(Revision),
}

impl Expected {
    /// Whether a key last put at `found` (`None`: absent) is as expected.
    pub fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::At(revision) => found == Some(revision),
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes the key have this value; it is bound to this lease from now on, or to none.
    Put {
        /// Which key.
        key: String,
        /// Its new value.
        value: Vec<u8>,
        /// The key vanishes with it.
        lease: Option<LeaseId>,
    },
    /// Removes the key; an absent one stays absent.
    Delete {
        /// Which key.
        key: String,
    },
}

impl Operation {
    /// A put without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// A delete.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key that changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// How a transaction ended.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable. The revision is its own, or the one before if it changed and recorded nothing.
    Committed(Revision),
    /// A compare did not hold, and nothing changed.
    Conflict {
        /// The key of the first such compare.
        key: String,
        /// What the key's last put was instead; `None`: the key is absent.
        found: Option<Revision>,
    },
}

/// Names a lease; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// What to do about what the kernel refused.
fn remedy_of(error: &std::io::Error) -> &'static str {
    let kind = error.kind();
    if kind == std::io::ErrorKind::ReadOnlyFilesystem {
        "; mount it so that it can be written, or choose another directory"
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "; run as a user who may use it, or choose another directory"
    } else {
        ""
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request itself cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The lease has ended, or never was.
    #[error("lease {} has ended", .0.0)]
    NoLease(LeaseId),
    /// The events asked for are forgotten.
    #[error("the events before revision {oldest} are forgotten: read the range again and watch from there")]
    Compacted {
        /// The first revision that is still known.
        oldest: Revision,
    },
    /// No room. Nothing was applied, and the next call may work again.
    #[error("no room left for the state in {place}: nothing was written; free space there and try again")]
    Full {
        /// File or directory.
        place: String,
    },
    /// Nothing was applied.
    #[error("the state was not changed: {0}")]
    Failed(String),
    /// The transaction may be durable, whole, or not at all. Reading tells which this process goes on with.
    #[error("it is not certain whether the change was made: {0}")]
    Uncertain(String),
    /// What is stored cannot be trusted. Nothing was changed or deleted.
    #[error("{place} cannot be trusted: {reason}")]
    Damaged {
        /// File or directory.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Written by a newer privlink.
    #[error(
        "{place} has schema version {found}, and this privlink knows versions up to {known}: run the newer one, or `privlink restore` a backup of version {known}"
    )]
    Newer {
        /// Which file.
        place: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process has it open.
    #[error("another privlink daemon uses the state directory {0}: stop it first")]
    Held(String),
    /// A file could not be used.
    #[error("{place}: {error}{}", remedy_of(.error))]
    Io {
        /// Which file.
        place: String,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The audit log was tampered with, or is damaged.
    #[error(transparent)]
    Audit(#[from] ChainBroken),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What to do about it where a daemon starts with it; `None`: the error says so itself.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        let damaged = matches!(self, Self::Damaged { .. });
        damaged.then_some("nothing in it was changed; bring back a backup: privlink restore FILE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_told_with_what_to_do() {
        use std::io::ErrorKind;
        let told = |kind: ErrorKind| StoreError::Io { place: "/state".to_owned(), error: kind.into() }.to_string();
        for (kind, remedy) in [
            (ErrorKind::ReadOnlyFilesystem, "; mount it so that it can be written, or choose another directory"),
            (ErrorKind::PermissionDenied, "; run as a user who may use it, or choose another directory"),
            (ErrorKind::NotADirectory, ""),
        ] {
            assert_eq!(told(kind), format!("/state: {}{remedy}", std::io::Error::from(kind)));
        }
    }
}
