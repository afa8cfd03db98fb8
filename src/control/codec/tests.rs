use super::*;
use crate::access::rights::Rights;
use crate::control::apply::{Application, Requester, merge};
use crate::model::{Access, Protocol};
use crate::store::memory::{Fault, MemoryStore};
use crate::testing::{access, endpoint, key, model, noon, resource, root, target};

/// The small model, applied.
fn applied() -> ControlState {
    let (root, access) = (root(), access());
    let maker = Requester { rights: Rights::of(&root, &access), now: noon(), dry_run: false };
    merge(&ControlState::default(), &Application::of(&model(), "daemon", false, maker)).unwrap().0
}

fn change<'a>(before: &'a ControlState, after: &'a ControlState, extent: &'a ChangeExtent) -> Change<'a> {
    Change { before, after, extent, records: &[] }
}

#[test]
fn nothing_written_is_a_first_start_and_what_is_written_is_read_again() {
    let mut store = Durable::new(Arc::new(MemoryStore::new()));
    assert_eq!(store.load().unwrap(), None);
    let before = ControlState::default();
    let mut after = applied();
    store.commit(&change(&before, &after, &ChangeExtent::Whole)).unwrap();
    assert_eq!(store.load().unwrap().as_ref(), Some(&after));

    let first = after.clone();
    let second = vec![target("", "", "10.20.0.3")];
    after.model.resources.insert(key("Second"), resource("core", "10.20.99.5", second));
    after.model.endpoints.remove(&key("orders"));
    after.connections.remove(&key("orders"));
    store.commit(&change(&first, &after, &ChangeExtent::Whole)).unwrap();
    let read = store.load().unwrap().unwrap();
    assert_eq!(read, after);
    assert_eq!(read.model.resources.entry(&key("second")).unwrap().0.name, "Second", "as it was written");
}

#[test]
fn a_change_of_one_endpoint_writes_what_the_whole_comparison_would() {
    let before = applied();
    let new = key("second");
    let mut created = before.clone();
    created.model.endpoints.insert(new.clone(), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
    created.connections.insert(new.clone(), before.connections[&key("orders")].clone());
    created.last_link = 2;
    let mut restated = created.clone();
    restated.connections.get_mut(&new).unwrap().description = "why".into();
    for (from, to) in [(&before, &created), (&created, &restated), (&restated, &before)] {
        let mut one = operations(&change(from, to, &ChangeExtent::Endpoint(new.clone())), false).unwrap();
        let mut whole = operations(&change(from, to, &ChangeExtent::Whole), false).unwrap();
        // A put of what is there already is no change.
        let mut store = Durable::new(Arc::new(MemoryStore::new()));
        store.commit(&change(&ControlState::default(), from, &ChangeExtent::Whole)).unwrap();
        store.commit(&change(from, to, &ChangeExtent::Endpoint(new.clone()))).unwrap();
        assert_eq!(store.load().unwrap().as_ref(), Some(to));
        one.retain(|operation| whole.contains(operation));
        one.sort_by(|a, b| a.key().cmp(b.key()));
        whole.sort_by(|a, b| a.key().cmp(b.key()));
        assert_eq!(one, whole);
    }
}

#[test]
fn records_are_written_with_the_change_or_not_at_all() {
    let memory = Arc::new(MemoryStore::new());
    let mut store = Durable::new(Arc::clone(&memory) as _);
    let record = Record::new(noon(), root().actor(), "apply", "file of daemon");
    let after = applied();
    let empty = ControlState::default();
    let whole = Change { before: &empty, after: &after, extent: &ChangeExtent::Whole, records: &[record] };
    memory.fail_commit(0, Fault::Fail);
    store.commit(&whole).unwrap_err();
    assert_eq!((store.load().unwrap(), memory.verify().unwrap().count), (None, 0));
    store.commit(&whole).unwrap();
    assert_eq!((store.load().unwrap().as_ref(), memory.verify().unwrap().count), (Some(&after), 1));
}

#[test]
fn what_cannot_be_is_refused_and_never_taken_for_nothing() {
    for (name, value) in [
        ("endpoints/default/default/orders", "{}"),
        ("endpoints/default/default/orders", "not json"),
        ("unknown/x", "1"),
        (FORMAT_KEY, "99"),
        (LINK_KEY, "-1"),
    ] {
        let memory = Arc::new(MemoryStore::new());
        let operations = vec![Operation::put(name, value)];
        let _ = memory.commit(Transaction { operations, ..Transaction::default() }).unwrap();
        let error = Durable::new(memory).load().unwrap_err().to_string();
        assert!(error.contains("cannot be") || error.contains("layout"), "{name} = {value}: {error}");
    }
}

#[test]
fn an_older_layout_is_read_and_the_first_commit_makes_it_todays() {
    let memory = Arc::new(MemoryStore::new());
    let layout = || Durable::new(Arc::clone(&memory) as _).format().unwrap();
    let mut store = Durable::new(Arc::clone(&memory) as _);
    let (before, after) = (ControlState::default(), applied());
    store.commit(&change(&before, &after, &ChangeExtent::Whole)).unwrap();
    assert_eq!(layout(), FORMAT);

    let operations = vec![Operation::put(FORMAT_KEY, "1")];
    let _ = memory.commit(Transaction { operations, ..Transaction::default() }).unwrap();
    let mut store = Durable::new(Arc::clone(&memory) as _);
    assert_eq!((layout(), store.load().unwrap().as_ref()), (1, Some(&after)));
    store.commit(&change(&after, &after, &ChangeExtent::Whole)).unwrap();
    assert_eq!(layout(), FORMAT);
}

/// A security group and a file that names it, as layout 2 wrote them.
const OF_LAYOUT_2: [(&str, &str); 2] = [
    (
        "security_groups/default/default/web",
        r#"{"key":"default/default/web","value":{"rules":[{"name":"in","priority":100,"allow":true,"protocol":"tcp",
        "sources":["10.1.0.0/16"],"destinations":[],"ports":[[443,443],[8000,8100]]},{"name":"rest","priority":200,
        "allow":false,"protocol":null,"sources":[],"destinations":[],"ports":[]}]}}"#,
    ),
    (
        "files/daemon",
        r#"{"key":"daemon","value":{"model":{"vnets":{},"security_groups":{"default/default/web":{"rules":[
        {"name":"in","priority":100,"allow":true,"protocol":"tcp","sources":[],"destinations":[],"ports":[[443,443]]}]}},
        "resources":{},"endpoints":{}},"left":[]}}"#,
    ),
];

#[test]
fn rules_of_layout_2_are_read_and_written_as_specs() {
    let memory = Arc::new(MemoryStore::new());
    let mut operations: Vec<_> = OF_LAYOUT_2.iter().map(|(key, value)| Operation::put(*key, *value)).collect();
    operations.push(Operation::put(FORMAT_KEY, "2"));
    let _ = memory.commit(Transaction { operations, ..Transaction::default() }).unwrap();
    let mut store = Durable::new(Arc::clone(&memory) as _);
    let found = store.load().unwrap().unwrap();
    let rules = &found.model.security_groups[&key("web")].rules;
    let [first, rest] = rules.as_slice() else { panic!("two rules: {rules:?}") };
    assert_eq!((first.access, first.ports.as_slice()), (Access::Allow, [(443, 443), (8000, 8100)].as_slice()));
    assert_eq!((first.protocol, first.sources.len()), (Some(Protocol::Tcp), 1));
    assert_eq!((rest.access, rest.protocol, rest.ports.len()), (Access::Deny, None, 0));
    assert_eq!(found.files[&"daemon".to_owned()].model.security_groups[&key("web")].rules[0].access, Access::Allow);
    // Nothing of it is another thing by that, and yet it is written anew.
    store.commit(&change(&found, &found, &ChangeExtent::Whole)).unwrap();
    assert_eq!((store.format().unwrap(), store.load().unwrap().as_ref()), (FORMAT, Some(&found)));
    let mut old = Vec::new();
    let _ = memory.scan("", &mut |entry| {
        old.extend(String::from_utf8(entry.value).ok().filter(|text| text.contains("allow\":")));
    });
    assert_eq!(old, [] as [String; 0]);
}
