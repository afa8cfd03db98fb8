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

/// TOML to types that cannot be wrong; errors with place and remedy.
pub mod config;
