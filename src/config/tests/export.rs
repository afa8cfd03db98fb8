//! What is exported is read as the same objects again.

use super::*;
use crate::config::export::{Live, export};
use crate::control::model::{ConnectionState, ResourceType};

/// A file in which every key stands that an export may write.
const WHOLE: &str = include_str!("whole.toml");

fn exported(model: &Model, connection: Option<ConnectionState>) -> String {
    export(&Live { objects: model, known: model, connection: &|_| connection.map(|state| (state, "audit".to_owned())) })
}

/// The objects of a document that stands for itself; types of resources belong to the daemon's own file.
fn read(text: &str, types: &crate::control::model::Map<ResourceType, String>) -> Model {
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
        let model = parse(text, name).unwrap_or_else(|report| panic!("{report}")).model;
        let again = read(&exported(&model, None), &model.resource_types);
        let bare = Model { resource_types: crate::control::model::Map::default(), ..model.clone() };
        assert_eq!(again, bare, "{name}");
        // An operator keeps it as a file of its own: a check finds nothing wrong with it.
        parse(&exported(&model, None), name).unwrap_or_else(|report| panic!("{report}"));
    }
}

#[test]
fn every_key_of_the_file_is_exported() {
    use crate::config::file;
    // Short forms of others, and what belongs to the daemon's own file.
    let elsewhere = ["prefix", "ip", "destination", "daemon", "attachment", "resource_type"];
    let model = parse(WHOLE, "whole").unwrap_or_else(|report| panic!("{report}")).model;
    let text = exported(&model, None);
    let written = |key: &str| {
        let forms = [format!("\n{key} = "), format!("{{ {key} = "), format!(", {key} = "), format!("[{key}]")];
        forms.iter().any(|form| text.contains(form.as_str())) || text.contains(&format!(".{key}]"))
    };
    let tables: &[(&str, &[&str])] = &[
        ("the file", file::File::KEYS),
        ("vnet", file::Vnet::KEYS),
        ("subnet", file::Subnet::KEYS),
        ("workload", file::Workload::KEYS),
        ("dns", crate::config::networks::Dns::KEYS),
        ("security_group", file::SecurityGroup::KEYS),
        ("rule", file::Rule::KEYS),
        ("dns_zone", crate::config::zones::DnsZone::KEYS),
        ("record", crate::config::zones::Record::KEYS),
        ("link", crate::config::zones::Link::KEYS),
        ("resource", file::Resource::KEYS),
        ("target", file::Target::KEYS),
        ("health", file::Health::KEYS),
        ("backend", file::BackendTable::KEYS),
        ("port", file::Port::KEYS),
        ("timeouts", file::Timeouts::KEYS),
        ("endpoint", file::Endpoint::KEYS),
        ("address", file::EndpointAddress::KEYS),
        ("role", crate::config::access::Role::KEYS),
        ("assignment", crate::config::access::Assignment::KEYS),
    ];
    for (table, keys) in tables {
        let missing: Vec<_> = keys.iter().filter(|key| !elsewhere.contains(key) && !written(key)).collect();
        assert!(missing.is_empty(), "of {table}, {missing:?} are not in\n{text}");
    }
}

#[test]
fn a_decision_made_since_is_exported_as_it_stands() {
    let model = parse(BASE, "base").unwrap_or_else(|report| panic!("{report}")).model;
    let text = exported(&model, Some(ConnectionState::Rejected));
    let orders = read(&text, &model.resource_types).endpoints[&Key::new("default", "orders")].clone();
    assert_eq!((orders.status, orders.reason.as_str()), (Some(ConnectionState::Rejected), "audit"));
    // What was asked for and is so needs no word.
    let text = exported(&model, Some(ConnectionState::Approved));
    let images = read(&text, &model.resource_types).endpoints[&Key::new("default", "images")].clone();
    assert_eq!((images.status, images.reason.as_str()), (None, ""));
}

#[test]
fn what_refers_to_something_unseen_is_left_out_and_said_to_be() {
    let model = parse(BASE, "base").unwrap_or_else(|report| panic!("{report}")).model;
    let known = Model { resources: crate::control::model::Map::default(), ..model.clone() };
    let objects = &known;
    let text = export(&Live { objects, known: &known, connection: &|_| None });
    assert!(
        text.contains("# endpoint default/orders is left out: it is bound to a resource that you may not see"),
        "{text}"
    );
    assert_eq!(read(&text, &model.resource_types).endpoints.len(), 0);
}
