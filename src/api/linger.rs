//! The end of a connection whose client may still be sending. A request is refused before its body has come whole where
//! that is too long, or its caller may not send it: a socket that is closed with unread bytes is reset, and the client
//! may lose the answer that it was sent. So this side says that it is done, and throws away what still comes, within
//! bounds (RFC 9112 §9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// How long a client may take to notice.
const LINGER_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 3 });

/// Bytes that are thrown away at most.
const MOST: usize = 64 << 20;

/// Bytes that are read at once.
const PIECE: usize = 32 * 1024;

/// Closes `stream` after its last answer.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drained = async {
        stream.shutdown().await?;
        let (mut piece, mut thrown) = (vec![0; PIECE], 0);
        while thrown < MOST {
            match stream.read(&mut piece).await? {
                0 => break,
                read => thrown += read,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    if !matches!(tokio::time::timeout(LINGER_TIMEOUT, drained).await, Ok(Ok(()))) {
        tracing::debug!("a client was still sending when its connection was closed");
    }
}
