//! The flow log on disk: segments, appended to one after the other, the oldest deleted whole.
//!
//! A segment is a header of 32 bytes (magic, format version, length of an entry, when it was begun, zeros)
//! and entries. Entries have a fixed size, so that a torn or damaged one never hides the next.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::record::{Entry, LENGTH};

const MAGIC: [u8; 8] = *b"PLFLOWS\n";
/// Layout of segments and entries; a segment of another one is neither read nor deleted.
const VERSION: u32 = 1;
const HEADER: usize = 32;
const SUFFIX: &str = ".flows";

/// A segment is at most this part of what all may take, in bytes and in time: so fine is the deletion.
const PARTS: u32 = 16;
/// Longest segment: a reader holds one in memory.
const LONGEST: u64 = 16 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries older than this may be deleted.
    pub retain: Duration,
    /// Bytes of all segments together.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { retain: Duration::from_hours(7 * 24), max_bytes: 256 << 20 }
    }
}

impl Limits {
    /// Bytes of one segment: at least one entry, and never so much that two exceed the whole.
    fn segment(self) -> u64 {
        (self.max_bytes / u64::from(PARTS)).clamp((HEADER + LENGTH) as u64, LONGEST)
    }
}

/// The segments of one directory, and the newest of them open for appending.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    limits: Limits,
    /// Oldest first; the last one is `file`.
    known: Vec<Segment>,
    file: File,
    /// A failed write may have left part of an entry behind.
    torn: bool,
    /// Time of the last entry before this start, and whether that was a stop in good order.
    pub(super) before: Option<(Timestamp, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    number: u64,
    begun: Timestamp,
    length: u64,
}

impl Segments {
    /// Opens the directory, made where it is missing, and the newest segment, whose torn end is cut off.
    pub(super) fn open(directory: &Path, limits: Limits, now: Timestamp) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut known = Vec::new();
        let mut highest = 0;
        for entry in fs::read_dir(directory)? {
            let Some(number) = entry?.file_name().to_str().and_then(number_of) else { continue };
            highest = highest.max(number);
            if let Some(segment) = look_at(directory, number)? {
                known.push(segment);
            }
        }
        known.sort_by_key(|segment| segment.number);
        let newest = known.pop();
        let (file, segment, before) = if let Some(segment) = newest {
            reopen(directory, segment)?
        } else {
            let (file, segment) = begin(directory, highest + 1, now)?;
            (file, segment, None)
        };
        known.push(segment);
        Ok(Self { directory: directory.to_path_buf(), limits, known, file, torn: false, before })
    }

    /// Appends as many entries as the segment has room for, at least one; the rest is left in `pending`. What
    /// a failed write left behind is cut off, so that a second attempt writes nothing twice.
    pub(super) fn append(&mut self, pending: &mut Vec<u8>, now: Timestamp) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length())?;
            self.torn = false;
        }
        let limit = self.limits.segment();
        let room = limit.saturating_sub(self.length()) / LENGTH as u64 * LENGTH as u64;
        if room == 0 || self.has_aged(now) {
            let number = self.known.last().map_or(1, |segment| segment.number + 1);
            self.file.sync_data()?;
            let (file, segment) = begin(&self.directory, number, now)?;
            self.file = file;
            self.known.push(segment);
            self.delete_old(now);
            return Ok(());
        }
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(pending.len());
        self.torn = true;
        self.file.write_all(&pending[..count])?;
        self.torn = false;
        if let Some(segment) = self.known.last_mut() {
            segment.length += count as u64;
        }
        pending.drain(..count);
        Ok(())
    }

    /// Deletes whole segments, oldest first, that are too old or for whose bytes there is no room.
    pub(super) fn delete_old(&mut self, now: Timestamp) {
        while let [oldest, next, ..] = self.known[..] {
            // What is still to be written counts, so that the bound holds at every moment.
            let rest: u64 = self.known[..self.known.len() - 1].iter().map(|segment| segment.length).sum();
            let full = rest + self.limits.segment() > self.limits.max_bytes;
            let old = since(next.begun, now) > self.limits.retain;
            if !full && !old {
                return;
            }
            if let Err(error) = fs::remove_file(self.path(oldest.number))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "an old segment of the flow log cannot be deleted");
                return;
            }
            self.known.remove(0);
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Paths of the segments, newest first.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.known.iter().rev().map(|segment| self.path(segment.number)).collect()
    }

    fn length(&self) -> u64 {
        self.known.last().map_or(0, |segment| segment.length)
    }

    /// Deletion by age needs segments that end.
    fn has_aged(&self, now: Timestamp) -> bool {
        let newest = self.known.last().filter(|segment| segment.length > HEADER as u64);
        newest.is_some_and(|segment| since(segment.begun, now) > self.limits.retain / PARTS)
    }

    fn path(&self, number: u64) -> PathBuf {
        path(&self.directory, number)
    }
}

/// The entries of a segment, newest first; damaged ones are left out. `None`: it was deleted meanwhile.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<[u8; LENGTH]>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (entries, _torn) = bytes.get(HEADER..).unwrap_or_default().as_chunks::<LENGTH>();
    Ok(Some(entries.iter().rev().copied().collect()))
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}{SUFFIX}"))
}

fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX).filter(|number| number.len() == 16)?;
    u64::from_str_radix(number, 16).ok()
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(earlier)).unwrap_or_default()
}

/// A new segment, empty.
fn begin(directory: &Path, number: u64, now: Timestamp) -> io::Result<(File, Segment)> {
    let path = path(directory, number);
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&u32::try_from(LENGTH).unwrap_or(u32::MAX).to_le_bytes());
    header[16..24].copy_from_slice(&now.as_millisecond().to_le_bytes());
    if let Err(error) = file.write_all(&header) {
        // Its number is needed for the next attempt.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    let begun = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    Ok((file, Segment { number, begun, length: HEADER as u64 }))
}

/// What a segment's header says; `None`: it is not one of this version's, or its beginning is torn.
fn look_at(directory: &Path, number: u64) -> io::Result<Option<Segment>> {
    let mut file = File::open(path(directory, number))?;
    let length = file.metadata()?.len();
    let mut header = [0; HEADER];
    if length < HEADER as u64 {
        fs::remove_file(path(directory, number))?;
        return Ok(None);
    }
    file.read_exact(&mut header)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| header[at + index]));
    let begun = i64::from_le_bytes(std::array::from_fn(|index| header[16 + index]));
    let ours = header[..8] == MAGIC && word(8) == VERSION && word(12) as usize == LENGTH;
    let begun = Timestamp::from_millisecond(begun).ok().filter(|_| ours);
    Ok(begun.map(|begun| Segment { number, begun, length }))
}

/// The file, what it is, and the time of its last entry with whether that one is a stop.
type Reopened = (File, Segment, Option<(Timestamp, bool)>);

/// Opens a segment for appending, after cutting off what a kill or a power loss tore at its end.
fn reopen(directory: &Path, segment: Segment) -> io::Result<Reopened> {
    let path = path(directory, segment.number);
    let entries = read(&path)?.unwrap_or_default();
    let last = entries.iter().enumerate().find_map(|(torn, bytes)| Some((torn, Entry::decode(bytes)?)));
    let whole = entries.len() - last.map_or(entries.len(), |(torn, _)| torn);
    let length = (HEADER + whole * LENGTH) as u64;
    let file = OpenOptions::new().append(true).open(&path)?;
    file.set_len(length)?;
    let before = match last {
        Some((_, entry)) => (entry.time(), matches!(entry, Entry::Stop(_))),
        None => (segment.begun, false),
    };
    Ok((file, Segment { length, ..segment }, Some(before)))
}

#[cfg(test)]
impl Segments {
    /// Leaves `torn` at the end as a failed write does, and has every write fail from now on.
    pub(super) fn refuse(&mut self, torn: &[u8]) {
        let path = self.path(self.known.last().expect("open").number);
        self.file.write_all(torn).expect("written");
        self.torn = true;
        self.file = File::open(path).expect("for reading only");
    }

    /// Ends [`Self::refuse`].
    pub(super) fn accept(&mut self) {
        let path = self.path(self.known.last().expect("open").number);
        self.file = OpenOptions::new().append(true).open(path).expect("opened");
    }
}
