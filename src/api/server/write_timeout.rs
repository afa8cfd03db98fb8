//! A connection whose peer must read: otherwise a peer could keep an unread answer in memory, and its place, for as
//! long as it likes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a peer may take for [`PROGRESS`] bytes, or for the rest.
const WRITE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// The least bytes that a peer must read in [`WRITE_TIMEOUT`].
const PROGRESS: usize = 64 * 1024;

/// A stream on which writing fails once its peer does not keep up with [`PROGRESS`].
#[derive(Debug)]
pub(in crate::api) struct WriteTimeout<S> {
    stream: S,
    /// Set while bytes wait to be read.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes read since it was set.
    taken: usize,
}

impl<S: AsyncWrite + Unpin> WriteTimeout<S> {
    pub(in crate::api) fn new(stream: S) -> Self {
        Self { stream, deadline: None, taken: 0 }
    }

    /// The result of `polled`, a write.
    fn write(&mut self, polled: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Poll::Ready(done) = polled else { return self.wait(context) };
        self.taken += *done.as_ref().unwrap_or(&0);
        if self.taken >= PROGRESS {
            self.caught_up();
        }
        Poll::Ready(done)
    }

    /// The result of `polled`, which is ready when everything has been written.
    fn settle(&mut self, polled: Poll<io::Result<()>>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(done) = polled else { return self.wait(context) };
        self.caught_up();
        Poll::Ready(done)
    }

    fn caught_up(&mut self) {
        (self.deadline, self.taken) = (None, 0);
    }

    /// The peer reads nothing right now: an error if that has lasted too long.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.deadline.is_none() {
            self.taken = 0;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.write(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.write(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.settle(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.settle(polled, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_and_who_reads_slowly_is_not() {
        for (slice, pause, outcome) in [
            // Nothing, and less than it has to.
            (0, Duration::ZERO, Err(io::ErrorKind::TimedOut)),
            (PROGRESS / 16, WRITE_TIMEOUT / 4, Err(io::ErrorKind::TimedOut)),
            // Just enough.
            (PROGRESS / 8, WRITE_TIMEOUT / 10, Ok(())),
            (PROGRESS, WRITE_TIMEOUT / 2, Ok(())),
        ] {
            let (ours, mut theirs) = duplex(4096);
            let reading = tokio::spawn(async move {
                let mut buffer = vec![0; slice];
                while slice > 0 && theirs.read_exact(&mut buffer).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                // Held open all the while.
                if slice == 0 {
                    std::future::pending::<()>().await;
                }
            });
            let began = Instant::now();
            let mut stream = WriteTimeout::new(ours);
            let sent = stream.write_all(&vec![7; 16 * PROGRESS]).await;
            assert_eq!(sent.map_err(|error| error.kind()), outcome, "{slice} bytes every {pause:?}");
            assert!(outcome.is_ok() || began.elapsed() <= WRITE_TIMEOUT + pause, "{:?}", began.elapsed());
            reading.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_may_take_as_long_as_the_next_answer_is_far() {
        let (ours, mut theirs) = duplex(4096);
        let mut stream = WriteTimeout::new(ours);
        for _ in 0..4 {
            let (sent, read) = tokio::join!(
                async {
                    stream.write_all(&[7; 6000]).await?;
                    stream.flush().await
                },
                async { theirs.read_exact(&mut [0; 6000]).await },
            );
            assert!(sent.is_ok() && read.is_ok());
            tokio::time::sleep(2 * WRITE_TIMEOUT).await;
        }
    }
}
