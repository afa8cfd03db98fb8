//! Counts requests that were refused for lack of rights or of a valid token. A thousand of them per second must fill
//! neither the audit log nor the memory. So each requester gets one record per interval, with an exact count.

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

/// Requesters with a record of their own in one interval. All others share one, so that refusals add at most a few
/// megabytes a day to the audit log.
const MAX_ASKERS: usize = 16;

/// Who was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// A known caller: by a valid token, or by the control socket.
    Known(Actor),
    /// A caller without a valid token, by its address.
    Address(IpAddr),
    /// All requesters beyond the limit.
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

/// Refused requests of one requester since its last record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    first: Timestamp,
    last: Timestamp,
    requests: u64,
    /// The first request.
    example: String,
}

/// Refusals that are not in the audit log yet.
#[derive(Debug, Default)]
pub(super) struct Refused {
    counts: Mutex<BTreeMap<Asker, Count>>,
    /// Refusals have filled their share of the audit log.
    full: AtomicBool,
}

impl Refused {
    /// Counts one refusal. `request` describes it, and is called only for a requester's first.
    pub(super) fn note(&self, asker: &Asker, request: impl FnOnce() -> String, now: Timestamp) {
        let mut counts = self.lock();
        let known = counts.contains_key(asker) || counts.len() < MAX_ASKERS;
        let asker = if known { asker.clone() } else { Asker::Others };
        let new = || Count { first: now, last: now, requests: 0, example: request() };
        let count = counts.entry(asker).or_insert_with(new);
        count.last = now;
        count.requests += 1;
    }

    /// While the share of refusals in the audit log is full, they are only counted.
    pub(super) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// One record per requester since the last call. `by` is the daemon: the author for unknown callers.
    pub(super) fn take(&self, by: &Actor) -> Taken {
        if self.full.load(Ordering::Relaxed) {
            return Taken { counts: BTreeMap::new(), records: Vec::new() };
        }
        let counts = std::mem::take(&mut *self.lock());
        let records = counts.iter().map(|(asker, count)| count.record(asker, by)).collect();
        Taken { counts, records }
    }

    /// Puts counts back that could not be written.
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

/// Counts that are being written to the audit log.
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
        // Add counts that could not be written to later ones.
        refused.note(&of(0), String::new, noon());
        refused.give_back(taken);
        let counts = refused.take(&root().actor()).counts;
        assert_eq!(counts.values().map(|count| count.requests).sum::<u64>(), 257);
        assert_eq!(counts[&of(0)].requests, 2);
    }
}
