//! What runs the packet path: waits for devices, takes the rules in force, and lets each frame through.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_queue::SegQueue;

use crate::dataplane::forwarder::{Context, Forwarder};
use crate::dataplane::handoff::Shared;
use crate::dataplane::io::{Batch, FrameSink, FrameSource};
use crate::dataplane::pace::Moment;
use crate::dataplane::queries::Request;
use crate::dataplane::session::Tick;
use crate::dataplane::verdict::Verdict;
use crate::snapshot::{AttachmentId, Reader};
use poller::{Poller, Waker};

/// How a worker waits, and what ends its sleep.
pub mod poller;

/// Frames read from one device per batch.
const BATCH_FRAMES: usize = 32;

/// Bytes read from one device per batch: a few super-packets, so that they stay in the cache.
const BATCH_BYTES: usize = 256 << 10;

/// Longest sleep: sweeps and counters go on when no packet comes.
const IDLE: Duration = Duration::from_secs(1);

/// Longest sleep while sessions wait to be reset: to wake more often costs more than it spreads them.
const PAUSE: Duration = Duration::from_millis(3);

/// Longest sleep while an end of a connection is being asked: a question is put at its tick.
const ASKING: Duration = Duration::from_millis(Tick::MILLISECONDS);

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
        let (shared, number) = (Arc::clone(&forwarder.shared), forwarder.position.worker);
        Self { forwarder, sources, sinks, frames: Batch::new(), reader, shared, questions, number }
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
            self.forwarder.adopt(&context);
        }
        let mut more = self.forwarder.housekeep(&context);
        self.flush();
        while let Some(request) = self.questions.pop() {
            self.forwarder.answer(request, context.now);
        }
        self.take_handed(&context);
        for device in ready {
            more |= self.drain_device(device, &context)?;
        }
        self.flush();
        self.forwarder.publish();
        Ok(more || self.forwarder.has_questions(context.now) || self.shared.waiting(self.number))
    }

    /// Reads a few frames, decides and writes each, and so on: they stay in the cache from read to write.
    fn drain_device(&mut self, device: usize, context: &Context<'_>) -> io::Result<bool> {
        let attachment = AttachmentId(u16::try_from(device).unwrap_or(u16::MAX));
        let (mut frames, mut bytes) = (0, 0);
        loop {
            self.frames.clear();
            let more = self.sources[device].fill(&mut self.frames);
            let sinks = &mut self.sinks;
            self.forwarder.receive_batch(&mut self.frames, attachment, context, |forwarder, verdict, frame| {
                send(sinks, forwarder, verdict, frame);
            });
            (frames, bytes) = (frames + self.frames.len(), bytes + self.frames.bytes());
            if !more? {
                return Ok(false);
            }
            if frames >= BATCH_FRAMES || bytes >= BATCH_BYTES {
                return Ok(true);
            }
        }
    }

    fn take_handed(&mut self, context: &Context<'_>) {
        for _ in 0..BATCH_FRAMES {
            let Some(mut handed) = self.shared.hand_in(self.number) else { return };
            let verdict = self.forwarder.receive_handed(&mut handed, context);
            send(&mut self.sinks, &mut self.forwarder, verdict, &handed.frame);
        }
    }

    /// Writes the frames that wait. A packet of the forwarder's own that the kernel refuses is lost, like any.
    fn flush(&mut self) {
        if !self.forwarder.has_outbox() {
            return;
        }
        let mut waiting = self.forwarder.take_outbox();
        for own in waiting.drain(..) {
            let Some(sink) = self.sinks.get_mut(usize::from(own.to.0)) else { continue };
            if let Err(error) = sink.send(&own.frame) {
                tracing::trace!(%error, "a packet of our own was refused");
                self.forwarder.write_failed(own.carries);
            }
        }
        self.forwarder.return_outbox(waiting);
    }
}

/// Writes a frame that is to be forwarded.
fn send<K: FrameSink>(sinks: &mut [K], forwarder: &mut Forwarder, verdict: Verdict, frame: &[u8]) {
    let sent = match verdict {
        Verdict::Forward { to, length } => {
            sinks.get_mut(usize::from(to.0)).is_some_and(|sink| sink.send(&frame[..length]).is_ok())
        }
        Verdict::Rebuilt { to, from, end } => sinks
            .get_mut(usize::from(to.0))
            .is_some_and(|sink| sink.send_joined(forwarder.head(), &frame[from..end]).is_ok()),
        Verdict::Emitted
        | Verdict::Absorbed
        | Verdict::Held
        | Verdict::Settled
        | Verdict::Drop(_)
        | Verdict::HandOut { .. } => true,
    };
    if !sent {
        forwarder.write_failed(1);
    }
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
            let rest = match &self.forwarder {
                forwarder if forwarder.is_paced() => PAUSE,
                forwarder if forwarder.is_asking() => ASKING,
                _ => IDLE,
            };
            poller.wait(if more { Duration::ZERO } else { rest }, &mut ready)?;
            more = self.batch(ready.drain(..), clock())?;
        }
        for tries in 0.. {
            if !self.forwarder.note_stop(tries >= STOP_TRIES, clock().tick()) {
                break;
            }
            std::thread::sleep(STOP_PAUSE);
        }
        Ok(())
    }
}
