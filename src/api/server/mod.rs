//! What stands between a socket and a handler: listeners, TLS, limits, peers.

/// Rights that the head of a request asks for.
pub(super) mod before_body;

/// Who asks.
pub(super) mod identify;

/// Threads for requests.
pub(super) mod lanes;

/// How much a request may send, and how long it may take.
pub(super) mod limits;

/// The end of a connection whose client may still be sending.
pub(super) mod linger;

/// Sockets.
pub mod listen;

/// The peer of a Unix socket.
pub(super) mod peer;

/// Places for connections.
pub(super) mod places;

/// A request on its way to its handler.
pub(super) mod requests;

/// Who this daemon is over HTTPS.
pub mod tls;

/// Answers that nobody reads.
pub(super) mod write_timeout;
