//! What a packet is, what it is rewritten to, and under which NAT address and port.

/// Frame → key, or why not.
pub mod classify;

/// Applies a translation with its checksum deltas.
pub mod rewrite;

/// A packet's headers in the other family.
pub mod families;

/// What of a packet fits where it is going.
pub mod fit;

/// TCP segments that are too large, and what cuts them.
pub mod super_packet;

/// The ports of a range that were never used.
mod port_bits;

/// Reserve a NAT address and port for one service tuple.
pub mod ports;
