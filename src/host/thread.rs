//! Whether a thread is held up by itself, or waits for a processor like everybody on a busy machine.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The kernel counts a thread's time in hundredths of a second for whoever reads it (`USER_HZ`).
const COUNTED_IN: Duration = Duration::from_millis(10);

/// No more is blamed on a thread at once: if so much passes between two looks, whoever looks was held up as well.
const MOST_AT_ONCE: Duration = Duration::from_millis(100);

/// A thread as the kernel's scheduler sees it.
#[derive(Debug)]
pub struct Thread {
    stat: File,
    /// Time on a processor at the last look, in [`COUNTED_IN`].
    ran: AtomicU64,
}

impl Thread {
    /// The thread that calls this.
    ///
    /// # Errors
    /// No `/proc` is mounted.
    pub fn current() -> io::Result<Self> {
        Ok(Self { stat: File::open("/proc/thread-self/stat")?, ran: AtomicU64::new(0) })
    }

    /// How much of the time that `passed` since the last look the thread ran or slept; the rest of it, it was ready to
    /// run and had no processor. All of it where the kernel does not say.
    pub fn held_up(&self, passed: Duration) -> Duration {
        let mut text = [0; 512];
        let read = self.stat.read_at(&mut text, 0).unwrap_or(0);
        let Some((is_ready, ran)) = text.get(..read).and_then(parse) else { return passed };
        let before = self.ran.swap(ran, Ordering::Relaxed);
        if !is_ready {
            return passed.min(MOST_AT_ONCE);
        }
        let ran = u32::try_from(ran.saturating_sub(before)).unwrap_or(u32::MAX);
        COUNTED_IN.saturating_mul(ran).min(passed)
    }
}

/// Whether a thread runs or is ready to, and how long it has run, by its `stat` (proc(5)).
fn parse(stat: &[u8]) -> Option<(bool, u64)> {
    // Its name may hold anything, parentheses included.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after_name..)?).ok()?.split_ascii_whitespace();
    let is_ready = fields.next()? == "R";
    // Ten fields on: time in user mode, then in the kernel.
    let (user, kernel): (u64, u64) = (fields.nth(10)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((is_ready, user + kernel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    #[test]
    fn its_state_and_its_time_are_read_whatever_its_name_is() {
        let stat = b"4711 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 77";
        assert_eq!(parse(stat), Some((false, 300)));
        assert_eq!(parse(b"1 (x) R 1 2 3 4 5 6 7 8 9 10 1 2 0"), Some((true, 3)));
        for broken in
            [&b""[..], b"1 (x", b"1 (x) R", b"1 (x) R 1 2 3 4 5 6 7 8 9 10 1", b"1 (x) R a b c d e f g h i j k l"]
        {
            assert_eq!(parse(broken), None);
        }
    }

    #[test]
    fn a_thread_that_sleeps_is_held_up_and_one_that_runs_as_long_as_it_runs() {
        let (sender, receiver) = channel();
        let (go, spin) = (AtomicBool::new(false), AtomicBool::new(true));
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                sender.send(Thread::current().expect("/proc")).expect("sent");
                while !go.load(Ordering::Relaxed) {
                    std::thread::park();
                }
                while spin.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let thread = receiver.recv().expect("a thread");
            // It is on its way to sleep.
            while parse_of(&thread).0 {
                std::thread::yield_now();
            }
            assert_eq!(thread.held_up(Duration::from_millis(30)), Duration::from_millis(30));
            assert_eq!(thread.held_up(Duration::from_secs(30)), MOST_AT_ONCE, "whoever looks slept as well");
            go.store(true, Ordering::Relaxed);
            worker.thread().unpark();
            let began = parse_of(&thread).1;
            while parse_of(&thread).1 < began + 10 {
                std::thread::yield_now();
            }
            let ran = thread.held_up(Duration::from_secs(30));
            assert!(ran >= COUNTED_IN * 10 && ran < Duration::from_secs(15), "{ran:?}");
            assert!(thread.held_up(Duration::from_millis(1)) <= Duration::from_millis(1), "no more than passed");
            spin.store(false, Ordering::Relaxed);
        });
    }

    fn parse_of(thread: &Thread) -> (bool, u64) {
        let mut text = [0; 512];
        let read = thread.stat.read_at(&mut text, 0).expect("read");
        parse(&text[..read]).expect("parsed")
    }

    #[test]
    fn a_thread_that_is_gone_is_held_up() {
        let thread = std::thread::spawn(|| Thread::current().expect("/proc")).join().expect("ran");
        assert_eq!(thread.held_up(Duration::from_secs(1)), Duration::from_secs(1));
    }
}
