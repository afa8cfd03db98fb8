//! Audit records that went before anybody had them.

use jiff::SignedDuration;
use serde_json::Value;

use super::unseen::{Asked, World};
use super::*;
use crate::testing::{noon, root};

#[tokio::test]
async fn status_tells_of_records_that_no_export_had_and_what_to_do() {
    let world = World::new(true);
    let told = async || -> Vec<Value> {
        let answered = world.ask(&root(), &Asked::get("/v1/status")).await;
        let body: Value = serde_json::from_str(&answered.body).expect("JSON");
        let conditions = body["items"][0]["conditions"].as_array().expect("conditions").clone();
        conditions.into_iter().filter(|condition| condition["code"] == "AuditNotExported").collect()
    };
    let exported = world.ask(&root(), &Asked::get("/v1/audit/export?from=1")).await;
    let exported: Value = serde_json::from_str(&exported.body).expect("JSON");
    let had = exported["items"].as_array().expect("records").len();
    assert!(had > 0 && told().await.is_empty(), "{had}");
    let control = &world.state.control;
    let late = noon() + SignedDuration::from_hours(24 * 366 * 20);
    control.prune_audit(late).expect("pruned");
    assert_eq!(told().await, Vec::<Value>::new(), "all that went had been exported");
    let mut more = Model::default();
    super::unseen::things::assign(&mut more, "uid:4711", "Reader", "/subscriptions/default/resourceGroups/mine");
    world.put(more.clone());
    let given = more.assignments.keys().next().expect("one").name.clone();
    let command = Delete { kind: crate::model::state::ItemKind::Assignment, reference: given };
    world.apply(&root(), command).expect("deleted");
    assert!(control.prune_audit(late).expect("pruned") > 1);
    // The records are numbered from one.
    let missed = control.verify_audit().expect("sound").anchor.count - had as u64;
    let told = told().await;
    let [condition] = told.as_slice() else { panic!("one: {told:?}") };
    let message = condition["message"].as_str().expect("a message");
    let records = if missed == 1 { "1 record of".to_owned() } else { format!("{missed} records of") };
    assert!(missed > 0 && message.starts_with(&records), "{missed}: {message}");
    assert!(message.contains(&format!("{late:.0}")), "{message}");
    assert!(condition["remedy"].as_str().expect("a remedy").contains("`audit` under [daemon]"), "{condition}");
}
