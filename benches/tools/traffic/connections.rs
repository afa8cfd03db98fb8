//! New connections: each carries one byte there and one back, and the server closes first, so that the client's
//! port is free at once.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt};
use serde_json::{Value, json};

use super::{Ends, WARM_UP, enter, within};

/// What of this load may be chosen.
#[derive(clap::Args, Debug)]
pub(super) struct Connections {
    /// Clients at once.
    #[arg(long, default_value_t = 8)]
    clients: u16,
    /// Each client takes turns with eight ports; otherwise no port is used twice in the first 54,000 connections.
    #[arg(long)]
    reuse: bool,
}

const SERVERS: usize = 4;
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 54_000;

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Connections {
    pub(super) fn run(&self, ends: &Ends) -> anyhow::Result<Value> {
        let listener =
            within(&ends.server, || Ok(TcpListener::bind(ends.listen)?)).context("the server cannot listen")?;
        for _ in 0..SERVERS {
            let listener = listener.try_clone()?;
            std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serve(&stream)));
        }
        let progress = Progress::default();
        let share = PORTS / self.clients.max(1);
        let (done, elapsed) = std::thread::scope(|scope| {
            for client in 0..self.clients {
                let first = FIRST_PORT + client * share;
                let ports = if self.reuse { 8 } else { share };
                let progress = &progress;
                scope.spawn(move || enter(&ends.client).map(|()| open_all(ends.to, first, ports, progress)));
            }
            std::thread::sleep(WARM_UP);
            let (before, began) = (progress.done.load(Ordering::Relaxed), Instant::now());
            std::thread::sleep(ends.seconds);
            let figures = (progress.done.load(Ordering::Relaxed) - before, began.elapsed().as_secs_f64());
            progress.stop.store(true, Ordering::Relaxed);
            figures
        });
        ensure!(done > 0, "no connection came about");
        Ok(json!({
            "connections": done, "connections_per_second": super::bulk::as_rate(done) / elapsed,
            "failed": progress.failed.load(Ordering::Relaxed),
        }))
    }
}

fn serve(mut stream: &TcpStream) {
    let mut byte = [0];
    if stream.read_exact(&mut byte).is_ok() {
        let _client_has_gone = stream.write_all(&byte);
    }
}

fn open_all(to: SocketAddr, first: u16, ports: u16, progress: &Progress) {
    let mut number = 0_u16;
    while !progress.stop.load(Ordering::Relaxed) {
        let port = first + number % ports;
        number = (number + 1) % ports;
        let counter = if open(to, port).is_ok() { &progress.done } else { &progress.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn open(to: SocketAddr, port: u16) -> anyhow::Result<()> {
    let (family, any): (_, IpAddr) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let client = socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&client, true)?;
    for direction in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&client, direction, Some(Duration::from_secs(1)))?;
    }
    bind(&client, &SocketAddr::new(any, port))?;
    connect(&client, &to)?;
    let mut stream = TcpStream::from(client);
    stream.write_all(&[port.to_be_bytes()[1]])?;
    let mut answer = Vec::with_capacity(2);
    stream.read_to_end(&mut answer)?;
    ensure!(answer == [port.to_be_bytes()[1]], "another's answer");
    Ok(())
}
