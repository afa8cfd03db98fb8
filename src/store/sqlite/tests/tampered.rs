//! An audit log shows tampering, pruned or whole.

use super::*;

#[test]
fn what_is_deleted_beyond_the_anchor_or_added_below_it_is_found() {
    let folder = Folder::new("tampered-pruned");
    let store = folder.open();
    fill(&store, 0..9);
    store.prune_audit(4).expect("pruned");
    drop(store);
    let whole = files_of(&folder.state());
    for (tampering, seq, why) in [
        ("DELETE FROM audit WHERE seq = 5", 5, "it is missing"),
        ("DELETE FROM audit WHERE seq = 7", 7, "it is missing"),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 5", 5, "it does not follow the record before it"),
        ("INSERT INTO audit SELECT 4, at, body, previous, previous FROM audit WHERE seq = 5", 5, "it is missing"),
    ] {
        let store = folder.open();
        let other = Connection::open(folder.state().join("state.db")).expect("a second connection");
        other.execute_batch(tampering).expect(tampering);
        let Err(StoreError::Audit(broken)) = store.verify() else { panic!("{tampering}: not found") };
        assert_eq!((broken.seq, broken.why), (seq, why), "{tampering}");
        drop((store, other));
        for (name, bytes) in &whole {
            fs::write(folder.state().join(name), bytes).expect("written");
        }
    }
    // A forged anchor is no entry of ours.
    let store = folder.open();
    let other = Connection::open(folder.state().join("state.db")).expect("a second connection");
    other.execute("UPDATE entry SET value = zeroblob(40) WHERE key = 'meta/audit_anchor'", []).expect("forged");
    assert!(matches!(store.verify(), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_chain_rebuilt_to_its_end_differs_from_the_noted_hash() {
    let folder = Folder::new("rebuilt");
    let store = folder.open();
    fill(&store, 0..3);
    let query = AuditQuery { from: 1, before: None, since: None, limit: 10, newest_first: false };
    let mut end = Verified::default();
    let other = Connection::open(folder.state().join("state.db")).expect("a second connection");
    for mut record in store.audit(&query).expect("listed") {
        record.body.reverse();
        let forged = AuditRecord::after(end, AuditBody { at: record.at, body: record.body });
        end = Verified { count: forged.seq, last_hash: forged.hash };
        let sql = "UPDATE audit SET body = ?2, previous = ?3, hash = ?4 WHERE seq = ?1";
        let values = params![forged.seq.cast_signed(), forged.body, forged.previous.0, forged.hash.0];
        other.execute(sql, values).expect("forged");
    }
    let Err(StoreError::Audit(broken)) = store.verify() else { panic!("not found") };
    assert_eq!((broken.seq, broken.why), (3, "it is not the record that was written last"));
}
