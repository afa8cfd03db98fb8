//! Whatever becomes of standard error, the daemon decides, forwards and ends; and a panic inside a command ends it.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Write as _};
use std::process::ExitStatus;

use rustix::fs::{OFlags, fcntl_setfl};

use crate::lab::{Daemon, LOG, ask, cli, eventually, isolated, json, metrics, orders, read_log, state_of, two_legs};
use crate::peers::{serve, tcp};

/// A pipe without room; its reader does not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("set");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).expect("set");
    (reader, writer)
}

/// What has to work whoever reads the log.
fn is_of_use(daemon: &Daemon) {
    for round in ["first", "second"] {
        ask("connection reject orders");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(ErrorKind::ConnectionRefused), "{round}");
        ask("connection approve orders");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"), "{round}");
    }
    assert_eq!(cli("connection reject nothing").status.code(), Some(4));
    daemon.signal(rustix::process::Signal::HUP);
}

/// The losses are counted and said.
fn says_that_lines_are_lost() {
    eventually("lines are lost", || metrics()["privlink_log_lost_total"] > 5);
    let conditions = json("status")["conditions"].clone();
    let told = conditions.as_array().expect("a list").iter().any(|one| one["code"] == "LogLost");
    assert!(told, "{conditions}");
    assert!(ask("status").contains("lines of the daemon's log were lost"));
}

#[test]
fn a_closed_pipe_a_full_one_and_a_full_disk_stop_nothing() {
    isolated("logging::a_closed_pipe_a_full_one_and_a_full_disk_stop_nothing", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let (closed, writer) = io::pipe().expect("a pipe");
        drop(closed);
        let daemon = Daemon::start_with(&orders("Approved"), writer, &[]);
        is_of_use(&daemon);
        says_that_lines_are_lost();
        daemon.stop();

        let full = File::options().write(true).open("/dev/full").expect("opened");
        let daemon = Daemon::start_with(&orders("Approved"), full, &[]);
        is_of_use(&daemon);
        says_that_lines_are_lost();
        daemon.stop();

        let (_reader, writer) = full_pipe();
        let daemon = Daemon::start_with(&orders("Approved"), writer, &[]);
        is_of_use(&daemon);
        daemon.stop();
    });
}

/// Rejects, which panics, and returns how the daemon ended.
fn panicked(mut daemon: Daemon) -> ExitStatus {
    assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
    assert!(!cli("connection reject orders").status.success());
    eventually("the daemon has ended", || daemon.has_ended());
    assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(ErrorKind::HostUnreachable), "closed");
    daemon.end()
}

#[test]
fn a_panic_inside_a_command_ends_the_daemon_closed_and_says_so() {
    isolated("logging::a_panic_inside_a_command_ends_the_daemon_closed_and_says_so", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let planted = [("PRIVLINK_TEST_PANIC", "reject")];
        let log = File::options().append(true).create(true).open(LOG).expect("log");
        let ended = panicked(Daemon::start_with(&orders("Approved"), log, &planted));
        let said = read_log();
        assert_eq!(ended.code(), Some(1), "{said}");
        let lines =
            ["panicked at src/daemon/planted.rs", "a command ended in a panic", "privlink: the daemon stops, closed"];
        assert!(lines.iter().all(|line| said.contains(line)), "{said}");

        // Nor does a log that nobody reads hold it up.
        let (_reader, writer) = full_pipe();
        let ended = panicked(Daemon::start_with(&orders("Approved"), writer, &planted));
        assert_eq!(ended.code(), Some(1));

        // The next start goes on from what was durable.
        let daemon = Daemon::again(&[]);
        assert_eq!(state_of("orders"), "Approved");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        daemon.stop();
    });
}
