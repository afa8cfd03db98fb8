//! The packet path: one thread per queue, sans-IO below `Worker`.
//!
//! ```text
//! Worker::batch ─▶ rules, time ─▶ handle_timeout ─▶ for each ready device: fill ─▶ handle_frames ─▶ poll_timeout
//!
//!   parse, prefetch ─▶ find ─▶ current? ─▶ track, account, rewrite ─▶ transmit, lent to its device
//!      │ no flow        │ miss    │ no
//!      ▼                ▼         ▼
//!   fragment, icmp    admit     revalidate: pass, end with resets, or open anew
//! ```
//!
//! `path` has the stages from frame to transmit. Each is a function over the part of the state that it needs:
//! `lifecycle::Sessions` (sessions, their NAT ports, and what ends them), `nat::Rewriter`, `fragment::Reassembler`,
//! `admit::Answers`, `tx::TxQueue`, the counts of verdicts. The modules name each other in one order only:
//! `session`, `nat`, `lifecycle`, `admit`, `fragment` and `icmp`, `path`, `forwarder`, `worker`.
//!
//! Share-nothing: a worker owns queue *i* of every device, its own sessions and its own range of NAT
//! ports. What must cross workers goes over `handoff`.
//!
//! # Decisions about NAT
//!
//! - Both ends are translated, and mapping and filtering depend on address and port. RFC 5382 REQ-1 asks for more; here
//!   each flow has one legal peer, and a NAT port is used again for every backend address and port (`nat::ports`).
//! - A port is in quarantine after its session: 1 s after an exact close, 120 s after any other end.
//! - An established TCP session may idle for 2 h 4 min (RFC 5382 REQ-5); then both ends are reset.
//! - Checksums change by deltas and are never computed anew, so a wrong one stays wrong (`nat::rewrite`).
//! - Segments whose numbers are not the connection's pass, and change nothing (`session::tcp_state`, `lifecycle::segments`).
//! - Fragments are put together, judged whole and cut anew under an identification of our own (`fragment`).
//! - ICMP errors follow the session of the packet that they quote. A service is never told of a smaller MTU: what does not
//!   fit is cut here, since others share the NAT address (`icmp`).
//! - Denied packets of a consumer are answered, within a limit per network; the provider's side is dropped in silence, and
//!   so is a source that may use no endpoint (`admit::reject`).
//! - Super-packets pass whole: one read, one verdict, one write.
//!
//! `docs/nat-behaviour.md` has the whole table, `tests/requirements.csv` the requirements with their sources.

use crate::snapshot::Snapshot;
use pace::Moment;
use session::Tick;

/// Where packets come from and go to.
pub mod io;

/// What runs the packet path: one thread per queue.
pub mod worker;

/// The state of one worker, without its devices.
pub mod forwarder;

/// The stages from frame to transmit.
mod path;

/// How a packet ends.
mod verdict;

/// Sessions: two directions, one table per worker.
pub mod session;

/// What a packet is, and what it is rewritten to.
pub mod nat;

/// A session's first packet: judge, choose a backend, reserve a NAT port, insert; or answer a denied one.
pub mod admit;

/// How sessions end other than by their own packets.
pub mod lifecycle;

/// Fragments, until they are datagrams.
pub mod fragment;

/// ICMP errors about packets of sessions.
mod icmp;

/// Frames that leave.
pub mod tx;

/// Frames for other workers, and what all workers share.
pub mod handoff;

/// What endpoints hold in common.
pub mod share;

/// How fast sessions are reset.
pub mod pace;

/// What workers publish and everyone else may read.
pub mod counters;

/// Questions to a worker.
pub mod queries;

/// Sessions that have ended, on their way to the flow log.
pub mod record;

pub use forwarder::Forwarder;
pub use worker::Worker;
pub use worker::poller::Waker;

/// What holds for a whole batch.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The rules in force.
    pub snapshot: &'a Snapshot,
    /// Now.
    pub now: Tick,
    /// Now, to the millisecond.
    pub moment: Moment,
}

impl<'a> Context<'a> {
    /// A batch that begins at `moment`.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, moment: impl Into<Moment>) -> Self {
        let moment = moment.into();
        Self { snapshot, now: moment.tick(), moment }
    }
}

/// How many workers there are, and which one this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// This worker, from 0.
    pub worker: u16,
    /// All workers.
    pub workers: u16,
}

impl Position {
    /// This worker's share of `sessions`: all shares together are no more, and no less unless each has one.
    #[must_use]
    pub fn share_of(self, sessions: u32) -> u32 {
        let workers = u32::from(self.workers.max(1));
        (sessions / workers + u32::from(u32::from(self.worker) < sessions % workers)).max(1)
    }
}

#[cfg(test)]
mod tests;
