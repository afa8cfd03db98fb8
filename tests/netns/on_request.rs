//! `on_request`: once for each request, and the daemon goes on whatever becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::lab::{Daemon, ask, endpoint, eventually, isolated, json, metrics, read_log, two_legs, two_sides};

const TOLD: &str = "/run/privlink/told";

/// Writes a line for each request; what asks for trouble gets it.
const SCRIPT: &str = "#!/bin/sh\necho \"$1 $PRIVLINK_CONNECTION $PRIVLINK_REQUESTER $PRIVLINK_LINK $PRIVLINK_MESSAGE\" \
                      >> /run/privlink/told\ncase $PRIVLINK_MESSAGE in\nhang) sleep 1000 ;;\nfail) exit 7 ;;\nesac\n";

fn request(name: &str, message: &str) {
    let place = "--vnet spoke --subnet endpoints --resource echo --manual";
    ask(&format!("endpoint create {name} {place} --request-message {message}"));
}

fn told() -> Vec<String> {
    let mut lines: Vec<String> = fs::read_to_string(TOLD).unwrap_or_default().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What the network knows a connection by.
fn link_of(endpoint: &str) -> u64 {
    json(&format!("connection show {endpoint}"))["linkIdentifier"].as_u64().expect("a number")
}

fn counted(outcome: &str) -> u64 {
    metrics().get(&format!("privlink_on_request_total{{outcome=\"{outcome}\"}}")).copied().unwrap_or_default()
}

#[test]
fn a_request_that_a_start_brings_runs_the_command_and_the_next_start_does_not() {
    isolated("on_request::a_request_that_a_start_brings_runs_the_command_and_the_next_start_does_not", || {
        two_legs();
        fs::write("/run/privlink/hook", SCRIPT).expect("written");
        fs::set_permissions("/run/privlink/hook", fs::Permissions::from_mode(0o755)).expect("executable");
        let asks = [
            endpoint("one", "spoke", "10.1.9.4", "echo", "Pending"),
            endpoint("two", "spoke", "10.1.9.5", "echo", "Approved"),
        ];
        let file = two_sides("on_request = [\"/run/privlink/hook\", \"new\"]", &asks.concat());
        let daemon = Daemon::start(&file);
        eventually("the command has run", || counted("done") == 1);
        let (uid, link) = (rustix::process::getuid().as_raw(), link_of("one"));
        assert_eq!(told(), [format!("new default/one uid:{uid} {link} ")]);
        daemon.stop();
        let daemon = Daemon::again(&[]);
        daemon.apply(&(file + &endpoint("three", "spoke", "10.1.9.6", "echo", "Pending")));
        eventually("a reload brings one, too", || counted("done") == 1);
        assert_eq!(told().len(), 2, "{:?}", told());
    });
}

#[test]
fn a_new_request_runs_the_command_once_whatever_it_does() {
    isolated("on_request::a_new_request_runs_the_command_once_whatever_it_does", || {
        two_legs();
        fs::write("/run/privlink/hook", SCRIPT).expect("written");
        fs::set_permissions("/run/privlink/hook", fs::Permissions::from_mode(0o755)).expect("executable");
        let daemon = Daemon::start(&two_sides("on_request = [\"/run/privlink/hook\", \"new\"]", ""));
        request("one", "hello");
        eventually("the command has run", || counted("done") == 1);
        assert_eq!(told(), [format!("new default/one uid:0 {} hello", link_of("one"))]);
        // A decision is no request, and neither is an endpoint that need not wait.
        ask("connection approve one");
        ask("connection reject one");
        ask("endpoint create mine --vnet spoke --subnet endpoints --resource echo");

        request("two", "fail");
        eventually("the failure is counted", || counted("failed") == 1);
        eventually("the log says why", || read_log().contains("on_request failed: exit status: 7"));
        request("three", "hang");
        eventually("it hangs", || told().len() == 3);
        request("four", "hello");
        eventually("one that hangs holds up none of the others", || counted("done") == 2);
        assert!(ask("status").contains("three"));
        let all = [("four", "hello"), ("one", "hello"), ("three", "hang"), ("two", "fail")];
        let lines = all.map(|(name, said)| format!("new default/{name} uid:0 {} {said}", link_of(name)));
        assert_eq!(told(), lines, "each once");

        // Nobody is told, and everybody can see that.
        fs::remove_file("/run/privlink/hook").expect("removed");
        request("five", "hello");
        eventually("it is counted", || counted("not_started") == 1);
        assert!(ask("status").contains("on_request could not be started for 1 request"), "{}", ask("status"));
        daemon.stop();
    });
}
