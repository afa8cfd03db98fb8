//! One resolver per VNet, in that VNet's network: private names from the plan in force, everything else from the
//! upstream servers (DESIGN §5; seed, *DNS configuration*). The name that an application has always asked for leads to
//! the private address; a change of state never leads anybody to a public one by itself.

/// What the plan says of a name.
pub mod answer;

/// Asking the upstream servers.
mod forward;

/// Sockets and messages.
pub mod server;
