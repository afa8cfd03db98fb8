//! Questions to a worker, answered between batches so that no table is ever shared.

use std::net::IpAddr;
use std::sync::Arc;

use crate::snapshot::{AttachmentId, EndpointId, Protocol};

/// One session as `privlink flows` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Worker that owns it.
    pub worker: u16,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// Network identifier of its connection.
    pub link: u32,
    /// Attachment its consumer's packets arrive on.
    pub attachment: AttachmentId,
    /// Protocol.
    pub protocol: Protocol,
    /// Consumer address and port (or echo identifier).
    pub consumer: (IpAddr, u16),
    /// Endpoint address and port.
    pub endpoint_address: (IpAddr, u16),
    /// NAT address and port.
    pub nat: (IpAddr, u16),
    /// Backend address and port.
    pub backend: (IpAddr, u16),
    /// `opening`, `established`, `closing` or `ended`; `active` for UDP and ICMP.
    pub state: &'static str,
    /// Whether it counts as a live session; one that is not only answers late segments.
    pub live: bool,
    /// Tenths of a second since it was opened.
    pub age: u32,
    /// Seconds since its last packet.
    pub idle_seconds: u32,
    /// Packets and bytes from the consumer to the service.
    pub to_service: (u64, u64),
    /// Packets and bytes from the service to the consumer.
    pub to_consumer: (u64, u64),
}

/// Which sessions are asked for: those that match all that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// With this NAT address and port (or echo identifier).
    pub nat: Option<(IpAddr, u16)>,
    /// With this backend address and port.
    pub backend: Option<(IpAddr, u16)>,
}

/// A question to a worker. Dropping the receiving end of a reply is harmless.
#[derive(Debug)]
pub enum Request {
    /// List sessions, at most `limit` of them.
    Flows {
        /// Which ones.
        wanted: Wanted,
        /// At most this many.
        limit: usize,
        /// Where the answer goes.
        reply: std::sync::mpsc::SyncSender<Vec<FlowRecord>>,
    },
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
