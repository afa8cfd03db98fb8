//! The whole daemon against what nobody asks for: SIGKILL at any moment and at every sync, a full disk, callers
//! that race each other and the packets. Packets are the judge: what they meet must be what was acknowledged.
//!
//! `PRIVLINK_LONG=1` runs every round and every kill point there is.

/// Requests whose answers are noted outside the daemon.
mod api;
/// A full disk.
mod disk;
/// SIGKILL.
mod kills;
/// What was acknowledged, and whether the daemon agrees.
mod ledger;
/// Callers at once, and packets meanwhile.
mod races;
/// SIGKILL at every system call that makes something durable.
mod syncs;

/// Whether the long form was asked for.
fn long() -> bool {
    std::env::var_os("PRIVLINK_LONG").is_some_and(|value| value != "0")
}
