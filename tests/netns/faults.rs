//! The whole daemon against what nobody asks for: SIGKILL at any moment and at every sync, a full disk, callers
//! that race each other and the packets. Packets are the judge: what they meet must be what was acknowledged.
//!
//! `PRIVLINK_TESTS=netns,full` runs every round and every kill point there is.

use std::fs;
use std::process::{Child, Command};

use crate::lab::{Daemon, eventually};

/// Requests whose answers are noted outside the daemon.
mod api;
/// A device that goes and comes, or goes for good.
mod devices;
/// A full disk.
mod disk;
/// SIGKILL.
mod kills;
/// What was acknowledged, and whether the daemon agrees.
mod ledger;
/// Callers at once, and packets meanwhile.
mod races;
/// SIGKILL at every system call that makes something durable.
mod syncs;

fn strace_is_there() {
    let version = Command::new("strace").arg("--version").output();
    assert!(version.is_ok_and(|output| output.status.success()), "this test needs strace (package strace)");
}

/// The strace of this command line, on every thread of the running daemon.
fn attach(line: &[String], daemon: &Daemon) -> Child {
    let pid = daemon.pid();
    let mut tracer = Command::new(&line[0]).args(&line[1..]).args(["-p", &pid.to_string()]).spawn().expect("strace");
    let is_held = |status: String| status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
    eventually("every thread is traced", || {
        assert!(tracer.try_wait().expect("asked").is_none(), "strace may not trace (ptrace)");
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten();
        // A thread may end meanwhile.
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).all(is_held)
    });
    tracer
}
