use super::*;
use crate::model::state::Applied;
use crate::model::{
    DnsZone, EndpointLabels, Frontend, LoadBalancer, RecordSet, RecordType, ResourceGroup, RoleDefinition,
    SecurityGroup, SecurityRule, Tags, ZoneRecord, read_values,
};
use crate::snapshot::ConnectionState;
use crate::testing::{connection, key, model};

/// What must not reach a terminal or a program.
const ODD: [char; 8] = ['\0', '\u{1b}', '\u{7}', '\n', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}'];

/// Some of each kind, with every text filled.
fn whole() -> ControlState {
    let mut model = model();
    let team = || [("team".to_owned(), "orders".to_owned())].into_iter().collect::<Tags>();
    model.groups.insert(key("team"), ResourceGroup { tags: team(), ..ResourceGroup::default() });
    let mut spoke = model.vnets[&key("spoke")].clone();
    spoke.subnets[0].delegations = vec!["Microsoft.Sql/managedInstances".to_owned()];
    spoke.tags = team();
    model.vnets.insert(key("spoke"), spoke);
    let mut service = model.resources[&key("orders-db")].clone();
    (service.fqdns, service.auto_approval) = (vec!["db.example".to_owned()], vec!["prod".to_owned()]);
    (service.foreign, service.tags) = ("{}".to_owned(), team());
    model.resources.insert(key("orders-db"), service);
    let mut orders = model.endpoints[&key("orders")].clone();
    (orders.request_message, orders.reason) = ("ticket 4711".to_owned(), "agreed".to_owned());
    let labels = EndpointLabels { connection: Some("c".to_owned()), tags: team(), ..EndpointLabels::default() };
    orders.labels = Some(Box::new(labels));
    model.endpoints.insert(key("orders"), orders);
    let rule = SecurityRule {
        name: "web".to_owned(),
        priority: 100,
        access: crate::model::Access::Allow,
        protocol: None,
        sources: Vec::new(),
        destinations: Vec::new(),
        ports: Vec::new(),
    };
    model.security_groups.insert(key("rules"), SecurityGroup { rules: vec![rule] });
    let frontend = Frontend { name: "front".to_owned(), ..Frontend::default() };
    model.load_balancers.insert(key("lb"), LoadBalancer { frontends: vec![frontend], ..LoadBalancer::default() });
    let data = read_values(RecordType::Txt, &["some text".to_owned()]).expect("a value");
    let record = ZoneRecord { name: "www".to_owned(), set: RecordSet { ttl: 10, data }, metadata: team() };
    model.dns_zones.insert(key("corp.internal"), DnsZone { records: vec![record], ..DnsZone::default() });
    let hand = RoleDefinition {
        name: "hand".parse().expect("a name"),
        description: "for people".to_owned(),
        actions: vec!["Microsoft.Network/*".parse().expect("a pattern")],
        not_actions: Vec::new(),
        assignable_scopes: vec!["/".parse().expect("a scope")],
    };
    model.roles.insert(Key::global("hand".to_owned()), hand);
    let mut state = ControlState { model, ..ControlState::default() };
    state.connections.insert(key("orders"), connection(ConnectionState::Pending));
    state
}

/// Every way to put `letter` into one text of `value`.
fn spoiled(value: &Value, letter: char) -> Vec<Value> {
    match value {
        Value::String(text) => vec![Value::String(format!("{text}{letter}"))],
        Value::Array(items) => {
            let one = |(at, item): (usize, &Value)| {
                let with = move |new: Value| {
                    let mut items = items.clone();
                    items[at] = new;
                    Value::Array(items)
                };
                spoiled(item, letter).into_iter().map(with).collect::<Vec<_>>()
            };
            items.iter().enumerate().flat_map(one).collect()
        }
        Value::Object(fields) => {
            let one = |(name, item): (&String, &Value)| {
                let name = name.clone();
                let with = move |new: Value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), new);
                    Value::Object(fields)
                };
                spoiled(item, letter).into_iter().map(with).collect::<Vec<_>>()
            };
            fields.iter().flat_map(one).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Tries every text of every object of one kind; returns how many fields took the letter as they were read.
fn try_each<V>(state: &ControlState, of: fn(&mut ControlState) -> &mut Map<V>) -> usize
where
    V: Serialize + serde::de::DeserializeOwned + Clone + PartialEq,
{
    let mut tried = 0;
    let objects: Vec<(Key, V)> =
        of(&mut state.clone()).iter().map(|(key, object)| (key.clone(), object.clone())).collect();
    for (key, object) in objects {
        let value = serde_json::to_value(&object).expect("written");
        for letter in ODD {
            for value in spoiled(&value, letter) {
                // What a type refuses by itself needs no other rule.
                let Ok(object) = serde_json::from_value::<V>(value.clone()) else { continue };
                let mut after = state.clone();
                of(&mut after).insert(key.clone(), object);
                if after == *state {
                    continue;
                }
                tried += 1;
                let refusal = judge(state, &after, None).expect_err(&format!("{letter:?} in {key}: {value}"));
                let text = refusal.to_string();
                assert_eq!((refusal.kind, refusal.code), (ErrorKind::Invalid, "InvalidText"));
                let shown = |letter: char| letter == '\n' || is_plain(letter);
                assert!(text.chars().all(shown) && !refusal.message.to_string().contains('\n'), "{text:?}");
                assert_eq!(judge(&after, &after, None), Ok(()), "what stands is no change");
            }
        }
    }
    tried
}

#[test]
fn no_field_of_any_object_takes_what_is_no_text() {
    let state = whole();
    assert_eq!(judge(&ControlState::default(), &state, None), Ok(()), "plain as it is");
    let tried = [
        try_each(&state, |all| &mut all.model.vnets),
        try_each(&state, |all| &mut all.model.resources),
        try_each(&state, |all| &mut all.model.endpoints),
        try_each(&state, |all| &mut all.model.groups),
        try_each(&state, |all| &mut all.model.security_groups),
        try_each(&state, |all| &mut all.model.load_balancers),
        try_each(&state, |all| &mut all.model.dns_zones),
        try_each(&state, |all| &mut all.model.roles),
        try_each(&state, |all| &mut all.connections),
    ];
    assert!(tried.iter().all(|count| *count >= ODD.len()), "{tried:?}");
}

#[test]
fn what_an_older_release_let_in_stays_and_hinders_no_other_change() {
    let mut before = whole();
    let (key, endpoint) = before.model.endpoints.iter().next().map(|(k, e)| (k.clone(), e.clone())).expect("one");
    let mut old = endpoint.clone();
    old.request_message = "Approved\u{1b}[2K\n".to_owned();
    before.model.endpoints.insert(key.clone(), old.clone());
    let with = |endpoint| {
        let mut after = before.clone();
        after.model.endpoints.insert(key.clone(), endpoint);
        after
    };
    let mut changed = old.clone();
    changed.max_sessions = Some(7);
    for only in [None, Some(&key)] {
        assert_eq!(judge(&before, &with(changed.clone()), only), Ok(()));
        let mut worse = changed.clone();
        worse.reason = "\u{7}".to_owned();
        let refusal = judge(&before, &with(worse), only).expect_err("another text");
        assert!(refusal.message.contains("reason is no plain text: U+0007"), "{refusal}");
    }
    // A file that says the same as when it was last applied brings it back.
    let mut file = Applied::default();
    file.model.endpoints.insert(key.clone(), old.clone());
    before.files.insert("daemon".to_owned(), file);
    before.model.endpoints.remove(&key);
    let mut after = before.clone();
    after.model.endpoints.insert(key, old);
    assert_eq!(judge(&before, &after, None), Ok(()));
}

#[test]
fn names_of_new_objects_are_text() {
    let mut after = whole();
    let group = crate::model::ResourceGroup::default();
    after.model.groups.insert(key("team\u{202e}"), group);
    assert_eq!(judge(&whole(), &after, None).map_err(|refusal| refusal.code), Err("InvalidText"));
}

#[test]
fn what_is_no_text_is_shown_by_its_number() {
    for (text, expected) in [
        ("plain, größer, 日本, नमस्ते, می\u{200c}خواهم", None),
        ("a\u{1b}[31mb", Some("a\\u{1b}[31mb")),
        ("one\ntwo\t", Some("one\\ntwo\\t")),
        ("\0\u{202e}\u{9b}", Some("\\u{0}\\u{202e}\\u{9b}")),
    ] {
        assert_eq!(visible(text), expected.unwrap_or(text));
        assert!(visible(text).chars().all(is_plain));
    }
}
