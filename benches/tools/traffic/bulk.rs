//! Bytes over TCP in one direction, over one or many streams.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Ends, Pattern, WARM_UP, within};

/// What of a bulk load may be chosen.
#[derive(clap::Args, Debug)]
pub(super) struct Bulk {
    /// Streams at once.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// From the server to the client.
    #[arg(long)]
    down: bool,
}

/// How long the last bytes may take to arrive after the last has been sent.
const DRAIN: Duration = Duration::from_millis(1_500);

/// What the streams have done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stop: AtomicBool,
    sent: AtomicU64,
    pub(super) received: AtomicU64,
    damaged: AtomicU64,
    /// Streams whose receiver has seen the end of the stream.
    ended: AtomicUsize,
}

impl Progress {
    /// Whether a receiver has seen its stream end.
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) > 0
    }
}

impl Bulk {
    pub(super) fn run(&self, ends: &Ends) -> anyhow::Result<Value> {
        let progress = start(ends, self.streams, self.down)?;
        std::thread::sleep(WARM_UP);
        let (before, began) = (progress.received.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(ends.seconds);
        let (after, elapsed) = (progress.received.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
        progress.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + DRAIN;
        while progress.ended.load(Ordering::Relaxed) < self.streams && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        let ended = progress.ended.load(Ordering::Relaxed);
        let (sent, received) = (progress.sent.load(Ordering::Relaxed), progress.received.load(Ordering::Relaxed));
        let damaged = progress.damaged.load(Ordering::Relaxed);
        ensure!(damaged == 0, "{damaged} blocks arrived damaged");
        ensure!(ended < self.streams || sent == received, "{sent} bytes sent, {received} received");
        ensure!(after > before, "nothing arrived");
        Ok(json!({
            "bytes": after - before, "seconds": elapsed, "bits_per_second": as_rate(after - before) * 8.0 / elapsed,
            "total_bytes": received, "streams_compared_to_the_end": ended, "streams": self.streams,
        }))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
pub(super) fn as_rate(count: u64) -> f64 {
    count as f64
}

/// Opens all streams and lets them run.
pub(super) fn start(ends: &Ends, streams: usize, down: bool) -> anyhow::Result<Arc<Progress>> {
    let (progress, pattern) = (Arc::new(Progress::default()), Arc::new(Pattern::new()));
    let listener = within(&ends.server, || Ok(TcpListener::bind(ends.listen)?)).context("the server cannot listen")?;
    let work = |send: bool, stream: TcpStream, progress: Arc<Progress>, pattern: Arc<Pattern>| {
        std::thread::spawn(move || {
            if send { send_all(&stream, &progress, &pattern) } else { take_all(&stream, &progress, &pattern) }
        });
    };
    let (inner, shape) = (Arc::clone(&progress), Arc::clone(&pattern));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(streams).flatten() {
            work(down, stream, Arc::clone(&inner), Arc::clone(&shape));
        }
    });
    let connect = || {
        (0..streams)
            .map(|_| TcpStream::connect_timeout(&ends.to, Duration::from_secs(3)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(anyhow::Error::from)
    };
    let clients = within(&ends.client, connect).context("the client cannot connect")?;
    for stream in clients {
        work(!down, stream, Arc::clone(&progress), Arc::clone(&pattern));
    }
    Ok(progress)
}

fn send_all(mut stream: &TcpStream, progress: &Progress, pattern: &Pattern) {
    let mut position = 0;
    while !progress.stop.load(Ordering::Relaxed) {
        let Ok(written) = stream.write(pattern.at(position, Pattern::BLOCK)) else { break };
        position += written as u64;
    }
    progress.sent.fetch_add(position, Ordering::Relaxed);
    let _already_gone = stream.shutdown(Shutdown::Write);
    // Wait for the peer's end: closing with bytes unread would reset the connection.
    let _nothing_comes = stream.read(&mut [0]);
}

fn take_all(mut stream: &TcpStream, progress: &Progress, pattern: &Pattern) {
    let (mut buffer, mut position) = (vec![0; Pattern::BLOCK], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if buffer[..length] != *pattern.at(position, length) {
            progress.damaged.fetch_add(1, Ordering::Relaxed);
        }
        position += length as u64;
        progress.received.fetch_add(length as u64, Ordering::Relaxed);
    }
    progress.ended.fetch_add(1, Ordering::Relaxed);
}
