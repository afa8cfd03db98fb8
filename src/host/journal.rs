//! What has been changed and not yet undone, on disk before it is done: one JSON object a line,
//! appended and synced. Whoever comes after a killed daemon undoes exactly this.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::errors::unwritable;
use super::step::Step;

/// File name in the run directory.
const FILE: &str = "host-journal.jsonl";

/// Differs after a reboot, which undoes everything by itself.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// The first line: what boot the rest belongs to.
    Boot(String),
    /// About to be done.
    Do {
        /// The change.
        step: Step,
        /// Value a sysctl had before.
        old: Option<String>,
    },
    /// Undone.
    Undone(Step),
}

/// The record of changes in force. Create it under the run directory's lock only.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    entries: BTreeMap<Step, Option<String>>,
}

impl Journal {
    /// Reads what a predecessor left in `run_dir`; nothing is written until the first change.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn open(run_dir: &Path) -> anyhow::Result<Self> {
        let path = run_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read the journal {}", path.display())),
        };
        let entries = read_lines(&text, &boot_id());
        Ok(Self { path, file: None, entries })
    }

    /// Changes in force, in order, each with the value a sysctl had before.
    pub fn entries(&self) -> &BTreeMap<Step, Option<String>> {
        &self.entries
    }

    /// Notes changes that are about to be made; returns when they are on disk. A change that is
    /// noted already keeps the older value: that is the user's own.
    ///
    /// # Errors
    /// The disk refuses; then the changes must not be made.
    pub fn record(&mut self, changes: Vec<(Step, Option<String>)>) -> anyhow::Result<()> {
        let fresh: Vec<_> = changes.into_iter().filter(|(step, _)| !self.entries.contains_key(step)).collect();
        self.append(fresh.iter().map(|(step, old)| Line::Do { step: step.clone(), old: old.clone() }))?;
        self.entries.extend(fresh);
        Ok(())
    }

    /// Notes that changes are undone. The last one takes the file with it.
    ///
    /// # Errors
    /// The disk refuses; undoing twice does no harm, so this may be ignored.
    pub fn forget(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        for step in steps {
            self.entries.remove(step);
        }
        if self.entries.is_empty() {
            self.file = None;
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot remove the journal"),
                _ => Ok(()),
            };
        }
        self.append(steps.iter().map(|step| Line::Undone(step.clone())))
    }

    fn append(&mut self, lines: impl Iterator<Item = Line>) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        if text.is_empty() {
            return Ok(());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.rewrite()?,
        };
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(unwritable(&self.path))?;
        self.file = Some(file);
        Ok(())
    }

    /// Starts the file anew with what is in force, so that it does not grow over many lives.
    fn rewrite(&self) -> anyhow::Result<File> {
        let mut text = serde_json::to_vec(&Line::Boot(boot_id()))?;
        text.push(b'\n');
        for (step, old) in &self.entries {
            serde_json::to_writer(&mut text, &Line::Do { step: step.clone(), old: old.clone() })?;
            text.push(b'\n');
        }
        let fresh = self.path.with_extension("new");
        let written = || -> io::Result<File> {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            sync_directory(&self.path)?;
            Ok(file)
        };
        written().map_err(unwritable(&fresh))
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

/// A line that cannot be read is the torn last one: it was never synced, so its change was never made.
fn read_lines(text: &str, boot: &str) -> BTreeMap<Step, Option<String>> {
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Boot(recorded)) if recorded != boot => return BTreeMap::new(),
            Ok(Line::Boot(_)) => {}
            Ok(Line::Do { step, old }) => {
                entries.insert(step, old);
            }
            Ok(Line::Undone(step)) => {
                entries.remove(&step);
            }
            Err(error) => tracing::warn!("journal: skipped a line: {error}"),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::super::netns::NamespaceId;
    use super::super::step::Action;
    use super::*;

    fn sysctl(name: &str) -> Step {
        Step {
            namespace: NamespaceId { name: Some("spoke".into()), device: 4, inode: 77 },
            action: Action::Sysctl { path: format!("net/ipv4/conf/{name}/rp_filter"), value: "1".into() },
        }
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("privlink-journal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("temporary directory");
        path
    }

    #[test]
    fn a_successor_reads_what_was_done_and_not_undone() {
        let run_dir = directory("successor");
        let mut journal = Journal::open(&run_dir).expect("empty");
        journal.record(vec![(sysctl("eth0"), Some("0".into())), (sysctl("eth1"), Some("2".into()))]).expect("written");
        journal.record(vec![(sysctl("eth0"), Some("1".into()))]).expect("a second time");
        journal.forget(&[sysctl("eth1")]).expect("written");
        let mut successor = Journal::open(&run_dir).expect("readable");
        assert_eq!(successor.entries(), &BTreeMap::from([(sysctl("eth0"), Some("0".into()))]));
        successor.record(vec![(sysctl("eth2"), None)]).expect("written");
        assert_eq!(Journal::open(&run_dir).expect("readable").entries().len(), 2);
        successor.forget(&[sysctl("eth0"), sysctl("eth2")]).expect("removed");
        assert_eq!(fs::read_dir(&run_dir).expect("readable").count(), 0, "nothing in force, no file");
        fs::remove_dir_all(run_dir).expect("removed");
    }

    #[test]
    fn a_torn_last_line_and_another_boot_are_understood() {
        let whole = serde_json::to_string(&Line::Do { step: sysctl("eth0"), old: None }).expect("serialises");
        let text = format!("{{\"Boot\":\"b1\"}}\n{whole}\n{}", &whole[..whole.len() / 2]);
        assert_eq!(read_lines(&text, "b1").len(), 1);
        assert!(read_lines(&text, "b2").is_empty());
    }
}
