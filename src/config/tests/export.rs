//! What is exported passes a check, and is found unchanged by an apply.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::export::export;
use crate::control::apply::differing;
use crate::control::seen::Exportable;
use crate::model::state::{Connection, ControlState, DecidedBy};
use crate::model::{
    ConnectionState, EndpointLabels, FrontendRef, LinkResource, LoadBalancer, Map, NatConfig, PeeringLabel,
    ResourceGroup, ResourceType,
};

/// A file in which every key stands that an export may write.
const WHOLE: &str = include_str!("whole.toml");

fn model_of(text: &str, name: &str) -> Model {
    check_text(text, name).unwrap_or_else(|report| panic!("{report}")).model
}

fn connection(state: ConnectionState) -> Connection {
    Connection { state, description: "audit".to_owned(), ..crate::testing::connection(state) }
}

/// The state that holds `model`, each connection in the state that its endpoint asks for unless `state` is another.
fn live(model: &Model, state: Option<ConnectionState>) -> Exportable {
    let connections = model.endpoints.iter().map(|(key, endpoint)| {
        let begun = if endpoint.manual { ConnectionState::Pending } else { ConnectionState::Approved };
        let asked = endpoint.status.unwrap_or(begun);
        (key.clone(), connection(state.unwrap_or(asked)))
    });
    let control_state =
        ControlState { model: model.clone(), connections: connections.collect(), ..ControlState::default() };
    Exportable { state: Arc::new(control_state), known: model.clone(), whole: true }
}

/// The objects of a document that stands for itself; types of resources belong to the daemon's own file.
fn read(text: &str, types: &Map<ResourceType, String>) -> Model {
    let live = Model { resource_types: types.clone(), ..Model::default() };
    parse_document(text, "exported", &live).unwrap_or_else(|report| panic!("{report}\n{text}")).model
}

#[test]
fn what_is_exported_is_read_as_the_same_objects() {
    let files = [
        ("whole", WHOLE),
        ("base", BASE),
        ("smallest", SMALLEST),
        ("template", template()),
        ("demo", include_str!("../../../scripts/lab/demo.toml")),
        ("two legs", include_str!("../../../scripts/lab/two-legs.toml")),
    ];
    for (name, text) in files {
        let model = model_of(text, name);
        let exported = export(&live(&model, None));
        let again = read(&exported, &model.resource_types);
        let bare = Model { resource_types: Map::default(), ..model.clone() };
        assert_eq!(again, bare, "{name}");
        assert!(!exported.contains("left out"), "{exported}");
        // An operator keeps it as a file: a check finds nothing wrong with it.
        let checked = check_text(&exported, name).unwrap_or_else(|report| panic!("{report}"));
        assert!(checked.is_document && checked.model == bare, "{name}");
    }
}

#[test]
fn every_key_of_the_file_is_exported() {
    use crate::config::file;
    use crate::config::schema::{every_key, whole};
    // Short forms of others, and what belongs to the daemon's own file.
    let elsewhere = ["prefix", "ip", "destination", "daemon", "attachment", "resource_type"];
    let text = export(&live(&model_of(WHOLE, "whole"), None));
    let written = |key: &str| {
        let forms = [format!("\n{key} = "), format!("{{ {key} = "), format!(", {key} = "), format!("[{key}]")];
        forms.iter().any(|form| text.contains(form.as_str())) || text.contains(&format!(".{key}]"))
    };
    let tables: &[(&str, &[&str])] = &[("the file", file::File::KEYS)];
    let specs = [
        ("timeouts", every_key(&schemars::schema_for!(crate::model::TimeoutOverrides))),
        ("vnet", every_key(&whole::<crate::model::Vnet>())),
        ("security_group", every_key(&whole::<crate::model::SecurityGroup>())),
        ("resource", every_key(&whole::<crate::model::LinkResource>())),
        ("dns_zone", every_key(&whole::<crate::model::DnsZone>())),
        ("role", every_key(&whole::<crate::model::RoleDefinition>())),
        ("assignment", every_key(&whole::<crate::model::RoleAssignment>())),
        ("endpoint", every_key(&whole::<crate::model::PrivateEndpoint>())),
    ];
    let specs = specs.iter().map(|(kind, keys)| (*kind, keys.iter().map(String::as_str).collect()));
    let tables = tables.iter().map(|(table, keys)| (*table, keys.to_vec())).chain(specs);
    for (table, keys) in tables {
        let missing: Vec<_> = keys.into_iter().filter(|key| !elsewhere.contains(key) && !written(key)).collect();
        assert!(missing.is_empty(), "of {table}, {missing:?} are not in\n{text}");
    }
}

#[test]
fn a_decision_made_since_is_exported_as_it_stands() {
    let model = model_of(BASE, "base");
    let text = export(&live(&model, Some(ConnectionState::Rejected)));
    let orders = read(&text, &model.resource_types).endpoints[&Key::new("default", "orders")].clone();
    assert_eq!((orders.status, orders.reason.as_str()), (Some(ConnectionState::Rejected), "audit"));
    // What was asked for and is so needs no word.
    let text = export(&live(&model, Some(ConnectionState::Approved)));
    let images = read(&text, &model.resource_types).endpoints[&Key::new("default", "images")].clone();
    assert_eq!((images.status, images.reason.as_str()), (None, ""));
}

#[test]
fn what_a_file_has_no_word_for_stands_in_comments() {
    let model = model_of(BASE, "base");
    let mut whole = live(&model, Some(ConnectionState::Approved));
    let control_state = Arc::get_mut(&mut whole.state).expect("nobody else has it");
    let end = "2026-12-01T08:00:00Z".parse().expect("a time");
    let orders = control_state.connections.get_mut(&Key::new("default", "orders")).expect("there");
    orders.ends_at = Some(end);
    let tags = [("team".to_owned(), "shop".to_owned())].into();
    let group = |tags| ResourceGroup { region: "local".to_owned(), tags, foreign: String::new() };
    control_state.model.groups.insert(Key::of_group("default", "shop"), group(tags));
    control_state.model.groups.insert(Key::of_group("other", "lab"), group(<_>::default()));
    let text = export(&whole);
    for line in [
        "# resource group shop: its region and tags stay as they are",
        "# resource group lab of subscription other: its region stays as it is",
        "# its approval ends at 2026-12-01T08:00:00Z, and an apply leaves that as it is",
    ] {
        assert_eq!(text.lines().filter(|one| *one == line).count(), 1, "{line}\n{text}");
    }
    let said = text.lines().position(|line| line.starts_with("# its approval")).expect("said");
    let above = text.lines().take(said).filter(|line| line.starts_with("name = ")).last();
    assert_eq!(above, Some("name = \"orders\""), "it stands below its endpoint: {text}");
}

#[test]
fn what_refers_to_something_unseen_is_left_out_and_said_to_be() {
    let model = model_of(BASE, "base");
    let seen = Model { resources: Map::default(), ..model.clone() };
    let whole = live(&seen, None);
    let text = export(&Exportable { whole: false, ..whole });
    assert!(text.starts_with("# What you may not read is left out.\n"), "{text}");
    let orders = "# endpoint default/orders is left out: it is bound to a resource that you may not see";
    assert!(text.contains(orders), "{text}");
    assert_eq!(read(&text, &model.resource_types).endpoints.len(), 0);
    let names = model.resources.keys().map(|key| key.name.clone());
    assert!(names.into_iter().all(|name| !text.contains(&name)), "{text}");
}

#[test]
fn a_reference_out_of_a_document_is_warned_of_and_no_mistake() {
    let consumer = "[[vnet]]\nname = \"spoke\"\naddress_space = \"10.1.0.0/16\"\n\
                    subnets = [{ name = \"endpoints\", prefix = \"10.1.9.0/24\" }]\n\
                    [[endpoint]]\nname = \"orders\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nip = \"10.1.9.4\"\n\
                    resource = \"default/orders-db\"\n\
                    [[assignment]]\nprincipal = \"uid:7\"\nrole = \"auditor\"\nscope = \"/\"\n";
    let checked = check_text(consumer, "half.toml").unwrap_or_else(|report| panic!("{report}"));
    let said: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|one| one.contains("`apply` looks for it in the live state")), "{said:?}");
    // The daemon's own file stands for itself.
    let own = format!("[daemon]\n{consumer}");
    let report = check_text(&own, "own.toml").expect_err("refused").to_string();
    assert!(report.contains("there is no resource"), "{report}");
    let wrong = consumer.replace("10.1.9.4", "10.2.9.4");
    let report = check_text(&wrong, "wrong.toml").expect_err("refused").to_string();
    assert!(report.contains("10.2.9.4"), "{report}");
}

#[test]
fn what_a_file_cannot_say_is_left_out_with_a_word_and_takes_nothing_with_it() {
    let mut model = model_of(WHOLE, "whole");
    let resource = model.resources.get_mut(&Key::new("default", "orders-db")).expect("there");
    // Azure's services may have none yet.
    resource.targets.clear();
    resource.nat.clear();
    let state = live(&model, None);
    let text = export(&state);
    check_text(&text, "exported").unwrap_or_else(|report| panic!("{report}\n{text}"));
    let said = parse_document(&text, "exported", &state.known).unwrap_or_else(|report| panic!("{report}\n{text}"));
    assert!(differing(&state.state, &said.model).is_empty(), "{text}");
    assert!(said.model.vnets.len() == 3 && said.model.roles.len() == 1, "{text}");
}

/// What only Azure's clients write, where `bits` say so.
fn decorated(mut model: Model, mut bits: u64) -> Model {
    let mut next = move || {
        bits = bits.rotate_right(1);
        bits & 1 == 1
    };
    let tags = || [("team".to_owned(), "a\u{1f}b # \"c\"".to_owned())].into();
    let vnets: Vec<Key> = model.vnets.keys().cloned().collect();
    for key in &vnets {
        let vnet = model.vnets.get_mut(key).expect("there");
        if next() {
            vnet.tags = tags();
        }
        if next() {
            let label =
                |remote: &Key| PeeringLabel { name: "p".into(), remote: remote.clone(), access: true, severed: false };
            vnet.peering_labels = vnet.peerings.iter().map(label).collect();
        }
        if next() {
            vnet.subnets.iter_mut().for_each(|subnet| subnet.security_group = None);
        }
    }
    for key in model.resources.keys().cloned().collect::<Vec<_>>() {
        let resource: &mut LinkResource = model.resources.get_mut(&key).expect("there");
        if next() {
            resource.tags = tags();
            resource.foreign = r#"{"sku":{"name":"Standard_LRS"}}"#.into();
        }
        if next() {
            let config =
                NatConfig { name: "one".into(), subnet: "nat".into(), address: None, v6: false, primary: None };
            resource.nat_configs = vec![config];
        }
        if next() && resource.kind.is_none() {
            resource.frontends = vec![FrontendRef { balancer: Key::new("default", "lb"), frontend: "f".into() }];
        }
        if next() {
            resource.rates = None;
            resource.max_sessions = Some(70_000);
        }
    }
    for key in model.endpoints.keys().cloned().collect::<Vec<_>>() {
        let endpoint = model.endpoints.get_mut(&key).expect("there");
        // In force, each has its addresses.
        endpoint.addresses.iter_mut().for_each(|address| _ = address.ip.get_or_insert([10, 1, 9, 8].into()));
        if next() {
            let labels = EndpointLabels { tags: tags(), connection: Some("c".into()), ..EndpointLabels::default() };
            endpoint.labels = Some(Box::new(labels));
        }
        if next() {
            endpoint.zone_group.iter_mut().for_each(|group| "mine".clone_into(&mut group.name));
        }
        if next() {
            endpoint.sources.clear();
        }
    }
    for key in model.dns_zones.keys().cloned().collect::<Vec<_>>() {
        let zone = model.dns_zones.get_mut(&key).expect("there");
        if next() {
            zone.tags = tags();
            zone.soa.refresh += 1;
            zone.records.iter_mut().for_each(|record| record.metadata = tags());
            zone.links.iter_mut().for_each(|link| "my link".clone_into(&mut link.name));
        }
    }
    if next() {
        let balancer = LoadBalancer { region: "westeurope".into(), ..LoadBalancer::default() };
        model.load_balancers.insert(Key::new("default", "lb"), balancer);
        let group = ResourceGroup { region: "westeurope".into(), tags: tags(), ..ResourceGroup::default() };
        model.groups.insert(Key::of_group("team", "net"), group);
    }
    model
}

/// Connections that nothing brings back.
fn decisions_over(state: &Exportable) -> usize {
    let connections = state.state.connections.values();
    connections.filter(|connection| connection.state == ConnectionState::Disconnected).count()
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]
    #[test]
    fn whatever_the_live_state_holds_its_export_is_unchanged(bits: u64, states: u64) {
        use ConnectionState::{Approved, Disconnected, Pending, Rejected};
        let mut state = live(&decorated(model_of(WHOLE, "whole"), bits), None);
        let control_state = Arc::make_mut(&mut state.state);
        for (number, key) in control_state.connections.keys().cloned().collect::<Vec<_>>().into_iter().enumerate() {
            let chosen = [Approved, Pending, Rejected, Disconnected][(states >> (2 * number)) as usize & 3];
            let by = if states >> 32 & 1 == 0 { DecidedBy::Nobody } else { DecidedBy::AutoApproval };
            control_state.connections.insert(key, Connection { decided_by: by, ..connection(chosen) });
        }
        let text = export(&state);
        // Nobody can ask for that in a file.
        let over = decisions_over(&state);
        prop_assert_eq!(text.matches("left out").count(), over, "{}", text);
        let checked = check_text(&text, "exported");
        prop_assert!(checked.is_ok(), "{:?}\n{}", checked, text);
        let document = parse_document(&text, "exported", &state.known).expect("read");
        let others = differing(&state.state, &document.model);
        prop_assert!(others.is_empty(), "{:?}\n{}", others, text);
        let model = &state.state.model;
        prop_assert_eq!(document.model.endpoints.len() + over, model.endpoints.len());
        // As an apply finds it.
        let (rights, now) = (crate::testing::access(), crate::testing::noon());
        let root = crate::testing::root();
        let maker = crate::control::apply::Requester { rights: crate::access::rights::Rights::of(&root, &rights), now, dry_run: false };
        let application = crate::control::apply::Application::of(&document.model, "uid:0", false, maker);
        let (after, report) = crate::control::apply::merge(&state.state, &application).expect("merged");
        prop_assert!(!report.changed() && report.skipped.is_empty() && report.differences.is_empty(), "{}", report);
        prop_assert_eq!(&after.model, model);
        prop_assert_eq!(&after.connections, &state.state.connections);
    }
}
