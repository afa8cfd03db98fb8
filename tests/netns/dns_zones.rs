//! Private DNS zones of one's own, zone groups of endpoints and lockdown, asked by `dig`; with a public server beside
//! them that would answer, and serve, whoever is led there.

use std::fs;

use crate::lab::{CORE, Daemon, ask, attachment, cli, daemon_table, eventually, ip, isolated, join, leg};
use crate::peers::{Program, connect, greeted, serve};
use crate::support::dns::{RESOLVER, dig, dnsmasq, short};

const ACCOUNT: &str = "account.blob.core.windows.net";
const HOST: &str = "account.privatelink.blob.core.windows.net.";
/// Where the public side serves accounts.
const PUBLIC: &str = "203.0.113.9:7";

/// The public side: names of accounts, of everybody else, and an alias that leads from the one to the other.
fn public_names() -> Program {
    let options = [
        "--host-record=account.blob.core.windows.net,203.0.113.9",
        "--host-record=other.blob.core.windows.net,203.0.113.9",
        "--host-record=none.corp.internal,203.0.113.12",
        "--host-record=www.example.com,203.0.113.11",
        "--cname=leak.example.com,other.blob.core.windows.net",
    ];
    dnsmasq("spoke", "10.1.0.53", &options)
}

fn whole(name: &str) -> String {
    dig("spoke", &format!("@{RESOLVER} {name} A"))
}

/// The client's network and that of the servers; `of_vnet`, `endpoints` and `zones` are added as they are.
fn file(daemon: &str, of_vnet: &str, endpoints: &str, zones: &str) -> String {
    [
        &daemon_table(daemon),
        &attachment("spoke"),
        &attachment("core"),
        "[[vnet]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\"]\nsubnets = [{ name = \"endpoints\", prefix = \
         \"10.1.9.0/24\", dedicated = true }]\ndns = { listen = \"10.1.255.254\", upstream = \"10.1.0.53\" }\n",
        of_vnet,
        CORE,
        "[[resource]]\nname = \"account\"\ntype = \"Microsoft.Storage/storageAccounts\"\nvnet = \"core\"\nnat = \
         [\"10.20.99.4\"]\ntargets = [{ subresource = \"blob\", backends = [\"10.20.0.2\"], ports = [{ protocol = \"tcp\", port \
         = 7, backend_port = 7000 }] }]\n",
        endpoints,
        zones,
    ]
    .concat()
}

fn blob(name: &str, address: &str, zones: &str) -> String {
    format!(
        "[[endpoint]]\nname = \"{name}\"\nvnet = \"spoke\"\nsubnet = \"endpoints\"\nip = \"{address}\"\nresource = \
         \"account\"\nsubresource = \"blob\"\n{zones}\n"
    )
}

/// A network of clients, and the public side behind it.
fn lab() -> Program {
    leg("spoke", &["10.1.0.5", "10.1.0.53"]);
    leg("core", &["10.20.0.2"]);
    leg("public", &["203.0.113.9"]);
    join(("spoke", "out", "192.0.2.1/30"), ("public", "in", "192.0.2.2/30"));
    ip("-n spoke route add default via 192.0.2.2");
    ip("-n public route add 10.1.0.0/16 via 192.0.2.1");
    serve("core", "10.20.0.2:7000", "the private server");
    serve("public", "203.0.113.9:7", "the public server");
    public_names()
}

fn reached(address: &str) -> Result<String, std::io::ErrorKind> {
    let mut stream = connect("spoke", "10.1.0.5:0", address)?;
    greeted(&mut stream).map_err(|error| error.kind())
}

#[test]
fn records_and_endpoints_of_a_zone_are_seen_where_it_is_linked() {
    isolated("dns_zones::records_and_endpoints_of_a_zone_are_seen_where_it_is_linked", || {
        let _public = lab();
        let corp = |links: &str| {
            format!(
                "[[dns_zone]]\nname = \"corp.internal\"\nrecords = [\n  {{ name = \"www\", type = \"A\", ttl = \"1m\", values = \
                 [\"10.0.0.1\", \"10.0.0.2\"] }},\n  {{ name = \"www\", type = \"TXT\", values = \"hello there\" }},\n  {{ name = \"v6\", type = \
                 \"AAAA\", values = \"fd00::1\" }},\n  {{ name = \"*.apps\", type = \"CNAME\", values = \"www.corp.internal\" }},\n  {{ name = \
                 \"out\", type = \"CNAME\", values = \"www.example.com\" }},\n  {{ name = \"@\", type = \"MX\", values = \"10 \
                 mail.corp.internal\" }},\n  {{ name = \"_sip._tcp\", type = \"SRV\", values = \"0 5 5060 pbx.corp.internal\" }},\n  {{ name \
                 = \"4.9\", type = \"PTR\", values = \"db.corp.internal\" }},\n]\nlinks = [{links}]\n"
            )
        };
        let blobs = "[[dns_zone]]\nname = \"privatelink.blob.core.windows.net\"\nlinks = [{ vnet = \"spoke\", resolution_policy = \
                     \"NxDomainRedirect\" }]\n";
        let zone = "dns_zones = \"privatelink.blob.core.windows.net\"";
        let endpoints = blob("one", "10.1.9.8", zone) + &blob("two", "10.1.9.9", zone);
        let daemon = Daemon::start(&file("", "", &endpoints, &(corp("{ vnet = \"spoke\" }") + blobs)));
        eventually("the resolver answers", || !short("www.corp.internal", "A").is_empty());
        for (name, kind, expected) in [
            ("www.corp.internal", "A", &["10.0.0.1", "10.0.0.2"][..]),
            ("WWW.Corp.Internal", "TXT", &["\"hello there\""]),
            ("v6.corp.internal", "AAAA", &["fd00::1"]),
            ("any.apps.corp.internal", "A", &["www.corp.internal.", "10.0.0.1", "10.0.0.2"]),
            ("out.corp.internal", "A", &["www.example.com.", "203.0.113.11"]),
            ("corp.internal", "MX", &["10 mail.corp.internal."]),
            ("_sip._tcp.corp.internal", "SRV", &["0 5 5060 pbx.corp.internal."]),
            ("4.9.corp.internal", "PTR", &["db.corp.internal."]),
            (ACCOUNT, "A", &[HOST, "10.1.9.8", "10.1.9.9"]),
            ("other.blob.core.windows.net", "A", &["203.0.113.9"]),
        ] {
            assert_eq!(short(name, kind), expected, "{name} {kind}");
        }
        let none = whole("none.corp.internal");
        assert!(none.contains("NXDOMAIN") && none.contains("SOA\tcorp.internal."), "the zone's own word: {none}");
        assert!(whole("_tcp.corp.internal").contains("NOERROR"), "part of a longer name");

        ask("endpoint delete one");
        eventually("the other's address stays", || short(ACCOUNT, "A") == [HOST, "10.1.9.9"]);
        let redirected = corp("{ vnet = \"spoke\", resolution_policy = \"NxDomainRedirect\" }");
        daemon.apply(&file("", "", &blob("two", "10.1.9.9", zone), &(redirected + blobs)));
        eventually("unknown names are asked of the upstream", || short("none.corp.internal", "A") == ["203.0.113.12"]);
        daemon.apply(&file("", "", &blob("two", "10.1.9.9", zone), &(corp("{ vnet = \"core\" }") + blobs)));
        eventually("unlinked, the zone is not there", || short("www.corp.internal", "A").is_empty());
        daemon.stop();
    });
}

#[test]
fn a_locked_down_network_reaches_its_own_endpoints_and_no_public_one() {
    isolated("dns_zones::a_locked_down_network_reaches_its_own_endpoints_and_no_public_one", || {
        let _public = lab();
        let one = blob("one", "10.1.9.8", "");
        let daemon = Daemon::start(&file("", "", &one, ""));
        eventually("the resolver answers", || short(ACCOUNT, "A") == [HOST, "10.1.9.8"]);
        // Before: somebody else's account is resolved, and reached, over the public side.
        assert_eq!(short("leak.example.com", "A"), ["other.blob.core.windows.net.", "203.0.113.9"]);
        assert_eq!(reached(PUBLIC).as_deref(), Ok("the public server"));

        let locked = "lockdown = true\npublic_prefixes = [\"203.0.113.8/31\"]\n";
        let closed = |daemon: &str| {
            let text = file(daemon, "", &one, "");
            text.replacen("dns = { listen", &format!("{locked}dns = {{ listen"), 1)
        };
        daemon.apply(&closed(""));
        eventually("somebody else's account is nobody's", || {
            whole("other.blob.core.windows.net").contains("the VNet is locked down")
        });
        for name in ["other.blob.core.windows.net", "other.privatelink.blob.core.windows.net", "vault.vault.azure.net"]
        {
            let said = whole(name);
            assert!(said.contains("NXDOMAIN") && said.contains("EDE: 15") && !said.contains("203.0.113"), "{said}");
        }
        let leak = whole("leak.example.com");
        assert!(!leak.contains("203.0.113.9"), "an alias of somebody else's leads there as little: {leak}");
        assert_eq!(short("www.example.com", "A"), ["203.0.113.11"], "what is no typed resource is as it was");
        assert_eq!(short(ACCOUNT, "A"), [HOST, "10.1.9.8"]);
        assert_eq!(reached("10.1.9.8:7").as_deref(), Ok("the private server"));
        assert_eq!(reached(PUBLIC), Err(std::io::ErrorKind::HostUnreachable), "an address written by hand");
        assert!(ip("-n spoke route show").contains("unreachable 203.0.113.8/31"));
        ask("connection reject one");
        eventually("rejected, it has no address, and no public one either", || {
            let said = whole(ACCOUNT);
            said.contains("is Rejected") && !said.contains("203.0.113.9")
        });

        daemon.kill();
        assert_eq!(reached(PUBLIC), Err(std::io::ErrorKind::HostUnreachable), "a dead daemon leaves no way through");
        let said = cli("clean");
        assert!(said.status.success(), "{said:?}");
        assert!(!ip("-n spoke route show").contains("203.0.113"), "cleaned up");
        assert_eq!(reached(PUBLIC).as_deref(), Ok("the public server"));

        fs::remove_dir_all("/run/privlink/state").expect("removed");
        let daemon = Daemon::start(&closed("on_exit = \"undo\""));
        assert!(ip("-n spoke route show").contains("unreachable 203.0.113.8/31"));
        daemon.stop();
        assert!(!ip("-n spoke route show").contains("203.0.113"), "undone at the end");
    });
}
