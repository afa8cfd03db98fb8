//! The audit log is kept within its limits, and what is left of it can be checked.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::model::{AuditLimits, RoleAssignment};
use crate::store::audit::{AuditRecord, ChainHash, Verified};

const HOUR: Duration = Duration::from_hours(1);

/// A control plane whose audit log has these limits, and room for everything unless they say otherwise.
fn limited(limits: AuditLimits) -> ControlPlane {
    let world = Arc::new(World::default());
    let setup = Setup { host: Arc::new(HostConfig { audit: limits, ..host(&["spoke", "core"]) }), ..setup(model()) };
    let prepared = Prepared::new(setup, None, crate::testing::store()).unwrap();
    let ports = || Arc::new(Fake(Arc::clone(&world)));
    prepared.start(ports(), ports(), Box::new(|_| ())).unwrap()
}

fn decide(control: &ControlPlane, times: usize) {
    for _ in 0..times {
        control.apply(&root(), Decide::reject(orders())).unwrap();
        control.apply(&root(), Decide::approve(orders())).unwrap();
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
    records.iter().filter(|record| codec::is_refusal(&record.body)).cloned().collect()
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
    assert_eq!(control.audit_missed(), None, "nobody exports");
    let last = exported(&control).last().unwrap().seq;
    decide(&control, 10);
    control.prune_audit(noon()).unwrap();
    assert_eq!(control.audit_missed(), None, "what went had been exported");
    decide(&control, 100);
    control.prune_audit(noon()).unwrap();
    let anchor = control.verify_audit().unwrap().anchor.count;
    assert_eq!(control.audit_missed(), Some(Missed { records: anchor - last, last: noon() }));
    assert!(anchor > last);
}

/// The control plane that goes on with what another one left.
fn again(left: ControlPlane, limits: AuditLimits) -> ControlPlane {
    let store = codec::Durable::new(left.journal.clone().expect("a journal"));
    drop(left);
    let found = codec::StateStore::load(&store).expect("read");
    let world = Arc::new(World::default());
    let setup = Setup { host: Arc::new(HostConfig { audit: limits, ..host(&["spoke", "core"]) }), ..setup(model()) };
    let prepared = Prepared::new(setup, found, Box::new(store)).unwrap();
    let ports = || Arc::new(Fake(Arc::clone(&world)));
    prepared.start(ports(), ports(), Box::new(|_| ())).unwrap()
}

#[test]
fn a_restart_forgets_neither_an_export_nor_what_went_unexported() {
    let limits = AuditLimits { max_bytes: 10_000, ..AuditLimits::default() };
    let control = limited(limits);
    let last = exported(&control).last().unwrap().seq;
    let control = again(control, limits);
    decide(&control, 100);
    control.prune_audit(noon()).unwrap();
    let missed = control.verify_audit().unwrap().anchor.count - last;
    let told = Some(Missed { records: missed, last: noon() });
    assert_eq!(control.audit_missed(), told, "somebody exported before the restart");
    let control = again(control, limits);
    assert_eq!(control.audit_missed(), told);
    control.prune_audit(noon()).unwrap();
    assert_eq!(control.audit_missed(), told, "what is gone is counted once");
    // Whoever goes on where the gap ends has not undone it, and what it has had is missed by nobody.
    let last = exported(&control).last().unwrap().seq;
    decide(&control, 100);
    control.prune_audit(noon()).unwrap();
    let more = control.verify_audit().unwrap().anchor.count - last;
    assert_eq!(again(control, limits).audit_missed(), Some(Missed { records: missed + more, last: noon() }));
}

#[test]
fn a_removal_that_nobody_noted_is_counted_at_the_next() {
    let limits = AuditLimits { max_bytes: 10_000, ..AuditLimits::default() };
    let control = limited(limits);
    let last = exported(&control).last().unwrap().seq;
    decide(&control, 100);
    // As where the daemon is killed in between.
    control.journal.as_ref().unwrap().prune_audit(last + 7).unwrap();
    let control = again(control, AuditLimits::default());
    assert_eq!(control.prune_audit(noon()).unwrap(), 0);
    assert_eq!(control.audit_missed(), Some(Missed { records: 7, last: noon() }));
}

#[test]
fn what_is_exported_can_be_checked_without_the_daemon() {
    let control = limited(AuditLimits::default());
    decide(&control, 20);
    let records = exported(&control);
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), (1..=45).collect::<Vec<_>>());
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
        let record: codec::Record = serde_json::from_slice(&record.body).unwrap();
        record.detail.split(' ').next().unwrap().parse().unwrap()
    };
    let by_seq: std::collections::BTreeMap<u64, u64> = told.iter().map(|record| (record.seq, number(record))).collect();
    assert_eq!(by_seq.values().sum::<u64>(), 50 * 256);
    assert!(control.verify_audit().is_ok());
}

/// The bodies of all records.
fn told(control: &ControlPlane) -> Vec<codec::Record> {
    exported(control).iter().map(|record| serde_json::from_slice(&record.body).unwrap()).collect()
}

fn changes(record: &codec::Record) -> Vec<String> {
    let text = |value: &serde_json::Value| value.to_string();
    record.changes.iter().map(|one| format!("{}: {} > {}", one.field, text(&one.before), text(&one.after))).collect()
}

#[test]
fn a_record_of_a_write_holds_what_the_object_was_and_is() {
    let control = limited(AuditLimits::default());
    let mut wanted = model();
    wanted.vnets.get_mut(&key("core")).unwrap().lockdown = true;
    let given: RoleAssignment = serde_json::from_value(serde_json::json!({
        "principal": "uid:7", "role": "Reader", "scope": "/subscriptions/a"
    }))
    .unwrap();
    let id = given.id().to_string();
    wanted.assignments.insert(Key::global(&*id), given);
    control.apply(&root(), Put { items: Box::new(wanted), create_only: false }).unwrap();
    let delete = |kind, reference: &str| {
        control.apply(&root(), Delete { kind, reference: reference.into() }).unwrap();
    };
    delete(ItemKind::Assignment, &id);
    control.apply(&root(), Decide::reject(Decision { reason: "audit".into(), ..orders() })).unwrap();
    let link = control.view().connection("orders", None).unwrap().connection.link;
    delete(ItemKind::Endpoint, "orders");
    let records = told(&control);
    let find = |action: &str, object: &str| {
        let found = records.iter().rfind(|one| one.action == action && one.object == object);
        found.unwrap_or_else(|| panic!("no {action} of {object}: {records:?}"))
    };
    assert_eq!(changes(find("update", "vnet default/core")), ["lockdown: false > true"]);
    let assignment = format!("assignment {id}");
    let given = find("create", &assignment);
    let [principal, role, scope] = [("principal", "uid:7"), ("role", "Reader"), ("scope", "/subscriptions/a")];
    let made = [principal, role, scope].map(|(field, value)| format!("{field}: null > \"{value}\""));
    assert_eq!((given.detail.as_str(), changes(given)), ("Reader for uid:7 at /subscriptions/a", made.to_vec()));
    let gone = [principal, role, scope].map(|(field, value)| format!("{field}: \"{value}\" > null"));
    let taken = find("delete", &assignment);
    assert_eq!((taken.detail.as_str(), changes(taken)), ("Reader for uid:7 at /subscriptions/a", gone.to_vec()));
    let rejected = changes(find("reject", "connection default/orders"));
    assert_eq!(rejected, ["reason: null > \"audit\"", "state: \"Approved\" > \"Rejected\""]);
    let deleted = find("delete", "endpoint default/orders");
    assert!(changes(deleted).contains(&"vnet: \"default/spoke\" > null".to_owned()), "{deleted:?}");
    assert_eq!((deleted.link, deleted.from.as_deref(), deleted.to.as_deref()), (Some(link), Some("Rejected"), None));
    assert!(control.verify_audit().is_ok());
}

#[test]
fn a_dry_run_shows_what_the_records_of_the_file_will_hold() {
    let control = limited(AuditLimits::default());
    let mut wanted = two();
    wanted.vnets.get_mut(&key("core")).unwrap().region = "north".into();
    wanted.resources.get_mut(&key("orders-db")).unwrap().auto_approval = vec!["team".into()];
    wanted.endpoints.get_mut(&key("orders")).unwrap().status = Some(ConnectionState::Rejected);
    let version = ApplyFile { author: "uid:0".into(), model: wanted, host: None, prune: false, dry_run: true };
    let apply = |version: &ApplyFile| {
        let command = version.clone();
        control.apply(&root(), command).unwrap()
    };
    let before = told(&control).len();
    let planned = apply(&version).changes;
    assert_eq!(told(&control).len(), before, "a dry run leaves no record");
    assert!(apply(&ApplyFile { dry_run: false, ..version.clone() }).changes.is_empty());
    let made: Vec<_> = told(&control).into_iter().skip(before).filter(|one| one.action != "apply").collect();
    for record in &made {
        let planned = planned.iter().find(|one| one.object == record.object);
        let planned = planned.unwrap_or_else(|| panic!("{} is not planned: {planned:?}", record.object));
        assert_eq!(planned.fields, record.changes, "{}", record.object);
    }
    let objects: Vec<&str> = made.iter().map(|record| record.object.as_str()).collect();
    for object in
        ["vnet default/core", "resource default/orders-db", "endpoint default/second", "connection default/orders"]
    {
        assert!(objects.contains(&object), "{object}: {objects:?}");
    }
    assert!(apply(&version).changes.is_empty(), "nothing is left to do");
}

#[test]
fn a_dry_run_shows_nothing_of_what_its_author_may_not_read() {
    let control = limited(AuditLimits::default());
    let writer = serde_json::json!({
        "name": "writer", "description": "", "actions": ["Microsoft.Network/virtualNetworks/write"],
        "not_actions": [], "assignable_scopes": ["/"]
    });
    let mut items = Model::default();
    items.roles.insert(Key::global("writer"), serde_json::from_value(writer).unwrap());
    let given: RoleAssignment =
        serde_json::from_value(serde_json::json!({ "principal": "uid:7", "role": "writer", "scope": "/" })).unwrap();
    items.assignments.insert(Key::global(given.id().to_string()), given);
    control.apply(&root(), Put { items: Box::new(items), create_only: true }).unwrap();
    let mut model = Model::default();
    let mut core = crate::testing::model().vnets[&key("core")].clone();
    core.region = "north".into();
    model.vnets.insert(key("core"), core);
    let version = ApplyFile { author: "uid:7".into(), model, host: None, prune: false, dry_run: true };
    let report = control.apply(&Caller::user(7, "seven"), version).unwrap();
    assert_eq!((report.updated.len(), report.changes.len()), (1, 0), "{report:?}");
}
