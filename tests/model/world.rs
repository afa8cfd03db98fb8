//! The code under test: workers over in-memory devices, seen through its public API only.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use privlink::dataplane::Worker;
use privlink::dataplane::counters::VerdictCounts;
use privlink::dataplane::handoff::Shared;
use privlink::dataplane::io::memory::{MemorySink, MemorySource};
use privlink::dataplane::queries::Request;
use privlink::dataplane::record::{FlowFilter, SessionRecord};
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Forwarder, Position};
use privlink::snapshot::{Publisher, Snapshot};

const DEVICES: usize = 4;

pub(crate) struct World {
    workers: Vec<Worker<MemorySource, MemorySink>>,
    questions: Vec<Arc<SegQueue<Request>>>,
    publisher: Publisher,
    shared: Arc<Shared>,
}

impl World {
    pub(crate) fn new(count: u16, seed: u64) -> Self {
        Self::with_capacity(count, seed, 4_096)
    }

    /// Workers that hold as many sessions each.
    pub(crate) fn with_capacity(count: u16, seed: u64, capacity: u32) -> Self {
        let mut publisher = Publisher::new();
        let shared = Arc::new(Shared::new((0..count).map(|_| Arc::new(|| ()) as _).collect()));
        let questions: Vec<Arc<SegQueue<Request>>> = (0..count).map(|_| Arc::default()).collect();
        let workers = (0..count)
            .map(|worker| {
                let seeds = [seed ^ u64::from(worker), 0x00C0_FFEE, seed + u64::from(worker)];
                let position = Position { worker, workers: count };
                let forwarder = Forwarder::new(position, capacity, seeds, Arc::clone(&shared));
                let sources = (0..DEVICES).map(|_| MemorySource::default()).collect();
                let sinks = (0..DEVICES).map(|_| MemorySink::default()).collect();
                let questions = Arc::clone(&questions[usize::from(worker)]);
                Worker::new(forwarder, sources, sinks, publisher.reader(Box::new(|| ())), questions)
            })
            .collect();
        Self { workers, questions, publisher, shared }
    }

    pub(crate) fn publish(&mut self, snapshot: Snapshot) {
        self.publisher.publish(snapshot);
    }

    pub(crate) fn push(&mut self, worker: usize, attachment: u16, frame: Vec<u8>) {
        self.workers[worker].ends().0[usize::from(attachment)].push(frame);
    }

    /// Lets all workers but one do what a change of rules or time asks of them: the limits count the sessions of
    /// all, and a worker that has not looked yet still counts what has ended.
    pub(crate) fn settle_others(&mut self, reader: usize, now: u32) {
        for (number, worker) in self.workers.iter_mut().enumerate() {
            while number != reader && worker.batch([], Tick(now)).expect("memory") {}
        }
    }

    /// Lets one worker work until nothing is left for it.
    pub(crate) fn settle_one(&mut self, worker: usize, now: u32) {
        while self.workers[worker].batch(0..DEVICES, Tick(now)).expect("memory") {}
    }

    /// Lets devices refuse every frame from now on, or take them again.
    pub(crate) fn break_devices(&mut self, broken: bool) {
        for worker in &mut self.workers {
            worker.ends().1.iter_mut().for_each(|sink| sink.broken = broken);
        }
    }

    /// Lets all workers work until nothing is left, and takes what they sent: (attachment, frame).
    pub(crate) fn settle(&mut self, now: u32) -> Vec<(u16, Vec<u8>)> {
        loop {
            let mut more = false;
            for worker in &mut self.workers {
                more |= worker.batch(0..DEVICES, Tick(now)).expect("memory");
            }
            if !more && (0..self.workers.len()).all(|worker| !self.shared.waiting(worker as u16)) {
                break;
            }
        }
        let mut out = Vec::new();
        for worker in &mut self.workers {
            for (at, sink) in (0..).zip(worker.ends().1) {
                out.extend(sink.sent.drain(..).map(|frame| (at, frame)));
            }
        }
        out
    }

    /// Published counters of all workers together, each of which keeps law 4's sum.
    pub(crate) fn counts(&self) -> VerdictCounts {
        let mut all = VerdictCounts::default();
        for worker in &self.workers {
            let own = worker.forwarder().published().verdicts();
            let ends = own.forwarded + own.dropped_total() + own.handed_out + own.held;
            assert_eq!(own.read + own.handed_in, ends, "law 4: {own:?}");
            all.read += own.read;
            all.handed_in += own.handed_in;
            all.handed_out += own.handed_out;
            all.held += own.held;
            all.forwarded += own.forwarded;
            all.answered += own.answered;
            all.originated += own.originated;
            all.dropped.iter_mut().zip(own.dropped).for_each(|(sum, own)| *sum += own);
        }
        assert_eq!(all.handed_in, all.handed_out, "what one worker hands out another takes");
        all
    }

    /// Every session of every worker.
    pub(crate) fn flows(&mut self, now: u32) -> Vec<SessionRecord> {
        let (reply, listed) = std::sync::mpsc::sync_channel(self.workers.len());
        for questions in &self.questions {
            questions.push(Request::Flows { filter: FlowFilter::default(), limit: usize::MAX, reply: reply.clone() });
        }
        let sent = self.settle(now);
        assert!(sent.iter().all(|(_, frame)| super::run::is_probe(frame)), "a question makes no packet: {sent:?}");
        listed.try_iter().flat_map(|sessions| sessions.list).collect()
    }
}
