//! `doctor` on a client's host, with one fault at a time: the first line that fails names it.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::lab::{
    CORE, Daemon, ask, attachment, consumer_vnet, daemon_table, endpoint, eventually, inside, ip, isolated, json, leg,
    run,
};
use crate::packets::{SYN, segment};
use crate::peers::{connect, greeted, inject, raw, serve};
use crate::support::dns::{RESOLVER, answers, client, public_server};

/// What `doctor` says in a namespace of a host that asks `resolver`: the exit code and every line.
pub(crate) fn examine(namespace: &str, resolver: &str, arguments: &str) -> (Option<i32>, Vec<Value>) {
    let line = format!("{} doctor --json --vnet {namespace} {arguments}", env!("CARGO_BIN_EXE_privlink"));
    let output = client(namespace, resolver, &line);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let list: Value = serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{arguments}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), list["items"].as_array().expect("items").clone())
}

/// Asserts that the first line that fails is `check`, with these words in its evidence and its remedy.
pub(crate) fn names_it(
    fault: &str,
    (code, lines): (Option<i32>, Vec<Value>),
    check: &str,
    evidence: &str,
    remedy: &str,
) {
    let all = serde_json::to_string_pretty(&lines).expect("JSON");
    let first = lines.iter().find(|line| line["outcome"] == "failed").unwrap_or_else(|| panic!("{fault}: {all}"));
    assert_eq!(first["check"], check, "{fault}: {all}");
    assert!(first["evidence"].as_str().is_some_and(|said| said.contains(evidence)), "{fault}: {evidence}: {all}");
    assert!(first["remedy"].as_str().is_some_and(|said| said.contains(remedy)), "{fault}: {remedy}: {all}");
    assert_eq!(code, Some(1), "{fault}");
    println!("{fault}: {check}: {}", first["evidence"].as_str().unwrap_or_default());
}

/// Storage accounts, each with a server and an endpoint of its own.
const ACCOUNTS: [(&str, u8, &str, &str); 7] = [
    ("account", 8, "Approved", ""),
    ("waiting", 9, "Pending", ""),
    ("refused", 10, "Pending", ""),
    ("gone", 11, "Pending", ""),
    ("dead", 12, "Approved", ""),
    ("full", 13, "Approved", ""),
    ("narrow", 14, "Approved", "max_sessions = 1\n"),
];

pub(crate) fn file(dns: &str) -> String {
    let accounts = ACCOUNTS.map(|(name, number, status, extra)| {
        let account = format!(
            "[[resource]]\nname = \"{name}\"\ntype = \"Microsoft.Storage/storageAccounts\"\nvnet = \"core\"\nnat = \
             [\"10.20.99.{number}\"]\ntargets = [{{ subresource = \"blob\", backends = [\"10.20.0.{number}\"], ports = \
             [{{ protocol = \"tcp\", port = 80, backend_port = 8080 }}] }}]\n"
        );
        let bound = endpoint(name, "spoke", &format!("10.1.9.{number}"), name, status);
        account + &bound.replace("[[endpoint]]", "[[endpoint]]\nsubresource = \"blob\"") + extra
    });
    [
        daemon_table(""),
        attachment("spoke"),
        attachment("far"),
        attachment("core"),
        consumer_vnet("spoke", &format!("dns = {{ {dns}, upstream = \"10.1.0.53\" }}")),
        consumer_vnet("far", "dns = { listen = \"10.3.255.254\", upstream = \"10.3.0.53\" }")
            .replace("10.1.9", "10.3.9")
            .replace("10.1.0.0", "10.3.0.0"),
        CORE.to_owned(),
        accounts.concat(),
    ]
    .concat()
}

/// The client's side.
pub(crate) fn spoke() {
    leg("spoke", &["10.1.0.5", "10.1.0.53", "172.16.0.9"]);
}

pub(crate) fn lab() {
    spoke();
    leg("far", &["10.3.0.5", "10.3.0.53"]);
    core();
    ip("-n spoke link add lan0 type veth peer name lan1");
    ip("-n spoke link set lan0 up");
    ip("-n spoke link set lan1 up");
}

/// The provider's side: a server for each account, but for one.
pub(crate) fn core() {
    let servers: Vec<String> = (8..=14).map(|number| format!("10.20.0.{number}")).collect();
    leg("core", &servers.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, number, _, _) in ACCOUNTS.into_iter().filter(|(name, ..)| *name != "dead") {
        serve("core", &format!("10.20.0.{number}:8080"), name);
    }
}

/// Half-open connections until no NAT port is left.
fn exhaust() {
    let socket = raw("spoke", rustix::net::ipproto::RAW);
    let full = || json("status")["conditions"].to_string().contains("NatPortsExhausted");
    let mut round = 0_u16;
    eventually("every NAT port is taken", || {
        inside("spoke", || {
            for port in 1_024..=u16::MAX {
                let from = Ipv4Addr::new(10, 1, 100, u8::try_from(round % 250).unwrap_or(0) + 1);
                // A full queue of the device loses some.
                let _ = inject(&socket, &segment((from, port), (Ipv4Addr::new(10, 1, 9, 13), 80), SYN, 1, 0));
            }
        });
        round += 1;
        full()
    });
}

#[test]
#[allow(clippy::too_many_lines, reason = "one lab, one fault after the other")]
fn the_first_line_that_fails_names_the_fault() {
    isolated("doctor::the_first_line_that_fails_names_the_fault", || {
        lab();
        let _public = [public_server("spoke", "10.1.0.53"), public_server("far", "10.3.0.53")];
        let listen = format!("listen = \"{RESOLVER}\"");
        let daemon = Daemon::start(&file(&listen));
        ask("connection reject refused --reason no");
        ask("connection remove gone --reason over");
        let name = |account: &str| format!("{account}.blob.core.windows.net");
        let account = name("account");
        eventually("the resolvers answer", || {
            answers("spoke", RESOLVER, &account) == ["10.1.9.8"] && !answers("far", "10.3.255.254", &account).is_empty()
        });
        let spoke = |arguments: &str| examine("spoke", RESOLVER, arguments);

        let (code, lines) = spoke(&account);
        let all = serde_json::to_string_pretty(&lines).expect("JSON");
        let checks: Vec<&str> = lines.iter().filter_map(|line| line["check"].as_str()).collect();
        assert_eq!(
            checks,
            ["daemon", "resolver", "name", "hosts", "address", "connection", "route", "policy", "sessions", "backend"]
        );
        assert!(code == Some(0) && lines.iter().all(|line| line["outcome"] == "ok"), "{all}");
        assert!(all.contains("→ account.privatelink.blob.core.windows.net → 10.1.9.8"), "{all}");
        assert!(all.contains("10.1.9.8 goes into pl-spoke") && all.contains("1 by this look"), "{all}");
        // For people, and without a word about the VNet: an address of this host lies in it.
        let line = format!("{} doctor {account}", env!("CARGO_BIN_EXE_privlink"));
        let shown = String::from_utf8_lossy(&client("spoke", RESOLVER, &line).stdout).into_owned();
        assert!(shown.lines().count() == 10 && shown.lines().all(|line| line.starts_with("ok ")), "{shown}");

        names_it(
            "wrong resolver",
            examine("spoke", "10.1.0.53", &account),
            "resolver",
            "10.1.0.53 of /etc/resolv.conf",
            &format!("`nameserver {RESOLVER}`"),
        );
        names_it(
            "nobody at the resolver's address",
            examine("spoke", "10.1.0.99", &account),
            "resolver",
            "10.1.0.99 of /etc/resolv.conf does not answer",
            &format!("`nameserver {RESOLVER}`"),
        );

        fs::write("/run/hosts", "127.0.0.1 localhost\n10.9.9.9 account.blob.core.windows.net\n").expect("written");
        run("mount", "--bind /run/hosts /etc/hosts");
        names_it("a stale hosts file", spoke(&account), "hosts", "line 2 of /etc/hosts says 10.9.9.9", "remove line 2");
        run("umount", "/etc/hosts");

        let route = ip("-n spoke route show 10.1.9.0/24 dev pl-spoke");
        ip("-n spoke route del 10.1.9.0/24 dev pl-spoke");
        names_it("no route", spoke(&account), "route", "no way to 10.1.9.8", "`ip route add 10.1.9.8 dev pl-spoke`");
        ip(&format!("-n spoke route add {} dev pl-spoke", route.replace("linkdown", "").trim()));
        ip("-n spoke route add 10.1.9.8/32 dev lan0");
        names_it(
            "a route past the device",
            spoke(&account),
            "route",
            "goes by lan0, not into pl-spoke",
            "ip route get 10.1.9.8",
        );
        ip("-n spoke route replace 10.1.9.8/32 dev pl-spoke src 172.16.0.9");
        names_it(
            "a source outside",
            spoke(&account),
            "policy",
            "172.16.0.9 to 10.1.9.8:80 would drop as source_not_allowed",
            "",
        );
        ip("-n spoke route del 10.1.9.8/32");

        names_it(
            "Pending",
            spoke(&name("waiting")),
            "name",
            "the connection of default/waiting is Pending",
            "privlink connection approve waiting",
        );
        names_it(
            "Rejected",
            spoke(&name("refused")),
            "name",
            "the connection of default/refused is Rejected",
            "ask the owner of refused",
        );
        names_it(
            "Disconnected",
            spoke(&name("gone")),
            "name",
            "the connection of default/gone is Disconnected",
            "privlink endpoint delete gone",
        );
        names_it(
            "another port",
            spoke(&format!("{account} --port 81")),
            "policy",
            "would drop as port_not_exposed",
            "",
        );
        names_it(
            "a dead server",
            spoke(&name("dead")),
            "backend",
            "behind which is 10.20.0.12:8080: Connection refused",
            "10.20.0.12:8080",
        );
        names_it("nobody's name", spoke(&name("nobody")), "name", "no such name", "spelled");
        names_it(
            "a VNet without the endpoint",
            examine("far", "10.3.255.254", &account),
            "name",
            "203.0.113.9: a public answer",
            "default/account in default/spoke",
        );

        let mut held = connect("spoke", "10.1.0.5:0", "10.1.9.14:80").expect("connected");
        assert_eq!(greeted(&mut held).expect("greeted"), "narrow");
        names_it(
            "no room for another session",
            spoke(&name("narrow")),
            "sessions",
            "1 sessions, as many as it may",
            "max_sessions",
        );
        drop(held);
        exhaust();
        names_it(
            "no NAT port",
            spoke(&name("full")),
            "sessions",
            "no NAT port is left towards tcp 10.20.0.13:8080",
            "`nat` of full",
        );

        let answer = format!("{listen}, answer = [\"Approved\", \"Pending\"]");
        daemon.apply(&file(&answer));
        eventually("Pending answers too", || answers("spoke", RESOLVER, &name("waiting")) == ["10.1.9.9"]);
        names_it(
            "Pending, and answered",
            spoke(&name("waiting")),
            "connection",
            "waiting to waiting is Pending",
            "privlink connection approve waiting",
        );
        daemon.apply(&file("listen = \"192.0.2.53\""));
        eventually("the resolver is silent", || json("status")["conditions"].to_string().contains("ResolverSilent"));
        names_it(
            "a resolver that cannot listen",
            spoke(&account),
            "resolver",
            "10.1.255.254 of /etc/resolv.conf does not answer",
            "cannot listen on 192.0.2.53:53",
        );

        daemon.kill();
        let (code, lines) = spoke(&account);
        assert!(lines.iter().any(|line| line["check"] == "resolver" && line["outcome"] == "failed"), "{lines:?}");
        names_it("no daemon", (code, lines), "daemon", "no daemon answers", "privlink run");
    });
}
