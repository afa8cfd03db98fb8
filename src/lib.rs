//! privlink: private endpoints for any Linux network. One private IP address reaches exactly one
//! approved service, and nothing else.
//!
//! # A packet's way
//!
//! ```text
//!  consumer namespace                    privlink                        provider namespace
//!  app ── route 10.1.9.4/32 ──▶ [TUN] ─▶ classify ─▶ lookup ─▶ rewrite ─▶ [TUN] ── route ──▶ backend
//!                                           │ miss
//!                                           ▼
//!                        source allowed? ─▶ endpoint ─▶ Approved? ─▶ rules ─▶ port exposed?
//!                                 ─▶ reserve NAT address and port ─▶ insert session
//!  app ◀──────────────────────── [TUN] ◀─ rewrite ◀─ lookup ◀─ classify ◀─ [TUN] ◀── NAT IP route ── backend
//! ```
//!
//! One process has a TUN device in each network. The networks share no route, so the forwarder is the only way across,
//! and they may use the same addresses: a session's key begins with the network that its packet came from. A packet is
//! translated twice (RFC 2663): its destination becomes a backend, its source a NAT address of the service.
//! `dataplane` draws the way within a worker; `snapshot::policy` lists the checks in their order.
//!
//! # The laws
//!
//! Each has tests that fail when it is broken. Comments name them by their numbers.
//!
//! 1. A packet leaves only as part of a session that an Approved connection admitted, or as a packet that the forwarder
//!    made itself (a TCP reset, a bare ACK that asks for a number, an ICMP message).
//! 2. The translated destination is a backend of the resource, and of the member, that the endpoint is bound to. Nothing
//!    in the packet can choose it.
//! 3. The provider's side never opens a session towards a consumer.
//! 4. Every packet that is read ends in exactly one verdict. The unit is one read of a device; a super-packet is one. Per
//!    worker `read + handed_in = forwarded + dropped + handed_out + held`. A denied packet counts under its reason whether
//!    it is answered or not; packets that the forwarder makes stand beside the sum.
//! 5. When a call that revokes returns, every worker has begun a batch with the new snapshot: no later write carries a
//!    packet of that connection, in either direction. TCP peers at both ends get resets that they accept, idle ones too;
//!    UDP senders get an ICMP answer to their next packet. A worker that is silent for too long makes the call fail, and
//!    the daemon stops, closed.
//! 6. A hit takes no lock and no allocation. Per batch there is at most one wait and one empty read per ready queue,
//!    apart from a bounded time of busy-polling before a sleep.
//! 7. The control plane acknowledges a change only when it is durable and in force, and publishes only what compiled
//!    whole. A refused change leaves the running snapshot untouched. A damaged store never widens access. Only a
//!    revocation can be in force without being acknowledged.
//! 8. Time, randomness and I/O reach the core as arguments. The core knows no tokio, no socket and no clock.
//! 9. A dead or stopped forwarder fails closed: endpoint and NAT addresses never fall through to another route.
//!
//! # The modules, in reading order

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::large_stack_arrays,
        reason = "tests build packets from small numbers"
    )
)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "privlink forwards packets through Linux TUN devices: build and run it on Linux, elsewhere in a Linux VM"
);

/// Bytes and typed views: IP, TCP, UDP, ICMP, checksums.
pub mod wire;

/// What both planes share: immutable tables, `judge()`, publication.
pub mod snapshot;

/// The packet path: device, fast path, sessions, slow path, verdict; the decisions about NAT.
pub mod dataplane;

/// What is configured, bound and decided; the rules that hold between its parts.
pub mod model;

/// Who may do what, and see what.
pub mod access;

/// From the model to the snapshot, the host's topology and what resolvers answer.
pub mod compile;

/// The single writer: commands, commit and publication, views.
pub mod control;

/// One resolver per VNet.
pub mod dns;

/// Whether servers answer.
pub mod health;

/// What is durable: the store's trait, SQLite behind it, the audit log.
pub mod store;

/// TOML to types that cannot be wrong; errors with place and remedy.
pub mod config;

/// This Linux host: namespaces, links, routes, rules, steering.
pub mod host;

/// Counters to metrics, flows, explain.
pub mod observe;

/// The JSON types that the API and the command line share.
pub mod types;

/// HTTP over the control socket and the metrics listener.
pub mod api;

/// Commands: asks the daemon, prints tables and JSON.
pub mod cli;

/// The daemon, assembled: it alone knows every part.
pub mod daemon;

/// A small model for tests.
#[cfg(test)]
mod testing;
