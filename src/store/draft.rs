//! What a change does to rows, the same for every implementation. Everything that can be refused is
//! refused before the first row is touched, so a refusal needs no undoing.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::audit::{AuditRecord, Verified};
use super::watch::Event;
use super::{Entry, LeaseId, Operation, Outcome, Revision, StoreError, Transaction};

/// Where entries, leases and audit records lie.
pub(super) trait Rows {
    /// What is known of the key's row.
    fn find(&self, key: &str) -> Result<Option<Found>, StoreError>;
    /// Adds or replaces a row.
    fn put(&mut self, entry: &Entry, lease: Option<LeaseId>, checksum: u64) -> Result<(), StoreError>;
    /// Removes a row that is there.
    fn delete(&mut self, key: &str) -> Result<(), StoreError>;
    /// The keys bound to a lease, in order.
    fn bound_to(&self, lease: LeaseId) -> Result<Vec<String>, StoreError>;
    /// Adds an audit record at the end.
    fn append(&mut self, record: &AuditRecord) -> Result<(), StoreError>;
    /// A lease that has not been ended.
    fn lease(&self, lease: LeaseId) -> Result<Option<Lease>, StoreError>;
    /// Adds or replaces a lease.
    fn put_lease(&mut self, lease: LeaseId, terms: Lease) -> Result<(), StoreError>;
    /// Removes a lease, not its keys.
    fn delete_lease(&mut self, lease: LeaseId) -> Result<(), StoreError>;
    /// The lease that ends first, and when.
    fn first_lease(&self) -> Result<Option<(LeaseId, Timestamp)>, StoreError>;
}

/// What a change must know of the row it replaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) checksum: u64,
}

/// The terms of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) ends: Timestamp,
}

/// What a store knows of itself as a whole; durable with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) last_lease: u64,
    /// The end of the audit chain.
    pub(super) audit: Verified,
    /// The checksums of all rows, combined by exclusive or: a row lost, added or old shows.
    pub(super) digest: u64,
}

/// Ties everything that an entry's row says together, against accidents and not against forgers.
pub(super) fn checksum(entry: &Entry, lease: Option<LeaseId>) -> u64 {
    let mut hasher = Sha256::new();
    for number in [entry.create_revision.0, entry.mod_revision.0, lease.map_or(0, |lease| lease.0)] {
        hasher.update(number.to_be_bytes());
    }
    hasher.update((entry.key.len() as u64).to_be_bytes());
    hasher.update(&entry.key);
    hasher.update(&entry.value);
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hasher.finalize().into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A change under way: rows already changed, and what the head and the watchers get if it holds.
pub(super) struct Draft<'a, R> {
    pub(super) rows: &'a mut R,
    pub(super) head: Head,
    pub(super) events: Vec<Event>,
}

impl<R: Rows> Draft<'_, R> {
    /// See [`super::Store::commit`].
    pub(super) fn commit(&mut self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        for compare in &transaction.compares {
            let found = self.rows.find(&compare.key)?.map(|found| found.mod_revision);
            if !compare.expected.holds(found) {
                return Ok(Outcome::Conflict { key: compare.key.clone(), found });
            }
        }
        self.check(&transaction.operations)?;
        let (revision, before) = (self.head.revision.next(), self.events.len());
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value, lease } => self.put(key, value, *lease, revision)?,
                Operation::Delete { key } => self.delete(key, revision)?,
            }
        }
        for body in &transaction.records {
            let record = AuditRecord::after(self.head.audit, body.clone());
            self.rows.append(&record)?;
            self.head.audit = Verified { count: record.seq, last_hash: record.hash };
        }
        if self.events.len() > before || !transaction.records.is_empty() {
            self.head.revision = revision;
        }
        Ok(Outcome::Committed(self.head.revision))
    }

    /// See [`super::Store::grant`].
    pub(super) fn grant(&mut self, ttl: Duration, now: Timestamp) -> Result<LeaseId, StoreError> {
        let lease = LeaseId(self.head.last_lease + 1);
        self.rows.put_lease(lease, Lease { ttl, ends: end(ttl, now)? })?;
        self.head.last_lease = lease.0;
        Ok(lease)
    }

    /// See [`super::Store::keep_alive`].
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        match self.rows.lease(lease)? {
            Some(Lease { ttl, ends }) if ends > now => self.rows.put_lease(lease, Lease { ttl, ends: end(ttl, now)? }),
            _ => Err(StoreError::NoLease(lease)),
        }
    }

    /// See [`super::Store::revoke`].
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.rows.lease(lease)?.ok_or(StoreError::NoLease(lease))?;
        self.end_lease(lease, self.head.revision.next())
    }

    /// See [`super::Store::expire`].
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let revision = self.head.revision.next();
        loop {
            match self.rows.first_lease()? {
                Some((lease, ends)) if ends <= now => self.end_lease(lease, revision)?,
                later => return Ok(later.map(|(_, ends)| ends)),
            }
        }
    }

    /// Refuses operations that cannot be.
    fn check(&self, operations: &[Operation]) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for operation in operations {
            if operation.key().is_empty() {
                return Err(StoreError::Invalid("a key cannot be empty".to_owned()));
            }
            if !keys.insert(operation.key()) {
                return Err(StoreError::Invalid(format!("the key {} stands twice in a transaction", operation.key())));
            }
            if let Operation::Put { lease: Some(lease), .. } = operation {
                self.rows.lease(*lease)?.ok_or(StoreError::NoLease(*lease))?;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>, at: Revision) -> Result<(), StoreError> {
        let before = self.rows.find(key)?;
        let create_revision = before.map_or(at, |row| row.create_revision);
        let entry = Entry { key: key.to_owned(), value: value.to_vec(), create_revision, mod_revision: at };
        let checksum = checksum(&entry, lease);
        self.rows.put(&entry, lease, checksum)?;
        self.head.digest ^= checksum ^ before.map_or(0, |row| row.checksum);
        self.events.push(Event::Put(entry));
        Ok(())
    }

    fn delete(&mut self, key: &str, at: Revision) -> Result<(), StoreError> {
        if let Some(before) = self.rows.find(key)? {
            self.rows.delete(key)?;
            self.head.digest ^= before.checksum;
            self.events.push(Event::Delete { key: key.to_owned(), revision: at });
        }
        Ok(())
    }

    fn end_lease(&mut self, lease: LeaseId, revision: Revision) -> Result<(), StoreError> {
        for key in self.rows.bound_to(lease)? {
            self.delete(&key, revision)?;
            self.head.revision = revision;
        }
        self.rows.delete_lease(lease)
    }
}

fn end(ttl: Duration, now: Timestamp) -> Result<Timestamp, StoreError> {
    now.checked_add(ttl).map_err(|_| StoreError::Invalid(format!("a lease of {ttl:?} is too long")))
}
