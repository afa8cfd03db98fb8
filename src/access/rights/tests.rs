//! Every field of every kind is in the table of references or is none, and each reference asks for its right.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::references::Refers;
use super::*;
use crate::model::{
    BackendPool, BackendSpec, BalancingRule, ConnectionState, DnsZone, EndpointIp, EndpointLabels, Frontend,
    FrontendRef, GroupZone, HealthCheck, LinkResource, LoadBalancer, NatConfig, PeeringLabel, PoolAddress, RecordType,
    ResourceGroup, RoleAssignment, RoleDefinition, SecurityGroup, SecurityRule, Subnet, TargetSpec, Visibility, Vnet,
    Workload, ZoneGroup, ZoneLink, ZoneRecord,
};

use crate::testing::{ip, key};

/// Fields whose values look like names or addresses and are no references, each with the reason.
const NO_REFERENCES: &[(&str, &str)] = &[
    ("role actions[]", "what it gives; whoever assigns it is judged"),
    ("role not_actions[]", "what it gives; whoever assigns it is judged"),
    ("role assignable_scopes[]", "whoever writes a role is judged at each of them"),
    ("assignment scope", "whoever writes an assignment is judged at its scope"),
    ("vnet address_space[]", "what the VNet consists of"),
    ("vnet on_premises[]", "where its clients are, beyond a VPN"),
    ("vnet subnets[].prefixes[]", "part of the address space"),
    ("vnet workloads[].prefix", "sources of its own packets"),
    ("vnet dns.listen[]", "part of the address space"),
    ("vnet dns.upstream[]", "servers outside every VNet, asked by the daemon"),
    ("vnet public_prefixes[]", "what its own packets may not reach"),
    ("security group rules[].sources[]", "what packets are compared with"),
    ("security group rules[].destinations[]", "what packets are compared with"),
    ("dns zone records[].values[]", "an answer: nothing is reached by it"),
    ("load balancer probes[].path", "what a server is asked for"),
    ("endpoint sources[]", "what packets are compared with"),
];

/// One object of each kind with every field set; without `..`, so that a new field does not compile until it is here.
fn populated(kind: ItemKind) -> Value {
    let tags = crate::model::Tags::from([("team".into(), "blue".into())]);
    let one = key("one");
    let json = match kind {
        ItemKind::Role => serde_json::to_value(RoleDefinition {
            name: "inbox".parse().unwrap(),
            description: "text".into(),
            actions: vec!["Microsoft.Network/*".parse().unwrap()],
            not_actions: vec!["Privlink/*".parse().unwrap()],
            assignable_scopes: vec!["/subscriptions/default".parse().unwrap()],
        }),
        ItemKind::Assignment => serde_json::to_value(RoleAssignment {
            principal: "uid:1".parse().unwrap(),
            role: "Reader".parse().unwrap(),
            scope: "/subscriptions/default".parse().unwrap(),
        }),
        ItemKind::ResourceGroup => {
            serde_json::to_value(ResourceGroup { region: "here".into(), tags, foreign: "{}".into() })
        }
        ItemKind::Vnet => {
            let prefix = || vec!["10.1.0.0/16".parse().unwrap()];
            serde_json::to_value(Vnet {
                region: "here".into(),
                address_space: prefix(),
                on_premises: prefix(),
                peerings: vec![one.clone()],
                subnets: vec![Subnet {
                    name: "a".into(),
                    prefixes: prefix(),
                    dedicated: false,
                    delegations: vec!["service".into()],
                    service_endpoints: vec!["service".into()],
                    network_policies: crate::model::NetworkPolicies::Disabled,
                    security_group: Some(one.clone()),
                    nat: Some(false),
                }],
                workloads: vec![Workload { class: "c".into(), prefix: prefix()[0], private_endpoints: true }],
                dns: Some(crate::model::DnsSettings {
                    listen: vec![ip("10.1.0.9")],
                    upstream: vec![ip("10.1.0.10")],
                    answer: vec![ConnectionState::Approved],
                    ttl: crate::model::DNS_TTL,
                    accept_names: Some(Box::new(accepted())),
                }),
                lockdown: false,
                public_prefixes: prefix(),
                peering_labels: vec![PeeringLabel {
                    name: "p".into(),
                    remote: key("two"),
                    access: true,
                    severed: false,
                }],
                tags,
                foreign: "{}".into(),
            })
        }
        ItemKind::SecurityGroup => {
            let nets = || vec!["10.1.0.0/16".parse().unwrap()];
            let rule = SecurityRule {
                name: "r".into(),
                priority: 100,
                access: crate::model::Access::Allow,
                protocol: None,
                sources: nets(),
                destinations: nets(),
                ports: vec![(1, 2)],
            };
            serde_json::to_value(SecurityGroup { rules: vec![rule] })
        }
        ItemKind::DnsZone => {
            let set = |kind, value: &str| crate::model::RecordSet {
                ttl: 1,
                data: crate::model::read_values(kind, &[value.to_owned()]).unwrap(),
            };
            let record = |set| ZoneRecord { name: "www".into(), set, metadata: tags.clone() };
            serde_json::to_value(DnsZone {
                records: vec![record(set(RecordType::A, "10.0.0.1")), record(set(RecordType::Aaaa, "fd00::1"))],
                links: vec![ZoneLink {
                    name: "l".into(),
                    vnet: one,
                    policy: crate::model::ResolutionPolicy::default(),
                    registration: true,
                    tags: tags.clone(),
                }],
                soa: crate::model::Soa::default(),
                tags: tags.clone(),
            })
        }
        ItemKind::LoadBalancer => serde_json::to_value(LoadBalancer {
            region: "here".into(),
            tags,
            frontends: vec![Frontend {
                name: "f".into(),
                subnet: Some((one.clone(), "s".into())),
                address: Some(ip("10.1.0.4")),
            }],
            pools: vec![BackendPool {
                name: "p".into(),
                addresses: vec![PoolAddress {
                    name: "a".into(),
                    address: ip("10.1.0.5"),
                    vnet: Some(one),
                    drain: true,
                }],
            }],
            rules: vec![BalancingRule {
                name: "r".into(),
                frontend: "f".into(),
                pool: "p".into(),
                protocol: None,
                frontend_port: 1,
                backend_port: 1,
                probe: Some("h".into()),
                distribution: crate::model::Distribution::SourceIP,
            }],
            probes: vec![crate::model::BalancerProbe {
                name: "h".into(),
                port: 1,
                interval: 5,
                failures: 1,
                threshold: Some(1),
                path: Some("/healthz".into()),
            }],
            foreign: "{}".into(),
        }),
        ItemKind::Resource => serde_json::to_value(LinkResource {
            kind: Some("Own.Thing".into()),
            region: "here".into(),
            vnet: Some(one.clone()),
            nat: vec![ip("10.1.0.6")],
            nat_configs: vec![NatConfig {
                name: "n".into(),
                subnet: "s".into(),
                address: Some(ip("10.1.0.7")),
                v6: false,
                primary: Some(true),
            }],
            frontends: vec![FrontendRef { balancer: one, frontend: "f".into() }],
            destination: Some(ip("10.1.0.8")),
            visibility: Visibility::Subscriptions(vec!["sub".into()]),
            auto_approval: vec!["sub".into()],
            alias: Some("alias".into()),
            cross_region: true,
            fqdns: vec!["a.example".into()],
            proxy_protocol: false,
            shared_backend: false,
            deny: Some(crate::model::DenyMode::Drop),
            max_sessions: Some(1),
            max_sessions_per_endpoint: Some(1),
            rates: None,
            timeouts: crate::model::TimeoutOverrides::default(),
            drain: crate::model::DRAIN,
            balance: crate::model::Balance::LeastSessions,
            targets: vec![TargetSpec {
                subresource: "blob".into(),
                member: "m".into(),
                fqdns: vec!["b.example".into()],
                backends: vec![BackendSpec { address: ip("10.1.0.9"), drain: false }],
                ports: vec![],
                icmp: true,
                health: HealthCheck::of(Some(1), &[]),
                balance: Some(crate::model::Balance::Source),
                port_checks: vec![crate::model::PortCheck {
                    name: "h".into(),
                    ports: vec![(crate::model::Protocol::Tcp, 1, 1)],
                    check: HealthCheck::of(Some(1), &[]).unwrap(),
                }],
            }],
            tags,
            foreign: "{}".into(),
        }),
        ItemKind::Endpoint => serde_json::to_value(crate::model::PrivateEndpoint {
            region: "here".into(),
            vnet: one.clone(),
            subnet: "s".into(),
            addresses: vec![EndpointIp { member: "m".into(), ip: Some(ip("10.1.0.4")) }],
            resource: one.clone(),
            subresource: "blob".into(),
            manual: true,
            request_message: "text".into(),
            status: Some(ConnectionState::Approved),
            reason: "text".into(),
            sources: vec!["10.1.0.0/16".parse().unwrap()],
            max_sessions: Some(1),
            rates: None,
            accept_names: Some(Box::new(accepted())),
            zone_group: Some(Box::new(ZoneGroup {
                name: "z".into(),
                zones: vec![GroupZone { name: "n".into(), zone: one }],
            })),
            labels: Some(Box::new(EndpointLabels {
                tags: tags.clone(),
                interface_tags: tags,
                connection: Some("c".into()),
                interface: Some("i".into()),
                addresses: vec![("a".into(), "m".into())],
                foreign: "{}".into(),
            })),
        }),
    };
    json.unwrap()
}

fn accepted() -> crate::model::AcceptedNames {
    serde_json::from_str("[\"login.example.com\"]").unwrap()
}

/// Every leaf of `value`, with its path.
fn leaves(value: &Value, path: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| leaves(one, format!("{path}[]"), found)),
        Value::Object(fields) => fields.iter().for_each(|(name, one)| {
            let dot = if path.is_empty() { "" } else { "." };
            leaves(one, format!("{path}{dot}{name}"), found);
        }),
        Value::String(text) => found.push((path, text.clone())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text of the stored JSON is a key, an address or a prefix.
fn names_something(text: &str) -> bool {
    let key = text.contains('/') && Key::try_from(text.trim_start_matches('/').to_owned()).is_ok();
    key || text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok()
}

fn paths<T: Refers>() -> BTreeSet<&'static str> {
    T::FIELDS.iter().flat_map(|field| field.paths.iter().copied()).collect()
}

#[test]
fn every_field_that_names_something_is_in_the_table_or_is_no_reference_for_a_reason() {
    let mut reasons: BTreeSet<&str> = NO_REFERENCES.iter().map(|(path, _)| *path).collect();
    for kind in ItemKind::ALL {
        let mut found = Vec::new();
        leaves(&populated(kind), String::new(), &mut found);
        let seen: BTreeSet<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
        let table = of_kind!(kind, K => paths::<K>());
        for path in &table {
            assert!(
                seen.contains(path),
                "{kind}: `{path}` is in the table and no field of a populated object: {seen:?}"
            );
        }
        for (path, text) in found.iter().filter(|(_, text)| names_something(text)) {
            let listed = reasons.remove(format!("{kind} {path}").as_str());
            let known = listed || NO_REFERENCES.iter().any(|(named, _)| *named == format!("{kind} {path}"));
            assert!(
                known != table.contains(path.as_str()),
                "{kind}: `{path}` ({text}) names something: put it into the table of references, or say why it is none"
            );
        }
    }
    assert!(reasons.is_empty(), "no such fields: {reasons:?}");
}

/// Changes the text at `path` (`[]`: the first entry) into `other`.
fn change(value: &mut Value, path: &str, other: &str) {
    let mut place = value;
    for part in path.split('.') {
        let (name, lists) = (part.trim_end_matches("[]"), part.matches("[]").count());
        place = &mut place[name];
        for _ in 0..lists {
            place = &mut place[0];
        }
    }
    *place = Value::String(other.to_owned());
}

fn each_path_counts<T: Refers + Serialize + DeserializeOwned>(kind: ItemKind) {
    let json = populated(kind);
    let before: T = serde_json::from_value(json.clone()).unwrap();
    let own = key("own");
    for path in paths::<T>() {
        let mut found = Vec::new();
        leaves(&json, String::new(), &mut found);
        let text = found.iter().find(|(named, _)| named == path).map(|(_, text)| text.as_str()).unwrap();
        let other = if text.parse::<std::net::IpAddr>().is_ok() { "10.1.0.99" } else { "default/other" };
        let mut changed = json.clone();
        change(&mut changed, path, other);
        let after: T = serde_json::from_value(changed).unwrap();
        let new = after.references(&own).difference(&before.references(&own)).count();
        assert!(new > 0, "{kind}: another `{path}` is no new reference");
    }
}

#[test]
fn another_value_of_a_reference_is_a_new_reference() {
    each_path_counts::<Vnet>(ItemKind::Vnet);
    each_path_counts::<DnsZone>(ItemKind::DnsZone);
    each_path_counts::<LoadBalancer>(ItemKind::LoadBalancer);
    each_path_counts::<LinkResource>(ItemKind::Resource);
    each_path_counts::<PrivateEndpoint>(ItemKind::Endpoint);
}
