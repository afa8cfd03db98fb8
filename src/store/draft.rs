//! What a change does to rows, the same for every implementation. Everything that can be refused is
//! refused before the first row is touched, so a refusal needs no undoing.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::audit::{ANCHOR_KEY, AuditRecord, ChainHash, Verified};
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
    /// The hash of an audit record; `None`: it is not there.
    fn audit_hash(&self, seq: u64) -> Result<Option<ChainHash>, StoreError>;
    /// Removes the audit records up to this number.
    fn prune(&mut self, through: u64) -> Result<(), StoreError>;
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
    /// The checksums of all entries and leases, combined by exclusive or: one lost, added or old shows.
    pub(super) digest: u64,
}

/// Ties everything that an entry's row says together, against accidents and not against forgers.
pub(super) fn checksum(entry: &Entry, lease: Option<LeaseId>) -> u64 {
    let lease = lease.map_or(0, |lease| lease.0);
    let numbers = [entry.create_revision.0, entry.mod_revision.0, lease, entry.key.len() as u64];
    hash(&numbers, &[entry.key.as_bytes(), &entry.value])
}

impl Lease {
    /// Kept to the microsecond, as it can be read back.
    fn from(ttl: Duration, now: Timestamp) -> Result<Self, StoreError> {
        let too_long = |_| StoreError::Invalid(format!("a lease of {ttl:?} is too long"));
        let ends = now.checked_add(ttl).map_err(too_long)?;
        let ends = Timestamp::from_microsecond(ends.as_microsecond()).map_err(too_long)?;
        Ok(Self { ttl: Duration::from_micros(u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX)), ends })
    }

    /// The same for a lease.
    pub(super) fn checksum(self, lease: LeaseId) -> u64 {
        let ends = self.ends.as_microsecond().cast_unsigned();
        hash(&[lease.0, ends], &[&self.ttl.as_micros().to_be_bytes()])
    }
}

impl Head {
    /// The same for the head itself.
    pub(super) fn checksum(&self) -> u64 {
        let numbers = [self.revision.0, self.last_lease, self.audit.count, self.digest];
        hash(&numbers, &[&self.audit.last_hash.0])
    }
}

fn hash(numbers: &[u64], parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for number in numbers {
        hasher.update(number.to_be_bytes());
    }
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
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

    /// See [`super::Store::prune_audit`].
    pub(super) fn prune(&mut self, through: u64) -> Result<(), StoreError> {
        let through = through.min(self.head.audit.count.saturating_sub(1));
        // Without the record it was pruned before, or there never was one.
        let Some(last_hash) = self.rows.audit_hash(through)? else { return Ok(()) };
        let revision = self.head.revision.next();
        self.put(ANCHOR_KEY, &Verified { count: through, last_hash }.to_bytes(), None, revision)?;
        self.rows.prune(through)?;
        self.head.revision = revision;
        Ok(())
    }

    /// See [`super::Store::grant`].
    pub(super) fn grant(&mut self, ttl: Duration, now: Timestamp) -> Result<LeaseId, StoreError> {
        let (lease, terms) = (LeaseId(self.head.last_lease + 1), Lease::from(ttl, now)?);
        self.rows.put_lease(lease, terms)?;
        self.head.last_lease = lease.0;
        self.head.digest ^= terms.checksum(lease);
        Ok(lease)
    }

    /// See [`super::Store::keep_alive`].
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        match self.rows.lease(lease)? {
            Some(before) if before.ends > now => {
                let terms = Lease::from(before.ttl, now)?;
                self.head.digest ^= before.checksum(lease) ^ terms.checksum(lease);
                self.rows.put_lease(lease, terms)
            }
            _ => Err(StoreError::NoLease(lease)),
        }
    }

    /// See [`super::Store::revoke`].
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), StoreError> {
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
        let terms = self.rows.lease(lease)?.ok_or(StoreError::NoLease(lease))?;
        self.head.digest ^= terms.checksum(lease);
        for key in self.rows.bound_to(lease)? {
            self.delete(&key, revision)?;
            self.head.revision = revision;
        }
        self.rows.delete_lease(lease)
    }
}
