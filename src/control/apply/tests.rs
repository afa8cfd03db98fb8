use super::*;
use crate::access::rights::Rights;
use crate::model::state::{Connection, DecidedBy, Deleted};
use crate::model::{EndpointIp, PrivateEndpoint};
use crate::snapshot::ConnectionState::{self, Approved, Disconnected, Pending, Rejected};
use crate::testing::{access, endpoint, host, ip, key, model, noon, resource, root, subnet, target, vnet};

fn apply(before: &ControlState, file: &Model) -> (ControlState, ApplyReport) {
    applied_by(before, file, false)
}

fn prune(before: &ControlState, file: &Model) -> (ControlState, ApplyReport) {
    applied_by(before, file, true)
}

fn applied_by(before: &ControlState, file: &Model, prune: bool) -> (ControlState, ApplyReport) {
    let (root, access) = (root(), access());
    let maker = Requester { rights: Rights::of(&root, &access), now: noon(), dry_run: false };
    merge(before, &Application::of(file, "daemon", prune, maker)).unwrap()
}

fn applied(file: &Model) -> ControlState {
    apply(&ControlState::default(), file).0
}

fn orders(file: &mut Model) -> &mut PrivateEndpoint {
    file.endpoints.get_mut(&key("orders")).unwrap()
}

/// The model, with its endpoint changed.
fn with(change: impl Fn(&mut PrivateEndpoint)) -> Model {
    let mut file = model();
    change(orders(&mut file));
    file
}

fn state(control_state: &ControlState) -> ConnectionState {
    control_state.connections[&key("orders")].state
}

/// `decisions` after somebody decided live.
fn decided(mut control_state: ControlState, state: ConnectionState) -> ControlState {
    let connection = control_state.connections.get_mut(&key("orders")).unwrap();
    *connection = Connection { state, decided_by: DecidedBy::Live(root().actor()), ..connection.clone() };
    control_state
}

#[test]
fn the_first_state_follows_status_then_automatic_then_the_list() {
    let mut listed = model();
    listed.resources.get_mut(&key("orders-db")).unwrap().auto_approval = vec!["DEFAULT".into()];
    for (manual, status, list, expected) in [
        (false, None, false, Approved),
        (true, None, false, Pending),
        (true, None, true, Approved),
        (true, Some(Approved), false, Approved),
        (true, Some(Rejected), true, Rejected),
        (false, Some(Pending), true, Pending),
    ] {
        let mut file = if list { listed.clone() } else { model() };
        orders(&mut file).manual = manual;
        orders(&mut file).status = status;
        assert_eq!(state(&applied(&file)), expected, "manual {manual}, status {status:?}, list {list}");
    }
}

#[test]
fn applying_the_same_file_again_changes_nothing() {
    let file = with(|endpoint| endpoint.addresses = vec![]);
    let before = applied(&file);
    let (after, report) = apply(&before, &file);
    assert_eq!(after, before);
    assert_eq!((report.changed(), report.unchanged, report.lines().len()), (false, 4, 0));
}

#[test]
fn reapplying_never_overturns_a_live_decision_and_reports_it() {
    for (in_file, live) in [(Approved, Rejected), (Approved, Pending), (Rejected, Approved)] {
        let file = with(|endpoint| endpoint.status = Some(in_file));
        let before = decided(applied(&file), live);
        let (after, report) = apply(&before, &file);
        assert_eq!(after, before);
        assert!(report.differences[0].contains(&format!("the file says {in_file}")), "{report}");
        // Nor does a change of something else in the same entry.
        let mut edited = file.clone();
        orders(&mut edited).max_sessions = Some(7);
        let (after, report) = apply(&before, &edited);
        assert_eq!(state(&after), live);
        assert_eq!(after.model.endpoints[&key("orders")].max_sessions, Some(7));
        assert_eq!((report.updated.len(), report.differences.len()), (1, 1));
    }
}

#[test]
fn a_changed_status_is_a_command() {
    let (approved, rejected) = (model(), with(|endpoint| endpoint.status = Some(Rejected)));
    let (after, report) = apply(&applied(&approved), &rejected);
    assert_eq!((state(&after), report.updated.len()), (Rejected, 1));
    assert_eq!(state(&apply(&after, &approved).0), Approved);
    // A live decision in between does not protect against the file's next command.
    let live = decided(after, Pending);
    assert_eq!(state(&apply(&live, &approved).0), Approved);
    let removed = with(|endpoint| endpoint.status = Some(Disconnected));
    assert_eq!(state(&apply(&applied(&approved), &removed).0), Disconnected);
}

#[test]
fn a_decision_is_not_taken_back_to_pending_by_a_file() {
    let pending = with(|endpoint| endpoint.status = Some(Pending));
    let (after, report) = apply(&applied(&model()), &pending);
    assert_eq!(state(&after), Approved);
    assert!(report.differences[0].contains("the file says Pending"), "{report}");
    let workflow = with(|endpoint| endpoint.manual = true);
    let (after, report) = apply(&applied(&model()), &workflow);
    assert_eq!((state(&after), report.differences.len()), (Approved, 0), "no decision of the file, no difference");
}

#[test]
fn a_disconnected_endpoint_is_skipped_each_time_and_the_rest_applied() {
    let mut before = decided(applied(&model()), Disconnected);
    for round in 0..2 {
        let mut file = with(|endpoint| endpoint.max_sessions = Some(3));
        file.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
        let (after, report) = apply(&before, &file);
        assert!(report.skipped[0].reason.contains("disconnected by root"), "{report}");
        assert_eq!((state(&after), report.created.len()), (Disconnected, 1 - round));
        assert_eq!(after.model.endpoints[&key("orders")], before.model.endpoints[&key("orders")]);
        before = after;
    }
}

#[test]
fn what_an_endpoint_is_cannot_be_changed_by_the_file() {
    for (name, change) in [
        ("vnet", (|endpoint| endpoint.vnet = key("core")) as fn(&mut PrivateEndpoint)),
        ("subnet", |endpoint| endpoint.subnet = "other".into()),
        ("resource", |endpoint| endpoint.resource = key("other")),
        ("subresource", |endpoint| endpoint.subresource = "blob".into()),
        ("address", |endpoint| endpoint.addresses[0].ip = Some(ip("10.1.9.77"))),
    ] {
        let before = applied(&model());
        let edited = with(|endpoint| {
            change(endpoint);
            endpoint.status = Some(Rejected);
        });
        let (after, report) = apply(&before, &edited);
        assert!(report.skipped[0].reason.contains(&format!("its {name} cannot change")), "{report}");
        assert_eq!(after.connections, before.connections, "nothing of the entry is applied");
        assert_eq!(after.model, before.model);
        assert_eq!(apply(&after, &edited).1.skipped.len(), 1, "and it is reported the next time");
    }
    // The file may come to say what was allocated.
    let unnamed = with(|endpoint| endpoint.addresses = vec![]);
    let (_, report) = apply(&applied(&unnamed), &model());
    assert!(report.skipped.is_empty() && !report.changed(), "{report}");
}

#[test]
fn what_was_deleted_live_comes_back_only_when_its_entry_changes() {
    let mut before = applied(&model());
    before.model.endpoints = Map::default();
    before.connections = Map::default();
    before.deleted.insert(key("orders"), Deleted { by: root().actor(), at: noon() });
    let (after, report) = apply(&before, &model());
    assert!(after.model.endpoints.is_empty());
    assert!(report.skipped[0].reason.contains("deleted live by root at 2026-05-01T12:00:00Z"), "{report}");
    assert_eq!(apply(&after, &model()).1.skipped.len(), 1, "the second time too");

    let (created, report) = apply(&after, &with(|endpoint| endpoint.request_message = "anew".into()));
    assert_eq!(report.created, ["endpoint default/orders"]);
    assert!(created.deleted.is_empty() && created.connections.contains_key(&key("orders")));

    let mut without = model();
    without.endpoints = Map::default();
    let forgotten = apply(&after, &without).0;
    assert!(forgotten.deleted.is_empty());
    assert_eq!(apply(&forgotten, &model()).1.created.len(), 1, "dropped from the file and named again");
}

#[test]
fn what_the_file_no_longer_names_stays_unless_pruned() {
    let mut file = model();
    file.endpoints = Map::default();
    let (kept, report) = apply(&applied(&model()), &file);
    assert_eq!(report.kept_unnamed, ["endpoint default/orders"]);
    assert_eq!(state(&kept), Approved);
    assert_eq!(apply(&kept, &file).1.kept_unnamed.len(), 1, "it is warned about on every apply");
    let (pruned, report) = prune(&kept, &file);
    assert_eq!(report.pruned, ["endpoint default/orders"]);
    assert!(pruned.model.endpoints.is_empty() && pruned.connections.is_empty());
    let (empty, report) = prune(&pruned, &Model::default());
    assert_eq!((report.pruned.len(), empty.model), (3, Model::default()));
}

#[test]
fn an_endpoint_named_again_after_a_live_decision_keeps_it() {
    let mut without = model();
    without.endpoints = Map::default();
    let (kept, _) = apply(&decided(applied(&model()), Rejected), &without);
    let (after, report) = apply(&kept, &model());
    assert_eq!((state(&after), report.differences.len()), (Rejected, 1));
}

#[test]
fn addresses_are_allocated_once_and_spare_those_the_file_names() {
    let mut file = with(|endpoint| endpoint.addresses = vec![]);
    file.endpoints.insert(key("zebra"), endpoint("spoke", Some("10.1.9.4"), "orders-db"));
    let before = applied(&file);
    let address = |control_state: &ControlState| control_state.model.endpoints[&key("orders")].addresses[0].ip;
    assert_eq!(address(&before), Some(ip("10.1.9.5")), "10.1.9.4 is named by an entry that comes later");
    file.endpoints.remove(&key("zebra"));
    let (after, _) = prune(&before, &file);
    assert_eq!(address(&after), Some(ip("10.1.9.5")), "it does not move to a lower one");
    file.endpoints.insert(key("aardvark"), endpoint("spoke", None, "orders-db"));
    let (after, _) = apply(&after, &file);
    assert_eq!(after.model.endpoints[&key("aardvark")].addresses[0].ip, Some(ip("10.1.9.4")), "a freed one is reused");
}

#[test]
fn every_member_gets_an_address_of_its_own() {
    let mut file = model();
    let members = vec![target("registry", "registry", "10.20.0.5"), target("registry", "data", "10.20.0.6")];
    file.resources.insert(key("acr"), resource("core", "10.20.99.5", members));
    let mut wanted = endpoint("spoke", None, "acr");
    wanted.subresource = "registry".into();
    wanted.addresses = vec![EndpointIp { member: "data".into(), ip: Some(ip("10.1.9.9")) }];
    file.endpoints.insert(key("registry"), wanted);
    let after = applied(&file);
    let addresses: Vec<_> =
        after.model.endpoints[&key("registry")].addresses.iter().map(|a| (a.member.as_str(), a.ip.unwrap())).collect();
    assert_eq!(addresses, [("data", ip("10.1.9.9")), ("registry", ip("10.1.9.5"))]);
}

#[test]
fn a_full_subnet_skips_the_endpoint_and_applies_the_rest() {
    let mut file = model();
    file.vnets.insert(key("tiny"), vnet("10.9.0.0/16", vec![subnet("endpoints", "10.9.0.0/30")]));
    file.endpoints.insert(key("homeless"), endpoint("tiny", None, "orders-db"));
    let (after, report) = apply(&ControlState::default(), &file);
    assert!(report.skipped[0].reason.contains("no free address"), "{report}");
    assert!(
        after.model.endpoints.contains_key(&key("orders")) && !after.model.endpoints.contains_key(&key("homeless"))
    );
    assert_eq!(apply(&after, &file).1.skipped.len(), 1, "tried and reported again");
}

#[test]
fn host_settings_that_differ_need_a_restart() {
    let running = host(&["spoke", "core"]);
    assert!(needs_restart(&running, &running).is_empty());
    let mut wanted = host(&["core", "edge"]);
    wanted.deny_rate = 5;
    wanted.socket = "/elsewhere".into();
    assert_eq!(
        needs_restart(&running, &wanted),
        ["[daemon] socket", "[daemon] deny_rate", "[[attachment]] of default/edge", "[[attachment]] of default/spoke"]
    );
    assert_eq!(needs_restart(&running, &host(&["core", "spoke"])), ["the order of [[attachment]]"]);
}

#[test]
fn a_live_endpoint_gets_an_address_for_each_member_its_resource_gains() {
    let mut file = model();
    let members = |names: &[&str]| names.iter().map(|name| target("registry", name, "10.20.0.5")).collect::<Vec<_>>();
    file.resources.insert(key("acr"), resource("core", "10.20.99.5", members(&["hub"])));
    file.endpoints
        .insert(key("registry"), PrivateEndpoint { subresource: "registry".into(), ..endpoint("spoke", None, "acr") });
    let before = applied(&file);
    file.resources.insert(key("acr"), resource("core", "10.20.99.5", members(&["hub", "west", "east"])));
    file.endpoints.get_mut(&key("registry")).unwrap().addresses = ["hub", "west", "east"]
        .map(|name| EndpointIp { member: name.into(), ip: (name == "east").then(|| ip("10.1.9.50")) })
        .into();
    let (after, report) = apply(&before, &file);
    let addresses: Vec<_> =
        after.model.endpoints[&key("registry")].addresses.iter().map(|a| (a.member.as_str(), a.ip.unwrap())).collect();
    assert_eq!(addresses, [("hub", ip("10.1.9.5")), ("west", ip("10.1.9.6")), ("east", ip("10.1.9.50"))], "{report}");
    assert!(report.skipped.is_empty(), "{report}");
    assert_eq!(apply(&after, &file).0, after);
}
