//! Closes a connection whose client may still be sending. A request may be refused before its whole body has arrived.
//! Closing a socket with unread bytes resets it, and the client may lose the answer. So this side shuts down its
//! sending direction, and discards what still arrives, within limits (RFC 9112 §9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

/// How many bytes are discarded at most, and for how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Patience {
    bytes: usize,
    time: Duration,
}

impl Patience {
    /// For a known caller.
    pub(in crate::api) const WITH_CALLER: Self =
        Self { bytes: 64 << 20, time: Duration::from_secs(if cfg!(test) { 1 } else { 3 }) };

    /// For an unknown caller.
    pub(in crate::api) const WITH_STRANGER: Self = Self { bytes: 1 << 20, ..Self::WITH_CALLER };

    /// For a connection without a place: its request has hardly begun.
    const WITHOUT_PLACE: Self = Self { bytes: 128 << 10, time: Duration::from_secs(1) };
}

/// Bytes that are read at once.
const PIECE: usize = 32 * 1024;

/// Closes `stream` after its last answer.
pub(in crate::api) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin, patience: Patience) {
    let drained = async {
        stream.shutdown().await?;
        let (mut piece, mut thrown) = (vec![0; PIECE], 0);
        while thrown < patience.bytes {
            match stream.read(&mut piece).await? {
                0 => break,
                read => thrown += read,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    if !matches!(tokio::time::timeout(patience.time, drained).await, Ok(Ok(()))) {
        tracing::debug!("a client was still sending when its connection was closed");
    }
}

/// Closes `stream`, which has no place, and releases its permit.
pub(in crate::api) async fn see_off(stream: impl AsyncRead + AsyncWrite + Unpin, turn: OwnedSemaphorePermit) {
    close(stream, Patience::WITHOUT_PLACE).await;
    drop(turn);
}
