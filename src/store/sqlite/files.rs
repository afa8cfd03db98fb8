//! The state directory: whose it is, what lies in it, and how much was acknowledged.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::store::audit::ChainHash;
use crate::store::{Revision, StoreError};

/// The entries and the audit log.
pub(super) const DATABASE: &str = "state.db";
const MARK: &str = "state.mark";
const LOCK: &str = "lock";
/// What the engine keeps beside its file.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// The state directory, held by this process alone.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    /// Kept open: the lock goes with the process, however it ends.
    _lock: Option<File>,
}

impl StateDir {
    /// Makes the directory where it is missing (mode 0700) and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if path.exists() && !path.is_dir() {
            return Err(at(path)(io::ErrorKind::NotADirectory.into()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        let file = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&file).map_err(at(&file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Held(path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(at(&file)(error)),
        }
    }

    /// The directory as it is, held by nobody or by somebody else: to look only.
    pub(super) fn unlocked(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Something that lies here only if there was a database: without it, that one is lost, and this is
    /// not a first start. The start of a database that was never finished does not count.
    pub(super) fn trace(&self) -> Result<Option<String>, StoreError> {
        let unfinished = |name: &str| name.starts_with(&format!("{DATABASE}.new"));
        for entry in fs::read_dir(&self.path).map_err(at(&self.path))? {
            let name = entry.map_err(at(&self.path))?.file_name().to_string_lossy().into_owned();
            if name.starts_with("state.") && !unfinished(&name) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// An empty file (mode 0600) for a database that is not finished yet.
    pub(super) fn unfinished(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(format!("{DATABASE}.new"));
        for suffix in ["", "-journal"].into_iter().chain(BESIDE) {
            remove_if_there(&with_suffix(&path, suffix))?;
        }
        create(&path)?;
        Ok(path)
    }

    /// Puts a finished database in its place: with it, the mark says what is acknowledged.
    pub(super) fn install(&self, finished: &Path, revision: Revision) -> Result<(), StoreError> {
        let to = self.database();
        File::open(finished).and_then(|file| file.sync_all()).map_err(at(finished))?;
        // At no moment may the mark be ahead of the database.
        if let Some((_, acknowledged)) = Mark::open(self)?.filter(|(_, acknowledged)| *acknowledged > revision) {
            tracing::debug!(%acknowledged, %revision, "the state goes back");
            Mark::create(self, revision)?;
        }
        fs::rename(finished, &to).map_err(at(&to))?;
        Mark::create(self, revision)?;
        Ok(())
    }

    /// Removes the copies that were made before a migration.
    pub(super) fn remove_backups(&self) -> Result<(), StoreError> {
        let backup = format!("{DATABASE}.backup-v");
        for entry in fs::read_dir(&self.path).map_err(at(&self.path))? {
            let entry = entry.map_err(at(&self.path))?;
            if entry.file_name().to_string_lossy().starts_with(&backup) {
                remove_if_there(&entry.path())?;
            }
        }
        sync_directory(&self.path)
    }

    /// Gives the database, which has no log, another name besides its own; it stays in its place until another one is put
    /// there.
    pub(super) fn keep(&self) -> Result<PathBuf, StoreError> {
        let (database, kept) = (self.database(), free_name(&self.path.join(format!("{DATABASE}.replaced")))?);
        if fs::hard_link(&database, &kept).is_err() {
            // A file system without links.
            let mut copy = create(&kept)?;
            let mut from = File::open(&database).map_err(at(&database))?;
            io::copy(&mut from, &mut copy).and_then(|_| copy.sync_all()).map_err(at(&kept))?;
        }
        sync_directory(&self.path)?;
        Ok(kept)
    }

    /// Moves the database away, with what belongs to it; `None`: there is nothing.
    pub(super) fn set_aside(&self) -> Result<Option<PathBuf>, StoreError> {
        let database = self.database();
        let aside = free_name(&self.path.join(format!("{DATABASE}.replaced")))?;
        // The index of the log is made anew from the log.
        remove_if_there(&with_suffix(&database, "-shm"))?;
        let mut moved = None;
        for suffix in ["", "-wal"] {
            let (from, to) = (with_suffix(&database, suffix), with_suffix(&aside, suffix));
            match fs::rename(&from, &to) {
                Ok(()) => moved = Some(aside.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(&from)(error)),
            }
        }
        remove_if_there(&self.path.join(MARK))?;
        sync_directory(&self.path)?;
        Ok(moved)
    }
}

/// A small file beside the database that says which revision was last acknowledged. It is written
/// after each commit and synced at the end only: it may lag behind after a loss of power, and is never
/// ahead. So a database older than its mark has lost what was acknowledged.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// The mark that is there, and what it says; `None`: there is none. Opened in place: that works on a full
    /// disk, too.
    pub(super) fn open(directory: &StateDir) -> Result<Option<(Self, Revision)>, StoreError> {
        let path = directory.path.join(MARK);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let revision = Self::revision(&file, &path)?;
        Ok(Some((Self { file }, revision)))
    }

    /// What the mark says that is there; nothing is changed.
    pub(super) fn read(directory: &StateDir) -> Result<Option<Revision>, StoreError> {
        let path = directory.path.join(MARK);
        match File::open(&path) {
            Ok(file) => Self::revision(&file, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    fn revision(mut file: &File, path: &Path) -> Result<Revision, StoreError> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at(path))?;
        let text = String::from_utf8_lossy(&bytes);
        let revision = text.strip_prefix("privlink-state 1 revision ").and_then(|rest| rest.trim_end().parse().ok());
        revision.map(Revision).ok_or_else(|| StoreError::Damaged {
            place: path.display().to_string(),
            reason: "it does not name a revision".to_owned(),
        })
    }

    /// Makes the mark, durably.
    pub(super) fn create(directory: &StateDir, revision: Revision) -> Result<Self, StoreError> {
        let (path, new) = (directory.path.join(MARK), directory.path.join(format!("{DATABASE}.new-mark")));
        remove_if_there(&new)?;
        let mark = Self { file: create(&new)? };
        mark.write(revision).and_then(|()| mark.sync()).map_err(at(&new))?;
        fs::rename(&new, &path).map_err(at(&path))?;
        sync_directory(&directory.path)?;
        Ok(mark)
    }

    pub(super) fn write(&self, revision: Revision) -> io::Result<()> {
        self.file.write_all_at(format!("privlink-state 1 revision {:020}\n", revision.0).as_bytes(), 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The SHA-256 of a file's bytes, hexadecimal; empty: there is none.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> Result<String, StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(at(path)(error)),
    };
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut chunk).map_err(at(path))? {
            0 => break,
            read => hasher.update(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(ChainHash(hasher.finalize().into()).to_string())
}

/// A new, empty file that only its owner may read.
pub(super) fn create(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(at(path))
}

/// `path`, or the first of `path-2`, `path-3`, … that names nothing.
pub(super) fn free_name(path: &Path) -> Result<PathBuf, StoreError> {
    let names = std::iter::once(path.to_owned()).chain((2..10_000).map(|n| with_suffix(path, &format!("-{n}"))));
    let free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
    let mut names = names.filter(free);
    names.next().ok_or_else(|| at(path)(io::Error::new(io::ErrorKind::AlreadyExists, "too many files are kept")))
}

/// A new name is durable only when its directory is.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Names the file that the kernel refused.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> StoreError + '_ {
    |error| {
        let place = path.display().to_string();
        if error.kind() == io::ErrorKind::StorageFull {
            StoreError::Full { place }
        } else {
            StoreError::Io { place, error }
        }
    }
}
