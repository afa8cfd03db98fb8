//! Approvals for a time end by themselves, also while the daemon is down; decisions about several connections are listed.

use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};

use crate::lab::{Daemon, ask, cli, endpoint, eventually, isolated, json, orders, state_of, two_legs, two_sides};
use crate::peers::{accept_all, connect, end_of, listen, serve, tcp};

#[test]
fn an_approval_for_a_time_ends_and_resets_both_ends() {
    isolated("ends::an_approval_for_a_time_ends_and_resets_both_ends", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 16));
        let _daemon = Daemon::start(&orders("Pending"));
        let told = ask("connection approve orders --for 4s");
        assert!(told.starts_with("orders: Pending → Approved, until "), "{told}");
        let mut client = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        let mut server = accepted.recv().expect("accepted").0;
        for shown in ["connection list", "connection show orders", "endpoint show orders", "endpoint list", "status"] {
            assert!(ask(shown).contains(" s left"), "{shown}: {}", ask(shown));
        }
        assert_eq!(end_of(&mut client), Err(ConnectionReset), "the client");
        assert_eq!(end_of(&mut server), Err(ConnectionReset), "the server");
        eventually("it is rejected", || state_of("orders") == "Rejected");
        assert_eq!(json("connection show orders")["reason"], "approval ended");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(ConnectionRefused));
        assert!(ask("audit list").contains("approval ended"), "{}", ask("audit list"));
        ask("connection approve orders --for 1h");
        let told = ask("connection approve orders");
        assert_eq!(told, "orders: Approved, for good\n");
        assert_eq!(json("connection show orders").get("approvalEndsAt"), None);
    });
}

#[test]
fn what_ended_while_the_daemon_was_down_passes_nothing_when_it_comes_back() {
    isolated("ends::what_ended_while_the_daemon_was_down_passes_nothing_when_it_comes_back", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&orders("Approved"));
        ask("connection approve orders --for 2s");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        let end = json("connection show orders")["approvalEndsAt"].as_str().expect("a time").to_owned();
        daemon.kill();
        let end: jiff::Timestamp = end.parse().expect("a time");
        eventually("the time is over", || jiff::Timestamp::now() >= end);
        let _daemon = Daemon::again(&[]);
        assert_eq!(state_of("orders"), "Rejected");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(ConnectionRefused));
    });
}

#[test]
fn several_connections_are_listed_before_they_are_decided() {
    isolated("ends::several_connections_are_listed_before_they_are_decided", || {
        two_legs();
        let asks = [
            endpoint("one", "spoke", "10.1.9.4", "echo", "Pending"),
            endpoint("two", "spoke", "10.1.9.5", "echo", "Pending"),
        ];
        let _daemon = Daemon::start(&two_sides("", &asks.concat()));
        let refused = cli("connection approve --resource echo");
        let (data, talk) = (String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
        assert_eq!(refused.status.code(), Some(2), "{data} {talk}");
        assert!(data.contains("one") && data.contains("two") && talk.contains("--yes"), "{data} {talk}");
        assert_eq!((state_of("one"), state_of("two")), ("Pending".to_owned(), "Pending".to_owned()));
        assert!(ask("connection approve --resource echo --dry-run").contains("NEW STATE"));
        assert_eq!(state_of("one"), "Pending");
        let told = ask("connection approve --resource echo --vnet spoke --yes --for 1h");
        assert_eq!(told.lines().filter(|line| line.contains("Pending → Approved, until ")).count(), 2, "{told}");
        let done = json("connection reject --resource echo --subscription default --yes --reason enough");
        assert_eq!((&done["endpoint"], &done["to"]), (&"default/one".into(), &"Rejected".into()), "{done}");
        assert_eq!(json("connection show two")["reason"], "enough");
        assert_eq!(ask("connection reject --resource echo --yes"), "no connection of echo is to be decided\n");
        for usage in ["connection approve", "connection approve one --vnet spoke", "connection reject one --for 1h"] {
            assert_eq!(cli(usage).status.code(), Some(2), "{usage}");
        }
    });
}
