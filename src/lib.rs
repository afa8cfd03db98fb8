//! privlink: private endpoints for any Linux network. One private IP address reaches exactly one
//! approved service, and nothing else.
//!
//! The modules in reading order:

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

/// The packet path: device, fast path, sessions, slow path, verdict.
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
pub mod interface;

/// HTTP over the control socket and the metrics listener.
pub mod api;

/// Commands: asks the daemon, prints tables and JSON.
pub mod cli;

/// A small model for tests.
#[cfg(test)]
mod testing;
