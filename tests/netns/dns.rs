//! Private names, asked by real clients (dig, glibc's resolver, curl) and forwarded to a real server (dnsmasq), which
//! also says what the public answer would be.

use std::fs;
use std::process::{Command, Stdio};

use crate::lab::{
    CORE, Daemon, ask, attachment, daemon_table, endpoint, eventually, inside, ip, isolated, json, leg, rest, run,
};
use crate::peers::Program;
use crate::support::dns::{RESOLVER, dig, dnsmasq, short};

pub(crate) const NAME: &str = "account.blob.core.windows.net";
const HOST: &str = "account.privatelink.blob.core.windows.net.";

/// The public side: an answer for every name that is asked, a private zone that is empty, an alias of somebody's own.
fn public_server(at: &str) -> Program {
    let options = [
        "--host-record=account.privatelink.blob.core.windows.net,203.0.113.9",
        "--cname=account.blob.core.windows.net,account.privatelink.blob.core.windows.net",
        "--host-record=other.blob.core.windows.net,203.0.113.10",
        "--host-record=www.example.com,203.0.113.11,2001:db8::11",
        "--cname=files.example.com,account.blob.core.windows.net",
        "--host-record=account.blob.core.windows.net.alias,203.0.113.12",
        "--address=/example.com/",
        "--txt-record=long.example.com,0123456789012345678901234567890123456789",
    ];
    dnsmasq("spoke", at, &options)
}

pub(crate) fn file(dns: &str, status: &str) -> String {
    let account = "[[resource]]\nname = \"account\"\ntype = \"Microsoft.Storage/storageAccounts\"\nvnet = \"core\"\nnat = \
                   [\"10.20.99.4\"]\ntargets = [{ subresource = \"blob\", backends = [\"10.20.0.2\"], ports = [{ protocol \
                   = \"tcp\", port = 80, backend_port = 8080 }] }]\n";
    let blob = |name: &str, ip: &str, status: &str| {
        endpoint(name, "spoke", ip, "account", status).replace("[[endpoint]]", "[[endpoint]]\nsubresource = \"blob\"")
    };
    [
        daemon_table(""),
        attachment("spoke"),
        attachment("core"),
        format!(
            "[[vnet]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\", \"fd01::/16\"]\nsubnets = [{{ name = \"endpoints\", prefix \
             = \"10.1.9.0/24\", dedicated = true }}]\ndns = {{ {dns} }}\n"
        ),
        CORE.to_owned(),
        account.to_owned(),
        blob("first", "10.1.9.8", status),
    ]
    .concat()
}

pub(crate) fn lab() {
    leg("spoke", &["10.1.0.5", "10.1.0.53", "10.1.0.54", "172.16.0.9"]);
    leg("core", &["10.20.0.2"]);
    fs::write("/run/resolv.conf", format!("nameserver {RESOLVER}\noptions timeout:2 attempts:1\n")).expect("written");
    run("mount", "--bind /run/resolv.conf /etc/resolv.conf");
}

#[test]
fn the_unchanged_name_leads_to_the_private_address_for_dig_glibc_and_curl() {
    isolated("dns::the_unchanged_name_leads_to_the_private_address_for_dig_glibc_and_curl", || {
        lab();
        let _public = public_server("10.1.0.53");
        fs::create_dir_all("/run/www").expect("made");
        fs::write("/run/www/name", "the private server").expect("written");
        let web = ["-m", "http.server", "8080", "--bind", "10.20.0.2", "--directory", "/run/www"];
        let web =
            inside("core", || Command::new("python3").args(web).stderr(Stdio::null()).stdout(Stdio::null()).spawn());
        let _web = Program(web.expect("python3"));
        let _daemon =
            Daemon::start(&file("listen = [\"10.1.255.254\", \"fd01::53\"], upstream = \"10.1.0.53\"", "Approved"));
        eventually("the resolver answers", || !short(NAME, "A").is_empty());
        assert_eq!(short(NAME, "A"), [HOST, "10.1.9.8"]);
        assert_eq!(short(NAME, "A +tcp"), [HOST, "10.1.9.8"]);
        assert!(dig("spoke", &format!("@fd01::53 +short {NAME}")).contains("10.1.9.8"), "by IPv6");
        assert!(dig("spoke", &format!("@fd01::53 +short +tcp {NAME}")).contains("10.1.9.8"), "by IPv6 and TCP");
        assert_eq!(short("ACCOUNT.Blob.Core.Windows.Net", "A"), [HOST, "10.1.9.8"]);
        assert_eq!(short(NAME, "AAAA"), [HOST], "no data, and no public address either");

        let glibc = run("ip", &format!("netns exec spoke getent ahosts {NAME}"));
        assert!(glibc.lines().all(|line| line.starts_with("10.1.9.8 ")) && !glibc.is_empty(), "{glibc}");
        let mut page = String::new();
        eventually("curl gets the page", || {
            let line = format!("netns exec spoke curl -sS --noproxy * --max-time 5 http://{NAME}/name");
            let output = Command::new("ip").args(line.split_whitespace()).output().expect("curl");
            page = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success()
        });
        assert_eq!(page, "the private server");

        // What is not private is the upstream's: a name of the same zone that is somebody else's, too.
        assert_eq!(short("other.blob.core.windows.net", "A"), ["203.0.113.10"]);
        assert_eq!(short("www.example.com", "AAAA"), ["2001:db8::11"]);
        assert!(dig("spoke", &format!("@{RESOLVER} nowhere.example.com")).contains("NXDOMAIN"));
        assert_eq!(short("long.example.com", "TXT").len(), 1);
        // An alias of somebody's own into a private name: the private address, not the public one behind it.
        assert_eq!(short("files.example.com", "A"), [&format!("{NAME}."), HOST, "10.1.9.8"]);
        // Without the resolver the same name is public.
        assert!(dig("spoke", &format!("@10.1.0.53 +short {NAME}")).contains("203.0.113.9"));
    });
}

#[test]
fn each_cloud_answers_its_own_names() {
    isolated("dns::each_cloud_answers_its_own_names", || {
        lab();
        let account =
            "/subscriptions/default/resourceGroups/default/providers/Microsoft.Storage/storageAccounts/account";
        for (cloud, zone) in [("government", "core.usgovcloudapi.net"), ("china", "core.chinacloudapi.cn")] {
            let file = file("listen = \"10.1.255.254\"", "Approved");
            let daemon = Daemon::start(&file.replace("[daemon]\n", &format!("[daemon]\ncloud = \"{cloud}\"\n")));
            let name = format!("account.blob.{zone}");
            eventually("the resolver answers", || !short(&name, "A").is_empty());
            assert_eq!(
                short(&name, "A"),
                [format!("account.privatelink.blob.{zone}.").as_str(), "10.1.9.8"],
                "{cloud}"
            );
            assert_eq!(short(NAME, "A"), [] as [&str; 0], "the public cloud's name is nobody's");
            let (status, shown) = rest("GET", account, "");
            let endpoint = &shown["properties"]["primaryEndpoints"]["blob"];
            assert_eq!((status, endpoint), (200, &format!("https://{name}/").into()), "{cloud}");
            let (_, parts) = rest("GET", &format!("{account}/privateLinkResources"), "");
            let zones = &parts["value"][0]["properties"]["requiredZoneNames"];
            assert_eq!(zones[0], format!("privatelink.blob.{zone}"), "{cloud}: {parts}");
            let (status, told) = rest("GET", "/metadata/endpoints", "");
            assert_eq!((status, &told["suffixes"]["storage"]), (200, &zone.into()), "{cloud}: {told}");
            daemon.stop();
        }
    });
}

#[test]
fn a_name_without_an_approved_connection_is_nobodys_and_says_why() {
    isolated("dns::a_name_without_an_approved_connection_is_nobodys_and_says_why", || {
        lab();
        let _public = public_server("10.1.0.53");
        let settings = "listen = \"10.1.255.254\", upstream = \"10.1.0.53\"";
        let daemon = Daemon::start(&file(settings, "Pending"));
        let said = || dig("spoke", &format!("@{RESOLVER} {NAME} A"));
        eventually("the resolver answers", || said().contains("NXDOMAIN"));
        let why = said();
        assert!(
            why.contains("EDE: 15 (Blocked)") && why.contains("the connection of default/first is Pending"),
            "{why}"
        );
        assert!(why.contains("flags: qr aa rd ra"), "{why}");
        assert!(why.contains("SOA\tprivatelink.blob.core.windows.net."), "{why}");
        assert!(!why.contains("203.0.113.9"), "nobody is led to the public address: {why}");
        ask("connection approve first");
        eventually("approved, it has its address", || short(NAME, "A") == [HOST, "10.1.9.8"]);
        ask("connection reject first --reason no");
        eventually("rejected, it has none", || said().contains("is Rejected"));
        assert!(short(NAME, "A") == [HOST], "only the alias");

        let pending = format!("{settings}, answer = [\"Approved\", \"Rejected\"], ttl = \"3s\"");
        daemon.apply(&file(&pending, "Pending"));
        eventually("other states may answer too", || short(NAME, "A") == [HOST, "10.1.9.8"]);
        assert!(said().contains(&format!("{HOST} 3 IN\tA 10.1.9.8")), "{}", said());
        ask("endpoint delete first");
        eventually("deleted, it is a public name again", || short(NAME, "A").contains(&"203.0.113.9".to_owned()));
    });
}

#[test]
fn strangers_dead_upstreams_and_changed_addresses() {
    isolated("dns::strangers_dead_upstreams_and_changed_addresses", || {
        lab();
        let daemon =
            Daemon::start(&file("listen = \"10.1.255.254\", upstream = [\"10.1.0.53\", \"10.1.0.54\"]", "Approved"));
        eventually("the resolver answers", || short(NAME, "A") == [HOST, "10.1.9.8"]);
        let stranger = dig("spoke", &format!("-b 172.16.0.9 @{RESOLVER} {NAME}"));
        assert!(stranger.contains("REFUSED") && !stranger.contains("10.1.9.8"), "{stranger}");
        for (arguments, code) in [
            (format!("{NAME} AXFR +tcp"), "Transfer failed"),
            (format!("-c CH {NAME} A"), "REFUSED"),
            (format!("+edns=1 +noednsneg {NAME} A"), "BADVERS"),
        ] {
            let said = dig("spoke", &format!("@{RESOLVER} {arguments}"));
            assert!(said.contains(code), "{arguments}: {said}");
        }
        let dead = dig("spoke", &format!("+time=9 @{RESOLVER} www.example.com A"));
        assert!(dead.contains("SERVFAIL") && dead.contains("EDE: 22"), "{dead}");
        // The second upstream answers where the first is silent.
        let _public = public_server("10.1.0.54");
        eventually("the second upstream answers", || short("www.example.com", "A") == ["203.0.113.11"]);

        daemon.apply(&file("listen = \"10.1.255.253\"", "Approved"));
        let moved = || dig("spoke", &format!("@10.1.255.253 +short {NAME}"));
        eventually("it listens elsewhere", || moved().contains("10.1.9.8"));
        assert!(dig("spoke", &format!("+time=1 @{RESOLVER} {NAME}")).contains("no servers could be reached"));
        let alone = dig("spoke", "@10.1.255.253 www.example.com A");
        assert!(alone.contains("REFUSED") && alone.contains("names no upstream"), "{alone}");
        assert!(!ip("-n spoke address show").contains(RESOLVER));
        // The device's address is nobody's source: local connections keep theirs.
        assert!(!ip("-n spoke route get 10.1.9.8").contains("10.1.255.25"));
        daemon.apply(&file("upstream = \"10.1.0.54\"", "Approved"));
        eventually("without an address it is silent", || moved().contains("no servers") || moved().is_empty());
        daemon.apply(&file("listen = \"192.0.2.53\"", "Approved"));
        let conditions = || json("status")["conditions"].to_string();
        eventually("an address that nobody has is said in status", || {
            conditions().contains("the resolver of VNet default/spoke is silent: cannot listen on 192.0.2.53:53")
        });
        daemon.apply(&file("listen = \"10.1.255.254\"", "Approved"));
        eventually("it listens again", || short(NAME, "A") == [HOST, "10.1.9.8"]);
        eventually("and nothing is wrong", || !conditions().contains("ResolverSilent"));
        daemon.stop();
        assert!(!ip("-n spoke address show").contains(RESOLVER), "nothing of it stays");
    });
}
