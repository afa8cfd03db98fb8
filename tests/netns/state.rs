//! Decisions outlive reloads, `kill -9` and the file; damage never widens access.

use std::io::ErrorKind::ConnectionRefused;
use std::io::{Read as _, Write as _};

use crate::lab::{
    Daemon, ask, cli, endpoint, eventually, fails_to_start, isolated, json, metrics, orders, read_log, sessions,
    state_of, two_legs, two_sides,
};
use crate::peers::{connect, end_of, greeted, serve, tcp};

fn answers() -> bool {
    tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref() == Ok("echo")
}

fn refused() -> bool {
    tcp("spoke", "10.1.0.5:0", "10.1.9.4:7") == Err(ConnectionRefused)
}

#[test]
fn a_live_reject_outlives_the_file_a_reload_and_a_kill() {
    isolated("state::a_live_reject_outlives_the_file_a_reload_and_a_kill", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        assert!(answers());
        ask("connection reject orders --reason no");
        assert!(refused());
        daemon.apply(&file);
        assert!(refused(), "after SIGHUP with Approved in the file");
        let touched = file.replace("manual = true", "request_message = \"again\"\nmanual = true");
        let said = daemon.apply(&touched);
        assert!(said.contains("differs"), "{said}");
        assert!(refused(), "after a changed file");
        daemon.kill();
        let daemon = Daemon::again(&[]);
        assert_eq!(state_of("orders"), "Rejected");
        assert!(refused(), "after kill -9 and a start");
        ask("connection approve orders");
        assert!(answers());
        daemon.kill();
        let _daemon = Daemon::again(&[]);
        assert!(answers(), "an approve is as durable");
    });
}

#[test]
fn a_damaged_or_lost_state_starts_nothing_and_stays_as_it_is() {
    isolated("state::a_damaged_or_lost_state_starts_nothing_and_stays_as_it_is", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&orders("Approved"));
        assert!(answers());
        ask("connection reject orders");
        daemon.stop();
        let path = "/run/privlink/state/state.db";
        let sound = std::fs::read(path).expect("a database");
        let mut bytes = sound.clone();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0x5A);
        std::fs::write(path, &bytes).expect("written");
        let (_, said) = fails_to_start(&orders("Approved"));
        assert!(said.contains("cannot be trusted") && said.contains("privlink restore"), "{said}");
        assert_eq!(std::fs::read(path).expect("there"), bytes, "nothing is repaired by forgetting");
        std::fs::remove_file(path).expect("removed");
        let (_, said) = fails_to_start(&orders("Approved"));
        assert!(said.contains("privlink restore"), "a lost state is no first start: {said}");
        assert!(!answers());
        std::fs::write(path, &sound).expect("written");
        let _daemon = Daemon::again(&[]);
        assert_eq!(state_of("orders"), "Rejected");
        assert!(refused());
    });
}

#[test]
fn what_the_file_no_longer_names_stays_until_it_is_pruned() {
    isolated("state::what_the_file_no_longer_names_stays_until_it_is_pruned", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let both = |second: &str| {
            two_sides("", &[endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"), second.into()].concat())
        };
        let without = two_sides("", &endpoint("other", "spoke", "10.1.9.5", "echo", "Approved"));
        let daemon = Daemon::start(&both(&endpoint("other", "spoke", "10.1.9.5", "echo", "Approved")));
        assert!(answers());
        let said = daemon.apply(&without);
        assert!(said.contains("still in force") && said.contains("orders"), "{said}");
        assert!(ask("status").contains("orders"));
        assert!(answers());
        daemon.kill();
        let daemon = Daemon::again(&[]);
        assert!(answers(), "a start deletes nothing either");
        daemon.stop();
        let _daemon = Daemon::again(&["--prune"]);
        assert!(!cli("endpoint show orders").status.success());
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(std::io::ErrorKind::HostUnreachable));
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").as_deref(), Ok("echo"));
    });
}

#[test]
fn status_advises_what_a_reload_takes() {
    isolated("state::status_advises_what_a_reload_takes", || {
        two_legs();
        let other = endpoint("other", "spoke", "10.1.9.5", "echo", "Approved");
        let orders = endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved");
        let daemon = Daemon::start(&two_sides("", &(orders.clone() + &other)));
        ask("connection remove other");
        daemon.apply(&two_sides("", &orders));
        let kept = || {
            let status = json("status");
            let all = status["conditions"].as_array().expect("conditions").clone();
            let kept = all.into_iter().find(|one| one["code"] == "KeptUnnamed");
            kept.map(|one| one["remedy"].as_str().expect("a remedy").to_owned())
        };
        // To name it again would be skipped, for a file does not revive what is over.
        assert_eq!(kept().as_deref(), Some("delete it: `privlink endpoint delete default/other`"));
        assert!(daemon.apply(&two_sides("", &(orders.clone() + &other))).contains("skipped: endpoint default/other"));
        daemon.apply(&two_sides("", &orders));
        ask("endpoint delete default/other");
        assert_eq!(kept(), None);
    });
}

#[test]
fn a_dry_run_beside_the_daemon_reads_its_state_and_disturbs_nothing() {
    isolated("state::a_dry_run_beside_the_daemon_reads_its_state_and_disturbs_nothing", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let daemon = Daemon::start(&orders("Approved"));
        // In the state alone, and perhaps in its log only.
        ask("endpoint create live --vnet spoke --subnet endpoints --resource echo --ip 10.1.9.77");
        let before = ask("audit verify");
        let plan = |file: &str| {
            std::fs::write("/run/privlink/plan.toml", file).expect("written");
            cli("run -c /run/privlink/plan.toml --dry-run")
        };
        let planned = plan(&orders("Approved"));
        let said = String::from_utf8_lossy(&planned.stdout).into_owned();
        assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
        assert!(said.contains("pl-spoke") && said.contains("10.1.9.0/24"), "{said}");
        let taken = plan(&(orders("Approved") + &endpoint("second", "spoke", "10.1.9.77", "echo", "Approved")));
        let said = String::from_utf8_lossy(&taken.stderr).into_owned();
        assert!(said.contains("10.1.9.77"), "what the daemon has made live counts: {said}");
        assert_eq!(ask("audit verify"), before, "nothing was written");
        assert!(answers());
        ask("connection reject orders");
        assert!(refused(), "and the daemon goes on");
        daemon.stop();
        assert!(plan(&orders("Approved")).status.success(), "beside no daemon, too");
    });
}

#[test]
fn a_bad_file_changes_nothing_and_the_log_names_the_line() {
    isolated("state::a_bad_file_changes_nothing_and_the_log_names_the_line", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        assert_eq!(greeted(&mut stream).expect("greeted"), "echo");
        // A good change and a mistake in one file: neither is applied.
        let bad =
            format!("{}\n[[endpoint]]\nname = \"second\"\nvent = \"spoke\"\n", file.replace("port = 7,", "port = 9,"));
        let line = bad.lines().position(|line| line.starts_with("vent")).expect("there") + 1;
        let said = daemon.reload(&bad, "refused, nothing changed");
        assert!(said.contains(&format!("lab.toml:{line}:1")), "line {line}: {said}");
        assert!(answers());
        stream.write_all(b"still").expect("sent");
        stream.read_exact(&mut [0; 5]).expect("the old policy is in force whole");
        daemon.apply(&file.replace("port = 7,", "port = 9,"));
        assert!(refused());
        assert_eq!(end_of(&mut stream), Err(std::io::ErrorKind::ConnectionReset), "a rule that no longer matches");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:9").as_deref(), Ok("echo"));
        eventually("one session at most is left", || sessions() <= 1);
    });
}

#[test]
fn a_hangup_reads_the_file_anew_and_its_result_stands_in_status_and_metrics() {
    isolated("state::a_hangup_reads_the_file_anew_and_its_result_stands_in_status_and_metrics", || {
        two_legs();
        let file = orders("Pending");
        let daemon = Daemon::start(&file);
        assert!(json("status")["lastReload"].is_null());
        // TCP, UDP and echo towards one server: all of their ports are free before the first session.
        assert_eq!(metrics()["privlink_nat_ports{nat_ip=\"10.20.99.4\",state=\"free\"}"], 3 * 64_512);
        let counted = |outcome: &str| metrics()[&format!("privlink_reloads_total{{outcome=\"{outcome}\"}}")];
        assert_eq!((counted("applied"), counted("refused"), metrics()["privlink_last_reload_applied"]), (0, 0, 1));
        let hang_up = |file: &str, outcome: &str, count: u64| {
            std::fs::write(crate::lab::FILE, file).expect("written");
            daemon.signal(rustix::process::Signal::HUP);
            eventually(outcome, || counted(outcome) == count);
            json("status")
        };
        let bad = file.replace("manual = true", "manul = true");
        let status = hang_up(&bad, "refused", 1);
        assert_eq!(status["lastReload"]["outcome"], "refused");
        assert!(status["lastReload"]["message"].as_str().is_some_and(|said| said.contains("manul")), "{status}");
        assert!(status["conditions"].to_string().contains("ReloadRefused"), "{status}");
        assert_eq!(metrics()["privlink_last_reload_applied"], 0);
        assert!(ask("status").contains("the file was last read anew"), "{}", ask("status"));
        eventually("the log says so once", || {
            read_log().matches("configuration refused, nothing changed").count() == 1
        });

        // Whoever waits for the verdict is told the same, with an exit code for programs.
        let refused = cli("reload");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert_eq!(said.matches("unknown key `manul`").count(), 1, "{said}");

        let status = hang_up(&file, "applied", 1);
        assert_eq!(status["lastReload"]["outcome"], "applied");
        assert!(!status["conditions"].to_string().contains("ReloadRefused"), "{status}");
        assert_eq!(metrics()["privlink_last_reload_applied"], 1);
        assert!(json("reload")["file"]["unchanged"].as_u64().is_some_and(|count| count > 0));
        // What the live state refuses is a conflict, with the same words wherever it is read.
        let taken = file.replace("10.20.99.4", "10.20.99.1");
        let said = daemon.reload(&taken, "configuration refused");
        assert!(said.contains("10.20.99.1"), "{said}");
    });
}

#[test]
fn a_wait_outlasts_a_restart_of_the_daemon() {
    isolated("state::a_wait_outlasts_a_restart_of_the_daemon", || {
        two_legs();
        let daemon = Daemon::start(&orders("Pending"));
        assert_eq!(cli("wait connection orders --for state=Approved --timeout 0").status.code(), Some(8));
        let waits = || cli("wait connection orders --for state=Approved --timeout 60s");
        let waited = std::thread::scope(|scope| {
            let waiting = scope.spawn(waits);
            // Its first question is answered at once, as ours is. The next is held back, on a connection that stays.
            eventually("it waits", || {
                let before = open_connections();
                ask("connection show orders");
                !open_connections().is_disjoint(&before)
            });
            daemon.stop();
            assert!(!waiting.is_finished(), "without a daemon it waits on");
            let _daemon = Daemon::again(&[]);
            ask("connection approve orders");
            waiting.join().expect("it ends")
        });
        let said = String::from_utf8_lossy(&waited.stdout).into_owned();
        assert!(waited.status.success() && said == "orders: Approved\n", "{said}");
        assert_eq!(waits().status.code(), Some(7), "a daemon that never answered is none that restarts");
    });
}

/// Accepted connections of the control socket.
fn open_connections() -> std::collections::BTreeSet<String> {
    const CONNECTED: &str = "03";
    let sockets = std::fs::read_to_string("/proc/net/unix").expect("a table");
    let is_one = |line: &&str| line.contains("/privlink.sock") && line.split_whitespace().nth(5) == Some(CONNECTED);
    let inode = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    sockets.lines().filter(is_one).filter_map(inode).collect()
}

#[test]
fn an_unknown_key_stops_the_start_with_78_and_its_place() {
    isolated("state::an_unknown_key_stops_the_start_with_78_and_its_place", || {
        two_legs();
        let file = orders("Approved").replace("manual = true", "manul = true");
        let line = file.lines().position(|line| line.starts_with("manul")).expect("there") + 1;
        let (code, said) = fails_to_start(&file);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(&format!("other.toml:{line}:1")) && said.contains("manual"), "{said}");
        assert!(read_log().is_empty());
    });
}
