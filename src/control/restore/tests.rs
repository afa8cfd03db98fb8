//! What was taken away since a backup stays so, whatever its kind.

use serde_json::json;

use super::*;
use crate::model::state::{Applied, DecidedBy, Deleted};
use crate::model::token::{DEFAULT_LIFETIME, mint};
use crate::model::{
    AcceptedNames, Access, ConnectionState, DnsSettings, Key, NetworkPolicies, Protocol, Rates, RoleAssignment,
    SecurityGroup, SecurityRule, TokenName, Visibility, Workload,
};
use crate::testing::{connection, key, link_key, model, noon, root};

fn prefix(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn rule(priority: u16, allow: bool, sources: &[&str]) -> SecurityRule {
    SecurityRule {
        name: format!("rule-{priority}"),
        priority,
        access: if allow { Access::Allow } else { Access::Deny },
        protocol: Some(Protocol::Tcp),
        sources: sources.iter().map(|text| prefix(text)).collect(),
        destinations: Vec::new(),
        ports: vec![(5432, 5432)],
    }
}

#[allow(clippy::unnecessary_wraps, reason = "it is the value of a field")]
fn names(texts: &[&str]) -> Option<Box<AcceptedNames>> {
    Some(Box::new(AcceptedNames::read(texts).unwrap()))
}

fn given(role: &str) -> RoleAssignment {
    serde_json::from_value(json!({ "principal": "token:ci", "role": role, "scope": "/subscriptions/a" })).unwrap()
}

fn ci() -> TokenName {
    "ci".parse().unwrap()
}

/// A state in which everything is as wide as it may be.
fn wide() -> ControlState {
    let mut model = model();
    let role = json!({
        "name": "auditor", "description": "", "actions": ["Microsoft.Network/*"], "not_actions": [],
        "assignable_scopes": ["/"]
    });
    model.roles.insert(Key::global("auditor"), serde_json::from_value(role).unwrap());
    for role in ["auditor", "Reader"] {
        model.assignments.insert(Key::global(given(role).id().to_string()), given(role));
    }
    model.security_groups.insert(key("open"), SecurityGroup { rules: vec![rule(100, true, &[])] });
    model.security_groups.insert(key("shut"), SecurityGroup { rules: vec![rule(100, false, &[])] });
    let spoke = model.vnets.get_mut(&key("spoke")).unwrap();
    spoke.on_premises = vec![prefix("192.168.0.0/16")];
    spoke.peerings = vec![key("core")];
    spoke.subnets[0].network_policies = NetworkPolicies::Enabled;
    spoke.subnets[0].security_group = Some(key("open"));
    spoke.workloads = vec![Workload { class: "pods".into(), prefix: prefix("10.1.200.0/24"), private_endpoints: true }];
    spoke.dns = Some(DnsSettings {
        listen: vec!["10.1.255.254".parse().unwrap()],
        answer: vec![ConnectionState::Approved, ConnectionState::Pending],
        accept_names: names(&["one.example.com", "two.example.com"]),
        ..DnsSettings::default()
    });
    let empty = crate::testing::subnet("spare", "10.20.98.0/24");
    model.vnets.get_mut(&key("core")).unwrap().subnets.push(empty);
    let db = model.resources.get_mut(&key("orders-db")).unwrap();
    db.visibility = Visibility::Everyone;
    db.auto_approval = vec!["one".into(), "two".into()];
    let mut second = db.targets[0].ports[0];
    (second.first, second.last, second.backend_first) = (8000, 8100, 9000);
    db.targets[0].ports.push(second);
    let mut server = db.targets[0].backends[0].clone();
    server.address = "10.20.0.3".parse().unwrap();
    db.targets[0].backends.push(server);
    db.targets[0].icmp = true;
    let orders = model.endpoints.get_mut(&key("orders")).unwrap();
    orders.accept_names = names(&["one.example.com", "two.example.com"]);
    orders.status = Some(ConnectionState::Approved);
    let (token, _) = mint(ci(), "uid:0".parse().unwrap(), noon(), DEFAULT_LIFETIME, &[7; 32]).unwrap();
    let mut control_state = ControlState { model, last_link: 1, ..ControlState::default() };
    control_state.connections.insert(key("orders"), connection(ConnectionState::Approved));
    control_state.tokens.insert(ci(), token);
    let file = Applied { model: control_state.model.clone(), ..Applied::default() };
    control_state.files.insert("daemon".into(), file);
    control_state
}

fn spoke(control_state: &mut ControlState) -> &mut crate::model::Vnet {
    control_state.model.vnets.get_mut(&key("spoke")).unwrap()
}

fn db(control_state: &mut ControlState) -> &mut crate::model::LinkResource {
    control_state.model.resources.get_mut(&key("orders-db")).unwrap()
}

fn orders(control_state: &mut ControlState) -> &mut crate::model::PrivateEndpoint {
    control_state.model.endpoints.get_mut(&key("orders")).unwrap()
}

fn decide(control_state: &mut ControlState, state: ConnectionState) {
    control_state.connections.get_mut(&key("orders")).unwrap().state = state;
}

/// What may be taken away, each with the kind that carries it. Where a deletion is followed by nothing else, the third
/// says so: it cannot be undone by making the same again.
type Narrowing = (&'static str, &'static str, fn(&mut ControlState));

const NARROWINGS: &[Narrowing] = &[
    ("role", "narrowed", |now| {
        let role = now.model.roles.get_mut(&Key::global("auditor")).unwrap();
        role.actions = vec!["Microsoft.Network/*/read".parse().unwrap()];
    }),
    ("assignment", "deleted", |now| _ = now.model.assignments.remove(&Key::global(given("Reader").id().to_string()))),
    ("vnet", "on_premises", |now| spoke(now).on_premises = vec![prefix("192.168.7.0/24")]),
    ("vnet", "peering", |now| spoke(now).peerings.clear()),
    ("vnet", "lockdown", |now| spoke(now).lockdown = true),
    ("vnet", "public_prefixes", |now| spoke(now).public_prefixes = vec![prefix("203.0.113.0/24")]),
    ("vnet", "workload", |now| spoke(now).workloads[0].private_endpoints = false),
    ("vnet", "answer", |now| spoke(now).dns.as_mut().unwrap().answer = vec![ConnectionState::Approved]),
    ("vnet", "names", |now| spoke(now).dns.as_mut().unwrap().accept_names = names(&["one.example.com"])),
    ("vnet", "another security group", |now| spoke(now).subnets[0].security_group = Some(key("shut"))),
    ("vnet", "a new security group", |now| {
        now.model.security_groups.insert(key("new"), SecurityGroup { rules: vec![rule(300, false, &[])] });
        spoke(now).subnets[0].security_group = Some(key("new"));
    }),
    ("vnet", "nat", |now| {
        now.model.vnets.get_mut(&key("core")).unwrap().subnets[1].nat = Some(false);
    }),
    ("security group", "rules", |now| {
        let rules = vec![rule(100, true, &["10.1.1.0/24"]), rule(200, false, &[])];
        now.model.security_groups.insert(key("open"), SecurityGroup { rules });
    }),
    ("resource", "visibility", |now| db(now).visibility = Visibility::Subscriptions(vec!["one".into(), "two".into()])),
    ("resource", "auto_approval", |now| db(now).auto_approval = vec!["two".into()]),
    ("resource", "cross_region", |now| db(now).cross_region = false),
    ("resource", "max_sessions", |now| db(now).max_sessions = Some(5)),
    ("resource", "max_sessions_per_endpoint", |now| db(now).max_sessions_per_endpoint = Some(5)),
    ("resource", "rates", |now| {
        db(now).rates = Some(Rates { bits_per_second: Some(1_000_000), new_sessions_per_second: None });
    }),
    ("resource", "port", |now| _ = db(now).targets[0].ports.pop()),
    ("resource", "server", |now| _ = db(now).targets[0].backends.pop()),
    ("resource", "drained server", |now| db(now).targets[0].backends[1].drain = true),
    ("resource", "icmp", |now| db(now).targets[0].icmp = false),
    ("endpoint", "sources", |now| orders(now).sources = vec![prefix("10.1.1.0/24")]),
    ("endpoint", "max_sessions", |now| orders(now).max_sessions = Some(5)),
    ("endpoint", "rates", |now| {
        orders(now).rates = Some(Rates { bits_per_second: None, new_sessions_per_second: Some(5) });
    }),
    ("endpoint", "names", |now| orders(now).accept_names = names(&["two.example.com"])),
    ("endpoint", "deleted", |now| {
        now.model.endpoints.remove(&key("orders"));
        now.connections.remove(&key("orders"));
        now.deleted.insert(key("orders"), Deleted { by: root().actor(), at: noon() });
    }),
    ("connection", "ends", |now| now.connections.get_mut(&key("orders")).unwrap().ends_at = Some(noon())),
    ("connection", "approved anew for a time", |now| {
        let connection = now.connections.get_mut(&key("orders")).unwrap();
        let by = DecidedBy::Live(root().actor());
        *connection = connection.decided(ConnectionState::Approved, "maintenance".into(), by, noon());
        connection.ends_at = Some(noon());
    }),
    ("connection", "rejected", |now| decide(now, ConnectionState::Rejected)),
    ("connection", "removed", |now| decide(now, ConnectionState::Disconnected)),
    ("token", "revoked", |now| {
        now.tokens.remove(&ci());
        forget_all(now);
    }),
    ("token", "rotated", |now| {
        let rotated = now.tokens.get(&ci()).unwrap().rotated(&[8; 32]).0;
        now.tokens.insert(ci(), rotated);
    }),
];

/// Everything that is assigned ends with its token.
fn forget_all(now: &mut ControlState) {
    _ = crate::control::tokens::forget_absent(now);
}

fn wanted(backup: &ControlState, now: &ControlState, exactly: bool) -> RestoreRequest {
    let now = Now::Known(Box::new(now.clone()), FORMAT);
    RestoreRequest {
        backup: backup.clone(),
        format: FORMAT,
        now,
        exactly,
        by: root().actor(),
        at: noon(),
        link_key: link_key(),
    }
}

fn restored(backup: &ControlState, now: &ControlState) -> Restoration {
    Restoration::of(wanted(backup, now, false)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Objects alone: whether they are the same, whatever files and counters say.
fn same(one: &ControlState, other: &ControlState) -> Vec<ObjectChange> {
    difference::between(one, other).iter().map(Changed::told).collect()
}

#[test]
fn what_was_taken_away_since_the_backup_stays_so_and_is_listed() {
    let backup = wide();
    for (kind, what, narrow) in NARROWINGS {
        let mut now = wide();
        narrow(&mut now);
        let restoration = restored(&backup, &now);
        let after = &restoration.after;
        // A rule set that was made since is known to the backup only where it is used.
        assert!(same(&now, after).is_empty(), "{kind}: {what}");
        let told = restoration.kept.iter().any(|change| change.object.starts_with(*kind) && !change.fields.is_empty());
        assert!(told, "{kind}: {what}: {:?}", restoration.kept);
        assert!(restoration.undone.is_empty(), "{kind}: {what}: {:?}", restoration.undone);
        // What is exact gives it back, and says so.
        let exact = Restoration::of(wanted(&backup, &now, true)).unwrap();
        assert!(same(&backup, &exact.after).is_empty(), "{kind}: {what}");
        assert!(exact.kept.is_empty());
        let told = exact.undone.iter().any(|one| one.widens && one.change.object.starts_with(*kind));
        assert!(told, "{kind}: {what}: {:?}", exact.undone);
    }
}

#[test]
fn what_was_opened_since_the_backup_is_closed_again() {
    let now = wide();
    for (kind, what, narrow) in NARROWINGS {
        let mut backup = wide();
        narrow(&mut backup);
        let restoration = restored(&backup, &now);
        // The secret of now is nobody's of then, and a token of now did not exist.
        if (*kind, *what) != ("token", "rotated") {
            assert!(same(&backup, &restoration.after).is_empty(), "{kind}: {what}");
            assert!(!restoration.undone.is_empty(), "{kind}: {what}");
        }
    }
}

/// A new kind has to say here whether anything of it can be taken away.
#[test]
fn every_kind_that_carries_a_decision_is_narrowed_by_some_case() {
    for kind in ItemKind::ALL {
        let carries = match kind {
            ItemKind::Role
            | ItemKind::Assignment
            | ItemKind::Vnet
            | ItemKind::SecurityGroup
            | ItemKind::Resource
            | ItemKind::Endpoint => true,
            // Regions and tags; names; the targets that follow are the resource's.
            ItemKind::ResourceGroup | ItemKind::DnsZone | ItemKind::LoadBalancer => false,
        };
        let found = NARROWINGS.iter().any(|(of, ..)| *of == kind.to_string());
        assert_eq!(found, carries, "{kind}");
    }
    for other in ["connection", "token"] {
        assert!(NARROWINGS.iter().any(|(of, ..)| *of == other), "{other}");
    }
}

#[test]
fn whatever_was_taken_away_together_stays_away_together() {
    let backup = wide();
    let mut now = wide();
    // All that fit beside each other: what is gone cannot be narrowed, too.
    let gone = [
        ("endpoint", "deleted"),
        ("connection", "removed"),
        ("connection", "ends"),
        ("connection", "approved anew for a time"),
        ("token", "revoked"),
        ("vnet", "a new security group"),
        ("resource", "drained server"),
    ];
    for (_, _, narrow) in NARROWINGS.iter().filter(|(kind, what, _)| !gone.contains(&(*kind, *what))) {
        narrow(&mut now);
    }
    let after = restored(&backup, &now).after;
    // A server that is gone is not drained, too.
    assert!(same(&now, &after).is_empty(), "{:?}", same(&now, &after));
}

#[test]
fn a_deleted_resource_stays_deleted_and_its_endpoints_disconnected() {
    let mut backup = wide();
    db(&mut backup).kind = Some("Microsoft.Storage/storageAccounts".into());
    let mut now = backup.clone();
    let (root, access) = (root(), crate::testing::access());
    let maker = crate::control::apply::Requester {
        rights: crate::access::rights::Rights::of(&root, &access),
        now: noon(),
        dry_run: false,
    };
    let item = Item { kind: ItemKind::Resource, key: key("orders-db") };
    crate::control::apply::delete(&mut now, &maker, &item).unwrap();
    let after = restored(&backup, &now).after;
    assert!(!after.model.resources.contains_key(&key("orders-db")));
    assert_eq!(after.connections[&key("orders")].state, ConnectionState::Disconnected);
    assert_eq!(after.model.former_resources, now.model.former_resources);
}

#[test]
fn a_network_that_was_deleted_comes_back_without_what_gave_access() {
    let mut backup = wide();
    backup.model.vnets.insert(key("spare"), crate::testing::vnet("10.7.0.0/16", Vec::new()));
    let after = restored(&backup, &wide()).after;
    assert!(same(&backup, &after).is_empty(), "{:?}", same(&backup, &after));
}

#[test]
fn an_endpoint_that_was_made_anew_is_another_one() {
    let backup = wide();
    let mut now = wide();
    now.connections.get_mut(&key("orders")).unwrap().link = 2;
    now.last_link = 2;
    let restoration = restored(&backup, &now);
    assert!(!restoration.after.model.endpoints.contains_key(&key("orders")));
    assert_eq!(restoration.after.last_link, 2, "no link is given out twice");
}

#[test]
fn a_token_made_anew_of_the_same_name_does_not_revive_the_old_one() {
    let backup = wide();
    let mut now = wide();
    let (token, _) = mint(ci(), "uid:0".parse().unwrap(), noon(), DEFAULT_LIFETIME, &[9; 32]).unwrap();
    now.tokens.insert(ci(), token.clone());
    assert_eq!(restored(&backup, &now).after.tokens.get(&ci()), Some(&token));
}

#[test]
fn the_next_start_takes_nothing_of_the_file_for_a_new_wish() {
    let mut backup = wide();
    // The file asked for nothing yet when the backup was made, approved it then, and somebody rejected it since.
    let file = |control_state: &mut ControlState, status| {
        orders(control_state).status = status;
        let model = control_state.model.clone();
        control_state.files.insert("daemon".into(), Applied { model, ..Applied::default() });
    };
    file(&mut backup, None);
    orders(&mut backup).manual = true;
    let mut now = wide();
    file(&mut now, Some(ConnectionState::Approved));
    decide(&mut now, ConnectionState::Rejected);
    let after = restored(&backup, &now).after;
    assert_eq!(after.connections[&key("orders")].state, ConnectionState::Rejected);
    let known = &after.files[&"daemon".to_owned()].model.endpoints[&key("orders")];
    assert_eq!(known.status, Some(ConnectionState::Approved), "the file has nothing new to say");
    // What was deleted live is not made anew by the file that still names it.
    let mut now = wide();
    (NARROWINGS.iter().find(|(kind, what, _)| (*kind, *what) == ("endpoint", "deleted")).unwrap().2)(&mut now);
    let after = restored(&wide(), &now).after;
    assert!(after.deleted.contains_key(&key("orders")));
}

#[test]
fn what_cannot_be_read_is_replaced_only_exactly() {
    let lost = |exactly| RestoreRequest {
        backup: wide(),
        format: FORMAT,
        now: Now::Unknown("page 7 is malformed".into()),
        exactly,
        by: root().actor(),
        at: noon(),
        link_key: link_key(),
    };
    let refusal = Restoration::of(lost(false)).unwrap_err().to_string();
    assert!(refusal.contains("page 7") && refusal.contains("is unknown") && refusal.contains("--exactly"), "{refusal}");
    let exact = Restoration::of(lost(true)).unwrap();
    assert!(exact.later_is_unknown && exact.after == wide());
    let record = exact.transaction("the backup", "a state").unwrap().records.pop().unwrap();
    let record: Record = serde_json::from_slice(&record.body).unwrap();
    assert!(record.detail.contains("what was decided since is unknown"), "{record:?}");
}

#[test]
fn the_record_says_what_was_replaced_kept_and_undone() {
    let mut now = wide();
    decide(&mut now, ConnectionState::Rejected);
    db(&mut now).auto_approval.push("three".into());
    let restoration = restored(&wide(), &now);
    let transaction = restoration.transaction("the backup b.db (sha256 11)", "a state (sha256 22)").unwrap();
    assert!(transaction.operations.iter().any(|operation| operation.key() == "connections/default/default/orders"));
    let record: Record = serde_json::from_slice(&transaction.records[0].body).unwrap();
    assert_eq!((record.action.as_str(), record.object.as_str()), ("restore", "state"));
    let detail = "the backup b.db (sha256 11) is brought back but for what was taken away since: 1 kept, 1 undone; \
                  it replaces a state (sha256 22)";
    assert_eq!(record.detail, detail);
    let fields: Vec<&str> = record.changes.iter().map(|one| one.field.as_str()).collect();
    let undone = "undone: resource default/orders-db: auto_approval";
    assert_eq!(fields, ["kept: connection default/orders: state", undone]);
    // An exact one says which it was.
    let exact = Restoration::of(wanted(&wide(), &now, true)).unwrap();
    let record = exact.transaction("b", "r").unwrap().records.pop().unwrap();
    assert!(String::from_utf8(record.body).unwrap().contains("brought back exactly: 0 kept, 2 undone"));
}

#[test]
fn what_does_not_fit_together_is_refused_and_exactly_is_not() {
    let mut now = wide();
    // A port is gone, and another stands twice: no rule of the release that wrote it forbade that.
    let targets = &mut db(&mut now).targets;
    targets[0].ports[1] = targets[0].ports[0];
    targets[0].ports[1].backend_first = 1;
    let refusal = Restoration::of(wanted(&wide(), &now, false)).unwrap_err();
    let said = refusal.to_string();
    assert!(said.contains("do not fit together") && said.contains("--exactly"), "{said}");
    assert!(Restoration::of(wanted(&wide(), &now, true)).is_ok());
}

/// Against a judgement of every packet of a small world.
#[test]
fn a_rule_set_is_within_another_if_no_packet_passes_by_it_alone() {
    let sets: Vec<Vec<SecurityRule>> = vec![
        vec![],
        vec![rule(100, true, &[])],
        vec![rule(100, false, &[])],
        vec![rule(100, true, &["10.0.0.0/30"]), rule(200, false, &[])],
        vec![rule(200, true, &["10.0.0.0/30"]), rule(100, false, &["10.0.0.2/31"])],
        vec![rule(100, false, &["10.0.0.0/29"]), rule(200, true, &[])],
        vec![
            rule(300, false, &["10.0.0.1/32"]),
            SecurityRule { protocol: None, ports: vec![], ..rule(400, false, &[]) },
        ],
    ];
    let passes = |rules: &[SecurityRule], last: u8, protocol: Protocol, port: u16| {
        let mut sorted: Vec<_> = rules.iter().collect();
        sorted.sort_by_key(|rule| rule.priority);
        let source: std::net::IpAddr = [10, 0, 0, last].into();
        let found = sorted.iter().find(|rule| {
            rule.protocol.is_none_or(|one| one == protocol)
                && (rule.sources.is_empty() || rule.sources.iter().any(|one| one.contains(&source)))
                && (rule.ports.is_empty() || rule.ports.iter().any(|(a, b)| (*a..=*b).contains(&port)))
        });
        found.is_none_or(|rule| rule.access == Access::Allow)
    };
    for one in &sets {
        for other in &sets {
            let naive = (0..16).all(|last| {
                [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].into_iter().all(|protocol| {
                    let ports: &[u16] = if protocol == Protocol::Icmp { &[0] } else { &[0, 5431, 5432, 5433] };
                    ports.iter().all(|port| !passes(one, last, protocol, *port) || passes(other, last, protocol, *port))
                })
            });
            assert_eq!(rules::within(one, other), naive, "{one:?} within {other:?}");
        }
    }
}

#[test]
fn prefixes_in_common_are_the_inner_ones() {
    let list = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect::<Vec<_>>();
    let one = list(&["10.0.0.0/8", "192.168.1.0/24", "172.16.0.0/12"]);
    let other = list(&["10.1.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "2001:db8::/32"]);
    assert_eq!(rules::common(&one, &other), list(&["192.168.1.0/24", "172.16.0.0/12", "10.1.0.0/16"]));
    assert!(rules::covers(&[], &one) && !rules::covers(&one, &[]) && rules::covers(&one, &list(&["10.3.0.0/16"])));
    let all = list(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "2001:db8::/32"]);
    assert_eq!(rules::all_of(&one, &other), [&all[..1], &all[1..2], &all[2..]].concat());
}
