//! Network namespaces: finding one, telling two apart, and working inside one. A namespace is known
//! by its inode, since one namespace may carry several names.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Identity of a namespace, and the name that messages use for it. Two with one inode are equal,
/// whatever they are called.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Name below `/run/netns` or absolute path; `None`: the one the daemon was started in.
    pub name: Option<String>,
    /// Device number of the namespace file system.
    pub device: u64,
    /// Inode of the namespace.
    pub inode: u64,
}

impl PartialEq for NamespaceId {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for NamespaceId {}

impl PartialOrd for NamespaceId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamespaceId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl NamespaceId {
    /// Device and inode: what tells two namespaces apart, whatever they are called.
    pub fn key(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name.as_deref().unwrap_or("(own)"))
    }
}

/// Whether a namespace is still the one behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Current,
    /// The name is gone.
    Unnamed,
    /// The name stands for another namespace: it was deleted and made anew.
    Replaced,
}

/// An open network namespace. It stays usable when its name disappears.
#[derive(Clone, Debug)]
pub struct Namespace {
    id: NamespaceId,
    file: Arc<File>,
}

impl Namespace {
    /// Opens the namespace called `name`: a name below `/run/netns`, an absolute path, or the
    /// namespace of the calling thread.
    ///
    /// # Errors
    /// One line that says what is there instead, and how to make the missing one.
    pub fn open(name: Option<&str>) -> anyhow::Result<Self> {
        let path = path_of(name);
        let file = File::open(&path).map_err(|error| explain_absent(name.unwrap_or(OWN), &error))?;
        Self::from_file(name, file).with_context(|| format!("network namespace {}", path.display()))
    }

    /// Finds the namespace that `id` describes: by its name, else by a process that lives in it.
    /// `None` when it exists no more, and with it everything that was set up there.
    pub fn find(id: &NamespaceId) -> Option<Self> {
        let by_name = Self::open(id.name.as_deref()).ok();
        let own = || Self::open(None).ok();
        let elsewhere = places().filter_map(|path| {
            let metadata = fs::metadata(&path).ok()?;
            ((metadata.dev(), metadata.ino()) == id.key())
                .then(|| Self::from_file(id.name.as_deref(), File::open(path).ok()?).ok())
                .flatten()
        });
        by_name.into_iter().chain(own()).chain(elsewhere).find(|namespace| namespace.id == *id).map(|mut namespace| {
            namespace.id.name.clone_from(&id.name);
            namespace
        })
    }

    /// Every namespace that has a name or a process in it; one may come several times.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let opened = |path: PathBuf| {
            let name = match path.strip_prefix(NAMES) {
                Ok(name) => name.to_string_lossy().into_owned(),
                Err(_) => path.display().to_string(),
            };
            Self::from_file(Some(&name), File::open(&path).ok()?).ok()
        };
        Self::open(None).into_iter().chain(places().filter_map(opened))
    }

    /// Whether the name that it was opened by still leads to it.
    pub fn standing(&self) -> Standing {
        let Some(name) = self.id.name.as_deref() else { return Standing::Current };
        match fs::metadata(path_of(Some(name))) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.id.key() => Standing::Current,
            Ok(_) => Standing::Replaced,
            Err(_) => Standing::Unnamed,
        }
    }

    fn from_file(name: Option<&str>, file: File) -> anyhow::Result<Self> {
        let metadata = file.metadata()?;
        let id = NamespaceId { name: name.map(str::to_owned), device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { id, file: Arc::new(file) })
    }

    /// Who this is.
    pub fn id(&self) -> &NamespaceId {
        &self.id
    }

    /// Runs `work` on a fresh OS thread inside this namespace, so that no other thread of the
    /// process ever changes namespace.
    ///
    /// # Errors
    /// What `work` returns, or one line that says why the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        let inside = || {
            self.enter()?;
            work()
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("privlink-netns".into()).spawn_scoped(scope, inside)?;
            thread.join().map_err(|_| anyhow!("the thread in network namespace {} panicked", self.id))?
        })
    }

    /// Moves the calling thread. Nothing is asked of the kernel when it is there already: that
    /// needs no privilege.
    fn enter(&self) -> anyhow::Result<()> {
        let own = fs::metadata(OWN)?;
        if (own.dev(), own.ino()) == self.id.key() {
            return Ok(());
        }
        match move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::INVAL) => {
                bail!("{} is not a network namespace: name one that `ip netns list` shows", self.id)
            }
            Err(rustix::io::Errno::PERM) => {
                bail!(
                    "cannot enter network namespace {}: needs root (CAP_SYS_ADMIN); start privlink with sudo",
                    self.id
                )
            }
            Err(error) => bail!("cannot enter network namespace {}: {error}", self.id),
        }
    }
}

/// Where namespaces may be found: names first, then processes.
fn places() -> impl Iterator<Item = PathBuf> {
    let entries = |directory: &str| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_process =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok());
    entries(NAMES).chain(entries("/proc").filter(is_process).map(|process| process.join("ns/net")))
}

/// Where a namespace of this name is to be opened.
fn path_of(name: Option<&str>) -> PathBuf {
    match name {
        None => PathBuf::from(OWN),
        Some(name) if name.starts_with('/') => PathBuf::from(name),
        Some(name) => Path::new(NAMES).join(name),
    }
}

fn explain_absent(name: &str, error: &io::Error) -> anyhow::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return anyhow!("cannot open network namespace {name}: {error}");
    }
    if name.starts_with('/') {
        return anyhow!("network namespace {name} does not exist: give a path such as /proc/PID/ns/net");
    }
    let mut existing: Vec<String> = fs::read_dir(NAMES)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    existing.sort();
    let existing = if existing.is_empty() { "none".to_owned() } else { existing.join(", ") };
    anyhow!("network namespace {name} does not exist (there are: {existing}): create it with `ip netns add {name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_namespace_is_answered_with_the_command_that_creates_it() {
        let error = Namespace::open(Some("no-such-namespace")).expect_err("absent").to_string();
        assert!(error.contains("ip netns add no-such-namespace"), "{error}");
    }

    #[test]
    fn a_namespace_is_known_by_its_inode_not_by_its_name() {
        let own = Namespace::open(None).expect("own");
        let same = Namespace::open(Some("/proc/self/ns/net")).expect("own by path");
        assert_eq!(own.id(), same.id());
        let other = NamespaceId { inode: own.id().inode + 1, ..own.id().clone() };
        assert_ne!(own.id(), &other);
    }

    #[test]
    fn work_runs_on_another_thread_and_its_error_comes_back() {
        let own = Namespace::open(None).expect("own");
        let caller = thread::current().id();
        assert_ne!(own.run(|| Ok(thread::current().id())).expect("runs"), caller);
        let error = own.run(|| -> anyhow::Result<()> { bail!("refused") }).expect_err("fails");
        assert_eq!(error.to_string(), "refused");
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        let path = std::env::temp_dir().join(format!("privlink-not-a-namespace-{}", std::process::id()));
        fs::write(&path, b"").expect("written");
        let file = Namespace::open(path.to_str()).expect("opens");
        let error = file.run(|| Ok(())).expect_err("cannot be entered").to_string();
        fs::remove_file(&path).expect("removed");
        assert!(error.contains("not a network namespace") || error.contains("needs root"), "{error}");
    }
}
