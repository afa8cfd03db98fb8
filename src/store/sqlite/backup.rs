//! Copies of the whole database: made while it is in use, and brought back after they were checked.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::files::{self, StateDir, at};
use super::schema::{self, MIGRATIONS};
use crate::store::audit::Verified;
use crate::store::{Revision, StoreError};

/// What [`restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The revision that the state is at again.
    pub revision: Revision,
    /// Its audit log.
    pub audit: Verified,
    /// Where the replaced database lies now, if there was one.
    pub kept_as: Option<PathBuf>,
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

/// Makes the backup `from` the state in `directory`. It is copied and checked first: layout, pages,
/// checksums, audit chain; a database that is there is kept under another name.
///
/// # Errors
/// A daemon uses the directory, or the backup cannot be trusted; in both cases nothing has changed.
pub fn restore(from: &Path, directory: &Path) -> Result<Restored, StoreError> {
    fs::metadata(from).map_err(at(from))?;
    let directory = StateDir::open(directory)?;
    let copied = directory.unfinished()?;
    let checked = check_copy(from, &copied).map_err(|error| error.in_place(from));
    let (revision, audit) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            directory.unfinished().and_then(|path| files::remove_if_there(&path))?;
            return Err(error);
        }
    };
    let kept_as = directory.set_aside()?;
    directory.install(&copied, revision)?;
    Ok(Restored { revision, audit, kept_as })
}

/// Copies `from` into the empty file `to`, brings it to the current layout, and checks all of it.
fn check_copy(from: &Path, to: &Path) -> Result<(Revision, Verified), StoreError> {
    let source = schema::connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let version = schema::version(&source, from, MIGRATIONS.len())?;
    fill(&source, to)?;
    let mut copy = schema::connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::check_pages(&copy)?;
    if version < MIGRATIONS.len() {
        schema::migrate(&mut copy, version, MIGRATIONS)?;
    }
    let head = schema::check_entries(&copy)?;
    Ok((head.revision, super::walk_audit(&copy)?))
}
