//! privlink: private endpoints for any Linux network. One private IP address reaches exactly one
//! approved service, and nothing else.
//!
//! The modules in reading order:

/// What both planes share: immutable tables, `judge()`, publication.
pub mod snapshot;

/// The packet path: device, fast path, sessions, slow path, verdict.
pub mod dataplane;

/// The single writer: model, approval, compilation to a snapshot.
pub mod control;

/// The JSON types that the API and the command line share.
pub mod interface;

/// Counters to metrics, flows, explain.
pub mod observe;

/// HTTP over the control socket and the metrics listener.
pub mod api;

/// TOML to types that cannot be wrong; errors with place and remedy.
pub mod config;

/// The command line.
pub mod cli;
