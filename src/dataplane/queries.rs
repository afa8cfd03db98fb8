//! Questions to a worker, answered between batches so that no table is ever shared.

use std::sync::Arc;

use super::record::{FlowFilter, SessionRecord, Tick};

/// A question to a worker. Dropping the receiving end of a reply is harmless.
#[derive(Debug)]
pub enum Request {
    /// List sessions, at most `limit` of them.
    Flows {
        /// Which ones.
        filter: FlowFilter,
        /// At most this many.
        limit: usize,
        /// Where the answer goes.
        reply: std::sync::mpsc::SyncSender<Sessions>,
    },
}

/// The sessions of one worker that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// The worker that owns them.
    pub worker: u16,
    /// When it answered.
    pub now: Tick,
    /// The sessions.
    pub list: Vec<SessionRecord>,
}

/// The sending end, shared by everyone who asks; wakes the worker.
#[derive(Clone)]
pub struct Mailbox {
    pub(super) queue: Arc<crossbeam_queue::SegQueue<Request>>,
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.queue.len()).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// The sending end of `queue`, whose worker `wake` ends the sleep of; called from any thread.
    pub fn new(queue: Arc<crossbeam_queue::SegQueue<Request>>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { queue, wake }
    }

    /// Leaves a question for the worker and wakes it.
    pub fn send(&self, request: Request) {
        self.queue.push(request);
        (self.wake)();
    }
}
