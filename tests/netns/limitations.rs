//! Azure's limitations of 2019, row by row: what is refused and with which code where `limits` keep it, and what
//! passes where they lift it; and the four values of a subnet's network policies. Endpoints are asked for as Azure's
//! clients do.

use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};

use serde_json::{Value, json};

use crate::lab::{Daemon, ask, attachment, daemon_table, drops_exactly, fails_to_start, isolated, leg, rest};
use crate::peers::{serve, tcp};

const NETWORK: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network";
const STORAGE: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Storage/storageAccounts/far";

/// Subnets of every kind, services near and far, and an endpoint that every mode allows.
const NETWORKS: &str = r#"
[[vnet]]
name = "spoke"
region = "here"
address_space = ["10.1.0.0/16"]
workloads = [{ class = "Azure NetApp Files", prefix = "10.1.4.0/24", private_endpoints = false }]
subnets = [
  { name = "endpoints", prefix = "10.1.9.0/24", security_group = "rules", network_policies = "Disabled" },
  { name = "ruled", prefix = "10.1.8.0/24", security_group = "rules", network_policies = "Enabled" },
  { name = "served", prefix = "10.1.7.0/24", service_endpoints = ["Microsoft.Storage"] },
  { name = "jobs", prefix = "10.1.5.0/24", delegations = ["Microsoft.ContainerInstance/containerGroups"] },
  { name = "bases", prefix = "10.1.3.0/24", delegations = ["Microsoft.Sql/managedInstances"] },
]

[[vnet]]
name = "core"
region = "here"
address_space = ["10.20.0.0/16"]
subnets = [{ name = "nat", prefix = "10.20.99.0/24", nat = true }]

[[security_group]]
name = "rules"
rules = [{ name = "no-sixes", priority = 100, access = "deny", sources = ["10.1.0.6/32"] }]

[[resource]]
name = "near"
vnet = "core"
nat = ["10.20.99.4"]
targets = [{ backends = ["10.20.0.2"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] }]

[[resource]]
name = "far"
vnet = "core"
region = "there"
nat = ["10.20.99.5"]
targets = [{ backends = ["10.20.0.3"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] }]

[[resource]]
type = "Microsoft.Storage/storageAccounts"
name = "far"
resource_group = "stores"
vnet = "core"
region = "there"
nat = ["10.20.99.6"]
targets = [{ subresource = "blob", backends = ["10.20.0.4"], ports = [{ protocol = "tcp", port = 7, backend_port = 7000 }] }]

[[endpoint]]
name = "orders"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.4"
resource = "near"
"#;

/// The file, with `limits` of `[daemon]` as given.
fn file(limits: &str) -> String {
    [&daemon_table(&format!("limits = {limits}")), &attachment("spoke"), &attachment("core"), NETWORKS].concat()
}

fn build() {
    leg("spoke", &["10.1.0.5", "10.1.0.6", "10.1.3.5", "10.1.4.5", "10.1.5.5"]);
    leg("core", &["10.20.0.2", "10.20.0.3", "10.20.0.4"]);
    for (server, name) in [("10.20.0.2", "near"), ("10.20.0.3", "far"), ("10.20.0.4", "store")] {
        serve("core", &format!("{server}:7000"), name);
    }
}

/// `PUT` of an endpoint in a subnet of `spoke`: its address and nothing, or the code and the message of the refusal.
fn request(name: &str, subnet: &str, service: &str) -> Result<String, (String, String)> {
    let body = json!({ "location": "here", "properties": {
        "subnet": { "id": format!("{NETWORK}/virtualNetworks/spoke/subnets/{subnet}") },
        "privateLinkServiceConnections": [{ "name": "c", "properties": {
            "privateLinkServiceId": service,
            "groupIds": if service.contains("storageAccounts") { json!(["blob"]) } else { json!([]) },
        } }],
    } });
    let (status, answer) = rest("PUT", &format!("{NETWORK}/privateEndpoints/{name}"), &body.to_string());
    if status >= 400 {
        let error = &answer["error"];
        let text = [&error["message"], &error["details"]].map(ToString::to_string).concat();
        return Err((error["code"].as_str().expect("a code").to_owned(), text));
    }
    let shown: Value = serde_json::from_str(&ask(&format!("endpoint show {name} --json"))).expect("JSON");
    Ok(shown["items"][0]["addresses"][0]["ip"].as_str().expect("an address").to_owned())
}

fn near() -> String {
    format!("{NETWORK}/privateLinkServices/near")
}

fn far() -> String {
    format!("{NETWORK}/privateLinkServices/far")
}

fn knock(from: &str, to: &str) -> Result<String, std::io::ErrorKind> {
    tcp("spoke", &format!("{from}:0"), &format!("{to}:7"))
}

/// The endpoint is refused with `code`, and advised as Azure did; nothing leads to where it would be.
fn refused(subnet: &str, service: &str, code: &str, mitigation: &str, lowest: &str) {
    let (said, text) = request("refused", subnet, service).expect_err(code);
    assert_eq!(said, code, "{text}");
    assert!(text.contains(mitigation), "{code}: {text}");
    let nowhere = knock("10.1.0.5", lowest).expect_err("nothing was made");
    assert!(matches!(nowhere, NetworkUnreachable | HostUnreachable), "{nowhere}");
}

/// The endpoint is made, and leads to the server called `name`.
fn made(endpoint: &str, subnet: &str, service: &str, name: &str) -> String {
    let ip = request(endpoint, subnet, service).expect("made");
    assert_eq!(knock("10.1.0.5", &ip).as_deref(), Ok(name), "{endpoint} at {ip}");
    ip
}

#[test]
fn rules_are_judged_today_and_were_not_supported() {
    isolated("limitations::rules_are_judged_today_and_were_not_supported", || {
        build();
        let outbound = "security rules for outbound traffic on the source clients";
        let daemon = Daemon::start(&file("\"azure-2019\""));
        let code = "PrivateEndpointCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled";
        refused("ruled", &near(), code, outbound, "10.1.8.4");
        let said =
            daemon.reload(&file("\"azure-2019\"").replace("ip = \"10.1.9.4\"", "sources = \"10.1.0.5/32\""), "refused");
        assert!(said.contains("source rules are not supported") && said.contains(outbound), "{said}");
        // The group of a subnet without network policies is not asked: Azure's endpoints of 2019 took everyone.
        assert_eq!(knock("10.1.0.6", "10.1.9.4").as_deref(), Ok("near"));
        daemon.stop();

        for limits in ["\"today\"", "{ base = \"azure-2019\", network_policies = true }"] {
            let daemon = Daemon::start(&file(limits));
            let ip = made("asked", "ruled", &near(), "near");
            drops_exactly("denied_by_rule", 1, || knock("10.1.0.6", &ip).expect_err("a rule denies it"));
            assert_eq!(knock("10.1.0.6", "10.1.9.4").as_deref(), Ok("near"), "policies are disabled there");
            daemon
                .apply(&file(limits).replace("resource = \"near\"", "resource = \"near\"\nsources = \"10.1.0.5/32\""));
            drops_exactly("denied_by_rule", 1, || knock("10.1.0.6", "10.1.9.4").expect_err("no source of it"));
            assert_eq!(knock("10.1.0.5", "10.1.9.4").as_deref(), Ok("near"));
            daemon.apply(&file(limits));
            ask("endpoint delete asked");
            daemon.stop();
        }
        // What today has made does not pass by where the limitations of 2019 come back: the start says so.
        let ruled = file("\"azure-2019\"").replace("subnet = \"endpoints\"\nip = \"10.1.9.4\"", "subnet = \"ruled\"");
        let (code, said) = fails_to_start(&ruled);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("subnet `ruled` has network policies enabled"), "{said}");
    });
}

#[test]
fn endpoints_stand_beside_service_endpoints_today_and_never_in_delegated_subnets() {
    isolated("limitations::endpoints_stand_beside_service_endpoints_today_and_never_in_delegated_subnets", || {
        build();
        let separate = "put the endpoint into a separate subnet";
        let delegated = || {
            let code = "PrivateEndpointCannotBeCreatedInDelegatedSubnet";
            refused("jobs", &near(), code, separate, "10.1.5.4");
            refused("bases", &near(), code, separate, "10.1.3.4");
        };
        let daemon = Daemon::start(&file("\"azure-2019\""));
        let code = "PrivateEndpointCannotBeCreatedInSubnetWithServiceEndpoints";
        refused("served", &near(), code, separate, "10.1.7.4");
        delegated();
        made("aside", "endpoints", &near(), "near");
        ask("endpoint delete aside");
        daemon.stop();
        for limits in ["\"today\"", "{ base = \"azure-2019\", service_endpoints = true }"] {
            let daemon = Daemon::start(&file(limits));
            made("asked", "served", &near(), "near");
            delegated();
            ask("endpoint delete asked");
            daemon.stop();
        }
    });
}

#[test]
fn a_private_link_service_is_reached_from_other_regions_today() {
    isolated("limitations::a_private_link_service_is_reached_from_other_regions_today", || {
        build();
        let store = STORAGE.replace("resourceGroups/default", "resourceGroups/stores");
        let daemon = Daemon::start(&file("\"azure-2019\""));
        let code = "PrivateLinkServiceInDifferentRegionNotSupported";
        refused("endpoints", &far(), code, "deploy the private link service in the same region", "10.1.9.5");
        // Typed resources were never limited so.
        made("stored", "endpoints", &store, "store");
        ask("endpoint delete stored");
        daemon.stop();
        for limits in ["\"today\"", "{ base = \"azure-2019\", cross_region = true }"] {
            let daemon = Daemon::start(&file(limits));
            made("asked", "endpoints", &far(), "far");
            ask("endpoint delete asked");
            daemon.apply(&file(limits).replace(
                "region = \"there\"\nnat = [\"10.20.99.5\"]",
                "region = \"there\"\ncross_region = false\nnat = [\"10.20.99.5\"]",
            ));
            refused(
                "endpoints",
                &far(),
                "CrossRegionNotAllowed",
                "ask the owner to set `crossRegion: true`",
                "10.1.9.5",
            );
            daemon.stop();
        }
    });
}

#[test]
fn specialised_workloads_use_endpoints_today_unless_their_vnet_excludes_them() {
    isolated("limitations::specialised_workloads_use_endpoints_today_unless_their_vnet_excludes_them", || {
        build();
        let excluded = |from: &str, class: &str| {
            let answer = drops_exactly("workload_excluded", 1, || knock(from, "10.1.9.4"));
            assert_eq!(answer, Err(ConnectionRefused));
            let why = ask(&format!("explain --vnet spoke {from} 10.1.9.4:7"));
            assert!(why.contains("workload_excluded") && why.contains(class), "{why}");
        };
        let passes = |from: &str| assert_eq!(knock(from, "10.1.9.4").as_deref(), Ok("near"), "{from}");
        let willing = |limits: &str| file(limits).replace("private_endpoints = false", "private_endpoints = true");

        let daemon = Daemon::start(&file("\"azure-2019\""));
        // Its class is named for a prefix; its subnet is delegated to it. Other services may.
        excluded("10.1.4.5", "Azure NetApp Files");
        excluded("10.1.5.5", "Azure Container Instance");
        passes("10.1.3.5");
        passes("10.1.0.5");
        let said = daemon.reload(&willing("\"azure-2019\""), "refused");
        assert!(said.contains("cannot access private endpoints") && said.contains("no mitigation"), "{said}");
        excluded("10.1.4.5", "Azure NetApp Files");
        daemon.stop();
        for limits in ["\"today\"", "{ base = \"azure-2019\", workloads = true }"] {
            let daemon = Daemon::start(&file(limits));
            passes("10.1.5.5");
            excluded("10.1.4.5", "Azure NetApp Files");
            daemon.apply(&willing(limits));
            passes("10.1.4.5");
            daemon.apply(&file(limits));
            excluded("10.1.4.5", "Azure NetApp Files");
            daemon.stop();
        }
    });
}

#[test]
fn each_value_of_the_network_policies_does_to_packets_what_it_says() {
    isolated("limitations::each_value_of_the_network_policies_does_to_packets_what_it_says", || {
        build();
        let with = |value: &str| file("\"today\"").replace("\"Disabled\"", &format!("\"{value}\""));
        let daemon = Daemon::start(&file("\"today\""));
        let values = [
            ("Enabled", true),
            ("Disabled", false),
            ("NetworkSecurityGroupEnabled", true),
            ("RouteTableEnabled", false),
        ];
        for (value, judged) in values.into_iter().chain(values) {
            let said = daemon.apply(&with(value));
            assert_eq!(
                said.contains("RouteTableEnabled has no effect"),
                value == "RouteTableEnabled",
                "{value}: {said}"
            );
            assert_eq!(said.contains("ignore its security group"), !judged, "{value}: {said}");
            assert_eq!(knock("10.1.0.5", "10.1.9.4").as_deref(), Ok("near"), "{value}: no rule speaks of it");
            if judged {
                drops_exactly("denied_by_rule", 1, || knock("10.1.0.6", "10.1.9.4").expect_err(value));
            } else {
                assert_eq!(knock("10.1.0.6", "10.1.9.4").as_deref(), Ok("near"), "{value}");
            }
        }
    });
}
