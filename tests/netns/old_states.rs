//! What an earlier release wrote goes on: no later rule stops the start or takes a connection away.

use std::fs;
use std::io::ErrorKind::ConnectionRefused;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::lab::{Daemon, ask, ip, isolated, state_of, two_legs};
use crate::peers::{serve, tcp};

const STATE: &str = "/run/privlink/state";

fn written_by(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states").join(release)
}

/// Lays the state of a release where the daemon looks for it; returns the file that belongs to it.
pub(crate) fn lay_state_of(release: &str) -> String {
    let from = written_by(release);
    let read = |name: &str| fs::read_to_string(from.join(name)).expect(name);
    fs::DirBuilder::new().mode(0o700).create(STATE).expect("made");
    let database = rusqlite::Connection::open(format!("{STATE}/state.db")).expect("a database");
    database.execute_batch(&read("state.sql")).expect("the state");
    drop(database);
    fs::write(format!("{STATE}/state.mark"), read("state.mark")).expect("written");
    read("file.toml")
}

/// The hosts that release 0.1's file names.
pub(crate) fn hosts_of_0_1() {
    two_legs();
    for address in ["10.20.0.4", "10.30.0.5"] {
        ip(&format!("-n core address add {address}/32 dev lo"));
    }
    for (address, word) in [("10.20.0.2", "orders"), ("10.30.0.5", "far"), ("10.20.0.3", "blob"), ("10.20.0.4", "sql")]
    {
        serve("core", &format!("{address}:7000"), word);
    }
}

fn answer_of(endpoint: &str) -> Result<String, std::io::ErrorKind> {
    tcp("spoke", "10.1.0.5:0", endpoint)
}

#[test]
fn what_release_0_1_wrote_goes_on() {
    isolated("old_states::what_release_0_1_wrote_goes_on", || {
        hosts_of_0_1();
        let file = lay_state_of("0.1");
        let goes_on = || {
            for (endpoint, word) in [("10.1.9.4:7", "orders"), ("10.1.9.5:7", "far"), ("10.1.9.6:443", "blob")] {
                assert_eq!(answer_of(endpoint).as_deref(), Ok(word), "{endpoint}");
            }
            for (endpoint, state) in [("ask", "Pending"), ("shut", "Rejected"), ("away", "Disconnected")] {
                assert_eq!(state_of(endpoint), state);
            }
            assert_eq!(answer_of("10.1.9.20:7"), Err(ConnectionRefused));
            // Names that answered do so still; texts that were let in move no cursor.
            let hosts = ask("dns export --vnet spoke --format hosts");
            for line in ["10.1.9.4\tlogin.example.com", "10.1.9.6\tother.blob.core.windows.net"] {
                assert!(hosts.lines().any(|one| one == line), "{line}: {hosts}");
            }
            let shown = ask("connection show ask");
            assert!(shown.contains("all good\\u{1b}[2K\\rApproved by root"), "{shown}");
            for question in ["connection list", "endpoint list", "connection show ask", "endpoint show ask -o json"] {
                let said = ask(question);
                let odd = said.chars().find(|letter| letter.is_control() && *letter != '\n');
                assert!(odd.is_none() && !said.contains('\u{202e}'), "{question}: {odd:?} in {said:?}");
            }
        };
        let daemon = Daemon::start(&file);
        goes_on();
        // A living token keeps its role; a name without a token is given none, and that is said.
        let assigned = ask("assignment list");
        assert!(assigned.contains("token:ci") && !assigned.contains("token:gone"), "{assigned}");
        assert!(ask("status").contains("there is no token deploy"));
        assert!(ask("audit list").contains("there is no token for token:gone"));
        ask("audit verify");
        daemon.apply(&file);
        goes_on();
        daemon.stop();
        // What was migrated is read by a start that has nothing to migrate.
        let _daemon = Daemon::again(&[]);
        goes_on();
        // A decision of the owner is as it was, before and after.
        ask("connection approve shut");
        assert_eq!(answer_of("10.1.9.21:7").as_deref(), Ok("orders"));
    });
}
