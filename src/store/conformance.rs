//! What every implementation must do, written against the trait alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::audit::{AuditBody, AuditQuery, ChainHash, Verified};
use super::watch::{Event, Watch};
use super::{Compare, Entry, Expected, Operation, Outcome, Revision, Store, StoreError, Transaction};

/// Where a store is opened, again and again; what was committed is there again if it is durable.
pub(super) trait Place {
    fn open(&self) -> Arc<dyn Store>;
    fn durable(&self) -> bool;
}

/// A name, and what it does at a fresh place.
type Part = (&'static str, fn(&dyn Place));

/// Runs everything, each part at a fresh place.
pub(super) fn suite(fresh: impl Fn(&str) -> Box<dyn Place>) {
    let parts: [Part; 12] = [
        ("ranges", ranges_are_ordered_and_end_with_their_prefix),
        ("revisions", every_change_takes_one_revision),
        ("compares", a_failed_compare_changes_nothing_and_names_its_key),
        ("refusals", what_cannot_be_is_refused_whole),
        ("watch", watches_see_their_prefix_in_order),
        ("resume", a_watch_resumes_and_learns_of_compaction),
        ("leases", keys_vanish_with_their_lease),
        ("audit", audit_records_come_with_their_change_or_not_at_all),
        ("pruning", a_pruned_audit_log_goes_on_from_its_anchor),
        ("together", concurrent_committers_lose_nothing),
        ("race", one_of_two_wins),
        ("reopen", a_durable_store_is_the_same_when_opened_again),
    ];
    for (name, part) in parts {
        println!("conformance: {name}");
        part(&*fresh(name));
    }
}

fn write(operations: impl Into<Vec<Operation>>) -> Transaction {
    Transaction { operations: operations.into(), ..Transaction::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn record(second: i64, body: &str) -> AuditBody {
    AuditBody { at: at(second), body: body.into() }
}

#[track_caller]
fn committed(store: &dyn Store, transaction: Transaction) -> Revision {
    match store.commit(transaction).expect("committed") {
        Outcome::Committed(revision) => revision,
        Outcome::Conflict { key, found } => panic!("conflict at {key}: {found:?}"),
    }
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.range(prefix).expect("range").1.into_iter().map(|entry| entry.key).collect()
}

fn next(watch: &mut Watch) -> Vec<Event> {
    watch.next(Duration::ZERO).expect("events")
}

fn ranges_are_ordered_and_end_with_their_prefix(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.range("").expect("empty"), (Revision(0), vec![]));
    let all = ["a", "a/1", "a/10", "a/2", "a0", "b/ü", "b/\u{10ffff}", "b/\u{10ffff}x", "c"];
    committed(&*store, write(all.iter().rev().map(|key| Operation::put(*key, *key)).collect::<Vec<_>>()));
    let mut ordered = all;
    ordered.sort_unstable();
    assert_eq!(keys(&*store, ""), ordered);
    assert_eq!(keys(&*store, "a/"), ["a/1", "a/10", "a/2"]);
    assert_eq!(keys(&*store, "a/1"), ["a/1", "a/10"]);
    assert_eq!(keys(&*store, "b/\u{10ffff}"), ["b/\u{10ffff}", "b/\u{10ffff}x"], "the last of all characters");
    assert!(keys(&*store, "A").is_empty(), "case counts");
    assert_eq!(store.get("a").expect("read").expect("there").value, b"a");
    assert_eq!(store.get("a/").expect("read"), None, "a key is matched whole");
    let binary = [0, 255, b'\'', 0];
    committed(&*store, write([Operation::put("bytes'; --", binary), Operation::put("none", [])]));
    assert_eq!(store.get("bytes'; --").expect("read").expect("there").value, binary);
    assert_eq!(store.get("none").expect("read").expect("there").value, b"");
}

fn every_change_takes_one_revision(place: &dyn Place) {
    let store = place.open();
    assert_eq!(committed(&*store, write([Operation::put("a", "1"), Operation::put("b", "1")])), Revision(1));
    assert_eq!(committed(&*store, write([Operation::put("a", "1")])), Revision(2), "also with the value it has");
    assert_eq!(committed(&*store, write([Operation::delete("b")])), Revision(3));
    assert_eq!(committed(&*store, write([Operation::delete("b")])), Revision(3), "nothing changed");
    assert_eq!(committed(&*store, Transaction::default()), Revision(3));
    let recorded = Transaction { records: vec![record(0, "{}")], ..Transaction::default() };
    assert_eq!(committed(&*store, recorded), Revision(4));
    assert_eq!(committed(&*store, write([Operation::put("b", "2")])), Revision(5));
    let entry = |key: &str, value: &str, created, changed| Entry {
        key: key.into(),
        value: value.into(),
        create_revision: Revision(created),
        mod_revision: Revision(changed),
    };
    let now = (Revision(5), vec![entry("a", "1", 1, 2), entry("b", "2", 5, 5)]);
    assert_eq!(store.range("").expect("range"), now);
}

fn a_failed_compare_changes_nothing_and_names_its_key(place: &dyn Place) {
    let store = place.open();
    committed(&*store, write([Operation::put("a", "1")]));
    committed(&*store, write([Operation::put("b", "1")]));
    let (one, two) = (Some(Revision(1)), Revision(2));
    for (key, expected, conflict) in [
        ("a", Expected::Absent, Some(one)),
        ("a", Expected::Present, None),
        ("a", Expected::At(Revision(1)), None),
        ("a", Expected::At(two), Some(one)),
        ("x", Expected::Absent, None),
        ("x", Expected::Present, Some(None)),
        ("x", Expected::At(two), Some(None)),
    ] {
        let before = (store.range("").expect("range"), store.verify().expect("chain"));
        let transaction = Transaction {
            compares: vec![
                Compare { key: "b".into(), expected: Expected::Present },
                Compare { key: key.into(), expected },
            ],
            operations: vec![Operation::put("new", "1"), Operation::delete("b")],
            records: vec![record(0, "{}")],
        };
        let outcome = store.commit(transaction).expect("an answer");
        if let Some(found) = conflict {
            assert_eq!(outcome, Outcome::Conflict { key: key.into(), found }, "{key} {expected:?}");
            let after = (store.range("").expect("range"), store.verify().expect("chain"));
            assert_eq!(after, before, "{key} {expected:?}");
        } else {
            assert!(matches!(outcome, Outcome::Committed(_)), "{key} {expected:?}: {outcome:?}");
            assert_eq!(keys(&*store, ""), ["a", "new"], "{key} {expected:?}");
            committed(&*store, write([Operation::put("b", "1"), Operation::delete("new")]));
        }
    }
}

fn what_cannot_be_is_refused_whole(place: &dyn Place) {
    let store = place.open();
    let lease = store.grant(Duration::from_secs(1), at(0)).expect("granted");
    store.revoke(lease).expect("revoked");
    let bound = Operation::Put { key: "b".into(), value: vec![], lease: Some(lease) };
    for (operations, error) in [
        (vec![Operation::put("a", "1"), Operation::put("", "1")], "cannot be empty"),
        (vec![Operation::put("a", "1"), Operation::delete("a")], "key a stands twice"),
        (vec![Operation::put("a", "1"), bound], "lease 1 has ended"),
    ] {
        let records = vec![record(0, "{}")];
        let refused = store.commit(Transaction { operations, records, ..Transaction::default() });
        let message = refused.expect_err("refused").to_string();
        assert!(message.contains(error), "{message}");
        assert_eq!(store.range("").expect("range"), (Revision(0), vec![]), "{message}");
        assert_eq!(store.verify().expect("chain").count, 0, "{message}");
    }
    assert!(matches!(store.revoke(lease), Err(StoreError::NoLease(_))));
    assert!(matches!(store.keep_alive(lease, at(0)), Err(StoreError::NoLease(_))));
}

fn watches_see_their_prefix_in_order(place: &dyn Place) {
    let store = place.open();
    let mut watch = store.watch("a/", Revision(1)).expect("from the first");
    assert_eq!(next(&mut watch), []);
    committed(&*store, write([Operation::put("a/2", "1"), Operation::put("b", "1"), Operation::put("a/1", "1")]));
    committed(&*store, write([Operation::delete("b"), Operation::delete("a/none")]));
    committed(&*store, write([Operation::delete("a/2"), Operation::put("a/1", "2")]));
    let seen: Vec<(String, u64, Option<Vec<u8>>)> = next(&mut watch)
        .into_iter()
        .map(|event| match event {
            Event::Put(entry) => (entry.key, entry.mod_revision.0, Some(entry.value)),
            Event::Delete { key, revision } => (key, revision.0, None),
        })
        .collect();
    let one = Some(b"1".to_vec());
    assert_eq!(
        seen,
        [
            ("a/2".into(), 1, one.clone()),
            ("a/1".into(), 1, one),
            ("a/2".into(), 3, None),
            ("a/1".into(), 3, Some(b"2".to_vec())),
        ],
        "as the operations stand"
    );
    assert_eq!(next(&mut watch), []);
    let committer = Arc::clone(&store);
    let thread = std::thread::spawn(move || committed(&*committer, write([Operation::put("a/3", "1")])));
    assert_eq!(watch.next(Duration::from_mins(1)).expect("woken").len(), 1);
    thread.join().expect("committed");
    drop(store);
    assert!(matches!(watch.next(Duration::from_mins(1)), Err(StoreError::Closed)));
}

fn a_watch_resumes_and_learns_of_compaction(place: &dyn Place) {
    let store = place.open();
    for n in 1..=6_u64 {
        committed(&*store, write([Operation::put(format!("a/{n}"), "1")]));
    }
    let revisions = |from| {
        let mut watch = store.watch("a/", Revision(from)).expect("known");
        next(&mut watch).iter().map(|event| event.revision().0).collect::<Vec<_>>()
    };
    assert_eq!(revisions(1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(revisions(4), [4, 5, 6]);
    assert_eq!(revisions(7), [0_u64; 0]);
    let mut early = store.watch("a/", Revision(2)).expect("known yet");
    store.compact(Revision(4)).expect("compacted");
    assert_eq!(revisions(4), [4, 5, 6], "what was kept is whole");
    for error in [early.next(Duration::ZERO).expect_err("told"), store.watch("", Revision(3)).expect_err("told")] {
        assert!(matches!(error, StoreError::Compacted { oldest: Revision(4) }), "{error}");
    }
    assert!(matches!(store.compact(Revision(7)), Err(StoreError::Invalid(_))), "not yet been");
    assert_eq!(keys(&*store, "").len(), 6, "entries are not events");
}

fn keys_vanish_with_their_lease(place: &dyn Place) {
    let store = place.open();
    let second = Duration::from_secs(1);
    let (short, long) = (store.grant(second, at(0)).expect("one"), store.grant(9 * second, at(0)).expect("two"));
    assert_ne!(short, long);
    let bound = |key: &str, lease| Operation::Put { key: key.into(), value: vec![1], lease: Some(lease) };
    committed(
        &*store,
        write([bound("a", short), bound("b", long), bound("c", short), bound("d", short), Operation::put("e", "")]),
    );
    committed(&*store, write([Operation::put("c", "free"), bound("d", long)]));
    let before_end = at(1) - SignedDuration::from_millis(1);
    assert_eq!(store.expire(before_end).expect("not yet"), Some(at(1)));
    assert_eq!(keys(&*store, ""), ["a", "b", "c", "d", "e"]);
    store.keep_alive(short, before_end).expect("alive");
    assert_eq!(store.expire(at(1)).expect("kept alive"), Some(at(2) - SignedDuration::from_millis(1)));
    let mut watch = store.watch("", Revision(3)).expect("known");
    assert_eq!(store.expire(at(2)).expect("ended"), Some(at(9)));
    assert_eq!(next(&mut watch), [Event::Delete { key: "a".into(), revision: Revision(3) }]);
    assert_eq!(keys(&*store, ""), ["b", "c", "d", "e"]);
    assert!(matches!(store.keep_alive(short, at(2)), Err(StoreError::NoLease(_))));
    assert!(matches!(store.keep_alive(long, at(9)), Err(StoreError::NoLease(_))), "its time is over");
    store.revoke(long).expect("revoked");
    let gone = ["b", "d"].map(|key| Event::Delete { key: key.into(), revision: Revision(4) });
    assert_eq!(next(&mut watch), gone, "under one revision");
    assert_eq!(store.expire(at(9)).expect("none left"), None);
    assert_eq!(store.range("").expect("range").0, Revision(4));
    let third = store.grant(second, at(0)).expect("three");
    assert!(third != short && third != long, "an id is never used again");
}

fn audit_records_come_with_their_change_or_not_at_all(place: &dyn Place) {
    let store = place.open();
    assert_eq!(store.verify().expect("empty").last_hash, ChainHash::default());
    for n in 0..5 {
        let records = vec![record(n, &format!("{n}a")), record(n, &format!("{n}b"))];
        committed(
            &*store,
            Transaction { operations: vec![Operation::put("a", "1")], records, ..Transaction::default() },
        );
    }
    let verified = store.verify().expect("intact");
    assert_eq!(verified.count, 10);
    let query = AuditQuery { from: 1, before: None, since: None, limit: 100, newest_first: false };
    let records = store.audit(&query).expect("listed");
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!(records[0].previous, ChainHash::default());
    assert!(records.windows(2).all(|pair| pair[1].previous == pair[0].hash));
    assert_eq!(records[9].hash, verified.last_hash);
    for (query, expected) in [
        (AuditQuery { from: 4, limit: 2, ..query }, vec![4, 5]),
        (AuditQuery { since: Some(at(3)), ..query }, vec![7, 8, 9, 10]),
        (AuditQuery { newest_first: true, limit: 3, ..query }, vec![10, 9, 8]),
        (AuditQuery { before: Some(8), newest_first: true, limit: 3, ..query }, vec![7, 6, 5]),
        (AuditQuery { from: 4, before: Some(6), ..query }, vec![4, 5]),
        (AuditQuery { from: 11, ..query }, vec![]),
        (AuditQuery { limit: 0, ..query }, vec![]),
    ] {
        let found: Vec<u64> = store.audit(&query).expect("listed").iter().map(|record| record.seq).collect();
        assert_eq!(found, expected, "{query:?}");
    }
    assert_eq!((records[4].at, records[4].body.as_slice()), (at(2), &b"2a"[..]));
}

fn a_pruned_audit_log_goes_on_from_its_anchor(place: &dyn Place) {
    let store = place.open();
    store.prune_audit(5).expect("nothing to prune");
    assert_eq!(store.audit_anchor().expect("none"), Verified::default());
    let add = |n: i64| {
        let records = (0..n).map(|n| record(n, &format!("{n}"))).collect();
        committed(&*store, Transaction { records, ..Transaction::default() });
    };
    add(10);
    let query = AuditQuery { from: 1, before: None, since: None, limit: 100, newest_first: false };
    let whole = store.audit(&query).expect("listed");
    let end = store.verify().expect("intact");
    for (through, gone) in [(4, 4), (2, 4), (0, 4), (7, 7)] {
        store.prune_audit(through).expect("pruned");
        let anchor = store.audit_anchor().expect("known");
        assert_eq!((anchor.count, anchor.last_hash), (gone, whole[usize::try_from(gone).expect("small") - 1].hash));
        assert_eq!(store.audit(&query).expect("listed"), whole[usize::try_from(gone).expect("small")..]);
        assert_eq!(store.verify().expect("intact"), end, "after {through}");
    }
    // The newest stays, and what follows is chained to it.
    store.prune_audit(u64::MAX).expect("pruned");
    assert_eq!(store.audit(&query).expect("listed"), whole[9..]);
    add(2);
    assert_eq!(store.verify().expect("intact").count, 12);
    let listed = store.audit(&query).expect("listed");
    assert_eq!((listed[0].seq, listed[1].previous), (10, whole[9].hash));
    if place.durable() {
        drop(store);
        let store = place.open();
        assert_eq!(store.verify().expect("intact").count, 12);
        assert_eq!(store.audit_anchor().expect("known").count, 9);
    }
}

fn concurrent_committers_lose_nothing(place: &dyn Place) {
    const EACH: u64 = 40;
    let store = place.open();
    let mut watch = store.watch("", Revision(1)).expect("from the first");
    let revisions: Vec<Revision> = std::thread::scope(|scope| {
        let committers: Vec<_> = (0..8)
            .map(|thread| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    let one = |n: u64| Transaction {
                        operations: vec![
                            Operation::put(format!("{thread}/{n}"), "1"),
                            Operation::put(format!("last/{thread}"), n.to_string()),
                        ],
                        records: vec![record(0, &format!("{thread}/{n}"))],
                        ..Transaction::default()
                    };
                    (0..EACH).map(|n| committed(&*store, one(n))).collect::<Vec<_>>()
                })
            })
            .collect();
        committers.into_iter().flat_map(|committer| committer.join().expect("committed")).collect()
    });
    let mut sorted = revisions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=8 * EACH).map(Revision).collect::<Vec<_>>(), "each its own revision");
    assert!(revisions.chunks(40).all(<[Revision]>::is_sorted), "in the order of its caller");
    assert_eq!(store.verify().expect("chain").count, 8 * EACH);
    let mut replayed = BTreeMap::new();
    let events = next(&mut watch);
    assert!(events.is_sorted_by_key(Event::revision));
    for event in events {
        replayed.insert(event.key().to_owned(), event.revision());
    }
    let entries = store.range("").expect("range").1.into_iter().map(|entry| (entry.key, entry.mod_revision));
    assert_eq!(replayed, entries.collect(), "the events lead to the entries");
}

fn one_of_two_wins(place: &dyn Place) {
    let store = place.open();
    for round in 0..20 {
        let key = format!("key/{round}");
        let claim = || Transaction {
            compares: vec![Compare { key: key.clone(), expected: Expected::Absent }],
            operations: vec![Operation::put(key.clone(), "mine")],
            records: vec![record(round, "claimed")],
        };
        let outcomes = std::thread::scope(|scope| {
            let claims = [claim(), claim()].map(|claim| scope.spawn(|| store.commit(claim).expect("an answer")));
            claims.map(|claim| claim.join().expect("answered"))
        });
        let won = |outcome: &Outcome| matches!(outcome, Outcome::Committed(_));
        assert_eq!(outcomes.iter().filter(|outcome| won(outcome)).count(), 1, "{outcomes:?}");
    }
    assert_eq!(store.verify().expect("chain").count, 20, "the loser records nothing");
}

fn a_durable_store_is_the_same_when_opened_again(place: &dyn Place) {
    let store = place.open();
    let lease = store.grant(Duration::from_secs(5), at(0)).expect("granted");
    committed(
        &*store,
        write([Operation::put("a", "1"), Operation::Put { key: "b".into(), value: vec![], lease: Some(lease) }]),
    );
    committed(&*store, Transaction { records: vec![record(0, "{}")], ..write([Operation::put("a", "2")]) });
    let before = (store.range("").expect("range"), store.verify().expect("chain"));
    drop(store);
    let store = place.open();
    let after = (store.range("").expect("range"), store.verify().expect("chain"));
    if !place.durable() {
        assert_eq!(after.0, (Revision(0), vec![]), "not durable, and does not look so");
        return;
    }
    assert_eq!(after, before);
    let mut watch = store.watch("", Revision(3)).expect("what comes");
    if let Err(error) = store.watch("", Revision(1)) {
        assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    }
    assert_eq!(committed(&*store, write([Operation::put("c", "3")])), Revision(3));
    assert_eq!(next(&mut watch).len(), 1);
    assert!(store.grant(Duration::from_secs(1), at(0)).expect("granted") > lease);
    store.expire(at(5)).expect("expired");
    assert_eq!(keys(&*store, ""), ["a", "c"]);
}
