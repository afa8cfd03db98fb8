//! Runs a resolver: sockets on port 53 of its VNet's network, UDP and TCP, on one thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{sleep, timeout};

use super::counters::Unanswered;
use super::message::Transport;
use super::registry::PendingQuery;
use super::resolver::{Handled, Resolver};
use super::{PORT, clock};

/// How long a TCP client may take for one message (RFC 7766 §6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// The most TCP clients at a time. One more closes the oldest.
const STREAMS: usize = 256;

/// The longest query. Real ones are much shorter.
const LONGEST: usize = 4_096;

/// Datagrams in one batch, before other tasks run.
const BATCH: usize = 64;

/// The most datagrams that wait for an upstream. More are not answered.
const WAITING: usize = 1_024;

/// The address may not exist yet when it is bound: attempts, and the time between them.
const TRIES: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(100);

/// Serves one VNet until `stop` is dropped or sent. Signals `listening` when it is ready. Call it inside the VNet's
/// network namespace: every socket made here belongs to it.
///
/// # Errors
/// An address cannot be bound.
pub fn serve(
    resolver: &Arc<Resolver>,
    mut asks: mpsc::Receiver<PendingQuery>,
    mut stop: oneshot::Receiver<()>,
    listening: impl FnOnce(),
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(plan) = resolver.plan() else { return Ok(()) };
        for &address in &plan.listen {
            let at = SocketAddr::new(address, PORT);
            let sockets = tokio::select! {
                sockets = bound(at) => sockets,
                _ = &mut stop => return Ok(()),
            };
            let (socket, listener) = sockets.with_context(|| format!("cannot listen on {at}"))?;
            tokio::spawn(datagrams(Arc::new(socket), Arc::clone(resolver)));
            tokio::spawn(streams(listener, Arc::clone(resolver)));
            tracing::info!(%at, "resolver listens");
        }
        listening();
        loop {
            tokio::select! {
                // A dropped sender also means the end. The tasks end with the runtime.
                _ = &mut stop => return Ok(()),
                Some(ask) = asks.recv() => {
                    let resolver = Arc::clone(resolver);
                    tokio::spawn(async move { ask.served(&resolver).await });
                }
            }
        }
    })
}

async fn bound(at: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut left = TRIES;
    loop {
        let both = match UdpSocket::bind(at).await {
            Ok(datagrams) => TcpListener::bind(at).await.map(|listener| (datagrams, listener)),
            Err(error) => Err(error),
        };
        match both {
            // An IPv6 address is tentative at first, and a previous resolver may not have released its address yet.
            Err(error)
                if left > 0 && matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) =>
            {
                left -= 1;
                sleep(BETWEEN).await;
            }
            other => return other,
        }
    }
}

/// Answers datagrams, one batch per wake-up. Queries for an upstream wait in tasks of their own.
async fn datagrams(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    let (mut buffer, mut out) = (vec![0; LONGEST], Vec::with_capacity(LONGEST));
    while socket.readable().await.is_ok() {
        let Some(plan) = resolver.plan() else { return };
        let now = clock();
        for _ in 0..BATCH {
            let (length, client) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error for an earlier answer.
                Err(_) => continue,
            };
            let message = &buffer[..length];
            match resolver.at_once(&plan, message, (client.ip(), Transport::Datagram), now, &mut out) {
                Handled::Answered => sent(&resolver, &socket.try_send_to(&out, client)),
                Handled::Silence => {}
                Handled::Later => match Arc::clone(&waiting).try_acquire_owned() {
                    Ok(place) => {
                        let (socket, resolver, message) =
                            (Arc::clone(&socket), Arc::clone(&resolver), message.to_vec());
                        tokio::spawn(async move {
                            let _place = place;
                            if let Some(out) = resolver.answer(&message, client.ip(), Transport::Datagram).await {
                                sent(&resolver, &socket.send_to(&out, client).await);
                            }
                        });
                    }
                    Err(_) => resolver.counters().dropped(Unanswered::Busy),
                },
            }
        }
        yield_now().await;
    }
}

fn sent(resolver: &Resolver, result: &io::Result<usize>) {
    if result.is_err() {
        resolver.counters().dropped(Unanswered::Unsent);
    }
}

/// Accepts TCP clients. When there are too many, the newest ones are served.
async fn streams(listener: TcpListener, resolver: Arc<Resolver>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // No file descriptor is free: try again soon.
            sleep(BETWEEN).await;
            continue;
        };
        open.retain(|one| !one.is_finished());
        if open.len() >= STREAMS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let resolver = Arc::clone(&resolver);
        let served = async move {
            if let Err(error) = serve_stream(stream, client, &resolver).await {
                tracing::trace!(%error, "a TCP client");
            }
        };
        open.push_back(tokio::spawn(served).abort_handle());
    }
}

/// Serves one message after the other (RFC 7766 §6.2), until the client closes, is silent for too long, or sends
/// garbage.
async fn serve_stream(mut stream: TcpStream, client: SocketAddr, resolver: &Resolver) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let message = timeout(IDLE, next_message(&mut stream)).await??;
        let Some(out) = resolver.answer(&message, client.ip(), Transport::Stream).await else { return Ok(()) };
        let length = u16::try_from(out.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), &*out].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

async fn next_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
