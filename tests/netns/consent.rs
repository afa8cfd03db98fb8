//! A provider names its service after somebody else's site once the connection is approved: the network decides, asked by
//! a real client of a real resolver, with a public server beside it.

use std::fs;

use crate::dns::lab;
use crate::lab::{CORE, Daemon, ask, attachment, cli, daemon_table, endpoint, eventually, isolated, json, rest};
use crate::peers::Program;
use crate::support::dns::{RESOLVER, dig, dnsmasq};

const LOGIN: &str = "login.example.com";
const PUBLIC: &str = "203.0.113.11";
const PRIVATE: &str = "10.1.9.4";
const HUB: &str = "10.3.255.254";
const ENDPOINT: &str = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateEndpoints/\
     orders?api-version=2026-03-01";

const SERVICE: &str = "[[resource]]\nname = \"orders\"\nvnet = \"core\"\nnat = [\"10.20.99.4\"]\ntargets = [{ backends = \
     [\"10.20.0.2\"], ports = [{ protocol = \"tcp\", port = 80 }] }]\n";

/// The clients' network, its peer, which is not attached, and that of the servers.
fn file(state: &str) -> String {
    let vnet = |name: &str, space: &str, subnet: &str, more: &str| {
        format!(
            "[[vnet]]\nname = \"{name}\"\naddress_space = [\"{space}\"]\nsubnets = [{{ name = \"endpoints\", prefix = \
             \"{subnet}\", dedicated = true }}]\n{more}\n"
        )
    };
    let dns = |listen: &str, peer: &str| {
        format!("peerings = [\"{peer}\"]\ndns = {{ listen = \"{listen}\", upstream = \"10.1.0.53\" }}")
    };
    [
        daemon_table("api = \"127.0.0.1:8480\""),
        attachment("spoke"),
        attachment("core"),
        vnet("spoke", "10.1.0.0/16", "10.1.9.0/24", &dns(RESOLVER, "hub")),
        vnet("hub", "10.3.0.0/16", "10.3.9.0/24", &dns(HUB, "spoke")),
        CORE.to_owned(),
        SERVICE.to_owned(),
        endpoint("orders", "spoke", PRIVATE, "orders", state),
    ]
    .concat()
}

fn public_server() -> Program {
    dnsmasq("spoke", "10.1.0.53", &["--host-record=login.example.com,203.0.113.11"])
}

fn answer() -> String {
    dig("spoke", &format!("@{RESOLVER} +short {LOGIN} A")).trim().to_owned()
}

/// Names that would be handed to other programs, in every form.
fn exported(vnet: &str) -> String {
    let forms = ["hosts", "zone", "public", "dnsmasq", "unbound", "bind", "coredns", "resolved"];
    forms.map(|form| ask(&format!("dns export --vnet {vnet} --format {form}"))).concat()
}

#[test]
fn a_name_that_the_provider_adds_goes_upstream_until_the_network_accepts_it() {
    isolated("consent::a_name_that_the_provider_adds_goes_upstream_until_the_network_accepts_it", || {
        lab();
        let _public = public_server();
        let _daemon = Daemon::start(&file("Approved"));
        eventually("the resolver asks its upstream", || answer() == PUBLIC);
        let provider = format!("{SERVICE}fqdns = [\"{LOGIN}\", \"api.orders.internal\"]\n");
        fs::write("/run/privlink/provider.toml", provider).expect("written");
        ask("apply -f /run/privlink/provider.toml");

        // In force, and yet everybody's: whatever the state of the connection is.
        for command in ["connection reject orders", "connection approve orders"] {
            ask(command);
            assert_eq!(answer(), PUBLIC, "after {command}");
        }
        let shown = json("endpoint show orders");
        assert_eq!(shown["waitingNames"], serde_json::json!(["api.orders.internal", LOGIN]), "{shown}");
        assert!(ask("endpoint show orders").contains("accept-names"));
        let lint = cli("dns lint --vnet spoke --no-ask");
        let text = String::from_utf8_lossy(&lint.stdout).into_owned();
        assert!(text.contains("NameWaits") && text.contains(LOGIN) && lint.status.code() == Some(1), "{text}");
        let (_, azure) = rest("GET", ENDPOINT, "");
        let properties = &azure["properties"];
        assert!(properties["customDnsConfigs"].to_string().contains(LOGIN), "shown all the same: {properties}");
        assert!(properties["privlink"]["waitingNames"].to_string().contains(LOGIN), "{properties}");
        assert!(!exported("spoke").contains("login"), "no other program is told");
        let explained = ask(&format!("dns query {LOGIN} --vnet spoke --explain"));
        assert!(explained.contains("waiting: ") && explained.contains(PUBLIC), "{explained}");

        let accepted = ask("endpoint accept-names orders login.example.com *.orders.internal");
        assert!(accepted.contains("endpoint default/orders: updated"), "{accepted}");
        eventually("the name answers here", || answer() == PRIVATE);
        assert!(exported("spoke").contains(LOGIN));
        assert_eq!(json("endpoint show orders")["waitingNames"], serde_json::Value::Null);
        assert!(ask("audit list").contains("accepts *.orders.internal, login.example.com"));

        // Not in the peer, which has not accepted it, although the endpoint's own network has.
        assert!(!exported("hub").contains("login"));
        let hub = cli("dns lint --vnet hub --no-ask");
        let text = String::from_utf8_lossy(&hub.stdout).into_owned();
        assert!(text.contains("NameWaits") && text.contains("dns.accept_names"), "{text}");

        ask("endpoint accept-names orders login.example.com --remove");
        eventually("the name is everybody's again", || answer() == PUBLIC);
    });
}

#[test]
fn the_peer_answers_once_it_has_accepted_the_name_too() {
    isolated("consent::the_peer_answers_once_it_has_accepted_the_name_too", || {
        lab();
        let _public = public_server();
        let daemon = Daemon::start(&file("Approved"));
        eventually("the resolver asks its upstream", || answer() == PUBLIC);
        fs::write("/run/privlink/provider.toml", format!("{SERVICE}fqdns = \"{LOGIN}\"\n")).expect("written");
        ask("apply -f /run/privlink/provider.toml");
        ask("endpoint accept-names orders login.example.com");
        assert!(!exported("hub").contains("login"));
        let listen = format!("listen = \"{HUB}\"");
        daemon.apply(&file("Approved").replace(&listen, &format!("{listen}, accept_names = \"*.example.com\"")));
        assert!(
            exported("hub").contains(LOGIN),
            "and what the file says of other things leaves the endpoint's consent"
        );
        eventually("still here", || answer() == PRIVATE);
    });
}
