//! The store against what only a process of its own can meet: SIGKILL at any moment, and a full disk.
//! Each test runs itself again as that process.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use privlink::store::audit::{AuditBody, AuditQuery};
use privlink::store::sqlite::SqliteStore;
use privlink::store::{Operation, Outcome, Store, StoreError, Transaction};

/// What all tests share.
mod support;

/// Names the directory that the process of a test's own works in.
const DIRECTORY: &str = "PRIVLINK_STORE_TEST";

/// Threads that commit at once.
const COMMITTERS: u64 = 4;

/// What one committer does for the `n`th time: two keys and a record, in one transaction.
fn change(committer: u64, n: u64) -> Transaction {
    let value = format!("{n} {}", "x".repeat(300));
    Transaction {
        operations: vec![
            Operation::put(format!("one/{committer}"), value.clone()),
            Operation::put(format!("two/{committer}"), value),
        ],
        records: vec![AuditBody { at: Timestamp::UNIX_EPOCH, body: format!("{committer} {n}").into_bytes() }],
        ..Transaction::default()
    }
}

/// How often each committer has committed, and that nothing is there in halves.
fn counts(store: &SqliteStore) -> BTreeMap<u64, u64> {
    let (revision, entries) = store.range("").expect("readable");
    let number = |value: &[u8]| String::from_utf8_lossy(value).split(' ').next().expect("a word").parse().expect("n");
    let half = |prefix: &str| -> BTreeMap<u64, u64> {
        let of_prefix = entries.iter().filter_map(|entry| Some((entry.key.strip_prefix(prefix)?, &entry.value)));
        of_prefix.map(|(committer, value)| (committer.parse().expect("a number"), number(value))).collect()
    };
    let counts = half("one/");
    assert_eq!(counts, half("two/"), "a transaction is there whole");
    assert_eq!(counts.values().sum::<u64>(), revision.0, "each under its own revision");
    assert_eq!(store.verify().expect("the chain holds").count, revision.0, "with its record");
    let query = AuditQuery { from: 1, before: None, since: None, limit: usize::MAX, newest_first: false };
    let mut recorded = BTreeMap::new();
    for record in store.audit(&query).expect("listed") {
        let body = String::from_utf8(record.body).expect("text");
        let (committer, n) = body.split_once(' ').expect("two words");
        let before = recorded.insert(committer.parse().expect("a number"), n.parse::<u64>().expect("a number"));
        assert_eq!(n, (before.unwrap_or(0) + 1).to_string(), "none left out, none twice");
    }
    assert_eq!(recorded, counts);
    counts
}

/// Commits until it is killed, and says what was acknowledged.
fn commit_for_ever(directory: &Path) {
    let store = Arc::new(SqliteStore::open(directory).expect("opened").0);
    let done = counts(&store);
    std::thread::scope(|scope| {
        for committer in 0..COMMITTERS {
            let (store, done) = (Arc::clone(&store), done.get(&committer).copied().unwrap_or(0));
            scope.spawn(move || {
                for n in done + 1.. {
                    let outcome = store.commit(change(committer, n)).expect("committed");
                    assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
                    let line = format!("ack {committer} {n}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent listens");
                }
            });
        }
    });
}

#[test]
fn a_killed_store_keeps_what_it_acknowledged() {
    const NAME: &str = "a_killed_store_keeps_what_it_acknowledged";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return commit_for_ever(Path::new(&directory));
    }
    let folder = Folder::new("kill");
    let mut random = fastrand::Rng::with_seed(20);
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    for round in 0..20 {
        // Every fourth round ends while the store may still be opening; the others after some commits.
        let enough = if round % 4 == 0 { 0 } else { random.u32(1..300) };
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", NAME, "--nocapture"]).env(DIRECTORY, folder.state());
        let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started"));
        let mut lines = BufReader::new(child.0.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        let mut note = |line: String| {
            let Some((committer, n)) = line.strip_prefix("ack ").and_then(|rest| rest.split_once(' ')) else {
                return 0;
            };
            acknowledged.insert(committer.parse().expect("a number"), n.parse().expect("a number"));
            1
        };
        while seen < enough {
            seen += note(lines.next().expect("it runs until it is killed").expect("text"));
        }
        std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
        child.0.kill().expect("killed");
        lines.map_while(Result::ok).for_each(|line| seen += note(line));
        child.0.wait().expect("ended");

        let store = SqliteStore::open(&folder.state()).expect("opened after the kill").0;
        let found = counts(&store);
        for (committer, n) in &acknowledged {
            let there = found.get(committer).copied().unwrap_or(0);
            assert!((*n..=n + 1).contains(&there), "round {round}: {committer} has {there}, acknowledged was {n}");
        }
        acknowledged = found;
    }
    let total: u64 = acknowledged.values().sum();
    println!("{total} commits in 20 rounds");
    assert!(total > 500);
}

#[test]
fn a_full_disk_is_said_and_passes() {
    const NAME: &str = "a_full_disk_is_said_and_passes";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return fill_the_disk(Path::new(&directory));
    }
    if !support::wanted::netns() {
        return;
    }
    let folder = Folder::new("full");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", r#"mount -t tmpfs -o size=3m none "$0" && exec "$@""#]);
    command.arg(&folder.0).arg(std::env::current_exe().expect("this test")).args(["--exact", NAME, "--nocapture"]);
    let output = command.env(DIRECTORY, &folder.0).output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}

/// Runs on a disk of 3 MiB.
fn fill_the_disk(disk: &Path) {
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("room for ballast");
    let store = SqliteStore::open(&disk.join("state")).expect("opened").0;
    let put = &|n: u64, bytes: usize| {
        let operations = vec![
            Operation::put(format!("a/{n}"), vec![b'x'; bytes]),
            Operation::put(format!("b/{n}"), vec![b'y'; bytes]),
        ];
        let records = vec![AuditBody { at: Timestamp::UNIX_EPOCH, body: n.to_string().into_bytes() }];
        store.commit(Transaction { operations, records, ..Transaction::default() })
    };
    // What has no room fails alone, not what shares its commit.
    std::thread::scope(|scope| {
        let huge = scope.spawn(|| (500..510).all(|n| matches!(put(n, 3_000_000), Err(StoreError::Full { .. }))));
        let small: Vec<_> =
            (0..8).map(|n| scope.spawn(move || (0..5).all(|m| put(600 + 5 * n + m, 100).is_ok()))).collect();
        assert!(huge.join().expect("answered"), "no room for these");
        assert!(small.into_iter().all(|small| small.join().expect("answered")), "room for those");
    });
    let mut committed: Vec<u64> = (600..640).collect();
    let mut refusals = 0;
    // Large values first, then ever smaller ones: the disk ends full to the page, in every place where it can.
    for (n, bytes) in (0..).zip([200_000, 20_000, 2_000, 0].into_iter().flat_map(|bytes| [bytes; 60])) {
        match put(n, bytes) {
            Ok(_) => committed.push(n),
            Err(error) => {
                assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
                let message = error.to_string();
                assert!(message.contains("no room left") && message.contains("state.db"), "{message}");
                refusals += 1;
            }
        }
        let there = store.range("a/").expect("reads go on").1.len();
        assert_eq!((there, store.range("b/").expect("reads go on").1.len()), (committed.len(), committed.len()));
    }
    assert!(refusals > 60 && committed.len() > 40, "{refusals} refused, {} committed", committed.len());
    assert_eq!(store.verify().expect("the chain holds").count, committed.len() as u64);

    std::fs::remove_file(ballast).expect("room again");
    for n in 1000..1010 {
        let outcome = put(n, 20_000).expect("works again, without reopening");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
        committed.push(n);
    }
    let before = store.range("").expect("readable");
    drop(store);
    let store = SqliteStore::open(&disk.join("state")).expect("opened again").0;
    assert_eq!(store.range("").expect("readable"), before);
    assert_eq!(store.verify().expect("the chain holds").count, committed.len() as u64);
    println!("{refusals} refused, {} committed", committed.len());
}

/// Says of a process of [`commit_through_failing_syncs`] that it ends where it has met the first failure.
const ENDS_THERE: &str = "PRIVLINK_STORE_TEST_ENDS";

#[test]
fn a_change_whose_sync_fails_is_not_made_or_said_to_be_uncertain() {
    const NAME: &str = "a_change_whose_sync_fails_is_not_made_or_said_to_be_uncertain";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return commit_through_failing_syncs(Path::new(&directory));
    }
    // It needs strace, and leave to trace.
    if !support::wanted::netns() {
        return;
    }
    let mut met = [0; 3];
    // One sync fails and the process goes on, or ends; or all fail from then on, and it ends.
    for (nth, (kind, (syncs, ends))) in
        (1..=6).flat_map(|nth| [("", ""), ("", "1"), ("+", "1")].into_iter().enumerate().map(move |way| (nth, way)))
    {
        let folder = Folder::new(&format!("sync-{nth}-{kind}"));
        drop(SqliteStore::open(&folder.state()).expect("opened"));
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={nth}{syncs}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &fault, "-P"]).arg(folder.state().join("state.db-wal"));
        command.arg(std::env::current_exe().expect("this test")).args(["--exact", NAME, "--nocapture"]);
        command.env(DIRECTORY, folder.state()).env(ENDS_THERE, ends);
        let output = command.output().expect("strace (package strace)");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{fault}: {said}");
        let count = |word: &str| said.lines().filter(|line| line.starts_with(word)).count() as u64;
        let (acknowledged, failed, uncertain) = (count("ack"), count("failed"), count("uncertain"));
        assert_eq!((failed, uncertain), if syncs.is_empty() { (1, 0) } else { (0, 1) }, "{fault}: {said}");
        let found = counts(&SqliteStore::open(&folder.state()).expect("opened after the failure").0);
        let there = found.get(&0).copied().unwrap_or(0);
        assert!((acknowledged..=acknowledged + uncertain).contains(&there), "{fault}: {there} are there: {said}");
        met[kind] += 1;
    }
    assert_eq!(met, [6; 3]);
}

/// Commits while a sync fails; what was not made is done again.
fn commit_through_failing_syncs(directory: &Path) {
    let store = SqliteStore::open(directory).expect("opened").0;
    let mut n = 1;
    while n <= 8 {
        let word = match store.commit(change(0, n)) {
            Ok(Outcome::Committed(_)) => "ack",
            Err(StoreError::Failed(_)) => "failed",
            Err(StoreError::Uncertain(_)) => "uncertain",
            other => panic!("{other:?}"),
        };
        println!("\n{word} {n}");
        n += u64::from(word == "ack");
        assert_eq!(counts(&store).get(&0).copied().unwrap_or(0), n - 1, "what this process reads");
        if word != "ack" && std::env::var(ENDS_THERE).is_ok_and(|ends| !ends.is_empty()) {
            std::process::exit(0);
        }
    }
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("privlink-store-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("temporary directory");
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
