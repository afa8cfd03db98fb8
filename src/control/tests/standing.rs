//! Rules that came later than the state, and files that collide with it.

use super::*;
use crate::model::LinkResource;
use crate::model::rules::{Object, Severity};
use crate::testing::{resource, target};

/// The rules of this release, and a tightened one: a server's address ends in an even number.
fn rules(model: &Model, host: &HostConfig, only: Option<&Key>) -> Vec<Violation> {
    if only.is_some() {
        return Vec::new();
    }
    let mut found = rules::validate(model, Some(host));
    for (key, resource) in &model.resources {
        for (index, target) in resource.targets.iter().enumerate() {
            let address = target.backends[0].address;
            let odd = address.to_string().ends_with(['1', '3', '5', '7', '9']);
            found.extend(odd.then(|| Violation {
                also: Vec::new(),
                at: Object::Resource(key.clone()).at(format!("targets[{index}].backends[0]")),
                involves: Vec::new(),
                code: "OddBackend",
                message: crate::model::sentence::itself(format!("{address} is odd")).into(),
                remedy: "choose another".into(),
                severity: Severity::Tightened,
                value: address.to_string(),
                left_out: false,
            }));
        }
    }
    found
}

fn service(nat: &str, backend: &str) -> LinkResource {
    resource("core", nat, vec![target("", "", backend)])
}

/// The small model with another service.
fn with_service(name: &str, nat: &str, backend: &str) -> Model {
    let mut file = model();
    file.resources.insert(key(name), service(nat, backend));
    file
}

fn prepare(world: &Arc<World>, file: Model) -> Result<Prepared, Error> {
    let found = world.disk.lock().unwrap().clone();
    Prepared::new(Setup { validate: rules, ..setup(file) }, found, Box::new(Fake(Arc::clone(world))))
}

fn start(world: &Arc<World>, file: Model) -> ControlPlane {
    let prepared = prepare(world, file).unwrap();
    prepared.start(Arc::new(Fake(Arc::clone(world))), Arc::new(Fake(Arc::clone(world))), Box::new(|_| ())).unwrap()
}

/// A state that the release before wrote, which knew no such rule: of `file`, and of `live` besides.
fn old_state(file: &Model, live: &Model) -> Arc<World> {
    let world = Arc::new(World::default());
    let control = begin(&world, file.clone());
    put(&control, live.clone()).unwrap();
    world
}

fn put(control: &ControlPlane, items: Model) -> Result<Changed, Error> {
    control.apply(&root(), Put { items: Box::new(items), create_only: false })
}

fn one(name: &str, resource: LinkResource) -> Model {
    let mut items = Model::default();
    items.resources.insert(key(name), resource);
    items
}

fn standing(control: &ControlPlane) -> Vec<String> {
    control.view().standing.iter().map(|violation| format!("{} {}", violation.at, violation.value)).collect()
}

const OLD: &str = "resource default/old: targets[0].backends[0] 10.20.0.3";

#[test]
fn what_stood_before_a_rule_stays_in_force_blocks_nothing_and_is_listed() {
    let world = old_state(&model(), &one("old", service("10.20.99.5", "10.20.0.3")));
    let control = start(&world, model());
    assert_eq!(standing(&control), [OLD]);
    assert!(control.view().state.model.resources.contains_key(&key("old")));
    // Other objects change, and the object itself does.
    put(&control, one("new", service("10.20.99.6", "10.20.0.4"))).unwrap();
    put(&control, one("old", LinkResource { max_sessions: Some(7), ..service("10.20.99.5", "10.20.0.3") })).unwrap();
    assert_eq!(standing(&control), [OLD]);
    // Another value of the field is a new reference.
    let refusal = put(&control, one("old", service("10.20.99.5", "10.20.0.5"))).unwrap_err();
    assert_eq!((refusal.code, refusal.kind), ("OddBackend", ErrorKind::Invalid));
    let refusal = put(&control, one("new", service("10.20.99.6", "10.20.0.7"))).unwrap_err();
    assert_eq!(refusal.code, "OddBackend");
    // What was put right once is not taken back.
    put(&control, one("old", service("10.20.99.5", "10.20.0.6"))).unwrap();
    assert_eq!(standing(&control), [""; 0]);
    assert_eq!(put(&control, one("old", service("10.20.99.5", "10.20.0.3"))).unwrap_err().code, "OddBackend");
}

#[test]
fn of_a_file_only_what_differs_from_its_last_version_is_judged_by_a_new_rule() {
    let file = with_service("old", "10.20.99.5", "10.20.0.3");
    let world = old_state(&file, &Model::default());
    // Deleted live: the file puts back what it said when it was last applied.
    world.disk.lock().unwrap().as_mut().unwrap().model.resources.remove(&key("old"));
    let control = start(&world, file.clone());
    assert_eq!(standing(&control), [OLD]);
    let mut more = file.clone();
    more.resources.insert(key("new"), service("10.20.99.6", "10.20.0.7"));
    assert_eq!(control.apply(&root(), apply_file(more.clone(), false)).unwrap_err().code, "OddBackend");
    assert_eq!(prepare(&world, more).unwrap_err().code, "OddBackend");
    let first = Arc::new(World::default());
    assert_eq!(prepare(&first, file).unwrap_err().code, "OddBackend", "a first start has no state before");
}

#[test]
fn an_object_of_the_file_that_collides_with_a_live_one_is_skipped_and_stops_nothing() {
    let world = old_state(&model(), &one("live", service("10.20.99.5", "10.20.0.4")));
    let mut file = with_service("mine", "10.20.99.5", "10.20.0.6");
    file.resources.insert(key("other"), service("10.20.99.7", "10.20.0.8"));
    let control = start(&world, file.clone());
    let view = control.view();
    let skipped: Vec<&str> = view.last_apply.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(skipped, ["resource default/mine"]);
    let reason = &view.last_apply.skipped[0].reason;
    assert!(reason.contains("10.20.99.5 is used by resource `live` (NAT IP)"), "{reason}");
    assert!(!view.state.model.resources.contains_key(&key("mine")));
    assert!(view.state.model.resources.contains_key(&key("other")), "the rest of the file is applied");
    // A reload says it again, and once the address is free the object comes.
    let report = control.apply(&root(), apply_file(file.clone(), false)).unwrap();
    assert_eq!(report.skipped.len(), 1);
    put(&control, one("live", service("10.20.99.8", "10.20.0.4"))).unwrap();
    let report = control.apply(&root(), apply_file(file, false)).unwrap();
    assert_eq!((report.skipped.len(), report.created), (0, vec!["resource default/mine".to_owned()]));
}

#[test]
fn what_depends_on_a_skipped_object_is_skipped_with_it() {
    let world = old_state(&model(), &one("live", service("10.20.99.5", "10.20.0.4")));
    let mut file = with_service("mine", "10.20.99.5", "10.20.0.6");
    file.endpoints.insert(key("to-mine"), endpoint("spoke", Some("10.1.9.7"), "mine"));
    file.endpoints.insert(key("to-orders"), endpoint("spoke", Some("10.1.9.8"), "orders-db"));
    let control = start(&world, file);
    let view = control.view();
    let skipped: Vec<&str> = view.last_apply.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(skipped, ["resource default/mine", "endpoint default/to-mine"]);
    assert!(view.state.model.endpoints.contains_key(&key("to-orders")));
}

#[test]
fn somebody_elses_document_that_collides_is_refused_as_a_whole() {
    let world = old_state(&model(), &one("live", service("10.20.99.5", "10.20.0.4")));
    let control = start(&world, model());
    let version = ApplyFile {
        author: "ada".into(),
        model: one("mine", service("10.20.99.5", "10.20.0.6")),
        host: None,
        prune: false,
        dry_run: false,
    };
    let refusal = control.apply(&root(), version).unwrap_err();
    assert_eq!(refusal.code, "PrivateIPAddressInUse");
}

#[test]
fn a_group_whose_name_a_later_rule_forbids_goes_on_and_takes_nothing_new() {
    let old = Key::new("dot.", "old");
    let mut live = Model::default();
    live.resources.insert(old.clone(), service("10.20.99.5", "10.20.0.4"));
    let world = old_state(&model(), &live);
    let control = start(&world, model());
    let listed = "resource dot./old: resource_group dot.";
    assert_eq!(standing(&control), [listed]);
    live.resources.get_mut(&old).unwrap().max_sessions = Some(7);
    put(&control, live).unwrap();
    assert_eq!(standing(&control), [listed]);
    for group in ["other.", "a b"] {
        let mut items = Model::default();
        items.resources.insert(Key::new(group, "new"), service("10.20.99.6", "10.20.0.6"));
        assert_eq!(put(&control, items).unwrap_err().code, "InvalidResourceGroupName", "{group}");
    }
    control.apply(&root(), Delete { kind: ItemKind::Resource, reference: "dot./old".into() }).unwrap();
    assert_eq!(standing(&control), [""; 0]);
}
