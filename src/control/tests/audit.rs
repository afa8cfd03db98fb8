//! The audit log is kept within its limits, and what is left of it can be checked.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::control::model::AuditLimits;
use crate::store::audit::{AuditRecord, ChainHash, Verified};

const HOUR: Duration = Duration::from_hours(1);

/// A control plane whose audit log has these limits, and room for everything unless they say otherwise.
fn limited(limits: AuditLimits) -> ControlPlane {
    let world = Arc::new(World::default());
    let setup = Setup { host: Arc::new(HostConfig { audit: limits, ..host(&["spoke", "core"]) }), ..setup(model()) };
    let prepared = Prepared::new(setup, None, super::super::testing::store()).unwrap();
    let ports = || Arc::new(Fake(Arc::clone(&world)));
    prepared.start(ports(), ports(), Box::new(|_| ())).unwrap()
}

fn decide(control: &ControlPlane, times: usize) {
    for _ in 0..times {
        control.apply(&root(), Command::Reject(orders())).unwrap();
        control.apply(&root(), Command::Approve(orders())).unwrap();
    }
}

fn exported(control: &ControlPlane) -> Vec<AuditRecord> {
    let mut all: Vec<AuditRecord> = Vec::new();
    loop {
        let from = all.last().map_or(1, |last| last.seq + 1);
        let more = control.export_audit(from, None, 7).unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// As somebody else would compute it, from what an export holds.
fn hash_of(record: &AuditRecord) -> ChainHash {
    let numbers = [record.seq.to_be_bytes(), record.at.as_microsecond().to_be_bytes()].concat();
    ChainHash(Sha256::digest([&record.previous.0, &*numbers, &record.body].concat()).into())
}

fn bytes(records: &[AuditRecord]) -> u64 {
    records.iter().map(|record| record.body.len() as u64 + 100).sum()
}

fn refusals(records: &[AuditRecord]) -> Vec<AuditRecord> {
    records.iter().filter(|record| state::is_refusal(&record.body)).cloned().collect()
}

#[test]
fn the_oldest_records_go_and_the_chain_holds_from_where_they_ended() {
    let control = limited(AuditLimits { max_bytes: 10_000, ..AuditLimits::default() });
    decide(&control, 100);
    let before = exported(&control);
    assert!(bytes(&before) > 20_000);
    let pruned = control.prune_audit(noon()).unwrap();
    let after = exported(&control);
    assert_eq!(after, before[usize::try_from(pruned).unwrap()..], "the newest stay as they were");
    let next = &before[usize::try_from(pruned).unwrap() - 1..];
    assert!(bytes(&after) <= 10_000 && bytes(next) > 10_000, "no more than must go");
    let verified = control.verify_audit().unwrap();
    assert_eq!(verified.anchor, Verified { count: pruned, last_hash: next[0].hash });
    assert_eq!(verified.end.last_hash, before.last().unwrap().hash);
    assert_eq!(control.prune_audit(noon()).unwrap(), 0);
    decide(&control, 1);
    assert!(control.verify_audit().is_ok());
}

#[test]
fn records_go_when_their_time_is_over_but_the_newest() {
    let control = limited(AuditLimits { retain: HOUR, ..AuditLimits::default() });
    decide(&control, 5);
    assert_eq!(control.prune_audit(noon() + HOUR).unwrap(), 0);
    let newest = exported(&control).last().unwrap().clone();
    assert!(control.prune_audit(noon() + HOUR * 2).unwrap() > 0);
    assert_eq!(exported(&control), [newest]);
    assert!(control.verify_audit().is_ok());
}

#[test]
fn what_goes_before_an_export_had_it_is_counted_for_who_exports() {
    let control = limited(AuditLimits { max_bytes: 10_000, ..AuditLimits::default() });
    decide(&control, 100);
    assert!(control.prune_audit(noon()).unwrap() > 0);
    assert_eq!(control.audit_missed(), 0, "nobody exports");
    let last = exported(&control).last().unwrap().seq;
    decide(&control, 10);
    control.prune_audit(noon()).unwrap();
    assert_eq!(control.audit_missed(), 0, "what went had been exported");
    decide(&control, 100);
    control.prune_audit(noon()).unwrap();
    let anchor = control.verify_audit().unwrap().anchor.count;
    assert_eq!(control.audit_missed(), anchor - last);
    assert!(anchor > last);
}

#[test]
fn what_is_exported_can_be_checked_without_the_daemon() {
    let control = limited(AuditLimits::default());
    decide(&control, 20);
    let records = exported(&control);
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=42).collect::<Vec<_>>());
    let mut previous = ChainHash::default();
    for record in &records {
        assert_eq!((record.previous, hash_of(record)), (previous, record.hash), "{}", record.seq);
        previous = record.hash;
    }
    assert_eq!(previous, control.verify_audit().unwrap().end.last_hash);
    assert!(control.export_audit(1, Some(noon() + HOUR), 9).unwrap().is_empty());
    assert_eq!(control.export_audit(1, Some(noon()), 9).unwrap(), records[..9]);
}

#[test]
fn refused_requests_fill_their_share_and_push_no_decision_out() {
    let control = limited(AuditLimits { max_bytes: 16_000, retain: HOUR });
    let flood = || {
        for address in 0..=255 {
            control.note_refused(&Asker::Address([192, 0, 2, address].into()), String::new, noon());
        }
    };
    decide(&control, 3);
    let decided = exported(&control);
    for _ in 0..50 {
        flood();
        control.audit_refusals().unwrap();
        assert_eq!(control.prune_audit(noon()).unwrap(), 0);
    }
    let kept = exported(&control);
    assert_eq!(kept[..decided.len()], decided);
    let first = bytes(&refusals(&kept));
    assert!(first > 2_000 && first < 2_000 + 17 * 400, "{first} bytes");
    // What waited is counted to the last when there is room again.
    control.prune_audit(noon() + HOUR * 2).unwrap();
    control.audit_refusals().unwrap();
    let told = refusals(&[kept, exported(&control)].concat());
    let number = |record: &AuditRecord| -> u64 {
        let record: state::Record = serde_json::from_slice(&record.body).unwrap();
        record.detail.split(' ').next().unwrap().parse().unwrap()
    };
    let by_seq: std::collections::BTreeMap<u64, u64> = told.iter().map(|record| (record.seq, number(record))).collect();
    assert_eq!(by_seq.values().sum::<u64>(), 50 * 256);
    assert!(control.verify_audit().is_ok());
}
