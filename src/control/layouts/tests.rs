use std::time::Duration;

use super::*;
use crate::model::{LinkResource, PrivateEndpoint, Visibility, Vnet};

fn read<T: serde::de::DeserializeOwned>(table: &str, old: &Value) -> T {
    let entry = json!({ "key": "default/one", "value": old });
    let entry = upgraded(table, &serde_json::to_vec(&entry).expect("JSON")).expect("JSON");
    let entry: Value = serde_json::from_slice(&entry).expect("JSON");
    serde_json::from_value(entry["value"].clone()).unwrap_or_else(|error| panic!("{error}: {entry:#}"))
}

#[test]
fn a_vnet_of_an_older_layout_is_read_as_its_spec() {
    let vnet: Vnet = read(
        "vnets",
        &json!({
            "region": "here", "address_space": ["10.1.0.0/16"], "on_premises": [], "peerings": ["default/two"],
            "subnets": [{ "name": "a", "prefixes": ["10.1.1.0/24"], "dedicated": true, "delegations": [],
                "service_endpoints": [], "network_policies": "Enabled", "security_group": null,
                "service_policies": false }, { "name": "b", "prefixes": ["10.1.2.0/24"], "dedicated": false,
                "delegations": [], "service_endpoints": [], "network_policies": "Disabled",
                "security_group": "default/rules", "service_policies": null }],
            "workloads": [], "dns": { "listen": ["10.1.0.9"], "upstream": [], "answer": ["Approved"],
                "ttl": { "secs": 90, "nanos": 0 } },
        }),
    );
    let marks: Vec<_> = vnet.subnets.iter().map(|subnet| (subnet.nat, subnet.dedicated)).collect();
    assert_eq!(marks, [(Some(true), true), (None, false)]);
    assert_eq!(vnet.dns.map(|dns| dns.ttl), Some(Duration::from_secs(90)));
}

#[test]
fn a_resource_of_an_older_layout_is_read_as_its_spec() {
    let old = |visibility: Value| {
        json!({
            "kind": "Microsoft.Storage/storageAccounts", "region": "here", "vnet": "default/core",
            "nat": ["10.20.99.4"], "destination": "10.20.0.2", "visibility": visibility, "auto_approval": ["a"],
            "alias": null, "cross_region": false, "fqdns": [], "proxy_protocol": false, "shared_backend": true,
            "deny": "drop", "max_sessions": 7, "max_sessions_per_endpoint": null,
            "timeouts": { "tcp_established": { "secs": 7440, "nanos": 0 }, "tcp_transitory": null, "udp": null,
                "icmp": null, "fragment": null },
            "drain": { "secs": 600, "nanos": 0 }, "balance": "source",
            "targets": [{ "subresource": "blob", "member": "", "fqdns": [],
                "backends": [{ "address": "10.20.0.2", "drain": true }],
                "ports": [{ "protocol": "tcp", "first": 443, "last": 443, "backend_first": 8443 },
                    { "protocol": "udp", "first": 8000, "last": 8100, "backend_first": 8000 }],
                "icmp": true, "health": { "port": 8443, "interval": { "secs": 5, "nanos": 0 },
                    "timeout": { "secs": 2, "nanos": 0 }, "fall": 3, "rise": 2 } }],
        })
    };
    for (was, is) in [
        (json!("Everyone"), Visibility::Everyone),
        (json!("Readers"), Visibility::Readers),
        (json!("ById"), Visibility::ById),
        (json!({ "Subscriptions": ["a", "b"] }), Visibility::Subscriptions(vec!["a".into(), "b".into()])),
        (json!({ "Subscriptions": [] }), Visibility::Subscriptions(Vec::new())),
    ] {
        assert_eq!(read::<LinkResource>("resources", &old(was)).visibility, is);
    }
    let resource: LinkResource = read("resources", &old(json!("Readers")));
    assert_eq!(resource.kind.as_deref(), Some("Microsoft.Storage/storageAccounts"));
    assert_eq!((resource.drain, resource.cross_region), (Duration::from_mins(10), false));
    assert_eq!(resource.timeouts.tcp_established, Some(Duration::from_mins(124)));
    assert_eq!(resource.destination.map(|ip| ip.to_string()).as_deref(), Some("10.20.0.2"));
    let target = &resource.targets[0];
    let ports: Vec<_> = target.ports.iter().map(|port| (port.first, port.last, port.backend_first)).collect();
    assert_eq!((ports, target.icmp), (vec![(443, 443, 8443), (8000, 8100, 8000)], true));
    assert_eq!(target.health.as_ref().map(|health| health.interval), Some(Duration::from_secs(5)));
    // What is written since is read as the same again.
    let written = serde_json::to_value(&resource).expect("JSON");
    assert_eq!(read::<LinkResource>("resources", &written), resource);
}

#[test]
fn the_zones_of_an_endpoint_of_an_older_layout_keep_their_names() {
    let old = |name: &str| {
        json!({
            "region": "here", "vnet": "default/spoke", "subnet": "a", "addresses": [{ "member": "", "ip": null }],
            "resource": "default/db", "subresource": "", "manual": false, "request_message": "", "status": null,
            "reason": "", "sources": [], "max_sessions": null,
            "zone_group": { "name": name, "zones": [{ "name": "corp-internal", "zone": "default/corp.internal" }] },
        })
    };
    for name in ["default", "mine"] {
        let endpoint: PrivateEndpoint = read("endpoints", &old(name));
        let group = endpoint.zone_group.as_ref().expect("a group");
        assert_eq!((group.name.as_str(), group.zones[0].name.as_str()), (name, "corp-internal"));
        let written = serde_json::to_value(&endpoint).expect("JSON");
        assert_eq!(written["dns_zones"].is_array(), name == "default");
        assert_eq!(read::<PrivateEndpoint>("endpoints", &written), endpoint);
    }
}
