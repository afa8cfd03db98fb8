//! NAT addresses that somebody on the link has already.

use serde_json::json;

use crate::lab::{
    Daemon, ask, attachment, cli, daemon_table, echo_service, ip, isolated, join, leg, read_log, rest, sysctl,
};

const SERVICES: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateLinkServices";
const SUBNET: &str =
    "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/virtualNetworks/core/subnets/nat";

/// `core` on a link with the host `lan`, which has these addresses.
fn link(addresses: &[&str]) {
    leg("core", &["10.20.0.2"]);
    leg("lan", &[]);
    join(("core", "eth0", "10.20.99.254/24"), ("lan", "eth0", "10.20.99.253/24"));
    for address in addresses {
        ip(&format!("-n lan address add {address}/24 dev eth0"));
    }
}

fn networks() -> String {
    let core = "[[vnet]]\nname = \"core\"\naddress_space = [\"10.20.0.0/16\"]\n\
                subnets = [{ name = \"nat\", prefix = \"10.20.99.0/24\", nat = true }]\n";
    [daemon_table(""), attachment("core"), core.to_owned()].concat()
}

/// Hardware address of the interface `eth0` of a namespace.
fn hardware(namespace: &str) -> String {
    let shown = ip(&format!("-n {namespace} link show dev eth0"));
    shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("an address").to_owned()
}

/// Applies a document with a service at `nat`: whether it was applied, and what was said.
fn apply(name: &str, nat: &str, force: &str) -> (bool, String) {
    let backend = format!("10.20.0.{}", name.len());
    let document = echo_service(name, &backend, &format!("\"{nat}\"")).replace("\"core\"", "\"default/core\"");
    std::fs::write("/run/privlink/document.toml", document).expect("written");
    let output = cli(&format!("apply -f /run/privlink/document.toml {force}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// Puts a service over Azure's path: the status, the error's code and the NAT address.
fn put(name: &str, address: Option<&str>, force: bool) -> (u16, String, String) {
    let mut config = json!({ "subnet": { "id": SUBNET } });
    if let Some(address) = address {
        config["privateIPAddress"] = json!(address);
        config["privateIPAllocationMethod"] = json!("Static");
    }
    let body = json!({ "location": "local", "properties": {
        "ipConfigurations": [{ "name": "a", "properties": config }],
        "destinationIPAddress": format!("10.20.1.{}", name.len()), "privlink": { "force": force } } });
    let (status, answer) = rest("PUT", &format!("{SERVICES}/{name}"), &body.to_string());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let nat = text(&answer["properties"]["privlink"]["nat"][0]);
    (status, text(&answer["error"]["code"]), nat)
}

#[test]
fn an_address_that_a_neighbour_has_is_refused_by_name_and_taken_by_force_only() {
    isolated("neighbours::an_address_that_a_neighbour_has_is_refused_by_name_and_taken_by_force_only", || {
        link(&["10.20.99.4", "10.20.99.5", "10.20.99.9", "10.20.99.10"]);
        let file = networks();
        let daemon = Daemon::start(&file);
        let (applied, said) = apply("one", "10.20.99.9", "");
        assert!(!applied && said.contains(&hardware("lan")) && said.contains("10.20.99.9"), "{said}");
        let (applied, said) = apply("one", "10.20.99.9", "--force");
        assert!(applied, "{said}");
        // What it has is not asked about again, and a free one is taken.
        let (applied, said) = apply("one", "10.20.99.9", "");
        assert!(applied, "{said}");
        let (applied, said) = apply("second", "10.20.99.30", "");
        assert!(applied, "{said}");

        assert_eq!(put("static", Some("10.20.99.10"), false).1, "NeighbourAnswers");
        assert_eq!(put("static", Some("10.20.99.10"), true).0, 201);
        // The first two that are free by the model are not so on the link.
        let (status, code, nat) = put("dynamic", None, false);
        assert_eq!((status, code.as_str(), nat.as_str()), (201, "", "10.20.99.6"));
        let create = "resource create cli --vnet core --nat 10.20.99.5 --backend 10.20.0.99 --port 7";
        let output = cli(create);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(&hardware("lan")), "{said}");
        ask(&format!("{create} --force"));

        // The daemon's own file is applied without asking, at a reload as at a start.
        let own = file + &echo_service("own", "10.20.0.50", "\"10.20.99.4\"");
        daemon.apply(&own);
        daemon.stop();
        let _daemon = Daemon::again(&[]);
        assert!(ask("resource list").contains("own"), "{}", read_log());
    });
}

#[test]
fn where_a_neighbour_answers_for_everything_there_is_a_warning_only() {
    isolated("neighbours::where_a_neighbour_answers_for_everything_there_is_a_warning_only", || {
        link(&[]);
        // `lan` answers ARP for whatever it would route elsewhere.
        ip("-n lan link add other type veth peer name elsewhere");
        ip("-n lan link set other up");
        ip("-n lan link set elsewhere up");
        for prefix in ["10.20.99.0/25", "10.20.99.128/26", "10.20.99.192/27"] {
            ip(&format!("-n lan route add {prefix} dev other"));
        }
        sysctl("lan", "ipv4/ip_forward", "1");
        sysctl("lan", "ipv4/conf/eth0/proxy_arp", "1");
        sysctl("lan", "ipv4/neigh/eth0/proxy_delay", "0");
        let _daemon = Daemon::start(&networks());
        let (applied, said) = apply("one", "10.20.99.30", "");
        assert!(applied && said.contains("answers for every address on its link"), "{said}");
        assert!(said.contains(&hardware("lan")), "{said}");
        let (status, _, nat) = put("dynamic", None, false);
        assert_eq!((status, nat.as_str()), (201, "10.20.99.4"));
    });
}
