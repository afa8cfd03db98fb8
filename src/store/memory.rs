//! A store that forgets everything with its process, and fails when told to: for tests of what stands
//! on a store.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::audit::{AuditQuery, AuditRecord, ChainHash, Verified};
use super::draft::{Draft, Found, Head, Lease, Rows, checksum};
use super::watch::{History, Watch};
use super::{Entry, LeaseId, Outcome, Revision, Store, StoreError, Transaction};

/// What a commit does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Changes nothing and says so.
    Fail,
    /// Changes nothing: no room.
    Full,
    /// Changes everything and reports that it may not have: what a lost answer looks like.
    DurableButUncertain,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    history: Arc<History>,
}

#[derive(Debug, Default)]
struct State {
    rows: Table,
    head: Head,
    /// For the commits to come, the next first.
    faults: VecDeque<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<String, (Entry, Option<LeaseId>)>,
    leases: BTreeMap<LeaseId, Lease>,
    records: Vec<AuditRecord>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Mutex::default(), history: History::since(Revision(0)) }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `nth` commit from now (0: the next) meets `fault`; those before it and after it do not.
    pub fn fail_commit(&self, nth: usize, fault: Fault) {
        let faults = &mut self.lock().faults;
        if faults.len() <= nth {
            faults.resize(nth + 1, None);
        }
        faults[nth] = Some(fault);
    }

    /// Makes a change and tells the watchers, under one lock.
    fn change<T>(&self, apply: impl FnOnce(&mut Draft<'_, Table>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.lock();
        let head = state.head;
        let mut draft = Draft { rows: &mut state.rows, head, events: Vec::new() };
        let answer = apply(&mut draft)?;
        let (head, events) = (draft.head, draft.events);
        state.head = head;
        self.history.publish(head.revision, events);
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.history.close();
    }
}

impl Store for MemoryStore {
    fn scan(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<Revision, StoreError> {
        let state = self.lock();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let found = state.rows.entries.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        found.for_each(|(_, (entry, _))| each(entry.clone()));
        Ok(state.head.revision)
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.lock().rows.entries.get(key).map(|(entry, _)| entry.clone()))
    }

    fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        let fault = self.lock().faults.pop_front().flatten();
        match fault {
            Some(Fault::Fail) => return Err(StoreError::Failed("a fault was asked for".to_owned())),
            Some(Fault::Full) => return Err(StoreError::Full { place: "memory".to_owned() }),
            Some(Fault::DurableButUncertain) | None => {}
        }
        let outcome = self.change(|draft| draft.commit(&transaction))?;
        match fault {
            Some(_) => Err(StoreError::Uncertain("a fault was asked for".to_owned())),
            None => Ok(outcome),
        }
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.history.watch(prefix, from)
    }

    fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }

    fn grant(&self, ttl: Duration, now: Timestamp) -> Result<LeaseId, StoreError> {
        self.change(|draft| draft.grant(ttl, now))
    }

    fn keep_alive(&self, lease: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        self.change(|draft| draft.keep_alive(lease, now))
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.change(|draft| draft.revoke(lease))
    }

    fn expire(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.change(|draft| draft.expire(now))
    }

    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let state = self.lock();
        let wanted = |record: &&AuditRecord| {
            record.seq >= query.from
                && query.before.is_none_or(|before| record.seq < before)
                && query.since.is_none_or(|since| record.at >= since)
        };
        let records = state.rows.records.iter().filter(wanted);
        Ok(if query.newest_first {
            records.rev().take(query.limit).cloned().collect()
        } else {
            records.take(query.limit).cloned().collect()
        })
    }

    fn prune_audit(&self, through: u64) -> Result<(), StoreError> {
        self.change(|draft| draft.prune(through))
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        let mut walked = self.audit_anchor()?;
        let state = self.lock();
        state.rows.records.iter().try_for_each(|record| walked.extend(record))?;
        Ok(walked.ends_at(state.head.audit)?)
    }
}

impl Rows for Table {
    fn find(&self, key: &str) -> Result<Option<Found>, StoreError> {
        Ok(self.entries.get(key).map(|(entry, lease)| Found {
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
            checksum: checksum(entry, *lease),
        }))
    }

    fn put(&mut self, entry: &Entry, lease: Option<LeaseId>, _checksum: u64) -> Result<(), StoreError> {
        self.entries.insert(entry.key.clone(), (entry.clone(), lease));
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.entries.remove(key);
        Ok(())
    }

    fn bound_to(&self, lease: LeaseId) -> Result<Vec<String>, StoreError> {
        let bound = self.entries.values().filter(|(_, held)| *held == Some(lease));
        Ok(bound.map(|(entry, _)| entry.key.clone()).collect())
    }

    fn append(&mut self, record: &AuditRecord) -> Result<(), StoreError> {
        self.records.push(record.clone());
        Ok(())
    }

    fn audit_hash(&self, seq: u64) -> Result<Option<ChainHash>, StoreError> {
        Ok(self.records.iter().find(|record| record.seq == seq).map(|record| record.hash))
    }

    fn prune(&mut self, through: u64) -> Result<(), StoreError> {
        self.records.retain(|record| record.seq > through);
        Ok(())
    }

    fn lease(&self, lease: LeaseId) -> Result<Option<Lease>, StoreError> {
        Ok(self.leases.get(&lease).copied())
    }

    fn put_lease(&mut self, lease: LeaseId, terms: Lease) -> Result<(), StoreError> {
        self.leases.insert(lease, terms);
        Ok(())
    }

    fn delete_lease(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.leases.remove(&lease);
        Ok(())
    }

    fn first_lease(&self) -> Result<Option<(LeaseId, Timestamp)>, StoreError> {
        Ok(self.leases.iter().map(|(lease, terms)| (*lease, terms.ends)).min_by_key(|(_, ends)| *ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Operation;
    use crate::store::conformance::{self, Place};

    struct Memory;

    impl Place for Memory {
        fn open(&self) -> Arc<dyn Store> {
            Arc::new(MemoryStore::new())
        }

        fn durable(&self) -> bool {
            false
        }
    }

    #[test]
    fn memory_conforms() {
        conformance::suite(|_| Box::new(Memory));
    }

    #[test]
    fn the_nth_commit_meets_its_fault() {
        let store = MemoryStore::new();
        let put = |key: &str| {
            store.commit(Transaction { operations: vec![Operation::put(key, "1")], ..Transaction::default() })
        };
        store.fail_commit(1, Fault::Fail);
        store.fail_commit(2, Fault::DurableButUncertain);
        store.fail_commit(3, Fault::Full);
        assert!(matches!(put("a"), Ok(Outcome::Committed(Revision(1)))));
        assert!(matches!(put("b"), Err(StoreError::Failed(_))));
        assert!(matches!(put("c"), Err(StoreError::Uncertain(_))));
        assert!(matches!(put("d"), Err(StoreError::Full { .. })));
        assert!(matches!(put("e"), Ok(Outcome::Committed(Revision(3)))));
        let keys: Vec<_> = store.range("").expect("range").1.into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["a", "c", "e"]);
    }
}
