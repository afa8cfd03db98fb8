//! Looking at a state without holding it, also while a daemon does.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::files::{Mark, StateDir, at};
use super::rows::{ENTRY, damaged, entry_of};
use super::schema::{self, MIGRATIONS};
use crate::store::memory::MemoryStore;
use crate::store::{Operation, Outcome, Store as _, StoreError, Transaction};

/// The entries of the state in `directory` as of now, in memory: nothing is locked, moved or written. Its audit log is
/// not looked at. `None`: there is no state yet.
///
/// # Errors
/// What [`super::SqliteStore::open`] would say, but for [`StoreError::Held`].
pub fn look(directory: &Path) -> Result<Option<MemoryStore>, StoreError> {
    entries(&StateDir::unlocked(directory))
}

/// [`look`] at a directory that somebody holds.
pub(super) fn entries(directory: &StateDir) -> Result<Option<MemoryStore>, StoreError> {
    let database = directory.database();
    if !database.try_exists().map_err(at(&database))? {
        return match directory.trace()? {
            Some(trace) => Err(damaged(format!("it is missing, though {trace} shows that it was there"))),
            None => Ok(None),
        };
    }
    // Before the entries: whoever holds the state moves its mark after them.
    let acknowledged = Mark::read(directory)?;
    copied(&database, acknowledged).map(Some).map_err(|error| error.in_place(&database))
}

/// The entries of a database as of now, which is no older than what was `acknowledged`.
pub(super) fn copied(database: &Path, acknowledged: Option<crate::store::Revision>) -> Result<MemoryStore, StoreError> {
    let source = schema::connect(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = schema::version(&source, database, MIGRATIONS.len())?;
    let mut copy = Connection::open_in_memory()?;
    let step = Backup::new(&source, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        return Err(StoreError::Failed(format!("the state could not be read at one moment: {step:?}")));
    }
    schema::check_pages(&copy)?;
    if version < MIGRATIONS.len() {
        schema::migrate(&mut copy, version, MIGRATIONS)?;
    }
    let head = schema::check_entries(&copy)?;
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > head.revision) {
        return Err(damaged(format!("it is at revision {}, but {acknowledged} was acknowledged", head.revision)));
    }
    let mut statement = copy.prepare(&format!("SELECT {ENTRY} FROM entry ORDER BY key"))?;
    let mut rows = statement.query([])?;
    let mut operations = Vec::new();
    while let Some(row) = rows.next()? {
        let (entry, _) = entry_of(row)?;
        operations.push(Operation::Put { key: entry.key, value: entry.value, lease: None });
    }
    let store = MemoryStore::new();
    match store.commit(Transaction { operations, ..Transaction::default() })? {
        Outcome::Committed(_) => Ok(store),
        Outcome::Conflict { .. } => Err(StoreError::Failed("the copy was refused".to_owned())),
    }
}
