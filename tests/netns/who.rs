//! `privlink who`: from the address that a server sees to the client behind it, over kills and restarts.

use std::net::SocketAddr;

use serde_json::Value;

use crate::lab::{Daemon, ask, cli, eventually, isolated, json, metrics, orders, two_legs};
use crate::peers::{accept_all, connect, listen};

/// The sessions that had `peer`, as `who` lists them.
fn who(peer: SocketAddr, more: &str) -> Vec<Value> {
    let answer = cli(&format!("who {peer} {more} --json"));
    let list: Value = serde_json::from_slice(&answer.stdout).expect("JSON");
    let matches = list["items"][0]["matches"].as_array().expect("a list").clone();
    assert_eq!(answer.status.code(), Some(if matches.is_empty() { 4 } else { 0 }), "{list}");
    matches
}

/// What stands behind each match: client, state, server.
fn behind(matches: &[Value]) -> Vec<(String, String, String)> {
    let side = |side: &Value| format!("{}:{}", side["ip"].as_str().expect("an address"), side["port"]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    matches.iter().map(|one| (side(&one["consumer"]), text(&one["state"]), side(&one["backend"]))).collect()
}

fn expected(client: &str, state: &str) -> Vec<(String, String, String)> {
    vec![(client.to_owned(), state.to_owned(), "10.20.0.2:7000".to_owned())]
}

#[test]
fn who_names_the_client_behind_a_peer_while_it_lives_and_after_it_ended() {
    isolated("who::who_names_the_client_behind_a_peer_while_it_lives_and_after_it_ended", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 16));
        let daemon = Daemon::start(&orders("Approved"));
        let open = |port: u16| {
            let client = connect("spoke", &format!("10.1.0.5:{port}"), "10.1.9.4:7").expect("connected");
            let (server, peer) = accepted.recv().expect("accepted");
            (client, server, peer)
        };
        let (client, server, peer) = open(5_001);
        let (_kept, _keeping, other) = open(5_002);
        assert!(peer.ip().to_string().starts_with("10.20.99.") && peer != other);

        let live = who(peer, "");
        assert_eq!(behind(&live), expected("10.1.0.5:5001", "live"));
        assert_eq!(live[0]["endpoint"], "default/orders");
        assert_eq!(live[0]["linkIdentifier"], json("flows")["linkIdentifier"]);
        assert_eq!(behind(&who(peer, "--backend 10.20.0.2:7000")), expected("10.1.0.5:5001", "live"));
        assert!(who(peer, "--backend 10.20.0.3:7000").is_empty());
        let table = ask(&format!("who {peer}"));
        assert!(table.contains("orders") && table.contains("10.1.0.5:5001"), "{table}");

        drop((client, server));
        eventually("both ends have closed", || behind(&who(peer, "")) == expected("10.1.0.5:5001", "closed"));
        let ended = who(peer, "");
        assert_eq!(ended[0]["linkIdentifier"], live[0]["linkIdentifier"]);
        assert!(ended[0]["packetsToService"].as_u64() >= Some(3), "{ended:?}");
        let (from, until) = (ended[0]["from"].as_str().expect("a time"), ended[0]["until"].as_str().expect("a time"));
        assert_eq!(who(peer, &format!("--at {from}")), ended);
        assert_eq!(who(peer, &format!("--at {until}")), ended);
        assert!(who(peer, "--at 2020-01-01T00:00:00Z").is_empty());
        assert_eq!(metrics().get("privlink_flow_log_records_total"), Some(&1));
        assert_eq!(metrics().get("privlink_flow_log_lost_total"), Some(&0));

        daemon.kill();
        let daemon = Daemon::again(&[]);
        assert_eq!(who(peer, ""), ended, "the log outlives a kill");
        assert!(who(other, "").is_empty(), "nobody noted the end of the other");
        let answer = cli(&format!("who {other}"));
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(said.contains("no session is known") && said.contains("1 kill of the daemon"), "{said}");

        let (_client, _server, third) = open(5_003);
        daemon.stop();
        let _daemon = Daemon::again(&[]);
        assert_eq!(behind(&who(third, "")), expected("10.1.0.5:5003", "stopped"), "a stop notes what it ends");
        assert_eq!(json(&format!("who {third}"))["lost"]["kills"], 1, "and is no second kill");
    });
}

#[test]
fn who_names_every_client_of_many_also_after_a_revocation() {
    isolated("who::who_names_every_client_of_many_also_after_a_revocation", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 64));
        let _daemon = Daemon::start(&orders("Approved"));
        let open: Vec<_> = (0..20_u16)
            .map(|number| {
                let from = format!("10.1.0.5:{}", 6_000 + number);
                let client = connect("spoke", &from, "10.1.9.4:7").expect("connected");
                (from, client, accepted.recv().expect("accepted"))
            })
            .collect();
        for (from, _, (_, peer)) in &open {
            assert_eq!(behind(&who(*peer, "")), expected(from, "live"));
        }
        ask("connection reject orders --reason no");
        for (from, _, (_, peer)) in &open {
            eventually("its end is noted", || behind(&who(*peer, "")) == expected(from, "revoked"));
        }
    });
}

#[test]
fn without_a_flow_log_nothing_is_kept() {
    isolated("who::without_a_flow_log_nothing_is_kept", || {
        two_legs();
        crate::peers::serve("core", "10.20.0.2:7000", "echo");
        let orders = crate::lab::endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved");
        let daemon = Daemon::start(&crate::lab::two_sides("flow_log = false", &orders));
        assert_eq!(crate::peers::tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        daemon.stop();
        let flows = std::path::Path::new("/run/privlink/state/flows");
        let kept = std::fs::read_dir(flows).map_or(0, Iterator::count);
        assert_eq!(kept, 0, "files below {}", flows.display());
    });
}
