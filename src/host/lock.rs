//! Who owns a device or a run directory. An `flock` dies with its process, so a killed daemon never
//! locks its successor out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};

use super::errors::{InUse, unwritable};
use super::netns::NamespaceId;

/// A held lock; dropping it removes the file and releases it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock of `device` in the namespace `namespace`. A second opener of a live
    /// multi-queue TUN would silently take part of its packets.
    ///
    /// # Errors
    /// `device NAME is in use by pid N`, or what the file system refused.
    pub fn device(run_dir: &Path, namespace: &NamespaceId, device: &str) -> anyhow::Result<Self> {
        match Self::take(&run_dir.join(device_file(namespace, device)))? {
            Ok(lock) => Ok(lock),
            Err(pid) => Err(InUse(format!(
                "device {device} is in use by pid {pid}: stop that daemon, or give this attachment another `device`"
            ))
            .into()),
        }
    }

    /// Takes the lock of the whole run directory: one daemon per control socket and journal.
    ///
    /// # Errors
    /// The directory belongs to a live daemon, or the file system refused.
    pub fn run_directory(run_dir: &Path) -> anyhow::Result<Self> {
        match Self::take(&run_dir.join("host.lock"))? {
            Ok(lock) => Ok(lock),
            Err(pid) => {
                let directory = run_dir.display();
                Err(InUse(format!("{directory} belongs to a running daemon, pid {pid}: stop it first")).into())
            }
        }
    }

    /// The lock, or the process that holds it.
    fn take(path: &Path) -> anyhow::Result<Result<Self, String>> {
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(unwritable(path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if !is_same_file(&file, path)? => {} // its last holder removed it in between
                Ok(()) => {
                    let noted = file.set_len(0).and_then(|()| file.rewind());
                    let noted = noted.and_then(|()| writeln!(file, "{}", std::process::id()));
                    noted.map_err(unwritable(path))?;
                    return Ok(Ok(Self { path: path.to_owned(), _file: file }));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Err(holder.trim().to_owned()));
                }
                Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held: whoever opens the path afterwards makes a new file.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("lock file {}: {error}", self.path.display());
        }
    }
}

/// Name of the lock file of a device, in whatever run directory.
pub(super) fn device_file(namespace: &NamespaceId, device: &str) -> String {
    format!("device-{}-{device}.lock", namespace.inode)
}

fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("privlink-lock-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("temporary directory");
        path
    }

    fn namespace(inode: u64) -> NamespaceId {
        NamespaceId { name: None, device: 4, inode }
    }

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let run_dir = directory("second");
        let first = Lock::device(&run_dir, &namespace(1), "pl-spoke").expect("free");
        let error = Lock::device(&run_dir, &namespace(1), "pl-spoke").expect_err("taken").to_string();
        let expected = format!("device pl-spoke is in use by pid {}", std::process::id());
        assert!(error.starts_with(&expected), "{error}");
        Lock::device(&run_dir, &namespace(2), "pl-spoke").expect("the same name in another namespace is free");
        drop(first);
        drop(Lock::device(&run_dir, &namespace(1), "pl-spoke").expect("free again"));
        assert_eq!(fs::read_dir(&run_dir).expect("readable").count(), 0, "no lock file stays behind");
        fs::remove_dir_all(run_dir).expect("removed");
    }

    #[test]
    fn a_run_directory_has_one_daemon() {
        let run_dir = directory("run");
        let held = Lock::run_directory(&run_dir).expect("free");
        let error = Lock::run_directory(&run_dir).expect_err("taken").to_string();
        assert!(error.contains("running daemon") && error.contains("stop it first"), "{error}");
        drop(held);
        fs::remove_dir_all(run_dir).expect("removed");
    }
}
