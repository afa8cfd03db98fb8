//! Zones that somebody else serves, as a real upstream (unbound) says; one that is not there, and one (dnsmasq) that
//! asks the resolver itself.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::dns::lab;
use crate::lab::{CORE, Daemon, attachment, cli, daemon_table, endpoint, eventually, inside, isolated};
use crate::peers::Program;
use crate::support::dns::{RESOLVER, dig, dnsmasq};

/// What everybody else's names are: a zone, a name, and the private zone of accounts, in which nobody is.
const PUBLIC: &str = "server:
  interface: 10.1.0.53
  access-control: 10.1.0.0/16 allow
  chroot: \"\"
  username: \"\"
  use-syslog: no
  pidfile: \"\"
  module-config: iterator
  local-zone: . static
  local-data: '. 60 IN SOA ns.root. admin.root. 1 2 3 4 5'
  local-zone: corp.example. static
  local-data: 'corp.example. 60 IN SOA ns.corp.example. admin.corp.example. 1 2 3 4 5'
  local-data: 'corp.example. 60 IN NS ns.corp.example.'
  local-data: 'www.corp.example. 60 IN A 203.0.113.11'
  local-data: 'orders.example. 60 IN A 203.0.113.12'
  local-zone: privatelink.blob.core.windows.net. static
  local-data: 'privatelink.blob.core.windows.net. 60 IN SOA ns.azure. admin.azure. 1 2 3 4 5'
remote-control:
  control-enable: no
";

fn zone(name: &str) -> String {
    let records = "records = [{ name = \"www\", type = \"A\", values = \"10.1.0.7\" }]";
    format!("[[dns_zone]]\nname = \"{name}\"\n{records}\nlinks = [{{ vnet = \"spoke\" }}]\n")
}

/// A VNet with zones of its own and names of endpoints, of which somebody else has some, too.
fn file(upstream: &str) -> String {
    let service = |name: &str, last: u8| {
        format!(
            "[[resource]]\nname = \"{name}\"\nvnet = \"core\"\nnat = [\"10.20.99.{last}\"]\nfqdns = [\"{name}.example\"]\ntargets \
             = [{{ backends = [\"10.20.0.{last}\"], ports = [{{ protocol = \"tcp\", port = 80 }}] }}]\n"
        )
    };
    let private = ["privatelink.blob.core.windows.net", "privatelink.file.core.windows.net"];
    [
        daemon_table(""),
        attachment("spoke"),
        attachment("core"),
        format!(
            "[[vnet]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\"]\nsubnets = [{{ name = \"endpoints\", prefix = \
             \"10.1.9.0/24\", dedicated = true }}]\ndns = {{ listen = \"{RESOLVER}\", upstream = \"{upstream}\" }}\n"
        ),
        CORE.to_owned(),
        service("orders", 4),
        service("quiet", 5),
        endpoint("orders", "spoke", "10.1.9.4", "orders", "Approved"),
        zone("corp.example"),
        zone("corp.internal"),
        private.map(zone).concat(),
    ]
    .concat()
}

/// What lint says to programs and to people, and how it ends.
fn lint(arguments: &str) -> (Vec<Value>, String, String, Option<i32>) {
    let output = cli(&format!("dns lint {arguments} --json"));
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let people = cli(&format!("dns lint {arguments}"));
    assert_eq!(people.status.code(), output.status.code());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let items = list["items"].as_array().expect("items").clone();
    (items, text(&people.stdout), text(&people.stderr), people.status.code())
}

/// Code and zone of each item.
fn found(items: &[Value]) -> Vec<(&str, &str)> {
    assert!(items.iter().all(|item| item["vnet"] == "default/spoke"), "{items:?}");
    items.iter().filter_map(|item| Some((item["code"].as_str()?, zone_of(item)?))).collect()
}

fn zone_of(item: &Value) -> Option<&str> {
    item["message"].as_str()?.trim_start_matches("the zone ").split(' ').next()
}

#[test]
fn what_somebody_else_serves_is_known_by_asking() {
    isolated("dns_lint::what_somebody_else_serves_is_known_by_asking", || {
        const BLOB: &str = "privatelink.blob.core.windows.net";
        const FILE: &str = "privatelink.file.core.windows.net";
        lab();
        fs::write("/run/unbound.conf", PUBLIC).expect("written");
        let unbound = || {
            let arguments = ["-d", "-c", "/run/unbound.conf"];
            Command::new("unbound").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let _public = Program(inside("spoke", unbound).expect("unbound starts"));
        eventually("unbound answers", || dig("spoke", "@10.1.0.53 corp.example SOA").contains("ns.corp.example."));
        let daemon = Daemon::start(&file("10.1.0.53"));
        let answers = || dig("spoke", &format!("@{RESOLVER} +short www.corp.internal")).contains("10.1.0.7");
        eventually("the resolver answers", answers);

        // By the tables alone both private zones are traps, and nothing is known of the others.
        let (items, ..) = lint("--no-ask");
        assert_eq!(found(&items), [("NxDomainTrap", BLOB), ("NxDomainTrap", FILE)]);
        assert!(items.iter().all(|item| item["evidence"].is_null()), "{items:?}");

        let (items, said, talk, code) = lint("--vnet spoke");
        let expected =
            [("NxDomainTrap", BLOB), ("PublicZoneInUse", "orders.example"), ("PublicZoneInUse", "corp.example")];
        assert_eq!((found(&items), code), (expected.to_vec(), Some(1)), "{talk}");
        for (item, evidence) in items.iter().zip([
            "10.1.0.53 says: privatelink.blob.core.windows.net SOA ns.azure.",
            "10.1.0.53 says: orders.example A 203.0.113.12",
            "10.1.0.53 says: corp.example SOA ns.corp.example.",
        ]) {
            assert!(item["evidence"][0].as_str().is_some_and(|line| line.starts_with(evidence)), "{item}");
            assert!(item["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{item}");
            assert!(said.contains(&format!("\n  {evidence}")), "{said}");
        }
        assert!(said.contains("10.1.0.53 says: www.corp.example A 203.0.113.11"), "{said}");
        assert!(!talk.contains("could not be asked"), "{talk}");
        assert_eq!(found(&lint("--vnet core").0), []);

        // Whoever brings it about is told, with what it is founded on.
        let warned = |arguments: &str| {
            let output = cli(arguments);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
            said
        };
        let endpoint =
            |name: &str| format!("endpoint create {name}2 --vnet spoke --subnet endpoints --resource {name}");
        let said = warned(&endpoint("orders"));
        assert!(said.contains("warning: PublicZoneInUse: orders.example") && said.contains("203.0.113.12"), "{said}");
        let said = warned(&endpoint("quiet"));
        assert!(!said.contains("PublicZoneInUse"), "{said}");
        cli("endpoint delete orders2");
        // Before it is so, too.
        fs::write("/run/zone.toml", zone("www.corp.example")).expect("written");
        let said = warned("apply --dry-run -f /run/zone.toml");
        assert!(said.contains("PublicZoneInUse: the zone www.corp.example"), "{said}");
        assert_eq!(found(&lint("").0).len(), 3, "it is not so yet");
        let said = warned("apply -f /run/zone.toml");
        assert!(said.contains("www.corp.example A 203.0.113.11"), "{said}");

        // Nobody there: that is said, is no error, and what the tables say stands.
        daemon.apply(&file("10.1.0.54"));
        eventually("the resolver answers", answers);
        let (items, said, talk, code) = lint("");
        let codes = |items: &[Value]| found(items).into_iter().map(|(code, _)| code.to_owned()).collect::<Vec<_>>();
        let by_tables = ["NotAsked", "NxDomainTrap", "NxDomainTrap"];
        assert!(codes(&items) == by_tables && code == Some(1), "{said}{talk}");
        assert!(talk.contains("could not be asked for default/spoke: ") && talk.contains("10.1.0.54"), "{talk}");
        assert!(!said.contains("NotAsked"), "{said}");

        // A server that has its answers from here has none to give.
        let _forwarder = dnsmasq("spoke", "10.1.0.54", &[&format!("--server={RESOLVER}")]);
        eventually("dnsmasq answers", || dig("spoke", "@10.1.0.54 +short www.corp.internal").contains("10.1.0.7"));
        // A failure is kept for a second.
        eventually("it repeats what it is told", || {
            let (items, said, talk, code) = lint("");
            assert!(codes(&items) == by_tables && code == Some(1), "{said}{talk}");
            talk.contains("10.1.0.54 repeats what this resolver says")
        });
    });
}
