//! The flow log: sessions that have ended, kept on disk within bounds, for `privlink who`.
//!
//! Workers leave notes in their rings; a thread of its own takes them out about once per second, or when a
//! ring is half full, and appends them to segments. When the disk refuses, notes stay in the rings until it
//! takes them again: a worker never waits, and what a full ring loses is counted and noted in the log.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::dataplane::record::RecordRing;
use record::{Entry, Needle};
use segments::Segments;

/// Entries as bytes.
mod record;

/// Segments on disk.
mod segments;

pub use record::Record;
pub(in crate::observe) use record::before;
pub use segments::Limits;

/// Directory of the segments, below the state directory.
pub const DIRECTORY: &str = "flows";

/// Notes that one worker's ring holds: 2 MiB.
pub const RING: usize = 16 << 10;

/// Longest time that a note waits in its ring.
const PERIOD: Duration = Duration::from_secs(1);

/// Notes written at once.
const BATCH: usize = 4_096;

/// The workers' clock, in tenths of a second, and the wall's at the same moment.
pub type Clock = Box<dyn Fn() -> (u32, Timestamp) + Send + Sync>;

/// Writes and reads the log.
pub struct FlowLog {
    directory: PathBuf,
    limits: Limits,
    rings: Vec<Arc<RecordRing>>,
    clock: Clock,
    writer: Mutex<Writer>,
    records: AtomicU64,
    ending: AtomicBool,
}

#[derive(Debug, Default)]
struct Writer {
    /// `None`: the directory could not be opened yet.
    segments: Option<Segments>,
    /// Taken out of the rings, not on disk yet; at most a batch of each ring.
    pending: Vec<u8>,
    /// Sessions among them.
    taken: u64,
    /// Losses of the rings already noted, and when was looked last.
    noted: u64,
    looked: Option<Timestamp>,
    failing: bool,
}

/// Which sessions are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// NAT address and port.
    pub nat: SocketAddr,
    /// Backend; absent: all, since NAT ports are reused across backends.
    pub backend: Option<SocketAddr>,
    /// Alive at that time, to a second; absent: whenever.
    pub at: Option<Timestamp>,
}

impl Sought {
    /// Whether a session that lived from `opened` to `ended` is meant.
    #[must_use]
    pub fn lived(&self, opened: Timestamp, ended: Timestamp) -> bool {
        const SECOND: SignedDuration = SignedDuration::from_secs(1);
        self.at.is_none_or(|at| opened.duration_since(at) <= SECOND && at.duration_since(ended) <= SECOND)
    }
}

/// What the log knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Most recently ended first.
    pub records: Vec<Record>,
    /// Matches beyond these.
    pub more: u64,
    /// The disk refuses: the latest ends are not written yet.
    pub behind: bool,
    /// Ends that are not in the log, over all that is kept of it.
    pub losses: Losses,
}

/// Sessions whose end is not in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Those that were counted.
    pub counted: u64,
    /// Times that the daemon was killed: sessions alive then are missing too, their number unknown.
    pub kills: u64,
    /// Since when; `None`: none was lost.
    pub since: Option<Timestamp>,
}

impl std::fmt::Debug for FlowLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl FlowLog {
    /// A log below the state directory `state`, of the notes in `rings`.
    pub fn new(state: &Path, limits: Limits, rings: Vec<Arc<RecordRing>>, clock: Clock) -> Self {
        Self {
            directory: state.join(DIRECTORY),
            limits,
            rings,
            clock,
            writer: Mutex::default(),
            records: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        }
    }

    /// Writes from now on, in a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self: &Arc<Self>) -> io::Result<Running> {
        let log = Arc::clone(self);
        let thread = std::thread::Builder::new().name("flow-log".to_owned()).spawn(move || {
            while !log.ending.load(Ordering::Acquire) {
                log.drain();
                std::thread::park_timeout(PERIOD);
            }
            log.finish();
        })?;
        self.rings.iter().for_each(|ring| ring.read_by(thread.thread().clone()));
        Ok(Running { log: Arc::clone(self), thread: Some(thread) })
    }

    /// The ring of each worker.
    pub fn rings(&self) -> &[Arc<RecordRing>] {
        &self.rings
    }

    /// Records written since the start.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Notes lost since the start.
    pub fn lost(&self) -> u64 {
        self.rings.iter().map(|ring| ring.lost()).sum()
    }

    /// Writes what the rings hold.
    pub fn drain(&self) {
        let mut writer = self.writer();
        let outcome = self.write(&mut writer);
        self.tell(&mut writer, outcome);
    }

    /// Writes what the rings hold, and that nothing is missing.
    fn finish(&self) {
        let mut writer = self.writer();
        let outcome = self.write(&mut writer).and_then(|()| {
            let (_, now) = (self.clock)();
            writer.pending.extend(Entry::Stop(now).encode());
            self.flush(&mut writer, now)?;
            writer.segments.as_ref().map_or(Ok(()), Segments::sync)
        });
        self.tell(&mut writer, outcome);
    }

    /// The ended sessions that are sought, at most `limit` of them.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn find(&self, sought: &Sought, limit: usize) -> io::Result<Found> {
        self.drain();
        let (paths, behind) = {
            let writer = self.writer();
            let Some(segments) = &writer.segments else {
                let directory = self.directory.display();
                return Err(io::Error::other(format!("the flow log below {directory} cannot be opened")));
            };
            (segments.paths(), writer.failing)
        };
        let side = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let needle = Needle::new(side(sought.nat), sought.backend.map(side));
        let mut found = Found { behind, ..Found::default() };
        for path in paths {
            let Some(entries) = segments::read(&path)? else { continue };
            for entry in entries.iter().filter(|bytes| needle.may_match(bytes)).filter_map(Entry::decode) {
                found.take(entry, sought, limit);
            }
        }
        // Workers' notes interleave by up to the time between two drains.
        found.records.sort_by_key(|record| std::cmp::Reverse(record.ended));
        Ok(found)
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing out of the rings while what was taken before is not on disk.
    fn write(&self, writer: &mut Writer) -> io::Result<()> {
        let moment = (self.clock)();
        if writer.segments.is_none() {
            let segments = Segments::open(&self.directory, self.limits, moment.1)?;
            if let Some((last, false)) = segments.before {
                writer.pending.extend(Entry::Loss { count: None, since: last, until: moment.1 }.encode());
            }
            writer.segments = Some(segments);
        }
        self.flush(writer, moment.1)?;
        loop {
            for note in self.rings.iter().flat_map(|ring| std::iter::from_fn(|| ring.pop()).take(BATCH)) {
                writer.pending.extend(Entry::Session(Record::new(&note, moment)).encode());
                writer.taken += 1;
            }
            let lost = self.lost();
            if lost > writer.noted {
                let since = writer.looked.unwrap_or(moment.1);
                let count = Some(lost - writer.noted);
                writer.pending.extend(Entry::Loss { count, since, until: moment.1 }.encode());
                writer.noted = lost;
            }
            if writer.pending.is_empty() {
                writer.looked = Some(moment.1);
                return Ok(());
            }
            self.flush(writer, moment.1)?;
        }
    }

    fn flush(&self, writer: &mut Writer, now: Timestamp) -> io::Result<()> {
        let Some(segments) = &mut writer.segments else { return Ok(()) };
        while !writer.pending.is_empty() {
            segments.append(&mut writer.pending, now)?;
        }
        segments.delete_old(now);
        self.records.fetch_add(std::mem::take(&mut writer.taken), Ordering::Relaxed);
        Ok(())
    }

    /// Says once that the disk refuses, and once that it takes entries again.
    fn tell(&self, writer: &mut Writer, outcome: io::Result<()>) {
        match outcome {
            Err(error) if !writer.failing => {
                let directory = self.directory.display();
                tracing::warn!(%error, "the flow log below {directory} cannot be written; it is tried again");
                writer.failing = true;
            }
            Ok(()) if writer.failing => {
                tracing::info!(lost = self.lost(), "the flow log is written again");
                writer.failing = false;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl Found {
    fn take(&mut self, entry: Entry, sought: &Sought, limit: usize) {
        match entry {
            Entry::Loss { count, since, .. } => {
                self.losses.counted += count.unwrap_or(0);
                self.losses.kills += u64::from(count.is_none());
                self.losses.since = Some(self.losses.since.map_or(since, |earlier| earlier.min(since)));
            }
            Entry::Session(record) if sought.lived(record.opened, record.ended) => {
                if self.records.len() < limit {
                    self.records.push(record);
                } else {
                    self.more += 1;
                }
            }
            Entry::Session(_) | Entry::Stop(_) => {}
        }
    }
}

/// A log whose thread writes; ends it, with everything written, when it is dropped.
#[derive(Debug)]
pub struct Running {
    log: Arc<FlowLog>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.log.ending.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the flow log's thread panicked; this is a bug");
        }
    }
}

#[cfg(test)]
mod tests;
