use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use super::ledger::{Ledger, lab};
use super::{attach, strace_is_there};
use crate::lab::{Daemon, FILE, eventually, isolated, read_log};
use crate::support::wanted::full;

/// What makes something durable, or a file appear, go or shrink.
const CALLS: &str = "fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,ftruncate";
const TRACE: &str = "/run/privlink/trace";
const STATE: &str = "/run/privlink/state";
const LOG: &str = "/run/privlink/state/state.db-wal";

/// Connections that change alone; the pair comes on top.
const SINGLES: usize = 4;

/// Changes of each author in a run.
const CHANGES: usize = 3;

/// How often a point is tried: what two threads do on one path is counted by each, and falls to either.
const TRIES: usize = 5;

/// A thread's `nth` such call on `path`: strace counts by thread and by call, and few paths are two threads'. Renames
/// are counted wherever they lead (`None`): strace matches their old name only, which may be the process's own.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    path: Option<String>,
    call: String,
    nth: usize,
}

/// One line of a trace.
#[derive(Debug)]
struct Call {
    thread: String,
    name: String,
    /// Of a rename both names, the new one last.
    paths: Vec<String>,
}

/// The command line that kills the daemon on the way into the call at `point`; without one, that slows syncs down,
/// so that an answer that does not wait for them comes first, and traces answers as well.
fn strace(point: Option<&Point>) -> Vec<String> {
    let expressions = match point {
        Some(Point { call, nth, .. }) => [format!("trace={CALLS}"), format!("inject={call}:signal=KILL:when={nth}")],
        None => [
            format!("trace={CALLS},write,writev,sendto,sendmsg"),
            "inject=fsync,fdatasync:delay_enter=20000".to_owned(),
        ],
    };
    let mut line = ["strace", "-f", "-q", "-y", "-o", TRACE].map(str::to_owned).to_vec();
    line.extend(expressions.into_iter().flat_map(|expression| ["-e".to_owned(), expression]));
    let path = point.and_then(|point| point.path.clone());
    line.extend(path.into_iter().flat_map(|path| ["-P".to_owned(), path]));
    line
}

/// Asserts that each answer of the trace comes after a sync of the log that came after the answer before; returns
/// how many answers there are.
fn answers_after_their_syncs() -> usize {
    let text = fs::read_to_string(TRACE).expect("a trace");
    let (mut answers, mut synced, mut syncing) = (0, false, BTreeSet::new());
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and its call");
        let call = call.trim_start();
        if call.starts_with("fsync(") || call.starts_with("fdatasync(") {
            if !call.contains(LOG) {
                continue;
            }
            if call.ends_with("<unfinished ...>") {
                syncing.insert(thread);
            } else {
                synced = true;
            }
        } else if call.contains("sync resumed>") {
            synced |= syncing.remove(thread);
        } else if call.contains("HTTP/1.1 200") {
            assert!(synced, "answered before it was durable:\n{text}");
            synced = false;
            answers += 1;
        }
    }
    answers
}

/// The calls of the trace that concern the daemon's files.
fn calls() -> Vec<Call> {
    let text = fs::read_to_string(TRACE).expect("a trace");
    let call = |line: &str| {
        let (thread, rest) = line.split_once(' ')?;
        let (name, arguments) = rest.trim_start().split_once('(')?;
        let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
        let of_descriptor = || arguments.split_once('<')?.1.split_once('>').map(|(path, _)| vec![path]);
        let paths = if quoted.is_empty() { of_descriptor()? } else { quoted };
        // Named after its process until it is renamed.
        let ours = CALLS.split(',').any(|one| one == name)
            && paths.last().is_some_and(|path| path.starts_with("/run/privlink/") && !path.contains(".sock."));
        let paths = paths.into_iter().map(str::to_owned).collect();
        ours.then(|| Call { thread: thread.to_owned(), name: name.to_owned(), paths })
    };
    text.lines().filter_map(call).collect()
}

/// Where a daemon that makes these calls can be killed.
fn points(calls: &[Call]) -> Vec<Point> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    let mut points = BTreeSet::new();
    for Call { thread, name, paths } in calls {
        let path = paths.last().filter(|_| !name.starts_with("rename"));
        let nth = counts.entry((thread, name, path)).or_default();
        *nth += 1;
        points.insert(Point { path: path.cloned(), call: name.clone(), nth: *nth });
    }
    points.into_iter().collect()
}

/// All of them in the long form, else as many as `limit`, spread evenly.
fn some(points: Vec<Point>, limit: usize) -> impl Iterator<Item = Point> {
    let (all, limit) = (points.len(), if full() { points.len() } else { limit });
    points
        .into_iter()
        .enumerate()
        .filter(move |(n, _)| all <= limit || n * limit / all != (n + 1) * limit / all)
        .map(|(_, point)| point)
}

/// A first start and a good end, under strace; whether it was killed.
fn first_start(point: Option<&Point>, file: &str) -> bool {
    if Path::new(STATE).exists() {
        fs::remove_dir_all(STATE).expect("removed");
    }
    fs::write(FILE, file).expect("written");
    let mut line = strace(point);
    // The daemon itself is our child, and the tracer goes with it.
    line.extend(["-D", env!("CARGO_BIN_EXE_privlink"), "run", "-c", FILE].map(str::to_owned));
    let mut daemon = Daemon::launch(&line.iter().map(String::as_str).collect::<Vec<_>>());
    daemon.is_ready();
    was_killed(daemon)
}

/// Ends the daemon, unless strace has killed it.
fn was_killed(daemon: Daemon) -> bool {
    let ended = daemon.end();
    assert!(ended.success() || ended.signal() == Some(9), "{ended}: {}", read_log());
    !ended.success()
}

/// Every author's changes and a good end, under strace; whether it was killed. Where all is traced they take turns, so
/// that each answer has its own sync; where the daemon is to be killed they work at once.
fn changes(point: Option<&Point>, ledger: &mut Ledger, random: &mut fastrand::Rng) -> bool {
    let daemon = Daemon::again(&[]);
    let mut tracer = attach(&strace(point), &daemon);
    match point {
        Some(_) => ledger.work_at_once(random, CHANGES),
        None => _ = ledger.work_in_turn(random, CHANGES * (SINGLES + 1)),
    }
    let killed = was_killed(daemon);
    tracer.wait().expect("ended");
    killed
}

fn begin() {
    strace_is_there();
    lab();
}

#[test]
fn a_first_start_killed_at_any_sync_is_begun_again() {
    isolated("faults::syncs::a_first_start_killed_at_any_sync_is_begun_again", || {
        begin();
        let (_, file) = Ledger::new(SINGLES);
        assert!(!first_start(None, &file));
        eventually("the trace is written", || {
            fs::read_to_string(TRACE).is_ok_and(|text| text.ends_with("exited with 0 +++\n"))
        });
        let calls = calls();
        // What a loss of power would show: no name without its content, and no name that is not durable.
        let synced =
            |calls: &[Call], path: &str| calls.iter().any(|call| call.name.ends_with("sync") && call.paths[0] == path);
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.name.starts_with("rename")) {
            let [from, to] = call.paths.as_slice() else { panic!("{call:?}") };
            if to.starts_with(STATE) {
                assert!(synced(&calls[..at], from), "{from} becomes {to} before it is durable");
                assert!(synced(&calls[at..], STATE), "that {to} is there is not made durable");
            }
        }
        let (mut killed, mut tried) = (0, 0);
        for point in some(points(&calls), 16) {
            let hit = (0..TRIES).any(|_| first_start(Some(&point), &file));
            killed += usize::from(hit);
            tried += 1;
            if !hit {
                println!("never met: {point:?}");
            }
            let daemon = Daemon::again(&[]);
            Ledger::new(SINGLES).0.check(&format!("after {point:?}"));
            daemon.kill();
        }
        println!("{killed} kills at {tried} of {} points", points(&calls).len());
        assert_eq!(killed, tried, "a point that is never met is not tested");
    });
}

#[test]
fn changes_killed_at_any_sync_are_made_or_not_and_none_in_halves() {
    isolated("faults::syncs::changes_killed_at_any_sync_are_made_or_not_and_none_in_halves", || {
        begin();
        let mut random = fastrand::Rng::with_seed(0x5_eed);
        let (mut ledger, file) = Ledger::new(SINGLES);
        Daemon::start(&file).stop();
        assert!(!changes(None, &mut ledger, &mut random));
        let calls = calls();
        assert_eq!(answers_after_their_syncs(), ledger.changes());
        let (mut killed, mut tried) = (0, 0);
        for point in some(points(&calls), 24) {
            let mut hit = false;
            for _ in 0..TRIES {
                hit = changes(Some(&point), &mut ledger, &mut random);
                let daemon = Daemon::again(&[]);
                ledger.check(&format!("after {point:?}"));
                daemon.stop();
                if hit {
                    break;
                }
            }
            killed += usize::from(hit);
            tried += 1;
            if !hit {
                println!("never met: {point:?}");
            }
        }
        let [made, lost] = ledger.cut;
        println!(
            "{killed} kills at {tried} of {} points; {made} changes that were cut off were made, {lost} were not",
            points(&calls).len()
        );
        assert_eq!(killed, tried, "a point that is never met is not tested");
    });
}
