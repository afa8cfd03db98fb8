//! Every kind is told field by field, no secret is, and a record stays within its bounds.

use super::*;
use crate::model::token::{DEFAULT_LIFETIME, mint};
use crate::model::{LoadBalancer, ResourceGroup, ResourceType, SecurityGroup};
use crate::snapshot::ConnectionState;
use crate::testing::{connection, key, model, noon, subnet};

fn fields_of(changes: &[FieldChange]) -> Vec<(&str, Value, Value)> {
    changes.iter().map(|one| (one.field.as_str(), one.before.clone(), one.after.clone())).collect()
}

fn vnet(name: &str) -> Item {
    Item { kind: ItemKind::Vnet, key: key(name) }
}

#[test]
fn only_what_differs_is_told_and_named_by_its_place() {
    let before = model();
    let mut after = before.clone();
    let core = after.vnets.get_mut(&key("core")).unwrap();
    core.lockdown = true;
    core.address_space.push("10.21.0.0/16".parse().unwrap());
    core.subnets[0].dedicated = true;
    core.subnets[0].nat = None;
    core.subnets.push(subnet("more", "10.21.1.0/24"));
    core.tags.insert("team".into(), "orders".into());
    let changes = of_item(&before, &after, &vnet("core"));
    assert_eq!(
        fields_of(&changes),
        [
            ("address_space", json!(["10.20.0.0/16"]), json!(["10.20.0.0/16", "10.21.0.0/16"])),
            ("lockdown", json!(false), json!(true)),
            ("subnets[more].dedicated", Value::Null, json!(false)),
            ("subnets[more].name", Value::Null, json!("more")),
            ("subnets[more].nat", Value::Null, json!(true)),
            ("subnets[more].network_policies", Value::Null, json!("Disabled")),
            ("subnets[more].prefixes", Value::Null, json!(["10.21.1.0/24"])),
            ("subnets[nat].dedicated", json!(false), json!(true)),
            ("subnets[nat].nat", json!(true), Value::Null),
            ("tags.team", Value::Null, json!("orders")),
        ]
    );
    assert!(of_item(&before, &before, &vnet("core")).is_empty());
}

#[test]
fn lists_of_what_has_no_name_tell_what_went_and_what_came() {
    let before = model();
    let mut after = before.clone();
    let db = after.resources.get_mut(&key("orders-db")).unwrap();
    db.drain = std::time::Duration::from_secs(90);
    db.foreign = r#"{"sku":{"name":"Standard"}}"#.into();
    let mut port = db.targets[0].ports[0];
    (port.first, port.last) = (5433, 5433);
    db.targets[0].ports.push(port);
    let changes = of_item(&before, &after, &Item { kind: ItemKind::Resource, key: key("orders-db") });
    let ports = json!([{ "protocol": "tcp", "port": "5433", "backend_port": 5432 }]);
    assert_eq!(
        fields_of(&changes),
        [
            ("drain", json!("5m"), json!("1m30s")),
            ("properties.sku.name", Value::Null, json!("Standard")),
            ("targets[].ports", Value::Null, ports),
        ]
    );
}

#[test]
fn the_same_in_another_order_is_a_difference() {
    let [one, two] = ["one", "two"].map(|name| json!({ "name": name }));
    let (before, after) = (json!({ "list": [one, two] }), json!({ "list": [two, one] }));
    assert_eq!(fields(&before, &after).len(), 1);
}

/// One of everything.
fn whole() -> ControlState {
    let mut model = model();
    let role = serde_json::from_value(json!({
        "name": "auditor", "description": "", "actions": ["*/read"], "not_actions": [], "assignable_scopes": ["/"]
    }));
    model.roles.insert(Key::global("auditor"), role.unwrap());
    let given = json!({ "principal": "uid:7", "role": "auditor", "scope": "/subscriptions/a" });
    model.assignments.insert(Key::global("id"), serde_json::from_value(given).unwrap());
    model
        .groups
        .insert(Key::of_group("default", "team"), ResourceGroup { region: "west".into(), ..Default::default() });
    model.security_groups.insert(key("rules"), SecurityGroup { rules: Vec::new() });
    model.dns_zones.insert(key("corp.internal"), <_>::default());
    model.load_balancers.insert(key("lb"), LoadBalancer { region: "west".into(), ..Default::default() });
    let kind = ResourceType { name: "Contoso/things".into(), regions: vec!["west".into()] };
    model.resource_types.insert(ResourceType::key(&kind.name), kind);
    let (token, _) = mint("ci".parse().unwrap(), "uid:0".parse().unwrap(), noon(), DEFAULT_LIFETIME, &[7; 32]).unwrap();
    let mut state = ControlState { model, ..ControlState::default() };
    state.tokens.insert(token.name.clone(), token);
    state.connections.insert(key("orders"), connection(ConnectionState::Approved));
    state
}

#[test]
fn everything_that_is_durable_and_an_object_is_compared() {
    let whole = whole();
    let made = between(&ControlState::default(), &whole);
    assert!(made.iter().all(|one| one.action() == "create"));
    let kinds: BTreeSet<String> = made
        .iter()
        .map(|one| match &one.object {
            Object::Item(item) => item.kind.to_string(),
            other @ (Object::Connection(_) | Object::Token(_) | Object::ResourceType(_)) => {
                other.to_string().split(' ').next().unwrap().to_owned()
            }
        })
        .collect();
    for kind in ItemKind::ALL {
        assert!(kinds.contains(&kind.to_string()), "{kind}: {kinds:?}");
    }
    for other in ["token", "connection", "resource"] {
        assert!(kinds.contains(other), "{other}: {kinds:?}");
    }
    assert!(made.iter().any(|one| matches!(one.object, Object::ResourceType(_))), "{kinds:?}");
    // Each map of the durable state is an object's, or stands here with its reason.
    let durable = serde_json::to_value(&whole).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    // What files said, what they are reminded of, and how identifiers are given out.
    let beside = ["files", "deleted", "last_link", "links", "model"];
    let of: BTreeSet<String> = ["connections", "tokens"].into_iter().chain(beside).map(str::to_owned).collect();
    assert_eq!(names(&durable), of);
    let of_model = ItemKind::ALL.len() + ["resource_types", "former_resources"].len();
    assert_eq!(names(&durable["model"]).len(), of_model);
    assert!(between(&whole, &ControlState::default()).iter().all(|one| one.action() == "delete"));
    assert!(between(&whole, &whole).is_empty());
}

#[test]
fn an_assignment_is_told_with_principal_role_and_scope() {
    let whole = whole();
    let item = Item { kind: ItemKind::Assignment, key: Key::global("id") };
    let told = of_item(&whole.model, &Model::default(), &item);
    let said: Vec<_> = fields_of(&told).into_iter().map(|(field, before, _)| (field, before)).collect();
    let scope = json!("/subscriptions/a");
    assert_eq!(said, [("principal", json!("uid:7")), ("role", json!("auditor")), ("scope", scope)]);
}

#[test]
fn no_secret_of_a_token_is_told_nor_what_is_kept_of_it() {
    let whole = whole();
    let name = "ci".parse().unwrap();
    let before = whole.tokens.get(&name).unwrap();
    let (after, _) = before.rotated(&[8; 32]);
    let mut rotated = whole.clone();
    rotated.tokens.insert(name, after.clone());
    let told = [
        serde_json::to_string(&of_token(Some(before), Some(&after))).unwrap(),
        serde_json::to_string(&of_token(None, Some(&after))).unwrap(),
        between(&whole, &rotated).iter().map(|one| serde_json::to_string(&one.told()).unwrap()).collect(),
        between(&rotated, &ControlState::default()).iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(" "),
    ];
    for token in [before, &after] {
        let hash = serde_json::to_value(token.hash).unwrap();
        let hash = hash.as_str().unwrap();
        assert!(hash.len() == 64 && told.iter().all(|text| !text.contains(hash)), "{told:?}");
    }
    assert!(told[0].contains("(replaced)") && told[2].contains("(replaced)"), "{told:?}");
    assert!(!told[1].contains("secret"), "{told:?}");
}

#[test]
fn a_record_takes_no_more_than_it_may() {
    let wide: Fields<String, Value> = (0..5_000).map(|n| (format!("field{n:05}"), json!(n))).collect();
    let (kept, left_out) = bounded(fields(&Value::Null, &Value::Object(wide)));
    assert_eq!((kept.len(), left_out), (MOST_FIELDS, 5_000 - MOST_FIELDS));
    let long = json!({ "one": "é".repeat(100_000), "two": vec!["x"; 100_000] });
    let (kept, left_out) = bounded(fields(&Value::Null, &long));
    assert_eq!((kept.len(), left_out), (2, 0));
    assert!(kept[0].after.as_str().unwrap().ends_with("… (200000 bytes)"), "{kept:?}");
    assert!(serde_json::to_string(&kept).unwrap().len() < 3 * LONGEST_VALUE);
    let many: Fields<String, Value> = (0..60).map(|n| (format!("f{n}"), json!("x".repeat(900)))).collect();
    let (kept, left_out) = bounded(fields(&Value::Null, &Value::Object(many)));
    assert!(serde_json::to_string(&kept).unwrap().len() <= MOST_BYTES + 2_000 && kept.len() + left_out == 60);
}
