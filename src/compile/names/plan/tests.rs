use proptest::prelude::*;

use super::*;
use crate::model::ConnectionState::{Approved, Disconnected, Pending, Rejected};
use crate::model::state::DAEMON;
use crate::model::{
    AcceptedNames, ConnectionState, EndpointIp, PrivateEndpoint, RecordType, Tags, ZoneGroup, ZoneRecord, read_values,
};
use crate::testing::{connection, endpoint, ip, key, model, resource, target};

const BLOB: &str = "privatelink.blob.core.windows.net";

/// `spoke` and its peer `hub` have resolvers, `far` has one and is nobody's peer; an account and a service with names.
fn networks() -> Model {
    let mut model = model();
    let mut account = resource("core", "10.20.99.8", vec![target("blob", "", "10.20.0.5")]);
    account.kind = Some("Microsoft.Storage/storageAccounts".to_owned());
    model.resources.insert(key("account"), account);
    let mut service = resource("core", "10.20.99.9", vec![target("", "", "10.20.0.6")]);
    service.fqdns = vec!["db.corp.internal".into(), "a.b.deep.example".into()];
    model.resources.insert(key("service"), service);
    let dns = |listen: &str| Some(DnsSettings { listen: vec![ip(listen)], ..DnsSettings::default() });
    let mut spoke = model.vnets[&key("spoke")].clone();
    let (mut hub, mut far) = (spoke.clone(), spoke.clone());
    (spoke.dns, hub.dns, far.dns) = (dns("10.1.255.254"), dns("10.3.255.254"), dns("10.4.255.254"));
    (spoke.peerings, hub.peerings) = (vec![key("hub")], vec![key("spoke")]);
    for (name, vnet) in [("spoke", spoke), ("hub", hub), ("far", far)] {
        model.vnets.insert(key(name), vnet);
    }
    model
}

fn zone(links: &[&str], records: &[(&str, RecordType, &str)]) -> DnsZone {
    let link = |vnet: &&str| ZoneLink {
        name: (*vnet).to_owned(),
        vnet: key(vnet),
        policy: ResolutionPolicy::Default,
        registration: false,
        tags: Tags::new(),
    };
    let mut zone = DnsZone { links: links.iter().map(link).collect(), ..DnsZone::default() };
    for (name, kind, value) in records {
        let data = read_values(*kind, &[(*value).to_owned()]).expect("a value");
        zone.put(ZoneRecord { name: (*name).to_owned(), set: RecordSet { ttl: 60, data }, metadata: Tags::new() });
    }
    zone
}

fn decided(model: Model, endpoints: &[(&str, PrivateEndpoint, ConnectionState)]) -> ControlState {
    let mut control_state = ControlState { model, ..ControlState::default() };
    for (name, endpoint, state) in endpoints {
        put(&mut control_state, name, endpoint.clone(), *state);
    }
    control_state
}

fn put(control_state: &mut ControlState, name: &str, endpoint: PrivateEndpoint, state: ConnectionState) {
    control_state.model.endpoints.insert(key(name), endpoint);
    control_state.connections.insert(key(name), connection(state));
}

fn blob(vnet: &str, address: &str, zones: &[&str]) -> PrivateEndpoint {
    let mut endpoint = endpoint(vnet, Some(address), "account");
    endpoint.subresource = "blob".into();
    endpoint.zone_group = (!zones.is_empty()).then(|| Box::new(ZoneGroup::of(zones.iter().map(|zone| key(zone)))));
    endpoint
}

#[allow(clippy::unnecessary_box_returns, reason = "it is kept in a box")]
fn accepted(names: &[&str]) -> Box<AcceptedNames> {
    Box::new(AcceptedNames::read(names).expect("names"))
}

/// Where `name` answers with anything at all.
fn answering(control_state: &ControlState, name: &str) -> Vec<String> {
    let plan = plan(control_state, 1);
    let knows = plan.resolvers.iter().filter(|(_, resolver)| resolver.names.get(name).is_some());
    knows.map(|(vnet, _)| vnet.clone()).collect()
}

#[test]
fn a_name_that_the_resource_gives_answers_where_the_network_accepts_it_and_nowhere_before() {
    let name = "db.corp.internal";
    let entries =
        [None, Some(accepted(&["other.corp.internal"])), Some(accepted(&[name])), Some(accepted(&["*.corp.internal"]))];
    for state in [Approved, Pending, Rejected, Disconnected] {
        for (at, in_spoke) in entries.iter().enumerate() {
            for (other, in_hub) in entries.iter().enumerate() {
                let mut service = endpoint("spoke", Some("10.1.9.7"), "service");
                service.accept_names.clone_from(in_spoke);
                let mut control_state = decided(networks(), &[("service", service.clone(), state)]);
                let hub = control_state.model.vnets.get_mut(&key("hub")).expect("hub");
                hub.dns.as_mut().expect("a resolver").accept_names.clone_from(in_hub);
                let expected: &[&str] = match (at >= 2, other >= 2) {
                    (false, _) => &[],
                    (true, false) => &["default/spoke"],
                    (true, true) => &["default/hub", "default/spoke"],
                };
                assert_eq!(answering(&control_state, name), expected, "{state}: {in_spoke:?}, {in_hub:?}");
                let waits = crate::compile::names::waiting(&control_state, &key("service"), &service).into_iter();
                let waits: Vec<String> = waits.filter(|one| one.name == name).map(|one| one.vnet.to_string()).collect();
                let missing: &[&str] = match expected.len() {
                    0 => &["default/spoke"],
                    1 => &["default/hub"],
                    _ => &[],
                };
                assert_eq!(waits, missing, "{state}: {in_spoke:?}, {in_hub:?}");
            }
        }
    }
}

#[test]
fn only_the_resources_own_label_answers_by_itself() {
    for (fqdn, expected) in [
        ("account.blob.core.windows.net", &["default/hub", "default/spoke"][..]),
        ("ACCOUNT.blob.core.windows.net.", &["default/hub", "default/spoke"]),
        ("other.blob.core.windows.net", &[]),
        ("x.account.blob.core.windows.net", &[]),
        ("account.file.core.windows.net", &[]),
        ("login.example.com", &[]),
    ] {
        let mut model = networks();
        model.resources.get_mut(&key("account")).expect("account").targets[0].fqdns = vec![fqdn.to_owned()];
        let control_state = decided(model, &[("one", blob("spoke", "10.1.9.8", &[]), Approved)]);
        assert_eq!(answering(&control_state, &crate::model::names::folded(fqdn)), expected, "{fqdn}");
    }
}

#[test]
fn the_daemons_file_accepts_what_it_names_in_the_networks_that_it_names() {
    let name = "db.corp.internal";
    let service = || endpoint("spoke", Some("10.1.9.7"), "service");
    let whole = networks();
    let without = |vnets: &[&str], fqdns: &[&str]| {
        let mut file = whole.clone();
        for vnet in vnets {
            file.vnets.remove(&key(vnet));
        }
        file.resources.get_mut(&key("service")).expect("service").fqdns =
            fqdns.iter().map(|name| (*name).to_owned()).collect();
        file
    };
    for (file, author, expected) in [
        (whole.clone(), DAEMON, &["default/hub", "default/spoke"][..]),
        (without(&["hub"], &[name]), DAEMON, &["default/spoke"]),
        (without(&["spoke"], &[name]), DAEMON, &[]),
        (without(&[], &["other.corp.internal"]), DAEMON, &[]),
        (whole.clone(), "uid:1000", &[]),
    ] {
        let mut control_state = decided(networks(), &[("service", service(), Approved)]);
        let applied = crate::model::state::Applied { model: file, ..Default::default() };
        control_state.files.insert(author.to_owned(), applied);
        assert_eq!(answering(&control_state, name), expected, "{author}");
    }
}

fn addresses(plan: &DnsPlan, vnet: &str, name: &str) -> Vec<String> {
    let node = plan.resolvers[vnet].names.get(name);
    node.iter().flat_map(|node| &node.owners).map(|owner| format!("{} {}", owner.endpoint, owner.address)).collect()
}

#[test]
fn an_endpoint_with_a_zone_group_is_seen_where_its_zone_is_linked_and_nowhere_else() {
    let mut model = networks();
    model.dns_zones.insert(key(BLOB), zone(&["far"], &[("www", RecordType::A, "10.0.0.1")]));
    let control_state = decided(
        model,
        &[
            ("in-zone", blob("spoke", "10.1.9.8", &[BLOB]), Approved),
            ("alone", blob("spoke", "10.1.9.9", &[]), Approved),
        ],
    );
    let plan = plan(&control_state, 1);
    let (public, host) = ("account.blob.core.windows.net", &format!("account.{BLOB}"));
    assert_eq!(addresses(&plan, "default/far", host), ["default/in-zone 10.1.9.8"]);
    for vnet in ["default/spoke", "default/hub"] {
        assert_eq!(addresses(&plan, vnet, host), ["default/alone 10.1.9.9"], "{vnet}");
        let zone = plan.resolvers[vnet].zones.get(BLOB).expect("the zone that came about");
        assert_eq!((zone.policy, zone.own.is_some()), (ResolutionPolicy::NxDomainRedirect, false));
    }
    let far = &plan.resolvers["default/far"];
    assert_eq!(&*far.names.get(public).expect("the public name too").aliases[0].to, host.as_str());
    let zone = far.zones.get(BLOB).expect("the zone");
    assert_eq!((zone.policy, zone.own.is_some(), zone.claims), (ResolutionPolicy::Default, true, 0));
    assert_eq!(far.names.get(&format!("www.{BLOB}")).expect("written").written().len(), 1);
}

#[test]
fn a_zone_of_ones_own_takes_the_names_that_lie_in_it() {
    let mut model = networks();
    model.dns_zones.insert(key("corp.internal"), zone(&["spoke"], &[]));
    model.dns_zones.insert(key("other.internal"), zone(&["spoke"], &[]));
    let mut service = endpoint("spoke", Some("10.1.9.7"), "service");
    service.zone_group = Some(Box::new(ZoneGroup::of([key("corp.internal"), key("other.internal")])));
    let plan = plan(&decided(model, &[("service", service, Approved)]), 1);
    assert_eq!(addresses(&plan, "default/spoke", "db.corp.internal"), ["default/service 10.1.9.7"]);
    let spoke = &plan.resolvers["default/spoke"];
    assert!(spoke.names.get("a.b.deep.example").is_none() && spoke.zones.get("db.corp.internal").is_none());
}

#[test]
fn one_endpoint_less_takes_its_own_address_from_a_shared_name() {
    let mut control_state = decided(
        networks(),
        &[("one", blob("spoke", "10.1.9.8", &[]), Approved), ("two", blob("hub", "10.1.9.9", &[]), Approved)],
    );
    let host = format!("account.{BLOB}");
    let mut planner = Planner::of(&control_state, 1);
    assert_eq!(addresses(planner.plan(), "default/spoke", &host).len(), 2);
    let before = control_state.clone();
    control_state.model.endpoints.remove(&key("one"));
    planner.follow(&key("one"), &before, &control_state, 2);
    assert_eq!(addresses(planner.plan(), "default/spoke", &host), ["default/two 10.1.9.9"]);
    assert_eq!(planner.plan().resolvers["default/spoke"].serial, 2);
    assert_eq!(planner.plan().resolvers["default/far"].serial, 1, "nothing has changed there");
}

#[test]
fn names_outlive_the_resource_that_they_led_to() {
    let mut model = networks();
    let former = crate::model::FormerResource::of(&model.resources[&key("service")]);
    model.resources.remove(&key("service"));
    model.former_resources.insert(key("service"), former);
    let mut left = endpoint("spoke", Some("10.1.9.7"), "service");
    left.accept_names = Some(accepted(&["*.corp.internal"]));
    let plan = plan(&decided(model, &[("left", left, Disconnected)]), 1);
    let owner = &plan.resolvers["default/spoke"].names.get("db.corp.internal").expect("still known").owners[0];
    assert!(owner.state == Disconnected && !plan.resolvers["default/spoke"].tells(owner, false));
}

#[test]
fn what_has_the_key_of_a_former_resource_gives_its_endpoints_no_names() {
    let mut model = networks();
    let mut former = crate::model::FormerResource::of(&model.resources[&key("service")]);
    former.endpoints.insert(key("left"));
    model.former_resources.insert(key("service"), former);
    let mut anew = model.resources[&key("service")].clone();
    anew.fqdns = vec!["captured.corp.internal".into()];
    anew.targets.iter_mut().for_each(|target| target.fqdns.clear());
    model.resources.insert(key("service"), anew);
    let bound = |address: &str| {
        let mut bound = endpoint("spoke", Some(address), "service");
        bound.accept_names = Some(accepted(&["*.corp.internal"]));
        bound
    };
    let endpoints = [("left", bound("10.1.9.7"), Disconnected), ("new", bound("10.1.9.8"), Approved)];
    let plan = plan(&decided(model, &endpoints), 1);
    let owners = |name: &str| {
        let node = plan.resolvers["default/spoke"].names.get(name);
        node.into_iter().flat_map(|node| &node.owners).map(|one| one.endpoint.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(owners("db.corp.internal"), ["default/left"], "what it was bound to gave it this name");
    assert_eq!(owners("captured.corp.internal"), ["default/new"]);
}

#[test]
fn lockdown_covers_typed_resources_of_every_kind() {
    let mut model = networks();
    model.vnets.get_mut(&key("far")).expect("far").lockdown = true;
    let plan = plan(&decided(model, &[]), 1);
    let far = &plan.resolvers["default/far"];
    assert_eq!(far.guard_of("other.blob.core.windows.net").map(|zone| &**zone), Some("blob.core.windows.net"));
    assert!(far.guard_of("www.example.com").is_none());
    assert!(plan.resolvers["default/hub"].guard_of("other.blob.core.windows.net").is_none());
}

/// What is done to one endpoint.
#[derive(Clone, Debug)]
enum Step {
    Put { name: u8, vnet: u8, service: bool, zones: u8, state: u8, accepts: u8 },
    Delete { name: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0..6_u8, 0..3_u8, any::<bool>(), 0..4_u8, 0..4_u8, 0..3_u8).prop_map(
        |(name, vnet, service, zones, state, accepts)| Step::Put { name, vnet, service, zones, state, accepts },
    );
    prop_oneof![3 => put, 1 => (0..6_u8).prop_map(|name| Step::Delete { name })]
}

/// The plan without what only counts changes.
fn told(planner: &Planner) -> DnsPlan {
    let mut plan = DnsPlan::clone(planner.plan());
    plan.resolvers.values_mut().for_each(|resolver| Arc::make_mut(resolver).serial = 0);
    plan
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    /// Whatever is done to endpoints one by one, the plan that follows is the one made of the whole.
    #[test]
    fn the_plan_that_follows_is_the_one_made_anew(steps in prop::collection::vec(step(), 1..25)) {
        let mut model = networks();
        let records = [("www", RecordType::A, "10.0.0.1"), ("account", RecordType::Txt, "beside an endpoint")];
        model.dns_zones.insert(key(BLOB), zone(&["far", "hub"], &records));
        model.dns_zones.insert(key("deep.example"), zone(&["spoke"], &[("b", RecordType::A, "10.0.0.2")]));
        let hub = model.vnets.get_mut(&key("hub")).expect("hub");
        hub.dns.as_mut().expect("a resolver").accept_names = Some(accepted(&["*.corp.internal"]));
        let mut control_state = decided(model, &[]);
        let mut planner = Planner::of(&control_state, 1);
        for (serial, step) in (2..).zip(&steps) {
            let before = control_state.clone();
            let name = match step {
                Step::Delete { name } => {
                    control_state.model.endpoints.remove(&key(&format!("e{name}")));
                    control_state.connections.remove(&key(&format!("e{name}")));
                    name
                }
                Step::Put { name, vnet, service, zones, state, accepts } => {
                    let vnet = ["spoke", "hub", "far"][usize::from(*vnet)];
                    let zones: &[&str] = [&[][..], &[BLOB], &["deep.example"], &[BLOB, "deep.example"]][usize::from(*zones)];
                    let mut made = blob(vnet, &format!("10.1.9.{}", 10 + name), zones);
                    made.accept_names = [&[][..], &["db.corp.internal"], &["*.example", "*.internal"]].get(usize::from(*accepts)).filter(|names| !names.is_empty()).map(|names| accepted(names));
                    if *service {
                        (made.resource, made.subresource) = (key("service"), String::new());
                        made.addresses.push(EndpointIp { member: String::new(), ip: Some(ip("fd00::1")) });
                    }
                    put(&mut control_state, &format!("e{name}"), made, [Approved, Pending, Rejected, Disconnected][usize::from(*state)]);
                    name
                }
            };
            planner.follow(&key(&format!("e{name}")), &before, &control_state, serial);
            prop_assert_eq!(told(&planner), told(&Planner::of(&control_state, serial)), "after {:?}", step);
        }
        let before = control_state.clone();
        let names: Vec<Key> = control_state.model.endpoints.keys().cloned().collect();
        let mut last = before;
        for name in names {
            control_state.model.endpoints.remove(&name);
            planner.follow(&name, &last, &control_state, 99);
            last = control_state.clone();
        }
        prop_assert_eq!(told(&planner), told(&Planner::of(&control_state, 99)), "and nothing is left of any");
    }
}
