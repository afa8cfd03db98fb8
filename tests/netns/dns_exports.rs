//! Private names as other programs serve them: each export is loaded into the real program, and asked. Two endpoints of
//! one account, each with two addresses and two names, and a zone of somebody's own. What surprises is said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::{
    CORE, Daemon, ask, attachment, cli, daemon_table, endpoint, eventually, inside, ip, isolated, json, leg, rest, run,
};
use crate::peers::Program;
use crate::support::dns::{RESOLVER, dig};

/// Names, and the addresses of each.
const EXPECTED: [(&str, &[&str]); 5] = [
    ("account.documents.azure.com", &["10.1.9.8", "10.1.9.18"]),
    ("account-westeurope.documents.azure.com", &["10.1.9.9", "10.1.9.19"]),
    ("orders.example", &["10.1.9.20"]),
    ("www.corp.internal", &["10.1.0.80"]),
    ("files.corp.internal", &["10.1.9.8", "10.1.9.18"]),
];

fn file() -> String {
    let member = |name: &str, fqdn: &str, backend: &str| {
        format!(
            "{{ subresource = \"Sql\", member = \"{name}\", fqdns = [\"{fqdn}\"], backends = [\"{backend}\"], ports = [{{ \
             protocol = \"tcp\", port = 443 }}] }}"
        )
    };
    let account = format!(
        "[[resource]]\nname = \"account\"\ntype = \"Microsoft.DocumentDB/databaseAccounts\"\nvnet = \"core\"\nnat = \
         [\"10.20.99.4\"]\ntargets = [{}, {}]\n",
        member("account", EXPECTED[0].0, "10.20.0.2"),
        member("account-westeurope", EXPECTED[1].0, "10.20.0.3")
    );
    let bound = |name: &str, first: &str, second: &str| {
        let addresses = format!(
            "subresource = \"Sql\"\naddresses = [{{ member = \"account\", ip = \"{first}\" }}, {{ member = \
             \"account-westeurope\", ip = \"{second}\" }}]\n"
        );
        endpoint(name, "spoke", first, "account", "Approved").replace(&format!("ip = \"{first}\"\n"), &addresses)
    };
    let own = "[[resource]]\nname = \"orders\"\nvnet = \"core\"\nnat = [\"10.20.99.9\"]\nfqdns = [\"orders.example\"]\ntargets \
               = [{ backends = [\"10.20.0.4\"], ports = [{ protocol = \"tcp\", port = 80 }] }]\n";
    let zone = "[[dns_zone]]\nname = \"corp.internal\"\nrecords = [{ name = \"www\", type = \"A\", values = \"10.1.0.80\" }, { name \
                = \"files\", type = \"CNAME\", values = \"account.documents.azure.com\" }, { name = \"www\", type = \"TXT\", values \
                = \"it is \\\"here\\\"\" }]\nlinks = [{ vnet = \"spoke\" }]\n";
    [
        daemon_table(""),
        attachment("spoke"),
        attachment("core"),
        format!(
            "[[vnet]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\"]\nsubnets = [{{ name = \"endpoints\", prefix = \
             \"10.1.9.0/24\", dedicated = true }}]\ndns = {{ listen = \"{RESOLVER}\" }}\n"
        ),
        CORE.to_owned(),
        account,
        own.to_owned(),
        zone.to_owned(),
        bound("first", "10.1.9.8", "10.1.9.9"),
        bound("second", "10.1.9.18", "10.1.9.19"),
        endpoint("own", "spoke", "10.1.9.20", "orders", "Approved"),
    ]
    .concat()
}

/// A name server in the clients' network, with a configuration of its own.
fn name_server(line: &[&str]) -> Program {
    let start = || Command::new(line[0]).args(&line[1..]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Program(inside("spoke", start).unwrap_or_else(|error| panic!("{}: {error}", line[0])))
}

fn export(form: &str) -> String {
    ask(&format!("dns export --vnet spoke --format {form}"))
}

/// Every expected name has every address of its own at this server.
fn asks(server: &str, at: &str) {
    for (name, addresses) in EXPECTED {
        let mut said = String::new();
        let mut whole = || {
            said = dig("spoke", &format!("@{at} +short {name}"));
            addresses.iter().all(|address| said.lines().any(|line| line == *address))
        };
        eventually(&format!("{server} answers {name} with {addresses:?}"), &mut whole);
    }
}

/// [`export`], which forwards the public zones and never a private one.
fn forwarder(form: &str) -> String {
    let text = export(form);
    assert!(!text.contains("privatelink") && text.contains("documents.azure.com"), "{form}: {text}");
    text
}

/// Where systemd-resolved is: this system's, or the one that was unpacked for it (`scripts/lab/packages.sh`).
fn resolved() -> (PathBuf, PathBuf) {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("resolved");
    let roots = [PathBuf::from("/"), unpacked];
    let places = roots.iter().flat_map(|root| ["usr/lib/systemd", "lib/systemd"].map(|part| (root, root.join(part))));
    let (root, program) = places
        .map(|(root, folder)| (root.clone(), folder.join("systemd-resolved")))
        .find(|(_, program)| program.exists())
        .expect("systemd-resolved: scripts/test.sh unpacks it");
    let libraries = fs::read_dir(root.join("usr/lib")).expect("libraries").flatten();
    let libraries = libraries.map(|entry| entry.path().join("systemd")).find(|folder| {
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libsystemd-shared"))
    });
    (program, libraries.expect("libsystemd-shared"))
}

#[test]
fn every_export_serves_the_same_names_in_the_program_that_it_is_for() {
    isolated("dns_exports::every_export_serves_the_same_names_in_the_program_that_it_is_for", || {
        leg("spoke", &["10.1.0.5", "10.1.0.53", "10.1.0.54", "10.1.0.55"]);
        leg("core", &["10.20.0.2", "10.20.0.3", "10.20.0.4"]);
        let _daemon = Daemon::start(&file());
        asks("the resolver", RESOLVER);

        let hosts = export("hosts");
        assert!(hosts.starts_with("# Private names of spoke, for testing only"), "{hosts}");
        fs::write("/run/hosts", &hosts).expect("written");
        fs::write("/run/nsswitch.conf", "hosts: files\n").expect("written");
        run("mount", "--bind /run/hosts /etc/hosts");
        run("mount", "--bind /run/nsswitch.conf /etc/nsswitch.conf");
        for (name, addresses) in EXPECTED {
            let said = run("ip", &format!("netns exec spoke getent ahosts {name}"));
            assert!(addresses.iter().all(|address| said.contains(&format!("{address} "))), "{name}: {said}");
        }
        run("umount", "/etc/hosts");
        run("umount", "/etc/nsswitch.conf");

        fs::write("/run/dnsmasq.conf", forwarder("dnsmasq")).expect("written");
        let options = "--keep-in-foreground --no-resolv --no-hosts --user=root --pid-file= --bind-interfaces";
        let words = options.split(' ').chain(["-C", "/run/dnsmasq.conf", "--listen-address=10.1.0.53"]);
        let _dnsmasq = name_server(&["dnsmasq"].into_iter().chain(words).collect::<Vec<_>>());
        asks("dnsmasq", "10.1.0.53");

        let settings = "server:\n  interface: 10.1.0.54\n  access-control: 10.0.0.0/8 allow\n  chroot: \"\"\n  username: \"\"\n  \
                      use-syslog: no\n  pidfile: \"\"\n  do-not-query-localhost: no\nremote-control:\n  control-enable: no\n";
        fs::write("/run/unbound.conf", settings.to_owned() + &forwarder("unbound")).expect("written");
        let _unbound = name_server(&["unbound", "-d", "-c", "/run/unbound.conf"]);
        asks("unbound", "10.1.0.54");

        // Private zones themselves, served by BIND, beside what it asks the resolver for.
        let zones = export("zone");
        let mut bind =
            "options { directory \"/run\"; listen-on { 10.1.0.55; }; listen-on-v6 { none; }; recursion yes; \
                    dnssec-validation no; pid-file none; session-keyfile \"/run/named.key\"; };\ncontrols { };\n"
                .to_owned();
        for zone in ["privatelink.documents.azure.com", "corp.internal"] {
            let (_, text) = zones.split_once(&format!("; zone {zone}\n")).expect("the zone");
            fs::write(format!("/run/{zone}.zone"), text.split("; zone").next().expect("a zone")).expect("written");
            bind = [bind, format!("zone \"{zone}\" {{ type primary; file \"/run/{zone}.zone\"; }};\n")].concat();
        }
        // What is served here is not forwarded.
        let forwards = forwarder("bind");
        let forwards: Vec<&str> = forwards.lines().filter(|line| !line.contains("corp.internal")).collect();
        fs::write("/run/named.conf", bind + &forwards.join("\n") + "\n").expect("written");
        let _named = name_server(&["named", "-g", "-c", "/run/named.conf", "-u", "root"]);
        asks("named", "10.1.0.55");
        let served = dig("spoke", "@10.1.0.55 +norecurse account.privatelink.documents.azure.com");
        assert!(served.contains("flags: qr aa") && EXPECTED[0].1.iter().all(|one| served.contains(one)), "{served}");
        let text = dig("spoke", "@10.1.0.55 +norecurse +short www.corp.internal TXT");
        assert_eq!(text.trim(), "\"it is \\\"here\\\"\"");

        let public = export("public");
        for (name, _) in &EXPECTED[..2] {
            let private = name.replace(".documents", ".privatelink.documents");
            assert!(public.contains(&format!("\n{name}. 10 IN CNAME {private}.\n")), "{public}");
        }
        // A server block for each zone, and nothing else: CoreDNS itself is in no registry that tests may use.
        let blocks = forwarder("coredns");
        for zone in ["documents.azure.com", "orders.example", "corp.internal"] {
            assert!(blocks.contains(&format!("\n{zone} {{\n    forward . {RESOLVER}\n}}\n")), "{blocks}");
        }

        let chain = ask("dns query account.documents.azure.com --vnet spoke");
        assert!(chain.contains("10.1.9.18") && chain.contains("second") && chain.contains("Approved"), "{chain}");
        let none = cli("dns query www.example.com --vnet spoke");
        let said = String::from_utf8_lossy(&none.stderr).into_owned();
        assert!(none.status.code() == Some(4) && said.contains("no private name of spoke"), "{said}");
        assert_eq!(cli("dns export --vnet core --format hosts").status.code(), Some(4), "no resolver, no plan");
    });
}

#[test]
fn systemd_resolved_asks_the_resolver_for_the_public_zones() {
    isolated("dns_exports::systemd_resolved_asks_the_resolver_for_the_public_zones", || {
        leg("spoke", &["10.1.0.5"]);
        leg("core", &["10.20.0.2", "10.20.0.3", "10.20.0.4"]);
        // It asks nobody on a host that has no interface but its loopback.
        ip("-n spoke link add lan0 type veth peer name lan1");
        ip("-n spoke address add 10.1.0.77/32 dev lan0");
        ip("-n spoke link set lan0 up");
        ip("-n spoke link set lan1 up");
        let _daemon = Daemon::start(&file());
        asks("the resolver", RESOLVER);
        fs::create_dir_all("/run/systemd/resolved.conf.d").expect("made");
        fs::create_dir_all("/run/systemd/resolve").expect("made");
        fs::write("/run/systemd/resolved.conf.d/privlink.conf", forwarder("resolved")).expect("written");
        // Its user is no user of every system, and root is the only one of a user namespace.
        for (file, line) in
            [("passwd", "systemd-resolve:x:0:0::/:/usr/sbin/nologin\n"), ("group", "systemd-resolve:x:0:\n")]
        {
            let kept = fs::read_to_string(format!("/etc/{file}")).expect("read");
            let others: Vec<&str> = kept.lines().filter(|one| !one.starts_with("systemd-resolve")).collect();
            fs::write(format!("/run/{file}"), others.join("\n") + "\n" + line).expect("written");
            run("mount", &format!("--bind /run/{file} /etc/{file}"));
        }
        let (program, libraries) = resolved();
        let start = || {
            let output = fs::File::create("/run/resolved.log")?;
            Command::new(program).env("LD_LIBRARY_PATH", libraries).stdout(Stdio::null()).stderr(output).spawn()
        };
        let _resolved = Program(inside("spoke", start).expect("systemd-resolved"));
        asks("systemd-resolved", "127.0.0.53");
    });
}

#[test]
fn what_surprises_is_said_by_lint_and_by_what_brings_it_about() {
    isolated("dns_exports::what_surprises_is_said_by_lint_and_by_what_brings_it_about", || {
        leg("spoke", &["10.1.0.5"]);
        leg("core", &["10.20.0.2", "10.20.0.3", "10.20.0.4"]);
        let mut calm = file();
        let at = calm.find("[[endpoint]]\nname = \"second\"").expect("the second");
        let end = calm[at + 1..].find("[[endpoint]]").expect("another") + at + 1;
        let second = calm[at..end].to_owned();
        calm.replace_range(at..end, "");
        let daemon = Daemon::start(&calm);
        let lint = |arguments: &str| {
            let output = cli(&format!("dns lint {arguments}"));
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        assert_eq!(lint(""), (Some(0), String::new()));

        // An endpoint and its interface: every name with its address.
        let nic = json("nic show first")["addresses"].clone();
        let facts: Vec<(&str, &str, &str)> = nic
            .as_array()
            .expect("addresses")
            .iter()
            .filter_map(|one| Some((one["member"].as_str()?, one["ip"].as_str()?, one["fqdns"][0].as_str()?)))
            .collect();
        assert_eq!(facts, [("account", "10.1.9.8", EXPECTED[0].0), ("account-westeurope", "10.1.9.9", EXPECTED[1].0)]);
        let shown = ask("nic show first");
        assert!(EXPECTED[..2].iter().all(|(name, _)| shown.contains(name)), "{shown}");
        let path = "/subscriptions/default/resourceGroups/default/providers/Microsoft.Network/privateEndpoints/first";
        let configurations = rest("GET", path, "").1["properties"]["customDnsConfigs"].clone();
        let configured: Vec<(&str, &str)> = configurations
            .as_array()
            .expect("configurations")
            .iter()
            .filter_map(|one| Some((one["fqdn"].as_str()?, one["ipAddresses"][0].as_str()?)))
            .collect();
        assert_eq!(configured, [(EXPECTED[0].0, "10.1.9.8"), (EXPECTED[1].0, "10.1.9.9")]);

        // The same name again: whoever brings it about is told, and lint says it from then on.
        let made = cli("endpoint create again --vnet spoke --subnet endpoints --resource orders --ip 10.1.9.30");
        let warned = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{warned}");
        assert!(warned.contains("warning: NameClaimedTwice: orders.example belongs to several endpoints"), "{warned}");
        assert!(warned.contains("default/again, default/own"), "{warned}");
        let (code, said) = lint("--vnet spoke");
        assert!(code == Some(1) && said.contains("spoke: NameClaimedTwice: orders.example"), "{said}");
        ask("endpoint delete again");
        assert_eq!(lint("").0, Some(0));
        fs::write("/run/second.toml", second).expect("written");
        let applied = cli("apply -f /run/second.toml");
        let warned = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(applied.status.success() && warned.matches("NameClaimedTwice").count() == 2, "{warned}");
        ask("endpoint delete second");

        // A zone of one's own over public names, a private one without a way out, and no resolver at all.
        let zone = |name: &str| format!("[[dns_zone]]\nname = \"{name}\"\nlinks = [{{ vnet = \"spoke\" }}]\n");
        let upstream = calm.replace("dns = { listen", "dns = { upstream = \"10.1.0.53\", listen");
        let log = daemon.apply(&(upstream + &zone("documents.azure.com") + &zone("privatelink.blob.core.windows.net")));
        for (code, name) in [
            ("PublicZoneOverridden", "the zone documents.azure.com"),
            ("NxDomainTrap", "privatelink.blob.core.windows.net"),
        ] {
            assert!(log.contains(&format!("warning: {code}: {name}")), "{code}: {log}");
            let (_, said) = lint("");
            assert!(said.contains(&format!("spoke: {code}: {name}")), "{code}: {said}");
        }
        let silent = calm.replace(&format!("dns = {{ listen = \"{RESOLVER}\" }}"), "");
        let log = daemon.apply(&silent);
        assert!(log.contains("warning: OtherResolver: default/spoke has no resolver"), "{log}");
        let items = json("dns lint --vnet core");
        assert!(items.is_null(), "{items}");
        let output = cli("dns lint -o json");
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(all["items"][0]["code"] == "OtherResolver" && all["items"][0]["vnet"] == "default/spoke", "{all}");
    });
}
