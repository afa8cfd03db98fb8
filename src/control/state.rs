//! The durable decisions: one small file, `decisions.json`, below the state directory. It carries a
//! version and a checksum, and is replaced whole: temporary file, fsync, rename, fsync of the directory.
//!
//! An absent file is a first start. A file that cannot be trusted never widens access (law 7): it is
//! kept aside under another name, and as long as nothing has replaced it, the name alone says so.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::decisions::Decisions;

/// Layout of the content; a file of a higher one was written by a newer privlink.
const VERSION: u32 = 1;
/// First field of the file, so that no other JSON document is taken for it.
const FORMAT: &str = "privlink-decisions";
const NAME: &str = "decisions.json";
const TEMPORARY: &str = "decisions.json.new";
const ASIDE: &str = "decisions.json.damaged-";
const LOCK: &str = "lock";

/// Where decisions are made durable.
pub trait DecisionStore: Send + std::fmt::Debug {
    /// Makes `decisions` what the next start reads.
    ///
    /// # Errors
    /// They may not be durable; what the next start reads is then either these or the ones before.
    fn commit(&mut self, decisions: &Decisions) -> io::Result<()>;
}

/// What was found at start.
#[derive(Debug)]
pub enum StateLoad {
    /// A first start.
    Absent,
    /// The decisions of the run before.
    Loaded(Box<Decisions>),
    /// Something is there that cannot be trusted, for this reason.
    Damaged(String),
}

/// The state directory, held by this process alone.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Kept open: the lock goes with the process, however it ends.
    _lock: Option<File>,
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Two writers would overwrite each other's decisions.
    #[error("another privlink daemon uses the state directory {0}")]
    Held(PathBuf),
    /// It cannot be made or locked.
    #[error("cannot use the state directory {path}: {source}")]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StateDir {
    /// Makes the directory where it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// Another process holds it, or the kernel refuses.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(StateError::Held(path.to_path_buf())),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// For looking only, beside a running daemon: takes no lock and makes nothing.
    pub fn look(path: &Path) -> Self {
        Self { path: path.to_path_buf(), _lock: None }
    }

    /// Reads the decisions of the run before.
    pub fn load(&self) -> StateLoad {
        match fs::read(self.path.join(NAME)) {
            Ok(bytes) => match decode(&bytes) {
                Ok(decisions) => StateLoad::Loaded(Box::new(self.without_settled_damage(decisions))),
                Err(reason) => StateLoad::Damaged(reason),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.kept_aside() {
                // A crash between keeping the damaged file aside and writing its successor must
                // not turn damage into a first start.
                Ok(None) => StateLoad::Absent,
                Ok(Some(name)) => StateLoad::Damaged(format!("{NAME} is missing, and {name} is kept aside")),
                Err(error) => StateLoad::Damaged(format!("the directory cannot be listed: {error}")),
            },
            Err(error) => StateLoad::Damaged(format!("{NAME} cannot be read: {error}")),
        }
    }

    /// Renames what cannot be trusted, and returns its new name; `None`: there is nothing to rename.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn keep_aside(&self, now: Timestamp) -> io::Result<Option<String>> {
        let stamp = now.strftime("%Y%m%dT%H%M%SZ");
        let free = (0..).map(|n| if n == 0 { format!("{ASIDE}{stamp}") } else { format!("{ASIDE}{stamp}-{n}") });
        for name in free.take(1000) {
            if fs::symlink_metadata(self.path.join(&name)).is_ok() {
                continue;
            }
            return match fs::rename(self.path.join(NAME), self.path.join(&name)) {
                Ok(()) => sync_directory(&self.path).map(|()| Some(name)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.kept_aside(),
                Err(error) => Err(error),
            };
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many damaged files are kept aside"))
    }

    /// The operator settles a damage by removing the file that was kept aside.
    fn without_settled_damage(&self, mut decisions: Decisions) -> Decisions {
        let settled = |name: &String| fs::symlink_metadata(self.path.join(name)).is_err();
        if decisions.damaged.as_ref().is_some_and(|damage| damage.kept_as.as_ref().is_none_or(settled)) {
            decisions.damaged = None;
        }
        decisions
    }

    /// The latest file kept aside, if any; an absent directory keeps none.
    fn kept_aside(&self) -> io::Result<Option<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut latest = None;
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(ASIDE) {
                latest = latest.max(Some(name));
            }
        }
        Ok(latest)
    }
}

impl DecisionStore for StateDir {
    fn commit(&mut self, decisions: &Decisions) -> io::Result<()> {
        let bytes = encode(decisions)?;
        let temporary = self.path.join(TEMPORARY);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, self.path.join(NAME))?;
        sync_directory(&self.path)
    }
}

/// A rename is durable only when its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: &'a str,
    version: u32,
    /// Of the bytes of `content` as they stand in the file, lower-case hexadecimal.
    sha256: &'a str,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// The part of the envelope that every version has, read first so that a newer one can be named.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

fn encode(decisions: &Decisions) -> io::Result<Vec<u8>> {
    let content = serde_json::value::to_raw_value(decisions)?;
    let sha256 = digest(content.get());
    let envelope = Envelope { format: FORMAT, version: VERSION, sha256: &sha256, content: &content };
    Ok(serde_json::to_vec(&envelope)?)
}

fn decode(bytes: &[u8]) -> Result<Decisions, String> {
    let header: Header = serde_json::from_slice(bytes).map_err(|error| format!("{NAME} is not whole: {error}"))?;
    if header.version > VERSION {
        return Err(format!("{NAME} was written by a newer privlink (layout {} > {VERSION})", header.version));
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("{NAME} is not whole: {error}"))?;
    if envelope.format != FORMAT || envelope.version != VERSION {
        return Err(format!("{NAME} is of an unknown layout ({} {})", envelope.format, envelope.version));
    }
    if digest(envelope.content.get()) != envelope.sha256 {
        return Err(format!("{NAME} does not match its checksum"));
    }
    serde_json::from_str(envelope.content.get()).map_err(|error| format!("{NAME} says what cannot be: {error}"))
}

fn digest(content: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(content.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
