//! A backup comes back whole or not at all, and says what it replaced.

use super::*;

/// A state, and a backup of an earlier moment.
fn with_backup(name: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let file = folder.0.join("backup");
    let store = folder.open();
    fill(&store, 0..5);
    store.backup(&file).expect("made");
    fill(&store, 5..9);
    (folder, file)
}

fn begin(file: &Path, folder: &Folder) -> Restoration {
    let mut restoration = Restoration::begin(file, &folder.state()).expect("begun");
    assert!(restoration.replaced().expect("read").is_some());
    restoration
}

#[test]
fn what_is_begun_and_not_ended_leaves_everything_as_it_was() {
    let (folder, file) = with_backup("restoring-dropped");
    let before = hashes_of(&folder.state());
    drop(begin(&file, &folder));
    assert_eq!(hashes_of(&folder.state()), before);
    let refused = begin(&file, &folder).finish(|_| Err(StoreError::Failed("not today".to_owned())), false);
    assert!(refused.expect_err("refused").to_string().contains("not today"));
    assert_eq!(content(&folder.open()).0, Revision(9));
}

#[test]
fn a_crash_at_any_step_leaves_the_one_or_the_other() {
    let (folder, file) = with_backup("restoring-crash");
    let restoration = begin(&file, &folder);
    // Kept under another name, and not replaced yet.
    let kept = restoration.directory.keep().expect("kept");
    drop(restoration);
    assert_eq!(content(&folder.open()).0, Revision(9));
    assert_eq!(fs::read(&kept).expect("read"), fs::read(folder.state().join("state.db")).expect("read"));
    // The mark goes back before the database does.
    let restoration = begin(&file, &folder);
    drop(Mark::create(&restoration.directory, Revision(5)).expect("made"));
    drop(restoration);
    assert_eq!(content(&folder.open()).0, Revision(9));
    // And the end: the database is another one, and the mark is still the lower one.
    let restored = restore(&file, &folder.state()).expect("restored");
    assert_eq!((content(&folder.open()).0, restored.revision), (Revision(5), Revision(5)));
}

#[test]
fn what_is_replaced_is_named_by_its_hash_and_what_is_written_is_part_of_the_chain() {
    let (folder, file) = with_backup("restoring-hash");
    let end = content(&folder.open()).2;
    let mut named = Replaced::default();
    let make = |replaced: &Replaced| {
        named = replaced.clone();
        Ok(Transaction {
            operations: vec![Operation::put("last", "kept")],
            records: vec![AuditBody { at: Timestamp::UNIX_EPOCH, body: b"{}".to_vec() }],
            ..Transaction::default()
        })
    };
    let restored = begin(&file, &folder).finish(make, true).expect("restored");
    let kept = fs::read(restored.kept_as.as_ref().expect("kept")).expect("read");
    assert_eq!(named.sha256, ChainHash(Sha256::digest(kept).into()).to_string());
    assert_eq!((named.audit, &restored.replaced), (Some(end), &named));
    let store = folder.open();
    let (revision, entries, audit) = content(&store);
    assert_eq!((revision, audit, audit.count), (restored.revision, restored.audit, 6));
    assert!(entries.iter().any(|entry| entry.key == "last" && entry.value == b"kept"));
}

#[test]
fn what_cannot_be_read_is_set_aside_as_it_is() {
    let (folder, file) = with_backup("restoring-damaged");
    fs::write(folder.state().join("state.db"), "no database").expect("damaged");
    let mut restoration = Restoration::begin(&file, &folder.state()).expect("begun");
    restoration.replaced().expect_err("unreadable");
    let restored = restoration.finish(|_| Ok(Transaction::default()), false).expect("restored");
    assert_eq!(fs::read(restored.kept_as.expect("kept")).expect("read"), b"no database");
    assert_eq!(restored.replaced.audit, None);
    assert_eq!(content(&folder.open()).0, Revision(5));
}
