//! The packet path: one thread per queue, sans-IO below `Worker`.
//!
//! ```text
//! Worker::run ─▶ wait ─▶ begin batch (snapshot, time) ─▶ housekeep ─▶ for each ready device:
//!
//!   fill ─▶ forward: classify, prefetch ─▶ find ─▶ current? ─▶ track, account, rewrite ─▶ send
//!                             │ miss             │ no
//!                             ▼                  ▼
//!                  judge ─▶ backend ─▶     revalidate: pass, end with resets, or open anew
//!                  reserve port ─▶ insert
//!
//! ─▶ send answers and resets ─▶ publish counters
//! ```
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

/// Where packets come from and go to.
pub mod io;

/// What runs the packet path: one thread per queue.
pub mod worker;

/// The state of one worker, without its devices.
pub mod forwarder;

/// The stages from frame to transmit.
pub mod path;

/// A session's first packet: judge, choose a backend, reserve a NAT port, insert; or answer a denied one.
pub mod admit;

/// Fragments, until they are datagrams.
pub mod fragment;

/// ICMP errors about packets of sessions.
mod icmp;

/// How sessions end other than by their own packets.
pub mod lifecycle;

/// What a packet is, and what it is rewritten to.
pub mod nat;

/// Sessions: two directions, one table per worker.
pub mod session;

/// The ring between workers.
pub mod handoff;

/// How fast sessions are reset.
pub mod pace;

/// What endpoints hold in common.
pub mod share;

/// Sessions that have ended, on their way to the flow log.
pub mod record;

/// What workers publish and everyone else may read.
pub mod counters;

/// Questions to a worker.
pub mod queries;

/// How a packet ends.
pub mod verdict;

pub use worker::Worker;
pub use worker::poller::Waker;

#[cfg(test)]
mod tests;
