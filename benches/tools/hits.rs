//! Hits of one kind over a device in memory, for `scripts/instructions.sh`, which counts their instructions.
//!
//! ```text
//! hits KIND COUNT      KIND is `list`, or tcp|udp - 4|6|64 - up|down, such as tcp-64-down
//! ```
//!
//! Two counts are told apart by their difference, so that starting up and opening the session cancel out.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    reason = "frames are built from small numbers; what cannot be built ends the run loudly"
)]

#[path = "../common/mod.rs"]
mod common;

use std::io::{self, Write};
use std::net::IpAddr;

use anyhow::{Context, ensure};
use common::device::Cycle;
use common::{FOUR, NOW, SIX, SIX_TO_FOUR, forwarder, open, snapshot, worker};
use privlink::snapshot::Protocol;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().context("which kind? `list` names them")?;
    if kind == "list" {
        let kinds = ["tcp", "udp"].iter().flat_map(|protocol| {
            ["4", "6", "64"].iter().flat_map(move |pair| ["up", "down"].map(|way| format!("{protocol}-{pair}-{way}")))
        });
        return Ok(writeln!(io::stdout(), "{}", kinds.collect::<Vec<_>>().join("\n"))?);
    }
    let count: u64 = arguments.next().context("how many?")?.parse()?;
    let parts: Vec<&str> = kind.split('-').collect();
    let [protocol, pair, way] = parts[..] else { anyhow::bail!("no kind `{kind}`: `list` names them") };
    let protocol = if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp };
    let (client, endpoint): (IpAddr, IpAddr) = match pair {
        "4" => ([10, 2, 0, 1].into(), FOUR),
        "6" => ([0xfd01, 0, 0, 1, 0, 0, 0, 1].into(), SIX),
        _ => ([0xfd01, 0, 0, 1, 0, 0, 0, 1].into(), SIX_TO_FOUR),
    };

    let snapshot = snapshot();
    let mut forwarder = forwarder(&snapshot, 1_000);
    let frames = open(&mut forwarder, &snapshot, protocol, (client, 2_000), (endpoint, 443));
    let source = |frame: &[u8]| match Cycle::new(std::iter::once(frame)) {
        source if protocol == Protocol::Tcp => source.advancing(),
        source => source,
    };
    let mut worker = worker(forwarder, snapshot, [source(&frames.0), source(&frames.1)]);

    let from = usize::from(way == "down");
    worker.ends().0[from].left = count;
    while worker.ends().0[from].left > 0 {
        worker.batch([from], NOW)?;
    }
    let sent = worker.ends().1[1 - from].0;
    ensure!(sent == count, "{sent} of {count} frames were forwarded");
    Ok(())
}
