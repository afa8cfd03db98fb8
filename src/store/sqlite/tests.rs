use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};

use super::*;
use crate::store::Operation;
use crate::store::audit::{AuditBody, ChainHash};
use crate::store::conformance::{self, Place};

/// Backups on their way back.
mod restoring;

/// Tampering with an audit log, pruned or whole.
mod tampered;

/// A directory of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("privlink-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("temporary directory");
        Self(path)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.state()).expect("opened").0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place for Folder {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.open())
    }

    fn durable(&self) -> bool {
        true
    }
}

fn change(n: u64) -> Transaction {
    Transaction {
        operations: vec![
            Operation::put(format!("endpoint/{:03}", n % 50), format!("value {n} ").repeat(40)),
            Operation::put("last", n.to_string()),
        ],
        records: vec![AuditBody { at: Timestamp::UNIX_EPOCH, body: format!("{{\"change\":{n}}}").into_bytes() }],
        ..Transaction::default()
    }
}

fn fill(store: &SqliteStore, changes: std::ops::Range<u64>) {
    for n in changes {
        let outcome = store.commit(change(n)).expect("committed");
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }
}

/// All that can be read.
fn content(store: &SqliteStore) -> (Revision, Vec<Entry>, Verified) {
    let (revision, entries) = store.range("").expect("range");
    (revision, entries, store.verify().expect("chain"))
}

/// Every file with its bytes; not the lock, an empty log, and the index that the engine makes anew from its log.
fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .expect("listed")
        .map(|entry| entry.expect("entry"))
        .map(|entry| (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("read")))
        .filter(|(name, bytes)| {
            name != "lock" && !name.ends_with("-shm") && !(name.ends_with("-wal") && bytes.is_empty())
        })
        .collect()
}

/// The same, short enough to be shown.
fn hashes_of(directory: &Path) -> Vec<(String, ChainHash)> {
    let hash = |bytes: Vec<u8>| ChainHash(Sha256::digest(&bytes).into());
    files_of(directory).into_iter().map(|(name, bytes)| (name, hash(bytes))).collect()
}

/// What a killed daemon leaves: the files as they are while it runs.
fn killed(from: &Folder, to: &Folder) {
    fs::create_dir(to.state()).expect("made");
    for (name, bytes) in files_of(&from.state()) {
        fs::write(to.state().join(name), bytes).expect("copied");
    }
}

/// Opening must fail for this reason, say what to do, and leave every file as it is.
#[track_caller]
fn refused(folder: &Folder, reason: &str) {
    let before = hashes_of(&folder.state());
    let refused = SqliteStore::open(&folder.state()).expect_err("refused");
    assert!(refused.remedy().is_some_and(|remedy| remedy.contains("privlink restore")), "{refused}");
    let error = refused.to_string();
    assert!(error.contains(reason), "{error}");
    assert!(error.contains(folder.state().to_str().expect("a path")), "{error}");
    assert_eq!(hashes_of(&folder.state()), before, "{error}");
}

/// Brings a backup back as it is.
fn restore(from: &Path, directory: &Path) -> Result<Restored, StoreError> {
    let mut restoration = Restoration::begin(from, directory)?;
    // What cannot be read is replaced, too.
    let _ = restoration.replaced();
    restoration.finish(|_| Ok(Transaction::default()), false)
}

#[test]
fn sqlite_conforms() {
    conformance::suite(|name| Box::new(Folder::new(&format!("conformance-{name}"))));
}

#[test]
fn only_one_process_and_one_user_may_look() {
    let folder = Folder::new("alone");
    let (store, opened) = SqliteStore::open(&folder.state()).expect("opened");
    assert_eq!(opened, Opened::FirstStart);
    let held = SqliteStore::open(&folder.state()).expect_err("held").to_string();
    assert!(held.contains("another privlink daemon"), "{held}");
    fill(&store, 0..3);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.state()), 0o700);
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.mark", "lock"] {
        assert_eq!(mode(&folder.state().join(name)), 0o600, "{name}");
    }
    drop(store);
    let names: Vec<_> = files_of(&folder.state()).into_keys().collect();
    assert_eq!(names, ["state.db", "state.mark"], "closed cleanly");
    assert_eq!(SqliteStore::open(&folder.state()).expect("again").1, Opened::Existing);
}

#[test]
fn every_commit_is_synced() {
    let folder = Folder::new("synced");
    drop(folder.open());
    let directory = StateDir::open(&folder.state()).expect("free");
    let (writer, _) = prepare(&directory, MIGRATIONS).expect("trusted");
    let pragma = |name| writer.connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").expect("known"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous").expect("known"), 2.into(), "full");
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counters = fs::read_to_string("/proc/thread-self/io").expect("counted");
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("read");
    read.parse().expect("a number")
}

#[test]
fn a_change_reads_nothing_of_the_large_values_beside_it() {
    const LARGE: usize = 16 << 20;
    let put = |key: &str, bytes: usize| Transaction {
        operations: vec![Operation::put(key, vec![b'x'; bytes])],
        ..Transaction::default()
    };
    let read_with = |layouts: &[&str]| {
        let folder = Folder::new(&format!("beside-large-{}", layouts.len()));
        let store = SqliteStore::open_with(&folder.state(), layouts).expect("opened").0;
        for (key, bytes) in [("endpoints/a", 1), ("files/daemon", LARGE), ("last_link", 1), ("resources/a", 1)] {
            assert!(matches!(store.commit(put(key, bytes)), Ok(Outcome::Committed(_))));
        }
        drop(store);
        let directory = StateDir::open(&folder.state()).expect("free");
        let (mut writer, _) = prepare(&directory, layouts).expect("trusted");
        let before = bytes_read();
        for key in ["endpoints/z", "files/carol", "files/eve", "last_link", "resources/a"] {
            let transaction = writer.connection.transaction().expect("begun");
            let mut tables = Tables(&transaction);
            let mut draft = Draft { rows: &mut tables, head: writer.head, events: Vec::new() };
            let delete = Transaction { operations: vec![Operation::delete(key)], ..Transaction::default() };
            for change in [put(key, 2), delete] {
                assert!(matches!(draft.commit(&change), Ok(Outcome::Committed(_))), "{key}");
            }
            transaction.rollback().expect("undone");
        }
        bytes_read() - before
    };
    let (first, last) = (read_with(&MIGRATIONS[..1]), read_with(MIGRATIONS));
    assert!(first > LARGE as u64, "what this test is about shows in the first layout: {first} bytes");
    assert!(last < LARGE as u64 / 16, "{last} bytes");
}

#[test]
fn a_killed_daemon_loses_nothing() {
    let (folder, other) = (Folder::new("killed"), Folder::new("killed-copy"));
    let store = folder.open();
    fill(&store, 0..30);
    killed(&folder, &other);
    assert_eq!(content(&other.open()), content(&store));
}

#[test]
fn what_is_lost_is_never_a_first_start() {
    let folder = Folder::new("lost");
    let store = folder.open();
    fill(&store, 0..30);
    let database = |folder: &Folder| folder.state().join("state.db");
    let case = |name: &str| {
        let other = Folder::new(&format!("lost-{name}"));
        killed(&folder, &other);
        other
    };

    let other = case("file");
    fs::remove_file(database(&other)).expect("removed");
    refused(&other, "it is missing, though state.");
    fs::remove_file(other.state().join("state.db-wal")).expect("removed");
    refused(&other, "it is missing, though state.mark");

    let other = case("log");
    fs::remove_file(other.state().join("state.db-wal")).expect("removed");
    refused(&other, "it is at revision 0, but 30 was acknowledged");

    let other = case("end of the log");
    let log = fs::OpenOptions::new().write(true).open(other.state().join("state.db-wal")).expect("opened");
    log.set_len(log.metadata().expect("there").len() - 1).expect("cut");
    refused(&other, "it is at revision 29, but 30 was acknowledged");

    let other = case("flip in the log");
    let path = other.state().join("state.db-wal");
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).expect("written");
    refused(&other, "but 30 was acknowledged");

    for (name, bytes, reason) in
        [("empty", &b""[..], "not a database of privlink"), ("text", &[b'x'; 5000][..], "not a database")]
    {
        let other = case(name);
        fs::remove_file(other.state().join("state.db-wal")).expect("removed");
        fs::write(database(&other), bytes).expect("written");
        refused(&other, reason);
    }

    let other = case("mark");
    fs::write(other.state().join("state.mark"), "privlink-state 1 revision x").expect("written");
    refused(&other, "does not name a revision");
}

#[test]
fn an_older_copy_or_a_shorter_file_is_refused() {
    let folder = Folder::new("older");
    fill(&folder.open(), 0..40);
    let path = folder.state().join("state.db");
    let older = fs::read(&path).expect("read");
    fill(&folder.open(), 40..60);
    let whole = fs::read(&path).expect("read");
    fs::write(&path, older).expect("written");
    refused(&folder, "it is at revision 40, but 60 was acknowledged");
    for pages in 1..whole.len() / 4096 {
        fs::write(&path, &whole[..whole.len() - pages * 4096]).expect("written");
        refused(&folder, "");
    }
    fs::write(&path, &whole).expect("written");
    assert_eq!(content(&folder.open()).0, Revision(60));
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    const FLIPS: usize = 150;
    let folder = Folder::new("flips");
    fill(&folder.open(), 0..60);
    let before = content(&folder.open());
    let whole = files_of(&folder.state());
    let path = folder.state().join("state.db");
    let mut random = fastrand::Rng::with_seed(7);
    let (mut found, mut found_in_audit) = (0, 0);
    for _ in 0..FLIPS {
        let mut bytes = whole["state.db"].clone();
        let (at, bit) = (random.usize(..bytes.len()), random.u8(..8));
        bytes[at] ^= 1 << bit;
        fs::write(&path, bytes).expect("written");
        match SqliteStore::open(&folder.state()) {
            Err(StoreError::Damaged { .. } | StoreError::Newer { .. }) => found += 1,
            Err(other) => panic!("byte {at}, bit {bit}: {other}"),
            Ok((store, _)) => {
                let (revision, entries) = store.range("").expect("range");
                assert_eq!((revision, &entries), (before.0, &before.1), "byte {at}, bit {bit}");
                match store.verify() {
                    Ok(verified) => assert_eq!(verified, before.2, "byte {at}, bit {bit}"),
                    Err(StoreError::Audit(_) | StoreError::Damaged { .. }) => found_in_audit += 1,
                    Err(other) => panic!("byte {at}, bit {bit}: {other}"),
                }
            }
        }
        for (name, bytes) in &whole {
            fs::write(folder.state().join(name), bytes).expect("written");
        }
        let _ = fs::remove_file(folder.state().join("state.db-wal"));
        let _ = fs::remove_file(folder.state().join("state.db-shm"));
    }
    println!("{FLIPS} flips: {found} found at the start, {found_in_audit} by the audit's verification");
    assert!(found > FLIPS / 4 && found_in_audit > 0);
}

#[test]
fn a_changed_audit_log_is_named() {
    let folder = Folder::new("tampered");
    fill(&folder.open(), 0..9);
    let whole = files_of(&folder.state());
    for (name, tampering, seq, why) in [
        ("nothing", "", 0, ""),
        ("edited", "UPDATE audit SET body = x'7b7d' WHERE seq = 4", 4, "its content does not match its hash"),
        ("dated back", "UPDATE audit SET at = at - 1 WHERE seq = 4", 4, "its content does not match its hash"),
        ("deleted", "DELETE FROM audit WHERE seq = 4", 4, "it is missing"),
        ("first deleted", "DELETE FROM audit WHERE seq = 1", 1, "it is missing"),
        (
            "deleted and closed up",
            "DELETE FROM audit WHERE seq = 4; UPDATE audit SET seq = seq - 1 WHERE seq > 4;
             UPDATE head SET audit_count = 8",
            4,
            "it does not follow the record before it",
        ),
        (
            "swapped",
            "UPDATE audit SET seq = -4 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5;
             UPDATE audit SET seq = 5 WHERE seq = -4",
            4,
            "it does not follow the record before it",
        ),
        ("cut off", "DELETE FROM audit WHERE seq > 7", 8, "it and what followed are missing"),
        ("emptied", "DELETE FROM audit", 1, "it and what followed are missing"),
        (
            "added to",
            "INSERT INTO audit SELECT 10, at, body, hash, hash FROM audit WHERE seq = 9",
            10,
            "its content does not match its hash",
        ),
    ] {
        let store = folder.open();
        let other = Connection::open(folder.state().join("state.db")).expect("a second connection");
        other.execute_batch(tampering).expect(name);
        match store.verify() {
            Ok(verified) => assert_eq!((name, verified.count), ("nothing", 9)),
            // The head has a checksum of its own.
            Err(StoreError::Damaged { reason, .. }) if name == "deleted and closed up" => {
                assert_eq!(reason, "its head does not match its checksum");
            }
            Err(StoreError::Audit(broken)) => assert_eq!((broken.seq, broken.why), (seq, why), "{name}"),
            Err(other) => panic!("{name}: {other}"),
        }
        drop((store, other));
        for (name, bytes) in &whole {
            fs::write(folder.state().join(name), bytes).expect("written");
        }
    }
}

#[test]
fn an_older_layout_is_backed_up_and_brought_forward() {
    let folder = Folder::new("older-layout");
    let [first, last] = MIGRATIONS else { panic!("every layout there ever was begins a case of this test") };
    let older = || SqliteStore::open_with(&folder.state(), &[first]).expect("opened").0;
    fill(&older(), 0..20);
    let before = content(&older());
    let newer = [first, last, "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES (7)"];
    let failing = [first, last, "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO nowhere VALUES (7)"];
    let error = SqliteStore::open_with(&folder.state(), &failing).expect_err("fails").to_string();
    assert!(error.contains("nowhere"), "{error}");
    assert_eq!(content(&older()), before, "a migration that fails leaves what was");

    let (store, opened) = SqliteStore::open_with(&folder.state(), &newer).expect("migrated");
    let backup = folder.state().join("state.db.backup-v1-2");
    assert_eq!(opened, Opened::Migrated { from: 1, backup: backup.clone() });
    assert_eq!(content(&store), before);
    assert_eq!(store.read(|c| Ok(c.query_row("SELECT x FROM more", [], |row| row.get::<_, i64>(0))?)).expect("7"), 7);
    fill(&store, 20..21);
    drop(store);

    let error = SqliteStore::open(&folder.state()).expect_err("newer").to_string();
    for part in ["schema version 3", "versions up to 2", "privlink restore", "state.db"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(SqliteStore::open_with(&folder.state(), &newer).expect("again").1, Opened::Existing);
    restore(&backup, &folder.state()).expect("brought back");
    assert_eq!(content(&folder.open()), before);
}

#[test]
fn a_backup_is_of_one_moment_and_comes_back() {
    let folder = Folder::new("backup");
    let file = folder.0.join("backup");
    let store = Arc::new(folder.open());
    fill(&store, 0..30);
    let writer = Arc::clone(&store);
    let thread = std::thread::spawn(move || fill(&writer, 30..60));
    store.backup(&file).expect("made");
    thread.join().expect("committed");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let error = store.backup(&file).expect_err("there already").to_string();
    assert!(error.contains("backup") && error.contains("exists"), "{error}");
    assert!(matches!(restore(&file, &folder.state()), Err(StoreError::Held(_))), "while it is in use");
    // The same without a name: nothing of it is left beside the database.
    let mut head = [0; 16];
    let mut copy = store.copy().expect("made");
    std::io::Read::read_exact(&mut copy, &mut head).expect("read");
    assert_eq!(&head, b"SQLite format 3\0");
    let beside = fs::read_dir(folder.state()).expect("read").map(|entry| entry.expect("an entry").file_name());
    let beside: Vec<_> = beside.filter(|name| name.to_string_lossy().contains("copy")).collect();
    assert!(beside.is_empty(), "{beside:?}");
    drop(store);

    let restored = restore(&file, &folder.state()).expect("restored");
    let aside = folder.state().join("state.db.replaced");
    assert_eq!(restored.kept_as, Some(aside.clone()));
    let store = folder.open();
    let (revision, entries, audit) = content(&store);
    assert_eq!((revision, audit), (restored.revision, restored.audit));
    assert!((30..=60).contains(&revision.0), "{revision}");
    assert_eq!(audit.count, revision.0, "one record with each change");
    let last = entries.iter().find(|entry| entry.key == "last").expect("there");
    assert_eq!(last.value, (revision.0 - 1).to_string().as_bytes());
    drop(store);

    let restored = restore(&aside, &folder.state()).expect("and back again");
    assert_eq!(restored.kept_as, Some(folder.state().join("state.db.replaced-2")));
    assert_eq!(content(&folder.open()).0, Revision(60));
    let elsewhere = Folder::new("backup-elsewhere");
    assert_eq!(restore(&file, &elsewhere.state()).expect("on a new machine").kept_as, None);
    assert_eq!(content(&elsewhere.open()).0, revision);
}

#[test]
fn a_killed_state_is_kept_with_its_log_when_replaced() {
    let (folder, other) = (Folder::new("replaced"), Folder::new("replaced-copy"));
    let file = folder.0.join("backup");
    let store = folder.open();
    fill(&store, 0..5);
    store.backup(&file).expect("made");
    fill(&store, 5..9);
    killed(&folder, &other);
    let restored = restore(&file, &other.state()).expect("restored");
    assert_eq!(content(&other.open()).0, Revision(5));
    restore(&restored.kept_as.expect("kept"), &other.state()).expect("and back");
    assert_eq!(content(&other.open()).0, Revision(9));
}

#[test]
fn a_backup_that_cannot_be_trusted_replaces_nothing() {
    let folder = Folder::new("bad-backup");
    let good = folder.0.join("good");
    let store = folder.open();
    fill(&store, 0..30);
    store.grant(Duration::from_secs(1), Timestamp::UNIX_EPOCH).expect("granted");
    store.backup(&good).expect("made");
    drop(store);
    let before = hashes_of(&folder.state());
    let bytes = fs::read(&good).expect("read");
    let bad = |name: &str, sql: &str| {
        let path = folder.0.join(name);
        fs::write(&path, &bytes).expect("written");
        Connection::open(&path).expect("opened").execute_batch(sql).expect("changed");
        path
    };
    let text = folder.0.join("text");
    fs::write(&text, "no database").expect("written");
    let short = folder.0.join("short");
    fs::write(&short, &bytes[..bytes.len() / 2]).expect("written");
    for (path, reason) in [
        (folder.0.join("absent"), "No such file"),
        (text, "not a database"),
        (short, "malformed"),
        (bad("foreign", "PRAGMA application_id = 1"), "not a database of privlink"),
        (bad("newer", "PRAGMA user_version = 9"), "schema version 9"),
        (bad("value", "UPDATE entry SET value = x'00' WHERE key = 'last'"), "the entry last does not match"),
        (bad("missing", "DELETE FROM entry WHERE key = 'last'"), "entries or leases are missing"),
        (bad("lease", "UPDATE lease SET ends = ends + 1"), "entries or leases are missing"),
        (bad("chain", "UPDATE audit SET body = x'00' WHERE seq = 3"), "broken at record 3"),
    ] {
        let error = restore(&path, &folder.state()).expect_err("refused").to_string();
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(hashes_of(&folder.state()), before, "{error}");
    }
    assert_eq!(content(&folder.open()).0, Revision(30));
}
