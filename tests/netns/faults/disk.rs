use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::process::Output;

use crate::lab::{Daemon, ask, cli, endpoint, isolated, run, state_of, two_legs, two_sides};
use crate::peers::{serve, tcp};

const STATE: &str = "/run/privlink/state";
const BALLAST: &str = "/run/privlink/state/ballast";

/// Fills the disk to its last page.
fn fill() {
    let mut ballast = File::options().append(true).create(true).open(BALLAST).expect("opened");
    let ended = loop {
        if let Err(error) = ballast.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(ended.kind(), ErrorKind::StorageFull);
}

/// What a command that has no room says; its exit code is that of a failure.
fn refused(arguments: &str) -> String {
    let Output { status, stderr, .. } = cli(arguments);
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{arguments}: {said}");
    assert!(said.contains("no room left") && said.contains("state.db") && said.contains("free space"), "{said}");
    said
}

fn knock(address: &str) -> Result<String, ErrorKind> {
    tcp("spoke", "10.1.0.5:0", &format!("{address}:7"))
}

#[test]
fn a_full_disk_refuses_changes_keeps_what_is_and_recovers_without_a_restart() {
    isolated("faults::disk::a_full_disk_refuses_changes_keeps_what_is_and_recovers_without_a_restart", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        fs::create_dir(STATE).expect("made");
        run("mount", &format!("-t tmpfs -o size=2m,mode=700 tmpfs {STATE}"));
        let all = [("kept", 4, "Approved"), ("waits", 5, "Rejected"), ("ends", 6, "Approved"), ("goes", 7, "Approved")];
        let declared =
            |(name, host, state): (&str, u8, &str)| endpoint(name, "spoke", &format!("10.1.9.{host}"), "echo", state);
        let daemon = Daemon::start(&two_sides("", &all.map(declared).concat()));
        fill();

        // What widens is not done.
        let create = "endpoint create new --vnet spoke --subnet endpoints --resource echo --ip 10.1.9.8";
        for change in ["connection approve waits", create] {
            assert!(refused(change).contains("nothing new is in force"));
        }
        assert_eq!(state_of("waits"), "Rejected");
        assert!(!cli("endpoint show new").status.success());
        assert_eq!(knock("10.1.9.5"), Err(ErrorKind::ConnectionRefused));
        assert_eq!(knock("10.1.9.8"), Err(ErrorKind::HostUnreachable));
        assert_eq!(knock("10.1.9.4").as_deref(), Ok("echo"), "what was approved passes on");
        // What revokes is in force at once, and says that it is not durable.
        for (change, address) in [("connection reject ends", "10.1.9.6"), ("endpoint delete goes", "10.1.9.7")] {
            let said = refused(change);
            assert!(said.contains("blocked in force, but not durable") && said.contains("repeat"), "{said}");
            knock(address).expect_err("blocked");
        }
        // Reads go on.
        assert!(ask("connection list").contains("waits"));
        assert!(ask("audit list").contains("file of daemon") && ask("audit verify").contains("each as it was written"));
        assert!(ask("status").contains("NOT DURABLE"));

        fs::remove_file(BALLAST).expect("room again");
        for change in ["connection approve waits", "connection reject ends", "endpoint delete goes", create] {
            ask(change);
        }
        assert!(!ask("status").contains("NOT DURABLE"));
        let agree = || {
            let states = ["kept", "waits", "ends", "new"].map(state_of);
            assert_eq!(states, ["Approved", "Approved", "Rejected", "Approved"]);
            let knocks = [4, 5, 6, 7, 8].map(|host| knock(&format!("10.1.9.{host}")));
            let echo = || Ok("echo".to_owned());
            let (refused, unreachable) = (Err(ErrorKind::ConnectionRefused), Err(ErrorKind::HostUnreachable));
            assert_eq!(knocks, [echo(), echo(), refused, unreachable, echo()]);
            ask("audit verify");
        };
        agree();
        daemon.kill();
        let daemon = Daemon::again(&[]);
        agree();
        // A daemon that starts on a full disk starts.
        fill();
        daemon.kill();
        let _daemon = Daemon::again(&[]);
        agree();
    });
}
