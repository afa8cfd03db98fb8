//! One resolver per VNet, in that VNet's network: private names from the plan in force, everything else from the
//! upstream servers. The name that an application has always asked for leads to
//! the private address; a change of state never leads anybody to a public one by itself.
//!
//! ```text
//!  datagram ─▶ question ─▶ may it be asked? ─▶ kept answer ─────────────────────▶ message ─▶ datagram
//!                                                  │ none                            ▲
//!                                                  ▼                                 │
//!                                     the plan (`answer`) ─ leads elsewhere ─▶ `upstream`, as a task of its own
//! ```

use std::time::Instant;

/// What the plan says of a name.
pub mod answer;

/// Sockets.
pub mod server;

/// One VNet's resolver.
pub mod resolver;

/// Resolvers at work.
pub mod registry;

/// Whether somebody else uses a name.
pub mod public;

/// Queries as they arrive.
mod question;

/// Answers as they leave.
pub mod message;

/// What is kept.
mod cache;

/// Asking the upstream servers.
mod upstream;

/// What became of queries.
pub mod counters;

/// Where DNS is asked.
const PORT: u16 = 53;

#[allow(clippy::disallowed_methods, reason = "the sockets' side: what is below takes the time as an argument")]
fn clock() -> Instant {
    Instant::now()
}
