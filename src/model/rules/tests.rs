//! Rules judged on a model that never was a file; the rows of `config` show each rule.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::model::{
    BackendSpec, EndpointIp, LinkResource, NetworkPolicies, PortSpec, PrivateEndpoint, Quota, Quotas, Subnet,
    TargetSpec, Visibility, Vnet, Workload,
};
use crate::snapshot::Protocol;
use crate::testing;

mod told;

fn net(text: &str) -> IpNet {
    text.parse().expect("literal")
}

fn vnet(space: &str, subnet: &str) -> Vnet {
    Vnet {
        region: "here".to_owned(),
        address_space: vec![net(space)],
        on_premises: Vec::new(),
        peerings: Vec::new(),
        subnets: vec![Subnet {
            name: "s".to_owned(),
            prefixes: vec![net(subnet)],
            dedicated: false,
            delegations: Vec::new(),
            service_endpoints: Vec::new(),
            network_policies: NetworkPolicies::Disabled,
            security_group: None,
            nat: Some(true),
        }],
        workloads: Vec::new(),
        dns: None,
        lockdown: false,
        public_prefixes: vec![],
        peering_labels: vec![],
        tags: crate::model::Tags::new(),
        foreign: String::new(),
    }
}

fn model() -> Model {
    let key = |name: &str| Key::new("default", name);
    let mut model = Model::default();
    model.vnets.insert(key("spoke"), vnet("10.1.0.0/16", "10.1.9.0/24"));
    model.vnets.insert(key("core"), vnet("10.2.0.0/16", "10.2.9.0/24"));
    let target = TargetSpec {
        health: None,
        port_checks: Vec::new(),
        balance: None,
        subresource: String::new(),
        member: String::new(),
        fqdns: Vec::new(),
        backends: vec![BackendSpec { address: Ipv4Addr::new(10, 2, 0, 2).into(), drain: false }],
        ports: vec![PortSpec { protocol: Protocol::Tcp, first: 80, last: 80, backend_first: 80 }],
        icmp: false,
    };
    model.resources.insert(
        key("db"),
        LinkResource {
            kind: None,
            region: "elsewhere".to_owned(),
            vnet: Some(key("core")),
            nat: vec![Ipv4Addr::new(10, 2, 9, 4).into()],
            nat_configs: vec![],
            frontends: vec![],
            destination: None,
            visibility: Visibility::Readers,
            auto_approval: Vec::new(),
            alias: None,
            cross_region: true,
            fqdns: Vec::new(),
            proxy_protocol: false,
            shared_backend: false,
            deny: None,
            max_sessions: None,
            max_sessions_per_endpoint: None,
            rates: None,
            drain: crate::model::DRAIN,
            balance: crate::snapshot::Balance::LeastSessions,
            timeouts: TimeoutOverrides::default(),
            targets: vec![target],
            tags: crate::model::Tags::new(),
            foreign: String::new(),
        },
    );
    model.endpoints.insert(
        key("orders"),
        PrivateEndpoint {
            region: "Here".to_owned(),
            vnet: key("spoke"),
            subnet: "S".to_owned(),
            addresses: vec![EndpointIp { member: String::new(), ip: Some(Ipv4Addr::new(10, 1, 9, 4).into()) }],
            resource: key("db"),
            subresource: String::new(),
            manual: false,
            request_message: String::new(),
            status: None,
            reason: String::new(),
            sources: Vec::new(),
            max_sessions: None,
            rates: None,
            accept_names: None,
            zone_group: None,
            labels: None,
        },
    );
    model
}

#[test]
fn a_good_model_has_no_violation() {
    assert_eq!(validate(&model(), None), vec![]);
}

#[test]
fn a_live_model_is_judged_as_a_file_is() {
    let mut model = model();
    let key = Key::new("default", "orders");
    model.endpoints.get_mut(&key).expect("there").addresses[0].ip = Some(Ipv4Addr::new(10, 1, 8, 4).into());
    let found = validate(&model, None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].at, Object::Endpoint(key).at("addresses[0].ip"));
    assert_eq!(
        found[0].to_string(),
        "endpoint default/orders: addresses[0].ip: error: endpoint address 10.1.8.4 is outside subnet `s` \
         (10.1.9.0/24); choose an address of subnet `s` between 10.1.9.4 and 10.1.9.254, or leave `ip` out"
    );
}

#[test]
fn references_that_lost_their_object_are_found() {
    for (lost, field) in [("spoke", "vnet"), ("db", "resource")] {
        let mut model = model();
        let key = Key::new("default", lost);
        model.vnets.remove(&key);
        model.resources.remove(&key);
        let found = validate(&model, None);
        assert!(found.iter().any(|violation| violation.at.field == field), "{lost}: {found:?}");
    }
}

#[test]
fn names_are_one_to_eighty_letters_digits_and_a_few_signs() {
    for (name, expected) in [
        ("a", true),
        ("0-_.", true),
        (&"x".repeat(80), true),
        (&"x".repeat(81), false),
        ("", false),
        (".a", false),
        ("a/b", false),
        ("a b", false),
        ("\u{e4}", false),
    ] {
        assert_eq!(is_name(name), expected, "{name}");
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn overlaps_are_those_of_a_comparison_of_all_pairs(
        nets in proptest::collection::vec((any::<u16>(), 8_u8..=32), 0..12),
    ) {
        let nets: Vec<IpNet> = nets
            .into_iter()
            .map(|(bits, length)| {
                IpNet::new(Ipv4Addr::from(u32::from(bits) << 16).into(), length).expect("length in range").trunc()
            })
            .collect();
        let touches = |one: usize, two: usize| nets[one].contains(&nets[two]) || nets[two].contains(&nets[one]);
        let pairs = overlaps(&nets);
        prop_assert!(pairs.iter().all(|&(one, two)| one < two && touches(one, two)));
        for index in 0..nets.len() {
            let expected = (0..nets.len()).any(|other| other != index && touches(index, other));
            prop_assert_eq!(pairs.iter().any(|&(one, two)| one == index || two == index), expected);
        }
    }
}

fn orders() -> Key {
    Key::new("default", "orders")
}

/// A host that attaches both VNets.
fn host(limits: Limits) -> HostConfig {
    HostConfig { limits, ..testing::host(&["spoke", "core"]) }
}

fn codes(model: &Model, host: &HostConfig) -> Vec<&'static str> {
    let errors = validate(model, Some(host)).into_iter().filter(|violation| violation.severity == Severity::Error);
    errors.map(|violation| violation.code).collect()
}

/// A change of the good model, the code that refuses it, whether that holds today, and the row that lifts it.
type Limitation = (fn(&mut Model), &'static str, bool, fn(&mut Limits));

#[test]
fn each_limitation_of_the_seed_holds_in_its_mode_only() {
    fn subnet(model: &mut Model) -> &mut Subnet {
        &mut model.vnets.get_mut(&Key::new("default", "spoke")).unwrap().subnets[0]
    }
    fn endpoint(model: &mut Model) -> &mut PrivateEndpoint {
        model.endpoints.get_mut(&orders()).unwrap()
    }
    fn db(model: &mut Model) -> &mut LinkResource {
        model.resources.get_mut(&Key::new("default", "db")).unwrap()
    }
    let rows: [Limitation; 8] = [
        (
            |model| subnet(model).network_policies = NetworkPolicies::NetworkSecurityGroupEnabled,
            "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
            false,
            |limits| limits.network_policies = true,
        ),
        (
            |model| subnet(model).network_policies = NetworkPolicies::RouteTableEnabled,
            "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled",
            false,
            |limits| limits.network_policies = true,
        ),
        (
            |model| endpoint(model).sources = vec![net("10.1.3.0/24")],
            "PrivateEndpointSourceRulesNotSupported",
            false,
            |limits| limits.network_policies = true,
        ),
        (
            |model| subnet(model).service_endpoints = vec!["Microsoft.Sql".into()],
            "PrivateEndpointCannotBeCreatedInSubnetWithServiceEndpoints",
            false,
            |limits| limits.service_endpoints = true,
        ),
        (
            |model| subnet(model).delegations = vec!["Microsoft.Web/serverFarms".into()],
            "PrivateEndpointCannotBeCreatedInDelegatedSubnet",
            true,
            |_| {},
        ),
        (
            |model| db(model).region = "there".into(),
            "PrivateLinkServiceInDifferentRegionNotSupported",
            false,
            |limits| limits.cross_region = true,
        ),
        (
            |model| {
                db(model).region = "there".into();
                db(model).cross_region = false;
            },
            "CrossRegionNotAllowed",
            true,
            |_| {},
        ),
        (
            |model| {
                let workload = Workload {
                    class: "azure dedicated HSMs".into(),
                    prefix: net("10.1.7.0/24"),
                    private_endpoints: true,
                };
                model.vnets.get_mut(&Key::new("default", "spoke")).unwrap().workloads = vec![workload];
            },
            "WorkloadCannotUsePrivateEndpoints",
            false,
            |limits| limits.workloads = true,
        ),
    ];
    for (change, code, always, lift) in rows {
        let mut model = model();
        db(&mut model).region = "here".to_owned();
        for limits in [Limits::AZURE_2019, Limits::TODAY] {
            assert_eq!(codes(&model, &host(limits)), [] as [&str; 0]);
        }
        change(&mut model);
        assert_eq!(codes(&model, &host(Limits::AZURE_2019)), [code]);
        let expected: &[&str] = if always { &[code] } else { &[] };
        assert_eq!(codes(&model, &host(Limits::TODAY)), expected, "{code}");
        let mut lifted = Limits::AZURE_2019;
        lift(&mut lifted);
        assert_eq!(codes(&model, &host(lifted)), expected, "{code}");
    }
    // A typed resource may be in any region, in 2019 too.
    let mut model = model();
    db(&mut model).kind = Some("Microsoft.Sql/servers".into());
    db(&mut model).targets[0].subresource = "sqlServer".into();
    endpoint(&mut model).subresource = "sqlServer".into();
    assert_eq!(codes(&model, &host(Limits::AZURE_2019)), [] as [&str; 0]);
}

#[test]
fn a_quota_holds_from_one_more_than_its_limit() {
    let mut model = model();
    let second = model.endpoints[&orders()].clone();
    let addresses = vec![EndpointIp { member: String::new(), ip: Some(Ipv4Addr::new(10, 1, 9, 5).into()) }];
    model.endpoints.insert(Key::of("DEFAULT", "b", "orders"), PrivateEndpoint { addresses, ..second.clone() });
    for (quota, used) in [
        (Quota::VnetsPerSubscription, 2),
        (Quota::ResourcesPerSubscription, 1),
        (Quota::NatIpsPerResource, 1),
        (Quota::EndpointsPerSubscription, 2),
        (Quota::EndpointsPerVnet, 2),
        (Quota::EndpointsPerResource, 2),
    ] {
        let with = |limit| HostConfig { quotas: Quotas::default().with(quota, Some(limit)), ..host(Limits::TODAY) };
        assert_eq!(codes(&model, &with(used)), [] as [&str; 0], "{}", quota.name());
        let found = validate(&model, Some(&with(used - 1)));
        assert_eq!(found.len(), 1, "{found:?}");
        let text = found[0].message.clone();
        assert!(text.contains(quota.name()) && text.contains(&format!("is {}", used - 1)), "{text}");
        assert!(text.contains(&format!("would have {used} ")), "{text}");
        let most = usage(&model, &model, &with(used).quotas, |_, _| true)
            .into_iter()
            .filter(|line| line.quota == quota.name());
        assert_eq!(most.map(|line| (line.used, line.limit)).max(), Some((Some(used), Some(used))));
    }
}

#[test]
fn counts_follow_what_comes_and_goes() {
    let mut model = model();
    let (key, endpoint) = (orders(), model.endpoints[&orders()].clone());
    let mut counts = Counts::of(&model);
    let quotas = Quotas::default().with(Quota::EndpointsPerVnet, Some(2));
    let more = Key::new("default", "more");
    assert_eq!(counts.exceeded_by(&quotas, &more, &endpoint), []);
    counts.created(&more, &endpoint);
    let found = counts.exceeded_by(&quotas, &Key::new("default", "third"), &endpoint);
    assert_eq!((found.len(), found[0].code), (1, "QuotaExceeded"));
    counts.deleted(&key, &endpoint);
    assert_eq!(counts.exceeded_by(&quotas, &key, &endpoint), []);
    model.endpoints.remove(&key);
    model.endpoints.insert(more, endpoint);
    assert_eq!(counts, Counts::of(&model));
}

/// One change of the good model, drawn from what may be wrong with an endpoint or with what it leads to.
fn wound(model: &mut Model, host: &mut HostConfig, (what, which): (u8, u8)) {
    let key = |name: &str| Key::new("default", name);
    let names: Vec<Key> = model.endpoints.keys().cloned().collect();
    let Some(endpoint) = model.endpoints.get_mut(&names[usize::from(which) % names.len()]) else { return };
    match what {
        0 => endpoint.region = "elsewhere".into(),
        1 => endpoint.subnet = "T".into(),
        2 => endpoint.vnet = key("core"),
        3 => endpoint.vnet = key("gone"),
        4 => endpoint.resource = key("gone"),
        5 => endpoint.subresource = "blob".into(),
        6 => endpoint.addresses[0].ip = Some(Ipv4Addr::new(10, 1, 9, which).into()),
        7 => endpoint.addresses[0].member = "m".into(),
        8 => endpoint.request_message = "x".repeat(141),
        9 => endpoint.status = Some(crate::snapshot::ConnectionState::Disconnected),
        10 => endpoint.sources = vec![net("10.1.3.0/24")],
        11 => (endpoint.max_sessions, endpoint.rates) = (Some(0), Some(crate::snapshot::Rates::default())),
        12 => host.limits = Limits::AZURE_2019,
        13 => host.attachments.truncate(1),
        14 => host.attachments.clear(),
        15 => _ = model.vnets.remove(&key("spoke")),
        16 => _ = model.resources.remove(&key("db")),
        17 => model.resources.get_mut(&key("db")).into_iter().for_each(|db| db.cross_region = false),
        18 => host.quotas = Quotas::default().with(Quota::EndpointsPerVnet, Some(1)),
        19 => model.resources.get_mut(&key("db")).into_iter().for_each(|db| db.targets[0].subresource = "s".into()),
        _ => {
            if let Some(spoke) = model.vnets.get_mut(&key("spoke")) {
                spoke.subnets[0].network_policies = NetworkPolicies::Enabled;
                spoke.subnets[0].delegations = vec!["Microsoft.Web/serverFarms".into()];
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn the_rules_of_one_endpoint_are_those_of_the_whole_model_about_it(
        wounds in proptest::collection::vec((0_u8..22, any::<u8>()), 0..8),
        others in 0_u8..4,
    ) {
        let mut model = model();
        let mut host = host(Limits::TODAY);
        for number in 0..others {
            let mut endpoint = model.endpoints[&orders()].clone();
            endpoint.addresses[0].ip = (number > 0).then(|| Ipv4Addr::new(10, 1, 9, 4 + number).into());
            model.endpoints.insert(Key::new("default", format!("e{number}")), endpoint);
        }
        for change in wounds {
            wound(&mut model, &mut host, change);
        }
        for host in [None, Some(&host)] {
            let all = validate(&model, host);
            for key in model.endpoints.keys() {
                let about = |violation: &&Violation| violation.at.object == Object::Endpoint(key.clone());
                let unique = |violation: &&Violation| !["PrivateIPAddressInUse", "SubnetIsFull"].contains(&violation.code);
                let expected: Vec<Violation> = all.iter().filter(about).filter(unique).cloned().collect();
                prop_assert_eq!(endpoint(&model, host, key), expected);
            }
        }
    }
}

#[test]
fn an_endpoint_may_outlive_its_resource_and_what_has_the_name_since() {
    let mut model = model();
    let (orders, db) = (Key::new("default", "orders"), Key::new("default", "db"));
    let mut next = model.resources[&db].clone();
    model.resources.remove(&db);
    assert_eq!(validate(&model, None).len(), 1, "nobody says that it was deleted");
    let former = crate::model::FormerResource { endpoints: [orders].into(), ..Default::default() };
    model.former_resources.insert(db.clone(), former);
    assert_eq!(validate(&model, None), vec![]);
    next.kind = Some("Microsoft.Sql/servers".into());
    next.targets[0].subresource = "sqlServer".into();
    next.targets[0].member = "other".into();
    model.resources.insert(db, next);
    assert_eq!(validate(&model, None), vec![]);
}
