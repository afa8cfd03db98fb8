//! Whoever may write a VNet controls neither the host below it nor servers of others: what it may carry is the daemon's
//! file's to say, and addresses in use are refused.

use serde_json::json;

use crate::lab::{
    Daemon, ask, cli, consumer_vnet, daemon_table, echo_service, eventually, ip, isolated, join, leg, orders, read_log,
    rest, two_legs,
};
use crate::old_states::{hosts_of_0_1, lay_state_of};
use crate::peers::{ping, serve, tcp};

const NETWORKS: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks";
const SERVICES: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices";
const UNMARKED: &str = "PrivateLinkServiceCannotBeCreatedInSubnetThatHasNetworkPoliciesEnabled";

/// Writes the VNet `spoke` with these prefixes, and this of ours besides.
fn put_spoke(space: &[&str], privlink: &serde_json::Value) -> (u16, String) {
    let properties = json!({ "addressSpace": { "addressPrefixes": space }, "privlink": privlink });
    let body = json!({ "location": "local", "properties": properties });
    let (status, answer) = rest("PUT", &format!("{NETWORKS}/spoke"), &body.to_string());
    (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn listens_on(address: &str) -> serde_json::Value {
    json!({ "dns": { "listen": [address] } })
}

/// What the host below carries: its loopback addresses, and its routes.
fn host() -> String {
    ip("-4 address show dev lo") + &ip("-4 route show table all") + &ip("-4 rule show")
}

#[test]
fn where_no_namespace_stands_between_a_vnet_carries_what_the_daemons_file_says() {
    isolated("bounds::where_no_namespace_stands_between_a_vnet_carries_what_the_daemons_file_says", || {
        leg("lan", &[]);
        ip("link add lan0 type veth peer name eth0 netns lan");
        for address in ["10.1.0.254/24", "10.1.0.7/24"] {
            ip(&format!("-n lan address add {address} dev eth0"));
        }
        ip("-n lan link set eth0 up");
        ip("address add 10.1.0.1/24 dev lan0");
        ip("link set lan0 up");
        ip("route add default via 10.1.0.254");
        // The host has spoken with this neighbour.
        assert!(ping("lan", "10.1.0.7", "10.1.0.1"));
        let file = [
            daemon_table("").as_str(),
            "[[attachment]]\nvnet = \"spoke\"\n",
            &consumer_vnet("spoke", "dns = { listen = \"10.1.255.254\" }"),
        ]
        .concat();
        let daemon = Daemon::start(&file);
        let space = ["10.1.0.0/16"];
        let before = host();
        for (prefixes, privlink, code) in [
            // Foreign prefixes, whichever field brings them.
            (&["10.1.0.0/16", "192.0.2.0/24"][..], json!({}), "PrefixNotAllowedHere"),
            (&["10.0.0.0/8"], json!({}), "PrefixNotAllowedHere"),
            (&space, json!({ "onPremises": ["192.0.2.0/24"] }), "PrefixNotAllowedHere"),
            (&space, json!({ "lockdown": true, "publicPrefixes": ["198.51.100.0/24"] }), "PrefixNotAllowedHere"),
            (&space, listens_on("192.0.2.1"), "PrefixNotAllowedHere"),
            // Addresses in the VNet that somebody has: the host's gateway, a neighbour.
            (&space, listens_on("10.1.0.254"), "AddressInUse"),
            (&space, listens_on("10.1.0.7"), "AddressInUse"),
        ] {
            assert_eq!(put_spoke(prefixes, &privlink).1, code, "{prefixes:?} {privlink}");
            assert_eq!(host(), before, "{prefixes:?} {privlink}");
        }
        // A peer's endpoints would be routed here.
        let far = json!({ "location": "local", "properties": { "addressSpace": { "addressPrefixes": ["192.0.2.0/24"] },
            "virtualNetworkPeerings": [{ "name": "a", "properties": { "remoteVirtualNetwork": { "id": format!("{NETWORKS}/spoke") } } }] } });
        assert_eq!(rest("PUT", &format!("{NETWORKS}/far"), &far.to_string()).0, 201);
        let peering = json!({ "properties": { "remoteVirtualNetwork": { "id": format!("{NETWORKS}/far") } } });
        let (status, answer) = rest("PUT", &format!("{NETWORKS}/spoke/virtualNetworkPeerings/b"), &peering.to_string());
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("PrefixNotAllowedHere")));
        assert_eq!(host(), before);
        // Within what the file says, all is the VNet's owner's to change.
        assert_eq!(put_spoke(&space, &listens_on("10.1.255.254")).0, 200);
        assert_eq!(put_spoke(&["10.1.0.0/17", "10.1.128.0/17"], &json!({})).0, 200);
        // The file says more: from the next SIGHUP on.
        let more =
            file.replace("vnet = \"spoke\"\n", "vnet = \"spoke\"\nallow = [\"10.1.0.0/16\", \"192.0.2.0/24\"]\n");
        daemon.apply(&more);
        assert_eq!(put_spoke(&["10.1.0.0/16", "192.0.2.0/24"], &json!({})).0, 200);
        assert_eq!(put_spoke(&["10.1.0.0/16", "198.51.100.0/24"], &json!({})).0, 400);
    });
}

#[test]
fn a_vnet_in_a_namespace_of_its_own_carries_all_but_what_is_in_use_there() {
    isolated("bounds::a_vnet_in_a_namespace_of_its_own_carries_all_but_what_is_in_use_there", || {
        leg("router", &[]);
        leg("spoke", &["10.1.0.5"]);
        leg("core", &["10.20.0.2"]);
        join(("spoke", "up0", "10.1.77.2/24"), ("router", "down0", "10.1.77.1/24"));
        ip("-n spoke route add default via 10.1.77.1");
        let _daemon = Daemon::start(&orders("Approved"));
        // Made by the API after the start, with prefixes of its own.
        assert_eq!(put_spoke(&["10.1.0.0/16", "192.0.2.0/24"], &listens_on("192.0.2.1")).0, 200);
        assert!(ip("-n spoke address show dev lo").contains("192.0.2.1/32"));
        let before = ip("-n spoke address show dev lo");
        assert_eq!(put_spoke(&["10.1.0.0/16", "192.0.2.0/24"], &listens_on("10.1.77.1")).1, "AddressInUse");
        assert_eq!(ip("-n spoke address show dev lo"), before);
    });
}

#[test]
fn backends_and_nat_addresses_are_the_vnets_to_give() {
    isolated("bounds::backends_and_nat_addresses_are_the_vnets_to_give", || {
        two_legs();
        ip("-n core address add 10.30.0.5/32 dev lo");
        serve("core", "10.20.0.2:7000", "echo");
        serve("core", "10.30.0.5:7000", "far");
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        let far = echo_service("far", "10.30.0.5", "\"10.20.99.9\"");
        let document = "/run/privlink/far.toml";
        std::fs::write(document, far.replace("vnet = \"core\"", "vnet = \"default/core\"")).expect("written");
        let refused = cli(&format!("apply -f {document}"));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("10.30.0.5 is neither in VNet `core`"), "{said}");
        // Only the daemon's own file lets a VNet reach out.
        daemon.apply(&file.replace("netns = \"core\"\n", "netns = \"core\"\nreach = [\"10.30.0.0/16\"]\n"));
        ask(&format!("apply -f {document}"));
        ask("endpoint create far --vnet spoke --subnet endpoints --ip 10.1.9.5 --resource far");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").as_deref(), Ok("far"));

        // A subnet takes NAT addresses where it says so, and the mark stays where a PUT leaves it out.
        let subnet = |mark: serde_json::Value| json!({ "properties": { "addressPrefix": "10.20.98.0/24", "privateLinkServiceNetworkPolicies": mark } });
        let path = format!("{NETWORKS}/core/subnets/more");
        let plain = json!({ "properties": { "addressPrefix": "10.20.98.0/24" } });
        let service = json!({ "location": "local", "properties": { "ipConfigurations": [{ "name": "a", "properties":
            { "subnet": { "id": path } } }], "destinationIPAddress": "10.20.0.3" } });
        let make = || {
            let (status, answer) = rest("PUT", &format!("{SERVICES}/more"), &service.to_string());
            (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(rest("PUT", &path, &plain.to_string()).0, 201);
        assert_eq!(make(), (400, UNMARKED.to_owned()));
        assert_eq!(rest("PUT", &path, &subnet(json!("Disabled")).to_string()).0, 200);
        let (status, answer) = rest("PUT", &path, &plain.to_string());
        assert_eq!((status, &answer["properties"]["privateLinkServiceNetworkPolicies"]), (200, &json!("Disabled")));
        daemon.apply(&file);
        let (_, answer) = rest("GET", &format!("{NETWORKS}/core/subnets/nat"), "");
        assert_eq!(answer["properties"]["privateLinkServiceNetworkPolicies"], "Disabled");
        // One in use keeps its mark, whoever asks.
        let taken = json!({ "properties": { "addressPrefix": "10.20.99.0/24", "privateLinkServiceNetworkPolicies": "Enabled" } });
        let (status, answer) = rest("PUT", &format!("{NETWORKS}/core/subnets/nat"), &taken.to_string());
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(UNMARKED)));
    });
}

#[test]
fn a_state_of_0_1_keeps_what_later_rules_forbid_and_takes_nothing_new_of_it() {
    isolated("bounds::a_state_of_0_1_keeps_what_later_rules_forbid_and_takes_nothing_new_of_it", || {
        hosts_of_0_1();
        let file = lay_state_of("0.1");
        let daemon = Daemon::start(&file);
        eventually("its backend outside the VNet answers", || {
            tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").is_ok_and(|said| said == "far")
        });
        let status = ask("status");
        assert!(status.contains("resource default/elsewhere: targets[0].backends[0]: backend 10.30.0.5"), "{status}");
        eventually("the log says so", || {
            read_log().contains("subnet `nat` holds NAT addresses and has no `nat = true`")
        });
        let audit = ask("audit list --json");
        assert!(audit.contains("subnet nat takes NAT addresses"), "{audit}");
        // Another server out there is new, in the file as over the API; what stands blocks no other change.
        let said = daemon.reload(&file.replace("10.30.0.5", "10.30.0.6"), "configuration refused");
        assert!(said.contains("10.30.0.6 is neither in VNet `core`"), "{said}");
        ask("connection approve shut");
        daemon.apply(&file.replace("10.20.0.3", "10.20.0.4"));
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").as_deref(), Ok("far"));
        // What collides with a live object is skipped, and stops no start.
        let live =
            echo_service("live", "10.20.0.9", "\"10.20.99.20\"").replace("vnet = \"core\"", "vnet = \"default/core\"");
        std::fs::write("/run/privlink/live.toml", live).expect("written");
        ask("apply -f /run/privlink/live.toml");
        daemon.stop();
        let mine = echo_service("mine", "10.20.0.8", "\"10.20.99.20\"");
        let _daemon = Daemon::start(&(file + &mine));
        let status = ask("status");
        assert!(status.contains("the file's resource default/mine was not applied"), "{status}");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").as_deref(), Ok("far"));
    });
}
