//! The traffic of `scripts/bench.sh`: client and server of one load in one process, each in its own network
//! namespace, so that one clock times both ends and what arrives is compared with what was sent. Prints one line
//! of JSON.

#![allow(clippy::disallowed_methods, reason = "a load generator measures real time")]

mod bulk;
mod connections;
mod datagrams;
mod fill;
mod requests;
mod revoke;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Sends a load through a forwarder and says what arrived.
#[derive(Parser, Debug)]
struct Arguments {
    /// Namespace of the clients, a name below /run/netns.
    #[arg(long)]
    client_netns: String,
    /// Namespace of the servers.
    #[arg(long)]
    server_netns: String,
    /// Address and port that clients ask for.
    #[arg(long)]
    to: SocketAddr,
    /// Address and port that servers listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// How long to measure, seconds, after a short start.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand, Debug)]
enum Load {
    /// Bytes over TCP, every one compared.
    Bulk(bulk::Bulk),
    /// One request of 64 bytes after another on one TCP connection.
    Requests,
    /// TCP connections that carry one byte each way.
    Connections(connections::Connections),
    /// UDP datagrams one way, counted, compared and put in order.
    Datagrams(datagrams::Datagrams),
    /// One small packet for each of many sessions; nobody answers.
    Fill(fill::Fill),
    /// What passes while and after a command takes the right to pass away.
    Revoke(revoke::Revoke),
}

/// Both ends of a load.
#[derive(Clone, Debug)]
struct Ends {
    client: String,
    server: String,
    to: SocketAddr,
    listen: SocketAddr,
    seconds: Duration,
}

/// Before a measurement begins: connections are open, windows have grown, workers are awake.
const WARM_UP: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let Arguments { client_netns, server_netns, to, listen, seconds, load } = Arguments::parse();
    let seconds = Duration::from_secs_f64(seconds);
    let ends = Ends { client: client_netns, server: server_netns, to, listen, seconds };
    let report = match load {
        Load::Bulk(bulk) => bulk.run(&ends),
        Load::Requests => requests::run(&ends),
        Load::Connections(connections) => connections.run(&ends),
        Load::Datagrams(datagrams) => datagrams.run(&ends),
        Load::Fill(fill) => fill.run(&ends),
        Load::Revoke(revoke) => revoke.run(&ends),
    }?;
    writeln!(io::stdout(), "{report}")?;
    // Threads that still wait for a peer need not end first.
    std::process::exit(0);
}

/// Moves the calling thread, and with it those it starts, into a namespace.
fn enter(netns: &str) -> anyhow::Result<()> {
    let namespace = File::open(Path::new("/run/netns").join(netns)).with_context(|| format!("no namespace {netns}"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Runs `work` on a thread of namespace `netns` and waits for it.
fn within<T: Send>(netns: &str, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| scope.spawn(|| enter(netns).and_then(|()| work())).join())
        .map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// Bytes whose value follows from their position, in a period that no buffer size divides: what is lost,
/// doubled or moved shows.
#[derive(Debug)]
struct Pattern(Vec<u8>);

impl Pattern {
    /// Longest slice asked for.
    const BLOCK: usize = 256 << 10;
    const PERIOD: usize = 262_139;

    fn new() -> Self {
        let mut state = 0x9E37_79B9_u32;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        };
        let mut bytes: Vec<u8> = (0..Self::PERIOD).map(|_| step()).collect();
        bytes.extend_from_within(..);
        bytes.extend_from_within(..Self::BLOCK);
        Self(bytes)
    }

    /// `length` bytes from `position` on.
    fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = usize::try_from(position % Self::PERIOD as u64).unwrap_or(0);
        &self.0[start..start + length]
    }
}
