//! Rules judged on a model that never was a file; the rows of `config` show each rule.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::control::model::{
    BackendSpec, EndpointIp, LinkResource, NetworkPolicies, PortSpec, PrivateEndpoint, Subnet, TargetSpec, Visibility,
    Vnet,
};
use crate::snapshot::Protocol;

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
        }],
        workloads: Vec::new(),
        dns: None,
    }
}

fn model() -> Model {
    let key = |name: &str| Key::new("default", name);
    let mut model = Model::default();
    model.vnets.insert(key("spoke"), vnet("10.1.0.0/16", "10.1.9.0/24"));
    model.vnets.insert(key("core"), vnet("10.2.0.0/16", "10.2.9.0/24"));
    let target = TargetSpec {
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
            vnet: key("core"),
            nat: vec![Ipv4Addr::new(10, 2, 9, 4).into()],
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
            timeouts: TimeoutOverrides::default(),
            targets: vec![target],
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
         (10.1.9.0/24); choose an address between 10.1.9.4 and 10.1.9.254, or leave `ip` out"
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
