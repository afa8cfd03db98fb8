//! How a worker waits, and what ends its sleep.
//!
//! To be put to sleep and woken takes longer than most packets do, and what follows a packet often comes while that
//! one is still on its way: so a worker that had packets looks around for a moment before it sleeps. Where nothing
//! comes in that moment it soon does so rarely, so that sparse traffic costs what it costs without.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::mailbox::{Mailbox, Request};

/// Descriptors looked at before a worker sleeps, all looks together: with two devices and the bell, 30 looks of
/// 20 µs in all.
const LOOKS: usize = 90;

/// Sleeps for each that a worker looks around before, at most: where looking never pays.
const RAREST: u32 = 32;

/// What a worker waits for.
#[derive(Debug)]
pub struct Watch<'a> {
    /// The devices, in their order, then the bell.
    fds: Vec<PollFd<'a>>,
    bell: &'a OwnedFd,
    looks: usize,
    hope: Hope,
    /// Whether the last wait found something.
    busy: bool,
}

impl<'a> Watch<'a> {
    /// Over `devices` and the bell of `ears`.
    #[must_use]
    pub fn new(devices: &'a [OwnedFd], ears: &'a Ears) -> Self {
        let mut fds: Vec<PollFd<'_>> = devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        fds.push(PollFd::new(&*ears.bell, PollFlags::IN));
        let looks = LOOKS / fds.len();
        Self { fds, bell: &ears.bell, looks, hope: Hope::default(), busy: false }
    }

    /// Waits until a device has frames, a waker rings, or `limit` is over; the devices that have are added to
    /// `ready`.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&mut self, limit: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        self.busy = self.look_around(limit)? || self.poll(limit)?;
        let (bell, devices) = self.fds.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        ready.extend(devices.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(device, _)| device));
        if !bell.revents().is_empty() {
            // Only empties the bell; how often it rang does not matter.
            let _ = rustix::io::read(self.bell, &mut [0; 8]);
        }
        Ok(())
    }

    /// Whether something comes within a moment. Others may run between two looks: what is waited for may be theirs
    /// to send.
    fn look_around(&mut self, limit: Duration) -> io::Result<bool> {
        if limit.is_zero() || !self.busy || !self.hope.is_due() {
            return Ok(false);
        }
        for _ in 0..self.looks {
            if self.poll(Duration::ZERO)? {
                self.hope.learn(true);
                return Ok(true);
            }
            std::thread::yield_now();
        }
        self.hope.learn(false);
        Ok(false)
    }

    fn poll(&mut self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut self.fds, Some(&limit)) {
            Ok(found) => Ok(found > 0),
            Err(rustix::io::Errno::INTR) => {
                self.fds.iter_mut().for_each(PollFd::clear_revents);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// How often looking around is worth it, by what it found before.
#[derive(Debug)]
struct Hope {
    every: u32,
    passed: u32,
}

impl Default for Hope {
    fn default() -> Self {
        Self { every: 1, passed: 0 }
    }
}

impl Hope {
    /// Whether it is time to look.
    fn is_due(&mut self) -> bool {
        self.passed += 1;
        let due = self.passed >= self.every;
        if due {
            self.passed = 0;
        }
        due
    }

    /// Every time again once something came, half as often each time that nothing did.
    fn learn(&mut self, found: bool) {
        self.every = if found { 1 } else { (self.every * 2).min(RAREST) };
    }
}

/// What ends a worker's sleep.
#[derive(Clone, Debug)]
pub struct Ears {
    bell: Arc<OwnedFd>,
}

impl Ears {
    /// A silent bell.
    ///
    /// # Errors
    /// The kernel gives no eventfd.
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { bell: Arc::new(bell) })
    }

    /// Something that rings it, from any thread.
    #[must_use]
    pub fn waker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let bell = Arc::clone(&self.bell);
        Arc::new(move || {
            // A full counter refuses the write, and then the worker is awake already.
            let _ = rustix::io::write(&*bell, &1_u64.to_ne_bytes());
        })
    }

    /// A mailbox of the worker with these ears, and the queue it fills.
    #[must_use]
    pub fn mailbox(&self) -> (Mailbox, Arc<SegQueue<Request>>) {
        let queue = Arc::new(SegQueue::new());
        (Mailbox { queue: Arc::clone(&queue), wake: self.waker() }, queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn pipes(count: usize) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
        (0..count).map(|_| rustix::pipe::pipe().expect("a pipe")).unzip()
    }

    fn waited(watch: &mut Watch<'_>) -> Vec<usize> {
        let mut ready = Vec::new();
        watch.wait(SOON, &mut ready).expect("waited");
        ready
    }

    #[test]
    fn a_wait_ends_by_a_device_a_bell_or_in_time() {
        let ears = Ears::new().expect("ears");
        let (devices, writers) = pipes(3);
        let mut watch = Watch::new(&devices, &ears);
        for _ in 0..3 {
            assert!(waited(&mut watch).is_empty() && !watch.busy);
            for writer in [&writers[0], &writers[2]] {
                rustix::io::write(writer, b"x").expect("written");
            }
            assert_eq!(waited(&mut watch), [0, 2]);
            for device in [&devices[0], &devices[2]] {
                rustix::io::read(device, &mut [0; 1]).expect("read");
            }
            ears.waker()();
            ears.waker()();
            assert!(waited(&mut watch).is_empty() && watch.busy, "rung");
            assert!(waited(&mut watch).is_empty() && !watch.busy, "silent again");
        }
    }

    #[test]
    fn looking_around_is_rare_where_nothing_comes_and_returns_with_what_does() {
        let ears = Ears::new().expect("ears");
        let (devices, writers) = pipes(1);
        let mut watch = Watch::new(&devices, &ears);
        let mut looked = 0;
        for _ in 0..1_000 {
            watch.busy = true;
            assert!(!watch.look_around(SOON).expect("looked"));
            looked += u32::from(watch.hope.passed == 0);
        }
        assert!(looked < 40, "{looked} of a thousand sleeps");
        rustix::io::write(&writers[0], b"x").expect("written");
        let found = (0..RAREST).find(|_| watch.look_around(SOON).expect("looked"));
        assert!(found.is_some(), "within the next sleeps");
        assert!(watch.look_around(SOON).expect("looked"), "and each time from then on");
    }

    #[test]
    fn a_worker_that_had_nothing_or_has_work_does_not_look_around() {
        let ears = Ears::new().expect("ears");
        let (devices, writers) = pipes(1);
        rustix::io::write(&writers[0], b"x").expect("written");
        let mut watch = Watch::new(&devices, &ears);
        assert!(!watch.look_around(SOON).expect("looked"), "it slept long");
        watch.busy = true;
        assert!(!watch.look_around(Duration::ZERO).expect("looked"), "the next poll returns at once anyway");
        assert!(watch.look_around(SOON).expect("looked"));
    }

    #[test]
    fn with_very_many_devices_a_look_costs_more_than_a_sleep() {
        let ears = Ears::new().expect("ears");
        let (devices, _writers) = pipes(LOOKS + 1);
        assert_eq!(Watch::new(&devices, &ears).looks, 0);
    }
}
