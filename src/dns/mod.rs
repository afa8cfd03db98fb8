//! One resolver per VNet, in that VNet's network. It answers private names from the plan in force, and forwards all
//! others to upstream servers. A service keeps its public name, which resolves to the private address here. A change of
//! a connection's state alone never makes that name resolve to a public address.
//!
//! ```text
//!  datagram ─▶ question ─▶ may it be asked? ─▶ kept answer ─────────────────────▶ message ─▶ datagram
//!                                                  │ none                            ▲
//!                                                  ▼                                 │
//!                                     the plan (`answer`) ─ leads elsewhere ─▶ `upstream`, as a task of its own
//! ```

use std::time::Instant;

/// Answers from the plan.
pub mod answer;

/// Sockets.
pub mod server;

/// One VNet's resolver.
pub mod resolver;

/// The running resolvers.
pub mod registry;

/// Whether a name is in public use.
pub mod public;

/// Parses queries.
mod question;

/// Encodes answers.
pub mod message;

/// The cache.
mod cache;

/// Queries to upstream servers.
mod upstream;

/// Counts of queries.
pub mod counters;

/// The DNS port.
const PORT: u16 = 53;

#[allow(clippy::disallowed_methods, reason = "the sockets' side: what is below takes the time as an argument")]
fn clock() -> Instant {
    Instant::now()
}
