//! The embedded store: one SQLite database in the state directory.
//!
//! ```text
//! state.db        entries, leases, audit log (with state.db-wal and state.db-shm while open)
//! state.mark      the last acknowledged revision: shows a state.db that is lost or too old
//! lock            held by the daemon
//! state.db.backup-vN    before a migration from version N
//! state.db.replaced     what a restore has replaced
//! ```
//!
//! A database that cannot be trusted is never opened as an empty one, and never changed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::audit::{ANCHOR_KEY, AuditQuery, AuditRecord, Verified};
use super::draft::Draft;
use super::watch::{History, Watch};
use super::{Entry, LeaseId, Outcome, Revision, Store, StoreError, Transaction};
use files::{Mark, StateDir};
use rows::{ENTRY, RECORD, Tables, damaged, entry_of, record_of};
use schema::MIGRATIONS;
use writer::{Change, Request, Writer};

mod backup;
mod files;
mod look;
mod rows;
mod schema;
mod writer;

pub use backup::{Replaced, Restoration, Restored};
pub use files::sha256;
pub use look::look;

/// Idle connections that are kept for the next reads.
const READERS: usize = 4;

/// See the module. Dropping it closes it cleanly.
#[derive(Debug)]
pub struct SqliteStore {
    database: PathBuf,
    readers: Mutex<Vec<Connection>>,
    /// How many copies were made: each has a name of its own.
    copies: AtomicU64,
    requests: Option<Sender<Box<dyn Request>>>,
    writer: Option<JoinHandle<()>>,
    history: Arc<History>,
    /// Given back last.
    directory: StateDir,
}

/// What was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: the store is new, and empty.
    FirstStart,
    /// The state of the run before.
    Existing,
    /// The state of an older privlink, brought to the current layout.
    Migrated {
        /// Its schema version.
        from: usize,
        /// A copy of how it was.
        backup: PathBuf,
    },
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made if it is missing, for this process alone.
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::Newer`], [`StoreError::Damaged`], or what the file system refused.
    /// Nothing has changed then.
    pub fn open(directory: &Path) -> Result<(Self, Opened), StoreError> {
        Self::open_with(directory, MIGRATIONS)
    }

    fn open_with(directory: &Path, migrations: &[&str]) -> Result<(Self, Opened), StoreError> {
        let directory = StateDir::open(directory)?;
        let database = directory.database();
        let (writer, opened) = prepare(&directory, migrations).map_err(|error| error.in_place(&database))?;
        let history = Arc::clone(&writer.history);
        let (requests, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || writer.run(&receiver));
        let thread = thread.map_err(|error| StoreError::Failed(format!("no thread to write with: {error}")))?;
        let store = Self {
            database,
            readers: Mutex::default(),
            copies: AtomicU64::new(0),
            requests: Some(requests),
            writer: Some(thread),
            history,
            directory,
        };
        Ok((store, opened))
    }

    /// Copies the state as of now to the new file `to`, which stands alone; commits go on meanwhile.
    ///
    /// # Errors
    /// `to` is there already, or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.read(|connection| backup::copy(connection, to))
    }

    /// A copy of the state as of now that stands alone, in a file without a name: it goes when it is closed.
    ///
    /// # Errors
    /// There is no room for it beside the database.
    pub fn copy(&self) -> Result<File, StoreError> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        let path = files::with_suffix(&self.database, &format!(".new-copy-{number}"));
        // A process that was killed may have left one.
        files::remove_if_there(&path)?;
        self.backup(&path)?;
        let file = File::open(&path).map_err(files::at(&path));
        files::remove_if_there(&path)?;
        file
    }

    /// Hands a change to the writer, and waits until it is durable.
    fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&mut Draft<'_, Tables<'_>>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = mpsc::sync_channel(1);
        let request = Box::new(Change { make: change, result: None, reply });
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        requests.send(request).map_err(|_| StoreError::Closed)?;
        answer.recv().unwrap_or(Err(StoreError::Closed)).map_err(|error| error.in_place(&self.database))
    }

    /// Reads one state of the database: what is committed meanwhile does not show.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let in_place = |error: StoreError| error.in_place(&self.database);
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::connect(&self.database, OpenFlags::SQLITE_OPEN_READ_ONLY)
                .map_err(|error| in_place(error.into()))?,
        };
        let transaction = connection.transaction().map_err(|error| in_place(error.into()))?;
        let answer = read(&transaction).map_err(in_place)?;
        drop(transaction);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(connection);
        }
        Ok(answer)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.history.close();
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.requests.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of {} has panicked", self.database.display());
        }
    }
}

impl Store for SqliteStore {
    fn scan(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<Revision, StoreError> {
        self.read(|connection| {
            let sql = format!("SELECT {ENTRY} FROM entry WHERE key >= ?1 ORDER BY key");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query([prefix])?;
            while let Some(row) = rows.next()? {
                let (entry, _) = entry_of(row)?;
                if !entry.key.starts_with(prefix) {
                    break;
                }
                each(entry);
            }
            Ok(Tables(connection).head()?.revision)
        })
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("SELECT {ENTRY} FROM entry WHERE key = ?1"))?;
            let mut rows = statement.query([key])?;
            rows.next()?.map(|row| Ok(entry_of(row)?.0)).transpose()
        })
    }

    fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.write(move |draft| draft.commit(&transaction))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        self.history.watch(prefix, from)
    }

    fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.history.compact(before)
    }

    fn grant(&self, ttl: Duration, now: Timestamp) -> Result<LeaseId, StoreError> {
        self.write(move |draft| draft.grant(ttl, now))
    }

    fn keep_alive(&self, lease: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |draft| draft.keep_alive(lease, now))
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.write(move |draft| draft.revoke(lease))
    }

    fn expire(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.write(move |draft| draft.expire(now))
    }

    fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        self.read(|connection| {
            let order = if query.newest_first { "DESC" } else { "ASC" };
            let sql = format!(
                "SELECT {RECORD} FROM audit WHERE seq >= ?1 AND seq < ?2 AND at >= ?3 ORDER BY seq {order} LIMIT ?4"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let since = query.since.map_or(i64::MIN, Timestamp::as_microsecond);
            let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
            let from = i64::try_from(query.from).unwrap_or(i64::MAX);
            let before = query.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![from, before, since, limit])?;
            let mut records = Vec::new();
            while let Some(row) = rows.next()? {
                records.push(record_of(row)?);
            }
            Ok(records)
        })
    }

    fn prune_audit(&self, through: u64) -> Result<(), StoreError> {
        self.write(move |draft| draft.prune(through))
    }

    fn verify(&self) -> Result<Verified, StoreError> {
        self.read(walk_audit)
    }

    fn scrub(&self) -> Result<(), StoreError> {
        let in_place = |error: StoreError| error.in_place(&self.database);
        schema::scrub(&self.database).map_err(in_place)?;
        self.directory.remove_backups()
    }
}

/// Brings the directory to a database that can be trusted, ready to be written, or refuses.
fn prepare(directory: &StateDir, migrations: &[&str]) -> Result<(Writer, Opened), StoreError> {
    let database = directory.database();
    let first = !database.try_exists().map_err(files::at(&database))?;
    if first {
        if let Some(trace) = directory.trace()? {
            return Err(damaged(format!("it is missing, though {trace} shows that it was there")));
        }
        let unfinished = directory.unfinished()?;
        let mut connection = schema::connect(&unfinished, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::migrate(&mut connection, 0, migrations)?;
        drop(connection);
        directory.install(&unfinished, Revision(0))?;
    }
    let mut connection = schema::connect(&database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version = schema::version(&connection, &database, migrations.len())?;
    schema::check_pages(&connection)?;
    let opened = if first {
        Opened::FirstStart
    } else if version == migrations.len() {
        Opened::Existing
    } else {
        let backup = files::free_name(&files::with_suffix(&database, &format!(".backup-v{version}")))?;
        backup::copy(&connection, &backup)?;
        schema::migrate(&mut connection, version, migrations)?;
        Opened::Migrated { from: version, backup }
    };
    let head = schema::check_entries(&connection)?;
    let mark = match Mark::open(directory)? {
        Some((_, acknowledged)) if acknowledged > head.revision => {
            let reason = format!("it is at revision {}, but {acknowledged} was acknowledged", head.revision);
            return Err(damaged(reason));
        }
        Some((mark, _)) => mark,
        None => Mark::create(directory, head.revision)?,
    };
    schema::make_durable(&connection)?;
    Ok((Writer { connection, head, mark, history: History::since(head.revision), wrote: false }, opened))
}

/// The audit chain from its anchor on, and whether it ends where the last commit left it.
fn walk_audit(connection: &Connection) -> Result<Verified, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {RECORD} FROM audit ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    let found = format!("SELECT {ENTRY} FROM entry WHERE key = ?1");
    let mut found = connection.prepare_cached(&found)?;
    let mut found = found.query([ANCHOR_KEY])?;
    let anchor = found.next()?.map(entry_of).transpose()?;
    let mut walked = super::anchor(anchor.as_ref().map(|(entry, _)| entry.value.as_slice()))?;
    while let Some(row) = rows.next()? {
        walked.extend(&record_of(row)?)?;
    }
    Ok(walked.ends_at(Tables(connection).head()?.audit)?)
}

impl StoreError {
    /// Fills in the place that the engine's errors leave out.
    fn in_place(mut self, path: &Path) -> Self {
        if let Self::Damaged { place, .. } | Self::Full { place } = &mut self
            && place.is_empty()
        {
            *place = path.display().to_string();
        }
        self
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { place: String::new() },
            // Its index has no room.
            Some(ErrorCode::SystemIoFailure) if extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::Full { place: String::new() }
            }
            // Not from the engine, `None`: a column that is not of its type.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => damaged(error.to_string()),
            Some(_) => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
