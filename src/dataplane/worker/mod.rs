//! What runs the packet path: waits for devices, takes the rules in force, and lets each frame through.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_queue::SegQueue;

use crate::dataplane::Context;
use crate::dataplane::forwarder::Forwarder;
use crate::dataplane::handoff::Shared;
use crate::dataplane::io::{Batch, FrameSink, FrameSource};
use crate::dataplane::pace::Moment;
use crate::dataplane::queries::Request;
use crate::dataplane::tx::Transmit;
use crate::snapshot::{AttachmentId, Reader};
use poller::{Poller, Waker};

/// How a worker waits, and what ends its sleep.
pub mod poller;

/// Frames read from one device per batch.
const BATCH_FRAMES: usize = 32;

/// Bytes read from one device per batch: a few super-packets, so that they stay in the cache.
const BATCH_BYTES: usize = 256 << 10;

/// How often, and how long each time, a worker that stops waits for room in the flow log.
const STOP_TRIES: u32 = 500;
const STOP_PAUSE: Duration = Duration::from_millis(1);

/// One worker: its forwarder, its queue of every device, its waker.
#[derive(Debug)]
pub struct Worker<S, K> {
    pub(super) forwarder: Forwarder,
    sources: Vec<S>,
    sinks: Vec<K>,
    frames: Batch,
    reader: Reader,
    pub(super) shared: Arc<Shared>,
    questions: Arc<SegQueue<Request>>,
    pub(super) number: u16,
    /// How long it may sleep if nothing comes.
    timeout: Duration,
}

impl<S: FrameSource, K: FrameSink> Worker<S, K> {
    /// A worker over queue `number` of each device, in the order of [`AttachmentId`].
    #[must_use]
    pub fn new(
        forwarder: Forwarder,
        sources: Vec<S>,
        sinks: Vec<K>,
        reader: Reader,
        questions: Arc<SegQueue<Request>>,
    ) -> Self {
        let peers = &forwarder.state.sessions.peers;
        let (shared, number) = (Arc::clone(&peers.shared), peers.position.worker);
        let (frames, timeout) = (Batch::new(), Duration::ZERO);
        Self { forwarder, sources, sinks, frames, reader, shared, questions, number, timeout }
    }

    /// Its state, for tests and benches.
    #[must_use]
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// Its devices' ends, for tests and benches.
    pub fn ends(&mut self) -> (&mut [S], &mut [K]) {
        (&mut self.sources, &mut self.sinks)
    }

    /// One batch: takes the snapshot in force, does a slice of housekeeping, and handles what the devices
    /// at `ready` and the other workers hold. Returns whether more work waits already.
    ///
    /// # Errors
    /// A device is gone; the daemon must stop, closed.
    pub fn batch(&mut self, ready: impl IntoIterator<Item = usize>, now: impl Into<Moment>) -> io::Result<bool> {
        let (snapshot, changed) = self.reader.begin_batch();
        let context = Context::new(&snapshot, now);
        if changed {
            self.forwarder.handle_snapshot(&context);
        }
        self.forwarder.handle_timeout(&context);
        while let Some(transmit) = self.forwarder.poll_transmit() {
            if let Err(error) = send(&mut self.sinks, transmit) {
                tracing::trace!(%error, "a packet of our own was refused");
            }
        }
        while let Some(request) = self.questions.pop() {
            self.forwarder.handle_query(request, context.now);
        }
        for _ in 0..BATCH_FRAMES {
            let Some(handed) = self.shared.next_handoff(self.number) else { break };
            self.forwarder.handle_handoff(handed, &context, |transmit| send(&mut self.sinks, transmit));
        }
        let mut more = false;
        for device in ready {
            more |= self.drain_device(device, &context)?;
        }
        self.timeout = self.forwarder.poll_timeout(context.now);
        Ok(more || self.timeout.is_zero() || self.shared.waiting(self.number))
    }

    /// Reads a few frames, decides and writes each, and so on: they stay in the cache from read to write.
    fn drain_device(&mut self, device: usize, context: &Context<'_>) -> io::Result<bool> {
        let attachment = AttachmentId(u16::try_from(device).unwrap_or(u16::MAX));
        let (mut frames, mut bytes) = (0, 0);
        loop {
            self.frames.clear();
            let more = self.sources[device].fill(&mut self.frames);
            let sinks = &mut self.sinks;
            self.forwarder.handle_frames(&mut self.frames, attachment, context, |transmit| send(sinks, transmit));
            (frames, bytes) = (frames + self.frames.len(), bytes + self.frames.bytes());
            if !more? {
                return Ok(false);
            }
            if frames >= BATCH_FRAMES || bytes >= BATCH_BYTES {
                return Ok(true);
            }
        }
    }
}

/// Writes a frame.
#[inline]
fn send<K: FrameSink>(sinks: &mut [K], transmit: Transmit<'_>) -> io::Result<()> {
    let Transmit { to, head, body } = transmit;
    let sink = sinks.get_mut(usize::from(to.0)).ok_or(io::ErrorKind::NotFound)?;
    if head.is_empty() { sink.send(body) } else { sink.send_joined(head, body) }
}

impl<S: FrameSource + AsFd, K: FrameSink> Worker<S, K> {
    /// Works until `stop` is set. `waker` ends its sleep; `clock` says the time.
    ///
    /// # Errors
    /// A device is gone, or waiting failed; the daemon must stop, closed.
    pub fn run(mut self, waker: &Waker, stop: &AtomicBool, clock: impl Fn() -> Moment) -> io::Result<()> {
        // Descriptors apart from the devices: the list stands for the whole run, while each batch has the devices.
        let devices = self.sources.iter().map(|source| source.as_fd().try_clone_to_owned());
        let devices = devices.collect::<io::Result<Vec<_>>>()?;
        let mut poller = Poller::new(&devices, waker);
        let mut ready = Vec::with_capacity(devices.len());
        let mut more = false;
        while !stop.load(Ordering::Relaxed) {
            poller.wait(if more { Duration::ZERO } else { self.timeout }, &mut ready)?;
            more = self.batch(ready.drain(..), clock())?;
        }
        for tries in 0.. {
            if !self.forwarder.handle_stop(tries >= STOP_TRIES, clock().tick()) {
                break;
            }
            std::thread::sleep(STOP_PAUSE);
        }
        Ok(())
    }
}
