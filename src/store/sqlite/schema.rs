//! The database file: its layout by version, and whether it can be trusted.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::rows::{ENTRY, Tables, damaged, entry_of};
use crate::store::StoreError;
use crate::store::draft::Head;

/// First of the file's marks, "prvl": this database is privlink's.
const APPLICATION_ID: i32 = 0x7072_766c;

/// What leads from each version to the next; their number is the current version.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE entry (
        key TEXT NOT NULL PRIMARY KEY,
        create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL,
        lease INTEGER,
        checksum INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entry_by_lease ON entry (lease) WHERE lease IS NOT NULL;
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, ends INTEGER NOT NULL) STRICT;
    CREATE INDEX lease_by_end ON lease (ends, id);
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        body BLOB NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        revision INTEGER NOT NULL,
        last_lease INTEGER NOT NULL,
        audit_count INTEGER NOT NULL,
        audit_hash BLOB NOT NULL,
        digest INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
",
    "
    DROP INDEX entry_by_lease;
    ALTER TABLE entry RENAME TO entry_before;
    -- Keys in a tree of their own: a search beside a large value does not read it.
    CREATE TABLE entry (
        key TEXT NOT NULL PRIMARY KEY,
        create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL,
        lease INTEGER,
        checksum INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    INSERT INTO entry SELECT key, create_revision, mod_revision, lease, checksum, value FROM entry_before ORDER BY key;
    DROP TABLE entry_before;
    CREATE INDEX entry_by_lease ON entry (lease) WHERE lease IS NOT NULL;
",
];

/// Opens a file that is there; nothing is read or written yet, and closing it changes nothing.
pub(super) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // What is deleted is overwritten: it may have been a secret.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    Ok(connection)
}

/// Writes the database anew without what was ever deleted, and empties its log.
pub(super) fn scrub(path: &Path) -> Result<(), StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.execute_batch("VACUUM")?;
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 { Ok(()) } else { Err(StoreError::Failed("somebody reads its log, which stays as it is".to_owned())) }
}

/// Switches to a write-ahead log that is synced with every commit.
pub(super) fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")
}

/// Moves the log into the file, so that closing leaves just that.
pub(super) fn fold(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// The version of a database of ours.
pub(super) fn version(connection: &Connection, place: &Path, known: usize) -> Result<usize, StoreError> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if id != APPLICATION_ID || found == 0 {
        return Err(damaged("it is not a database of privlink".to_owned()));
    }
    if found as usize > known {
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        return Err(StoreError::Newer { place: place.display().to_string(), found, known });
    }
    Ok(found as usize)
}

/// Brings the layout from version `from` to the last; all of it or nothing.
pub(super) fn migrate(connection: &mut Connection, from: usize, migrations: &[&str]) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in &migrations[from..] {
        transaction.execute_batch(migration)?;
    }
    if from == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        Tables(&transaction).put_head(&Head::default())?;
    }
    transaction.pragma_update(None, "user_version", migrations.len().cast_signed())?;
    Ok(transaction.commit()?)
}

/// Whether the pages of the file fit together. Reads the whole file: about 0.3 s for each million audit records.
pub(super) fn check_pages(connection: &Connection) -> Result<(), StoreError> {
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if said == "ok" { Ok(()) } else { Err(damaged(said.replace('\n', ", "))) }
}

/// Whether every entry and lease is as it was committed, none is missing, and none is too many.
pub(super) fn check_entries(connection: &Connection) -> Result<Head, StoreError> {
    let head = Tables(connection).head()?;
    let mut statement = connection.prepare(&format!("SELECT {ENTRY} FROM entry ORDER BY key"))?;
    let mut rows = statement.query([])?;
    let mut digest = Tables(connection).lease_digest()?;
    while let Some(row) = rows.next()? {
        digest ^= entry_of(row)?.1;
    }
    if digest != head.digest {
        return Err(damaged("entries or leases are missing from it, or are not those last committed".to_owned()));
    }
    let last: Option<i64> = connection.query_row("SELECT max(seq) FROM audit", [], |row| row.get(0))?;
    if last.unwrap_or(0) != head.audit.count.cast_signed() {
        return Err(damaged("its audit log does not end where it was last committed".to_owned()));
    }
    Ok(head)
}
