//! The end of a connection whose client may still be sending. A request is refused before its body has come whole where
//! that is too long, or its caller may not send it: a socket that is closed with unread bytes is reset, and the client
//! may lose the answer that it was sent. So this side says that it is done, and throws away what still comes, within
//! bounds (RFC 9112 §9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;

/// How much is thrown away at most, and for how long: a client may take so long to notice.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Patience {
    bytes: usize,
    time: Duration,
}

impl Patience {
    /// With a caller.
    pub(in crate::api) const WITH_CALLER: Self =
        Self { bytes: 64 << 20, time: Duration::from_secs(if cfg!(test) { 1 } else { 3 }) };

    /// With whoever has not told who it is.
    pub(in crate::api) const WITH_STRANGER: Self = Self { bytes: 1 << 20, ..Self::WITH_CALLER };

    /// With whoever found no place: its request has hardly begun.
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

/// Closes `stream`, which found no place, and gives its turn back.
pub(in crate::api) async fn see_off(stream: impl AsyncRead + AsyncWrite + Unpin, turn: OwnedSemaphorePermit) {
    close(stream, Patience::WITHOUT_PLACE).await;
    drop(turn);
}
