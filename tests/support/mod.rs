//! What the tests share: what is asked for, namespaces, the daemon in them, its peers, packets, names.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "each test uses a part; what a test cannot do ends it loudly, and it builds packets from small numbers"
)]

/// The daemon under test.
pub(crate) mod daemon;
/// Names, and who asks for them.
pub(crate) mod dns;
/// Frames as a device gives them.
pub(crate) mod frames;
/// Namespaces of a test's own.
pub(crate) mod namespaces;
/// Networks from a text.
pub(crate) mod networks;
/// Packets made by hand.
pub(crate) mod packets;
/// Sockets, servers and captures.
pub(crate) mod peers;
/// The API and the control plane in this process.
pub(crate) mod served;
/// Waiting.
pub(crate) mod waiting;
/// What `PRIVLINK_TESTS` asks for.
pub(crate) mod wanted;
