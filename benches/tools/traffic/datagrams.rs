//! UDP one way: as fast as one thread sends, or at a steady rate. What arrives is counted, compared and checked
//! for its order within its flow.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};
use serde_json::{Value, json};

use super::{Ends, Pattern, WARM_UP, within};

/// What of this load may be chosen.
#[derive(clap::Args, Debug)]
pub(super) struct Datagrams {
    /// Bytes of the IPv4 packet, at least 48.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Packets per second; 0: as many as one thread can send.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Flows, each with a port of its own.
    #[arg(long, default_value_t = 16)]
    flows: u32,
}

/// IPv4 and UDP header.
const HEADERS: usize = 28;
/// Flow and number of a datagram.
const LABEL: usize = 12;
/// Datagrams per call.
const BURST: usize = 8;
/// How long the last ones may be on their way.
const DRAIN: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) stop: AtomicBool,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    reordered: AtomicU64,
    damaged: AtomicU64,
    /// When the last one came, nanoseconds after the start.
    pub(super) last: AtomicU64,
}

impl Datagrams {
    pub(super) fn run(&self, ends: &Ends) -> anyhow::Result<Value> {
        let (progress, pattern, start) = (Progress::default(), Pattern::new(), Instant::now());
        let server = listen(ends)?;
        let clients = within(&ends.client, || connect(ends, self.flows))?;
        let (received, elapsed) = std::thread::scope(|scope| {
            scope.spawn(|| take_all(&server, self.size, self.flows, &progress, &pattern, start));
            scope.spawn(|| send_all(&clients, self.size, self.rate, &progress, &pattern));
            std::thread::sleep(WARM_UP);
            let (before, began) = (progress.received.load(Ordering::Relaxed), Instant::now());
            std::thread::sleep(ends.seconds);
            let figures = (progress.received.load(Ordering::Relaxed) - before, began.elapsed().as_secs_f64());
            progress.stop.store(true, Ordering::Relaxed);
            figures
        });
        let damaged = progress.damaged.load(Ordering::Relaxed);
        ensure!(damaged == 0, "{damaged} datagrams arrived damaged");
        ensure!(received > 0, "nothing arrived");
        let (sent, total) = (progress.sent.load(Ordering::Relaxed), progress.received.load(Ordering::Relaxed));
        Ok(json!({
            "packets": received, "packets_per_second": super::bulk::as_rate(received) / elapsed,
            "bytes": received * self.size as u64, "sent": sent, "received": total,
            "lost": sent.saturating_sub(total), "reordered": progress.reordered.load(Ordering::Relaxed),
        }))
    }
}

/// The server's socket, with room for a burst that it is too slow for.
pub(super) fn listen(ends: &Ends) -> anyhow::Result<UdpSocket> {
    within(&ends.server, || {
        let server = UdpSocket::bind(ends.listen).context("the server cannot listen")?;
        sockopt::set_socket_recv_buffer_size_force(&server, 8 << 20)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&server, 8 << 20))?;
        server.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(server)
    })
}

/// One socket per flow.
pub(super) fn connect(ends: &Ends, flows: u32) -> anyhow::Result<Vec<UdpSocket>> {
    let any = if ends.to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let open = |_| UdpSocket::bind(any).and_then(|socket| socket.connect(ends.to).map(|()| socket));
    Ok((0..flows).map(open).collect::<Result<_, _>>()?)
}

pub(super) fn send_all(clients: &[UdpSocket], size: usize, rate: u64, progress: &Progress, pattern: &Pattern) {
    let length = size.saturating_sub(HEADERS).max(LABEL);
    let mut buffers = vec![pattern.at(0, length).to_vec(); BURST];
    let (began, mut number, mut total) = (Instant::now(), 0_u64, 0_u64);
    while !progress.stop.load(Ordering::Relaxed) {
        for (flow, client) in (0_u32..).zip(clients) {
            if rate > 0 {
                let due = |elapsed: Duration| elapsed.as_micros() * u128::from(rate) / 1_000_000;
                while due(began.elapsed()) < u128::from(total) {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            for (place, buffer) in (0_u64..).zip(&mut buffers) {
                buffer[..4].copy_from_slice(&flow.to_be_bytes());
                buffer[4..LABEL].copy_from_slice(&(number + place).to_be_bytes());
            }
            // Refused ones are answers to earlier ones (ICMP): this one was not sent.
            total += send_burst(client, &buffers).unwrap_or(0) as u64;
        }
        number += BURST as u64;
        progress.sent.store(total, Ordering::Relaxed);
    }
    progress.sent.store(total, Ordering::Relaxed);
}

fn send_burst(client: &UdpSocket, buffers: &[Vec<u8>]) -> rustix::io::Result<usize> {
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BURST] = Default::default();
    let slices: Vec<[IoSlice<'_>; 1]> = buffers.iter().map(|buffer| [IoSlice::new(buffer)]).collect();
    let mut messages: Vec<MMsgHdr<'_>> =
        slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
    sendmmsg(client, &mut messages, SendFlags::empty())
}

pub(super) fn take_all(
    server: &UdpSocket,
    size: usize,
    flows: u32,
    progress: &Progress,
    pattern: &Pattern,
    start: Instant,
) {
    let length = size.saturating_sub(HEADERS).max(LABEL);
    let expected = &pattern.at(0, length)[LABEL..];
    let (mut buffer, mut highest) = (vec![0; 2_048], vec![None; flows as usize]);
    let mut stopped = None;
    while stopped.is_none_or(|at: Instant| at.elapsed() < DRAIN) {
        if stopped.is_none() && progress.stop.load(Ordering::Relaxed) {
            stopped = Some(Instant::now());
        }
        let Ok(received) = server.recv(&mut buffer) else { continue };
        let flow = u32::from_be_bytes(buffer[..4].try_into().unwrap_or_default());
        let number = u64::from_be_bytes(buffer[4..LABEL].try_into().unwrap_or_default());
        match highest.get_mut(flow as usize) {
            Some(highest) if received == length && buffer[LABEL..length] == *expected => {
                if highest.is_some_and(|highest| number < highest) {
                    progress.reordered.fetch_add(1, Ordering::Relaxed);
                }
                *highest = (*highest).max(Some(number));
            }
            _ => drop(progress.damaged.fetch_add(1, Ordering::Relaxed)),
        }
        progress.received.fetch_add(1, Ordering::Relaxed);
        progress.last.store(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
