//! The daemon's log on its way to standard error. Whoever logs puts a line into a bounded queue and goes on; one
//! thread writes the lines. A reader that is slow or gone, or a full disk, costs lines, which are counted. It never
//! fails or delays what was being logged.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait at most; more are lost.
const MAX_LINES: usize = 8_192;

/// Bytes that wait at most; a line beyond them is lost.
const MAX_BYTES: usize = 4 << 20;

/// What the log could not keep.
#[derive(Debug, Default)]
pub struct LogCounts {
    lost: AtomicU64,
    waiting: AtomicUsize,
}

impl LogCounts {
    /// Lines lost since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Where lines are put; clones put them into the same queue.
#[derive(Clone, Debug)]
pub struct LogQueue {
    jobs: SyncSender<Job>,
    counts: Arc<LogCounts>,
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    /// Dropped once every line before it was written or lost.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts the thread that writes to `sink`; it ends with the last clone.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn start(sink: impl Write + AsFd + Send + 'static) -> io::Result<Self> {
        let (jobs, taken) = sync_channel(MAX_LINES);
        let counts = Arc::new(LogCounts::default());
        let writer = Writer { sink, counts: Arc::clone(&counts), reported: 0, line_is_open: false };
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&taken))?;
        Ok(Self { jobs, counts })
    }

    /// [`LogQueue::start`] on standard error. The descriptor is copied: nobody else waits for a lock of ours.
    ///
    /// # Errors
    /// As [`LogQueue::start`], or there can be no more files.
    pub fn to_stderr() -> io::Result<Self> {
        Self::start(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    /// What could not be kept.
    pub fn counts(&self) -> &Arc<LogCounts> {
        &self.counts
    }

    /// Puts a line, with its end, into the queue, or counts it as lost.
    pub fn put(&self, line: &[u8]) {
        let waiting = self.counts.waiting.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() <= MAX_BYTES && self.jobs.try_send(Job::Line(line.to_vec())).is_ok() {
            return;
        }
        self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until every line so far was written or lost, at most for `limit`; whether that is so.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, finished) = sync_channel(0);
        let mut job = Job::Flush(done);
        // A queue that is full now may move within the limit.
        for _ in 0..limit.as_millis() {
            match self.jobs.try_send(job) {
                Ok(()) => return finished.recv_timeout(limit) != Err(std::sync::mpsc::RecvTimeoutError::Timeout),
                Err(TrySendError::Full(back)) => job = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

/// One event of `tracing` is one write, and so one line of the queue.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> &'a LogQueue {
        self
    }
}

/// What the thread owns.
struct Writer<S> {
    sink: S,
    counts: Arc<LogCounts>,
    /// Losses that the log itself has told of.
    reported: u64,
    /// The last line was written in part.
    line_is_open: bool,
}

impl<S: Write + AsFd> Writer<S> {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            match job {
                Job::Line(line) => self.take(&line),
                Job::Flush(done) => drop(done),
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        self.counts.waiting.fetch_sub(line.len(), Ordering::Relaxed);
        self.report_losses();
        if self.write(line).is_err() {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says in the log how many lines are missing from it at this place.
    fn report_losses(&mut self) {
        let lost = self.counts.lost();
        let missing = lost - self.reported;
        if missing > 0 && self.write(format!("WARN {missing} lines of the log were lost here\n").as_bytes()).is_ok() {
            self.reported = lost;
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.line_is_open {
            self.write_all(b"\n")?;
        }
        self.write_all(line)
    }

    /// `write_all` that also waits for a descriptor which somebody has made non-blocking.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.line_is_open = !bytes.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.sink, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read as _;

    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn every_line_is_written_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = LogQueue::start(writer).unwrap();
        for number in 0..1_000 {
            log.put(format!("{number}\n").as_bytes());
        }
        assert!(log.flush(SOON));
        assert_eq!(log.counts().lost(), 0);
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..1_000));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_that_are_counted_and_named() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = LogQueue::start(writer).unwrap();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let put: u64 = 50_000;
        // Nothing of this waits, though nobody reads.
        (0..put).for_each(|_| log.put(&line));
        let lost = log.counts().lost();
        assert!(lost > 0 && !log.flush(Duration::from_millis(5)));

        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        assert!(log.flush(SOON));
        log.put(b"the last\n");
        drop(log);
        let text = reading.join().unwrap().unwrap();
        let kept = text.lines().filter(|line| line.starts_with('x')).count() as u64;
        assert_eq!(kept + lost, put);
        assert!(text.lines().all(|line| line.len() == 99 || line.contains("lost here") || line == "the last"));
        let named = text.lines().filter_map(|line| line.strip_prefix("WARN ")?.split(' ').next()?.parse::<u64>().ok());
        assert_eq!(named.sum::<u64>(), lost);
    }

    #[test]
    fn many_bytes_are_too_much_before_many_lines_are() {
        let (_reader, writer) = io::pipe().unwrap();
        let log = LogQueue::start(writer).unwrap();
        let line = vec![b'x'; MAX_BYTES / 2];
        (0..5).for_each(|_| log.put(&line));
        assert!(log.counts().lost() >= 2);
    }

    #[test]
    fn a_closed_pipe_and_a_full_disk_lose_lines_and_fail_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for log in [LogQueue::start(writer).unwrap(), LogQueue::start(full).unwrap()] {
            writeln!(&log, "one").unwrap();
            (&log).write_all(b"two\n").unwrap();
            assert!(log.flush(SOON));
            assert!(log.counts().lost() >= 2, "{:?}", log.counts());
        }
    }
}
