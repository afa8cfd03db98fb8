use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::model::Access;
use crate::model::Subnet;
use crate::snapshot::{Metered, Rates};

const ORDERS: EndpointId = EndpointId(0);

/// Current generation, and the first that is still valid.
fn stamp(snapshot: &Snapshot) -> (Generation, Generation) {
    (snapshot.generation(ORDERS).unwrap(), snapshot.valid_since(ORDERS).unwrap())
}

#[test]
fn a_generation_moves_exactly_when_something_matters_to_the_endpoint() {
    type Change = fn(&mut Lab);
    fn spoke(lab: &mut Lab) -> &mut crate::model::Vnet {
        lab.model.vnets.get_mut(&key("spoke")).unwrap()
    }
    fn db(lab: &mut Lab) -> &mut LinkResource {
        lab.model.resources.get_mut(&key("orders-db")).unwrap()
    }
    let changes: [(&str, bool, Change); 16] = [
        ("nothing", false, |_| ()),
        ("its own sources", true, |lab| lab.orders().sources = vec!["10.1.1.0/24".parse().unwrap()]),
        ("its limit", true, |lab| lab.orders().max_sessions = Some(3)),
        ("its rates", true, |lab| lab.orders().rates = Some(bits(7_000))),
        ("the resource's rates", true, |lab| db(lab).rates = Some(bits(7_000))),
        ("its message", false, |lab| lab.orders().request_message = "ticket".into()),
        ("the VNet's address space", true, |lab| spoke(lab).address_space.push("10.7.0.0/16".parse().unwrap())),
        ("the VNet's on-premises prefixes", true, |lab| spoke(lab).on_premises.clear()),
        ("an excluded workload", true, |lab| {
            let (class, prefix) = ("c".into(), "10.1.5.0/24".parse().unwrap());
            spoke(lab).workloads = vec![Workload { class, prefix, private_endpoints: false }];
        }),
        ("the resource's ports", true, |lab| db(lab).targets[0].ports[0].last = 5433),
        ("the resource's backends", true, |lab| db(lab).targets[0].backends[0].address = ip("10.20.0.3")),
        ("the resource's NAT addresses", true, |lab| db(lab).nat.push(ip("10.20.99.9"))),
        ("the resource's timeouts", true, |lab| db(lab).timeouts.udp = Some(Duration::from_secs(1))),
        ("an unattached peer that goes", true, |lab| spoke(lab).peerings.clear()),
        ("a security group in force", true, |lab| {
            lab.model.security_groups.insert(key("group"), SecurityGroup { rules: vec![] });
            spoke(lab).subnets[0].network_policies = NetworkPolicies::Enabled;
            spoke(lab).subnets[0].security_group = Some(key("group"));
        }),
        ("an endpoint beside it", false, |lab| {
            lab.model.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
            lab.set("second", Approved);
        }),
    ];
    for (name, matters, change) in changes {
        let mut lab = star(&["spoke", "core"]);
        let before = stamp(&lab.compile().snapshot);
        change(&mut lab);
        let after = stamp(&lab.compile().snapshot);
        assert_eq!(after.0 > before.0, matters, "{name}");
        assert_eq!(after.1, before.1, "{name}: sessions are judged again, not ended");
    }
}

fn bits(bits: u64) -> Rates {
    Rates { bits_per_second: Some(bits), new_sessions_per_second: None }
}

#[test]
fn what_has_passed_by_a_rate_counts_on_through_every_change_but_that_of_the_rate() {
    type Change = fn(&mut Lab);
    fn db(lab: &mut Lab) -> &mut LinkResource {
        lab.model.resources.get_mut(&key("orders-db")).unwrap()
    }
    let of_endpoint: Change = |lab| lab.orders().rates = Some(bits(7_000));
    let of_resource: Change = |lab| db(lab).rates = Some(bits(7_000));
    let changes: [(&str, Change, [bool; 2]); 6] = [
        ("nothing", |_| (), [false; 2]),
        ("its sources", |lab| lab.orders().sources = vec!["10.1.1.0/24".parse().unwrap()], [false; 2]),
        (
            "another endpoint",
            |lab| {
                lab.model.endpoints.insert(key("second"), endpoint("spoke", Some("10.1.9.5"), "orders-db"));
                lab.set("second", Approved);
            },
            [false; 2],
        ),
        ("the resource's ports", |lab| db(lab).targets[0].ports[0].last = 5433, [false; 2]),
        ("its rate", |lab| lab.orders().rates = Some(bits(6_000)), [true, false]),
        ("the resource's rate", |lab| db(lab).rates = Some(bits(6_000)), [true; 2]),
    ];
    // All that may pass at once: two super-packets.
    let (amount, later) = (2 * 65_536 * 8, Duration::from_secs(1));
    for (limit, which) in [(of_endpoint, 0), (of_resource, 1)] {
        for (name, change, begins_anew) in changes {
            let mut lab = Lab::new(model(), &["spoke", "core"]);
            assert!(lab.compile().snapshot.limits(ORDERS).is_none(), "no rate, no meter");
            limit(&mut lab);
            let snapshot = lab.compile().snapshot;
            let limits = snapshot.limits(ORDERS).expect("limited");
            limits.allow(Metered::ToService, amount, later).expect("room").pay();
            change(&mut lab);
            let after = lab.compile().snapshot;
            let room = after.limits(ORDERS).expect("limited").allow(Metered::ToService, amount, later);
            assert_eq!(room.is_some(), begins_anew[which], "{name}, rate of {which}");
        }
    }
}

#[test]
fn sessions_of_before_a_revocation_die_even_if_it_is_approved_again_at_once() {
    for state in [Pending, Rejected, Disconnected] {
        let mut lab = Lab::new(model(), &["spoke", "core"]);
        let session = stamp(&lab.compile().snapshot).0;
        lab.set("orders", state);
        lab.compile();
        lab.set("orders", Approved);
        let (current, valid_since) = stamp(&lab.compile().snapshot);
        assert!(session < valid_since, "{state}: a session of before is too old");
        assert!(current >= valid_since, "{state}: a new one is not");
    }
}

#[test]
fn a_deleted_endpoints_sessions_die_and_its_id_is_never_given_out_again() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    let session = stamp(&lab.compile().snapshot).0;
    let orders = lab.model.endpoints.clone();
    lab.model.endpoints = Map::default();
    let (current, valid_since) = stamp(&lab.compile().snapshot);
    assert!(session < valid_since && current != session);
    lab.model.endpoints = orders;
    let snapshot = lab.compile().snapshot;
    assert_eq!(lab.registry.endpoint(&key("orders")), Some(EndpointId(1)));
    assert_eq!(stamp(&snapshot), (current, valid_since), "the old id stays dead");
    assert!(snapshot.generation(EndpointId(1)).unwrap() > current);
}

#[test]
fn of_many_endpoints_those_that_go_end_and_the_others_stay_as_they_were() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    let template = lab.orders().clone();
    let name = |number: u8| key(&format!("endpoint-{number}"));
    lab.model.endpoints = Map::default();
    for number in 0..20 {
        let mut endpoint = template.clone();
        endpoint.addresses[0].ip = Some(ip(&format!("10.1.9.{}", 100 + number)));
        lab.model.endpoints.insert(name(number), endpoint);
        lab.connections.insert(name(number), connection(Approved));
    }
    let before = lab.compile().snapshot;
    let ids: Vec<EndpointId> = (0..20).map(|number| lab.registry.endpoint(&name(number)).unwrap()).collect();
    let goes = |number: u8| number.is_multiple_of(3);
    (0..20).filter(|&number| goes(number)).for_each(|number| assert!(lab.model.endpoints.remove(&name(number))));
    let after = lab.compile().snapshot;
    for (number, &id) in (0..).zip(&ids) {
        let (then, now) = (before.generation(id).unwrap(), after.generation(id).unwrap());
        assert_eq!((now != then, after.valid_since(id).unwrap() > then), (goes(number), goes(number)), "{number}");
        assert_eq!(lab.registry.endpoint(&name(number)), (!goes(number)).then_some(id));
    }
    assert_eq!(after.endpoint_addresses().count(), 13);
}

#[test]
fn a_provider_that_moves_to_another_attachment_ends_its_sessions() {
    let mut lab = Lab::new(model(), &["spoke", "core", "edge"]);
    lab.model.vnets.insert(key("edge"), vnet("10.30.0.0/16", vec![]));
    let session = stamp(&lab.compile().snapshot).0;
    lab.model.resources.get_mut(&key("orders-db")).unwrap().vnet = Some(key("edge"));
    assert!(stamp(&lab.compile().snapshot).1 > session);
}

#[test]
fn a_deleted_resource_keeps_its_slot_and_others_keep_their_ids() {
    let mut lab = Lab::new(model(), &["spoke", "core"]);
    lab.model.resources.insert(key("a-first"), resource("core", "10.20.99.8", vec![target("", "", "10.20.0.8")]));
    lab.compile();
    let ids = ["orders-db", "a-first"].map(|name| lab.registry.resource(&key(name)));
    lab.model.resources.remove(&key("a-first"));
    let snapshot = lab.compile().snapshot;
    assert_eq!(["orders-db", "a-first"].map(|name| lab.registry.resource(&key(name))), ids);
    let gone = snapshot.resource(ids[1].unwrap()).unwrap();
    assert!(gone.targets.is_empty() && gone.nat.is_empty());
    assert_eq!(ask(&snapshot, 0, "10.1.0.7", "10.1.9.4", 5432), Ok(5432));
    assert_eq!(snapshot.nat_owner(AttachmentId(1), ip("10.20.99.8")), None);
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

/// Networks `v0..`, each attached or not, peered at random and in random namespaces; `v0` provides.
fn labs() -> impl Strategy<Value = Lab> {
    let vnet_count = 4_usize;
    (
        proptest::collection::vec((0..vnet_count, 0..vnet_count), 0..10),
        proptest::collection::vec(any::<bool>(), vnet_count),
        proptest::collection::vec(1_u64..4, vnet_count),
        proptest::collection::vec((0..vnet_count, 0..2_usize, any::<bool>(), states()), 1..8),
        proptest::collection::vec((any::<bool>(), any::<bool>(), 1_u8..4), 0..4),
    )
        .prop_map(move |(peerings, attached, namespaces, endpoints, rules)| {
            let names: Vec<String> = (0..vnet_count).map(|number| format!("v{number}")).collect();
            let here: Vec<&str> = names
                .iter()
                .zip(&attached)
                .enumerate()
                .filter(|(n, (_, a))| *n == 0 || **a)
                .map(|(_, (v, _))| v.as_str())
                .collect();
            let mut lab = Lab::new(Model::default(), &here);
            lab.namespaces = namespaces.into_iter().take(here.len()).collect();
            lab.model.security_groups.insert(key("group"), SecurityGroup { rules: rules_of(&rules) });
            for (number, name) in names.iter().enumerate() {
                let space = format!("10.{number}.0.0/16");
                let subnet = Subnet {
                    network_policies: NetworkPolicies::Enabled,
                    security_group: Some(key("group")),
                    ..subnet("endpoints", &format!("10.{number}.9.0/24"))
                };
                lab.model.vnets.insert(key(name), vnet(&space, vec![subnet]));
            }
            for (from, to) in peerings {
                lab.peer(&names[from], &names[to]);
            }
            for number in 0..2 {
                let name = format!("r{number}");
                let targets = vec![target("", "", &format!("10.0.0.{}", number + 2))];
                lab.model.resources.insert(key(&name), resource("v0", &format!("10.0.99.{}", number + 4), targets));
            }
            for (number, (vnet, bound, limited, state)) in endpoints.into_iter().enumerate() {
                let (name, address) = (format!("e{number}"), format!("10.{vnet}.9.{}", number + 4));
                let mut wanted = endpoint(&names[vnet], Some(&address), &format!("r{bound}"));
                if limited {
                    wanted.rates = Some(bits(5_000));
                    wanted.sources = vec![format!("10.{vnet}.1.0/24").parse().unwrap()];
                }
                lab.model.endpoints.insert(key(&name), wanted);
                lab.set(&name, state);
            }
            lab
        })
}

fn rules_of(random: &[(bool, bool, u8)]) -> Vec<SecurityRule> {
    let rule = |(&(allow, any_source, third), number): (&(bool, bool, u8), u16)| SecurityRule {
        name: format!("rule{number}"),
        priority: 100 + number,
        access: if allow { Access::Allow } else { Access::Deny },
        protocol: None,
        sources: if any_source { vec![] } else { vec![format!("10.1.{third}.0/24").parse().unwrap()] },
        destinations: vec![],
        ports: vec![],
    };
    random.iter().zip(0..).map(rule).collect()
}

fn states() -> impl Strategy<Value = ConnectionState> {
    select(vec![Pending, Approved, Rejected, Disconnected])
}

/// Every question worth asking in such a lab, and its answer.
fn answers(snapshot: &Snapshot) -> Vec<String> {
    let mut answers = Vec::new();
    for attachment in 0..4 {
        for (vnet, third) in (0..4).flat_map(|vnet| (0..4).map(move |third| (vnet, third))) {
            let source = IpAddr::from(Ipv4Addr::new(10, octet(vnet), octet(third), 7));
            for (network, last) in (0..4).flat_map(|network| (4..12).map(move |last| (network, last))) {
                let destination = IpAddr::from(Ipv4Addr::new(10, octet(network), 9, last));
                let port = if last % 2 == 0 { 5432 } else { 5431 + u16::from(third == 1) };
                let attachment = AttachmentId(attachment);
                let answer = judge(snapshot, &Query { attachment, source, destination, protocol: Protocol::Tcp, port });
                answers.push(match answer {
                    Ok(admission) => {
                        format!("{:?} {:?} {}", admission.endpoint, admission.target, admission.backend_port)
                    }
                    Err(denial) => format!("{:?} {:?}", denial.endpoint, denial.reason),
                });
            }
        }
    }
    answers
}

fn stamps(snapshot: &Snapshot) -> Vec<(Option<Generation>, Option<Generation>)> {
    (0..10).map(EndpointId).map(|id| (snapshot.generation(id), snapshot.valid_since(id))).collect()
}

proptest! {
    #![proptest_config(crate::testing::cases(48))]
    #[test]
    fn the_incremental_compile_equals_the_full_one(
        lab in labs(),
        steps in proptest::collection::vec((any::<Index>(), states()), 1..6),
    ) {
        let mut lab = lab;
        let mut snapshot = lab.compile().snapshot;
        for (chosen, state) in steps {
            let name = lab.model.endpoints.keys().nth(chosen.index(lab.model.endpoints.len())).unwrap().clone();
            lab.set(&name.name, state);
            let mut full = lab.clone();
            let whole = full.compile().snapshot;
            lab.epoch += 1;
            let input = Input {
            health: &Health::default(),
            retired: &Retired::default(),
                model: &lab.model,
                connections: &lab.connections,
                host: &lab.host,
                namespaces: &lab.namespaces,
                workers: 2,
            };
            snapshot = compile_endpoint(&snapshot, &input, &mut lab.registry, lab.epoch, &name).unwrap();
            prop_assert_eq!(answers(&snapshot), answers(&whole));
            prop_assert_eq!(stamps(&snapshot), stamps(&whole));
            prop_assert_eq!(snapshot.epoch, whole.epoch);
            let limited = |snapshot: &Snapshot| -> Vec<String> {
                (0..10).map(|id| format!("{:?}", snapshot.limits(EndpointId(id)))).collect()
            };
            prop_assert_eq!(limited(&snapshot), limited(&whole));
            // The compiler's memory is the same too: what follows cannot differ either.
            let next = |lab: &Lab| stamps(&lab.clone().compile().snapshot);
            prop_assert_eq!(next(&lab), next(&full));
            prop_assert_eq!(stamps(&snapshot), next(&lab), "compiling again moves nothing");
        }
    }
}
