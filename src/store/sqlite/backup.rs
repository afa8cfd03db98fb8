//! Copies of the whole database: made while it is in use, and brought back after they were checked.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::files::{self, StateDir, at};
use super::look;
use super::rows::Tables;
use super::schema::{self, MIGRATIONS};
use crate::store::audit::Verified;
use crate::store::draft::{Draft, Head};
use crate::store::memory::MemoryStore;
use crate::store::{Outcome, Revision, StoreError, Transaction};

/// What a [`Restoration`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The revision that the state is at.
    pub revision: Revision,
    /// Its audit log.
    pub audit: Verified,
    /// Where the replaced database lies now, if there was one.
    pub kept_as: Option<PathBuf>,
    /// What that holds.
    pub replaced: Replaced,
}

/// Copies the database as of now to a new file that stands alone (mode 0600, durable).
pub(super) fn copy(from: &Connection, to: &Path) -> Result<(), StoreError> {
    files::create(to)?;
    let copied = fill(from, to).map_err(|error| error.in_place(to));
    if copied.is_err() {
        files::remove_if_there(to)?;
    }
    copied
}

fn fill(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // In one step: what is written meanwhile would start it over.
    let step = Backup::new(from, &mut target)?.step(-1)?;
    if step != StepResult::Done {
        return Err(StoreError::Failed(format!("the copy did not finish: {step:?}")));
    }
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    fs::File::open(to).and_then(|file| file.sync_all()).map_err(at(to))?;
    files::sync_directory(to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// A backup on its way into a state directory, which is held by this process meanwhile. Dropped before its end, it
/// leaves everything as it was.
#[derive(Debug)]
pub struct Restoration {
    pub(super) directory: StateDir,
    /// The copy of the backup, beside the database that it is to replace.
    copied: PathBuf,
    /// What is replaced can be read.
    readable: bool,
}

/// What a backup replaces, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The SHA-256 of the file that it is kept in, hexadecimal; empty: there was none.
    pub sha256: String,
    /// The end of its audit log; `None`: it cannot be read, or there was none.
    pub audit: Option<Verified>,
}

impl Restoration {
    /// Copies the backup `from` beside the state in `directory`, and checks it: layout, pages, checksums, audit chain.
    ///
    /// # Errors
    /// A daemon uses the directory, or the backup cannot be trusted; in both cases nothing has changed.
    pub fn begin(from: &Path, directory: &Path) -> Result<Self, StoreError> {
        fs::metadata(from).map_err(at(from))?;
        let directory = StateDir::open(directory)?;
        let copied = directory.unfinished()?;
        let begun = Self { directory, copied, readable: false };
        check_copy(from, &begun.copied).map_err(|error| error.in_place(from))?;
        Ok(begun)
    }

    /// The entries of the backup.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn backup(&self) -> Result<MemoryStore, StoreError> {
        look::copied(&self.copied, None).map_err(|error| error.in_place(&self.copied))
    }

    /// The entries of what is replaced; `None`: nothing is.
    ///
    /// # Errors
    /// It cannot be read, or not be trusted.
    pub fn replaced(&mut self) -> Result<Option<MemoryStore>, StoreError> {
        let found = look::entries(&self.directory)?;
        self.readable = found.is_some();
        Ok(found)
    }

    /// Writes what `make` makes of what is replaced to the copy, and puts that in the place of the state, which is kept
    /// under another name. A crash leaves the one or the other; only of what cannot be read it may leave none, and the next
    /// start says so. With `scrub`, no byte of what `make` removes is left in the copy.
    ///
    /// # Errors
    /// What could not be written. The state is as it was.
    pub fn finish(
        self,
        make: impl FnOnce(&Replaced) -> Result<Transaction, StoreError>,
        scrub: bool,
    ) -> Result<Restored, StoreError> {
        let database = self.directory.database();
        let in_place = |error: StoreError| error.in_place(&database);
        let audit = if self.readable { Some(settle(&database).map_err(in_place)?) } else { None };
        let replaced = Replaced { sha256: files::sha256(&database)?, audit };
        let transaction = make(&replaced)?;
        let head = write(&self.copied, &transaction).map_err(|error| error.in_place(&self.copied))?;
        if scrub {
            schema::scrub(&self.copied).map_err(|error| error.in_place(&self.copied))?;
        }
        let kept_as = if self.readable { Some(self.directory.keep()?) } else { self.directory.set_aside()? };
        self.directory.install(&self.copied, head.revision)?;
        Ok(Restored { revision: head.revision, audit: head.audit, kept_as, replaced })
    }
}

impl Drop for Restoration {
    fn drop(&mut self) {
        // After its end there is nothing of that name; whatever stays is overwritten by the next one.
        let _ = self.directory.unfinished().and_then(|path| files::remove_if_there(&path));
    }
}

/// Moves the log of a database into its file, so that the file holds all of it; the end of its audit log.
fn settle(database: &Path) -> Result<Verified, StoreError> {
    let connection = schema::connect(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let head = Tables(&connection).head()?;
    schema::fold(&connection)?;
    connection.close().map_err(|(_, error)| error)?;
    for suffix in ["-wal", "-shm"] {
        files::remove_if_there(&files::with_suffix(database, suffix))?;
    }
    Ok(head.audit)
}

/// Commits `transaction` to the database `copied`, which nobody else has.
fn write(copied: &Path, transaction: &Transaction) -> Result<Head, StoreError> {
    let mut connection = schema::connect(copied, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let changes = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut tables = Tables(&changes);
    let head = tables.head()?;
    let mut draft = Draft { rows: &mut tables, head, events: Vec::new() };
    if let Outcome::Conflict { key, .. } = draft.commit(transaction)? {
        return Err(StoreError::Failed(format!("{key} of the backup is not as it was read")));
    }
    let head = draft.head;
    tables.put_head(&head)?;
    changes.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(head)
}

/// Copies `from` into the empty file `to`, brings it to the current layout, and checks all of it.
fn check_copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let source = schema::connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = schema::version(&source, from, MIGRATIONS.len())?;
    fill(&source, to)?;
    let mut copy = schema::connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::check_pages(&copy)?;
    if version < MIGRATIONS.len() {
        schema::migrate(&mut copy, version, MIGRATIONS)?;
    }
    schema::check_entries(&copy)?;
    super::walk_audit(&copy)?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(())
}
