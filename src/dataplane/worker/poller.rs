//! How a worker waits for packets and requests: busy-polling first, then `poll(2)`.
//!
//! Sleeping and waking takes longer than most packets do, and the answer to a packet often comes while that packet is
//! still on its way. So a worker that just had packets polls for a moment before it sleeps. Each time that this finds
//! nothing it is done more rarely, so that sparse traffic costs no more than without it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::dataplane::queries::{Mailbox, Request};

/// Descriptors polled before a worker sleeps, over all rounds: with two devices and the eventfd, 30 rounds in 20 µs.
const BUSY_POLLS: usize = 90;

/// Of so many sleeps at most one is preceded by busy-polling, where that never finds anything.
const RAREST: u32 = 32;

/// What a worker waits for.
#[derive(Debug)]
pub struct Poller<'a> {
    /// The devices, in their order, then the eventfd.
    fds: Vec<PollFd<'a>>,
    event: &'a OwnedFd,
    rounds: usize,
    spin: SpinPolicy,
    /// Whether the last wait found something.
    busy: bool,
}

impl<'a> Poller<'a> {
    /// Over `devices` and the eventfd of `waker`.
    #[must_use]
    pub fn new(devices: &'a [OwnedFd], waker: &'a Waker) -> Self {
        let mut fds: Vec<PollFd<'_>> = devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        fds.push(PollFd::new(&*waker.event, PollFlags::IN));
        let rounds = BUSY_POLLS / fds.len();
        Self { fds, event: &waker.event, rounds, spin: SpinPolicy::default(), busy: false }
    }

    /// Waits until a device has frames, the waker is notified, or `limit` is over; the devices that have are added to
    /// `ready`.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&mut self, limit: Duration, ready: &mut Vec<usize>) -> io::Result<()> {
        self.busy = self.busy_poll(limit)? || self.poll(limit)?;
        let (event, devices) = self.fds.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        ready.extend(devices.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(device, _)| device));
        if !event.revents().is_empty() {
            // Resets the eventfd; how often it was written does not matter.
            let _ = rustix::io::read(self.event, &mut [0; 8]);
        }
        Ok(())
    }

    /// Whether something comes within a moment. Others may run between two looks: what is waited for may be theirs
    /// to send.
    fn busy_poll(&mut self, limit: Duration) -> io::Result<bool> {
        if limit.is_zero() || !self.busy || !self.spin.is_due() {
            return Ok(false);
        }
        for _ in 0..self.rounds {
            if self.poll(Duration::ZERO)? {
                self.spin.learn(true);
                return Ok(true);
            }
            std::thread::yield_now();
        }
        self.spin.learn(false);
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

/// How often busy-polling is worth it, by what it found before.
#[derive(Debug)]
struct SpinPolicy {
    every: u32,
    passed: u32,
}

impl Default for SpinPolicy {
    fn default() -> Self {
        Self { every: 1, passed: 0 }
    }
}

impl SpinPolicy {
    /// Whether to busy-poll this time.
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

/// Wakes a worker from any thread: an eventfd (`eventfd(2)`).
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Not yet notified.
    ///
    /// # Errors
    /// The kernel gives no eventfd.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// A function that wakes the worker.
    #[must_use]
    pub fn notifier(&self) -> Arc<dyn Fn() + Send + Sync> {
        let event = Arc::clone(&self.event);
        Arc::new(move || {
            // A full counter refuses the write, and then the worker is awake already.
            let _ = rustix::io::write(&*event, &1_u64.to_ne_bytes());
        })
    }

    /// A mailbox of the worker with these waker, and the queue it fills.
    #[must_use]
    pub fn mailbox(&self) -> (Mailbox, Arc<SegQueue<Request>>) {
        let queue = Arc::new(SegQueue::new());
        (Mailbox { queue: Arc::clone(&queue), wake: self.notifier() }, queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn pipes(count: usize) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
        (0..count).map(|_| rustix::pipe::pipe().expect("a pipe")).unzip()
    }

    fn waited(poller: &mut Poller<'_>) -> Vec<usize> {
        let mut ready = Vec::new();
        poller.wait(SOON, &mut ready).expect("waited");
        ready
    }

    #[test]
    fn a_wait_ends_by_a_device_a_waker_or_in_time() {
        let waker = Waker::new().expect("waker");
        let (devices, writers) = pipes(3);
        let mut poller = Poller::new(&devices, &waker);
        for _ in 0..3 {
            assert!(waited(&mut poller).is_empty() && !poller.busy);
            for writer in [&writers[0], &writers[2]] {
                rustix::io::write(writer, b"x").expect("written");
            }
            assert_eq!(waited(&mut poller), [0, 2]);
            for device in [&devices[0], &devices[2]] {
                rustix::io::read(device, &mut [0; 1]).expect("read");
            }
            waker.notifier()();
            waker.notifier()();
            assert!(waited(&mut poller).is_empty() && poller.busy, "rung");
            assert!(waited(&mut poller).is_empty() && !poller.busy, "silent again");
        }
    }

    #[test]
    fn busy_polling_is_rare_where_nothing_comes_and_returns_with_what_does() {
        let waker = Waker::new().expect("waker");
        let (devices, writers) = pipes(1);
        let mut poller = Poller::new(&devices, &waker);
        let mut looked = 0;
        for _ in 0..1_000 {
            poller.busy = true;
            assert!(!poller.busy_poll(SOON).expect("looked"));
            looked += u32::from(poller.spin.passed == 0);
        }
        assert!(looked < 40, "{looked} of a thousand sleeps");
        rustix::io::write(&writers[0], b"x").expect("written");
        let found = (0..RAREST).find(|_| poller.busy_poll(SOON).expect("looked"));
        assert!(found.is_some(), "within the next sleeps");
        assert!(poller.busy_poll(SOON).expect("looked"), "and each time from then on");
    }

    #[test]
    fn a_worker_that_had_nothing_or_has_work_does_not_busy_poll() {
        let waker = Waker::new().expect("waker");
        let (devices, writers) = pipes(1);
        rustix::io::write(&writers[0], b"x").expect("written");
        let mut poller = Poller::new(&devices, &waker);
        assert!(!poller.busy_poll(SOON).expect("looked"), "it slept long");
        poller.busy = true;
        assert!(!poller.busy_poll(Duration::ZERO).expect("looked"), "the next poll returns at once anyway");
        assert!(poller.busy_poll(SOON).expect("looked"));
    }

    #[test]
    fn with_very_many_devices_a_look_costs_more_than_a_sleep() {
        let waker = Waker::new().expect("waker");
        let (devices, _writers) = pipes(BUSY_POLLS + 1);
        assert_eq!(Poller::new(&devices, &waker).rounds, 0);
    }
}
