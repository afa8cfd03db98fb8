//! Requests that were refused for want of rights or of a good token, for the audit log. A thousand of them in a second
//! must fill neither that log nor the memory: whoever is refused has one record for each interval, with an exact count.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::codec::{REFUSE, Record};
use crate::model::Actor;

/// How often refusals are written to the audit log.
pub const REFUSALS_INTERVAL: Duration = Duration::from_mins(5);

/// Askers with a record of their own in one interval; the others share one, so that the audit log grows by no more
/// than some megabytes a day whatever anybody sends.
const MAX_ASKERS: usize = 16;

/// Who was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// Somebody who is known: by a good token, or by the control socket.
    Known(Actor),
    /// Whoever sent something from this address without a good token.
    Address(IpAddr),
    /// All those for whom there was no record left.
    Others,
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(actor) => actor.principal.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Others => f.write_str("others"),
        }
    }
}

/// What one asker was refused since the last record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    first: Timestamp,
    last: Timestamp,
    requests: u64,
    /// The first of them.
    example: String,
}

/// Refusals that no record tells of yet.
#[derive(Debug, Default)]
pub(super) struct Refused {
    counts: Mutex<BTreeMap<Asker, Count>>,
    /// Records of refusals have filled their share of the audit log.
    full: AtomicBool,
}

impl Refused {
    /// Counts one; `request` says what it was, and is asked for the first of an asker only.
    pub(super) fn note(&self, asker: &Asker, request: impl FnOnce() -> String, now: Timestamp) {
        let mut counts = self.lock();
        let known = counts.contains_key(asker) || counts.len() < MAX_ASKERS;
        let asker = if known { asker.clone() } else { Asker::Others };
        let new = || Count { first: now, last: now, requests: 0, example: request() };
        let count = counts.entry(asker).or_insert_with(new);
        count.last = now;
        count.requests += 1;
    }

    /// While the share of refusals in the audit log is full, they are counted on and no record is made of them.
    pub(super) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// A record for each asker since the last call. `by` is the daemon, which acts for those whom nobody knows.
    pub(super) fn take(&self, by: &Actor) -> Taken {
        if self.full.load(Ordering::Relaxed) {
            return Taken { counts: BTreeMap::new(), records: Vec::new() };
        }
        let counts = std::mem::take(&mut *self.lock());
        let records = counts.iter().map(|(asker, count)| count.record(asker, by)).collect();
        Taken { counts, records }
    }

    /// Counts what could not be written again.
    pub(super) fn give_back(&self, taken: Taken) {
        let mut counts = self.lock();
        for (asker, old) in taken.counts {
            match counts.get_mut(&asker) {
                Some(count) => {
                    *count = Count { last: count.last, requests: count.requests + old.requests, ..old };
                }
                None => _ = counts.insert(asker, old),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Asker, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts on their way into the audit log.
#[derive(Debug)]
pub(super) struct Taken {
    counts: BTreeMap<Asker, Count>,
    pub(super) records: Vec<Record>,
}

impl Count {
    fn record(&self, asker: &Asker, daemon: &Actor) -> Record {
        let (by, object) = match asker {
            Asker::Known(actor) => (actor.clone(), format!("requests of {}", actor.principal)),
            Asker::Address(address) => (daemon.clone(), format!("requests from {address}")),
            Asker::Others => (daemon.clone(), "requests of others".to_owned()),
        };
        let Self { first, last, requests, example } = self;
        let detail = format!("{requests} refused from {first:.0} to {last:.0}, the first: {example}");
        Record { detail, ..Record::new(*last, by, REFUSE, object) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noon, root};

    fn of(address: u8) -> Asker {
        Asker::Address([192, 0, 2, address].into())
    }

    #[test]
    fn an_asker_has_one_record_with_an_exact_count() {
        let refused = Refused::default();
        let mut asked = 0;
        for _ in 0..1_000 {
            let request = || {
                asked += 1;
                "GET /v1/tokens: 401".to_owned()
            };
            refused.note(&of(1), request, noon());
        }
        assert_eq!(asked, 1, "the log has a line for the first only");
        refused.note(&Asker::Known(root().actor()), || "GET /metrics: 403".to_owned(), noon());
        let records = refused.take(&root().actor()).records;
        let said: Vec<_> = records.iter().map(|one| (one.object.as_str(), one.detail.as_str())).collect();
        let at = "from 2026-05-01T12:00:00Z to 2026-05-01T12:00:00Z, the first:";
        assert_eq!(
            said,
            [
                ("requests of uid:0", &*format!("1 refused {at} GET /metrics: 403")),
                ("requests from 192.0.2.1", &*format!("1000 refused {at} GET /v1/tokens: 401")),
            ]
        );
        assert!(refused.take(&root().actor()).records.is_empty());
    }

    #[test]
    fn many_askers_share_a_record_and_none_is_forgotten() {
        let refused = Refused::default();
        (0..=255).for_each(|address| refused.note(&of(address), String::new, noon()));
        let taken = refused.take(&root().actor());
        assert_eq!(taken.records.len(), MAX_ASKERS + 1);
        assert!(taken.records.iter().any(|one| one.object == "requests of others" && one.detail.starts_with("240 ")));
        // What could not be written is counted with what came since.
        refused.note(&of(0), String::new, noon());
        refused.give_back(taken);
        let counts = refused.take(&root().actor()).counts;
        assert_eq!(counts.values().map(|count| count.requests).sum::<u64>(), 257);
        assert_eq!(counts[&of(0)].requests, 2);
    }
}
