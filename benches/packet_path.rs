//! Stages of the packet path, and the whole of it over lent frames. Names: `metric/stage/packet`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a bench builds frames from small numbers; criterion's macros write undocumented items"
)]

use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use privlink::dataplane::Forwarder;
use privlink::dataplane::io::{Batch, batch::FRAMES};
use privlink::dataplane::nat::{
    classify::classify,
    rewrite::{Translation, rewrite},
};
use privlink::dataplane::session::{Direction, Hit};
use privlink::dataplane::tx::Transmit;
use privlink::snapshot::{Protocol, Snapshot};
use privlink::wire::fragment::Identifications;

mod common;
use common::{
    CONSUMER, Carries, FOUR, HEADER, PROVIDER, SIX, SIX_TO_FOUR, client, context, forwarder, frame, open,
    open_sessions, snapshot, udp_frame,
};

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;

const ENDPOINT: ([u8; 4], u16) = ([10, 1, 9, 4], 443);

/// A session of each kind, and the frames of a hit in both directions.
fn kinds(forwarder: &mut Forwarder, snapshot: &Snapshot) -> Vec<(&'static str, [Vec<u8>; 2])> {
    let six = IpAddr::from([0xfd01, 0, 0, 1, 0, 0, 0, 1]);
    let four = IpAddr::from([10, 2, 0, 1]);
    let all = [("4", four, FOUR), ("6", six, SIX), ("64", six, SIX_TO_FOUR)];
    let names = [("udp4", "udp6", "udp64", Protocol::Udp), ("tcp4", "tcp6", "tcp64", Protocol::Tcp)];
    names
        .into_iter()
        .flat_map(|(four, six, both, protocol)| {
            [four, six, both]
                .into_iter()
                .zip(all)
                .map(move |(name, (_, client, endpoint))| (name, protocol, client, endpoint))
        })
        .map(|(name, protocol, client, endpoint)| {
            let (out, back) = open(forwarder, snapshot, protocol, (client, 2_000), (endpoint, 443));
            (name, [out, back])
        })
        .collect()
}

fn stages(c: &mut Criterion) {
    let snapshot = snapshot();
    let mut forwarder = forwarder(&snapshot, 1_000);
    let kinds = kinds(&mut forwarder, &snapshot);
    for (kind, [frame, _]) in kinds.iter().filter(|(kind, _)| !kind.ends_with("64")) {
        c.bench_function(&format!("time/classify/{kind}"), |b| b.iter(|| classify(black_box(frame), CONSUMER)));
        c.bench_function(&format!("time/classify_etherparse/{kind}"), |b| {
            b.iter(|| {
                etherparse::SlicedPacket::from_ip(black_box(&frame[HEADER..])).map(|sliced| sliced.transport.is_some())
            });
        });
    }
    for (kind, [original, _]) in kinds.iter().filter(|(kind, _)| !kind.ends_with("64")) {
        for (name, flags) in [("full", 0), ("partial", NEEDS_CSUM)] {
            let mut frame = original.clone();
            frame[0] = flags;
            if flags != 0 {
                let start: u16 = if kind.ends_with('4') { 20 } else { 40 };
                let offset: u16 = if kind.starts_with("udp") { 6 } else { 16 };
                frame[6..8].copy_from_slice(&start.to_ne_bytes());
                frame[8..10].copy_from_slice(&offset.to_ne_bytes());
            }
            let packet = classify(&frame, CONSUMER).expect("a packet");
            let Hit { session: slot, direction } = forwarder.sessions().find_any(&packet.key).expect("a session");
            let session = forwarder.sessions().get(slot).expect("a session").clone();
            let a = forwarder.sessions().addresses(slot);
            let leaves = match direction {
                Direction::ToService => [a.nat, a.backend],
                Direction::ToConsumer => [a.endpoint, a.consumer],
            };
            let translation = Translation::of(&session, leaves, direction);
            let mut identifications = Identifications::new(0, 1, 1);
            let mut lent = frame.clone();
            c.bench_function(&format!("time/rewrite/{kind}_{name}_checksum"), |b| {
                b.iter(|| {
                    lent.copy_from_slice(&frame);
                    rewrite(black_box(&mut lent), &packet, &translation, &mut identifications);
                });
            });
        }
    }
    let context = context(&snapshot);
    for (kind, [out, back]) in &kinds {
        for (way, frame, from) in [("up", out, CONSUMER), ("down", back, PROVIDER)] {
            let mut batch = Batch::new();
            c.bench_function(&format!("time/forward_one/{kind}_{way}"), |b| {
                b.iter(|| {
                    batch.clear();
                    batch.push(black_box(frame));
                    forwarder.handle_frames(&mut batch, from, &context, written);
                });
            });
        }
    }
}

/// Random sessions, their frames one after another in the order of use as a device gives them: the bench is about
/// the forwarder, not about fetching a million source frames.
fn whole(c: &mut Criterion) {
    let snapshot = snapshot();
    let context = context(&snapshot);
    let mut group = c.benchmark_group("time/forward");
    for (name, count) in [("1k", 1_000), ("64k", 64_000), ("1m", 1_000_000)] {
        let mut forwarder = forwarder(&snapshot, 1 << 20);
        let (outward, inward) = open_sessions(&mut forwarder, &snapshot, count);
        let length = outward[0].len();
        for (way, at, frames) in [("to_service", CONSUMER, &outward), ("to_consumer", PROVIDER, &inward)] {
            let mut random = fastrand::Rng::with_seed(1);
            let pick = |_| frames[random.usize(..frames.len())].as_slice();
            let prepared: Vec<u8> = (0..1 << 18).flat_map(pick).copied().collect();
            let mut next = prepared.chunks_exact(length * FRAMES).cycle();
            let mut batch = Batch::new();
            group.throughput(Throughput::Elements(FRAMES as u64));
            group.bench_function(format!("udp4_hit_{way}_{name}"), |b| {
                b.iter(|| {
                    batch.clear();
                    for frame in next.next().unwrap_or_default().chunks_exact(length) {
                        batch.push(frame);
                    }
                    let before = forwarder.counts().forwarded;
                    forwarder.handle_frames(&mut batch, at, &context, written);
                    assert_eq!(forwarder.counts().forwarded - before, FRAMES as u64);
                });
            });
        }
    }
    group.finish();
}

fn admission(c: &mut Criterion) {
    let snapshot = snapshot();
    let context = context(&snapshot);
    c.bench_function("time/admit/udp4", |b| b.iter_custom(|count| admit(count, &snapshot)));
    let mut forwarder = forwarder(&snapshot, 1_000);
    let denied = frame(Carries::Syn, ([10, 2, 0, 1].into(), 2_000), ([10, 1, 9, 5].into(), 443));
    c.bench_function("time/deny/tcp4_unknown_endpoint", |b| {
        let mut batch = Batch::new();
        b.iter(|| {
            batch.clear();
            batch.push(black_box(&denied));
            forwarder.handle_frames(&mut batch, CONSUMER, &context, written);
        });
    });
}

/// Time to admit `count` new sessions, in tables of ten thousand.
#[allow(clippy::disallowed_methods, reason = "a bench measures real time")]
fn admit(count: u64, snapshot: &Snapshot) -> Duration {
    let context = context(snapshot);
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let part = left.min(10_000);
        let frames: Vec<Vec<u8>> = (0..part as u32).map(|number| udp_frame(client(number), ENDPOINT)).collect();
        let mut forwarder = forwarder(snapshot, 20_000);
        let mut batch = Batch::new();
        let began = Instant::now();
        for frame in &frames {
            batch.clear();
            batch.push(frame);
            forwarder.handle_frames(&mut batch, CONSUMER, &context, written);
        }
        total += began.elapsed();
        left -= part;
    }
    total
}

/// A device that takes every frame.
#[allow(clippy::unnecessary_wraps, reason = "a sink may refuse a frame")]
fn written(frame: Transmit<'_>) -> io::Result<()> {
    black_box(frame);
    Ok(())
}

criterion_group!(benches, stages, whole, admission);
criterion_main!(benches);
