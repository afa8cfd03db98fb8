//! Stages of the packet path, and the whole of it over lent frames. Names: `metric/stage/packet`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a bench builds frames from small numbers; criterion's macros write undocumented items"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use privlink::dataplane::device::{Batch, batch::FRAMES};
use privlink::dataplane::fastpath::{
    classify::classify,
    rewrite::{Translation, rewrite},
};
use privlink::dataplane::session::Direction;
use privlink::dataplane::verdict::Verdict;
use privlink::snapshot::Snapshot;
use privlink::wire::fragment::Identifications;

mod common;
use common::{CONSUMER, PROVIDER, client, context, forwarder, open_sessions, snapshot, tcp_frame, udp_frame};

const ENDPOINT: ([u8; 4], u16) = ([10, 1, 9, 4], 443);

fn stages(c: &mut Criterion) {
    let udp = udp_frame(client(1), ENDPOINT);
    let tcp = tcp_frame(client(1), ENDPOINT, false, 1);
    c.bench_function("time/classify/udp4", |b| b.iter(|| classify(black_box(&udp), CONSUMER)));
    c.bench_function("time/classify/tcp4", |b| b.iter(|| classify(black_box(&tcp), CONSUMER)));
    c.bench_function("time/classify_etherparse/tcp4", |b| {
        b.iter(|| etherparse::SlicedPacket::from_ip(black_box(&tcp[10..])).map(|sliced| sliced.transport.is_some()));
    });

    let snapshot = snapshot();
    let mut forwarder = forwarder(&snapshot, 1_000);
    let (outward, _) = open_sessions(&mut forwarder, &snapshot, 1);
    let packet = classify(&outward[0], CONSUMER).expect("a packet");
    let (slot, _) = forwarder.sessions().find_any(&packet.key).expect("a session");
    let session = forwarder.sessions().get(slot).expect("a session").clone();
    let a = forwarder.sessions().addresses(slot);
    let translation = Translation::of(&session, [a.consumer, a.endpoint, a.nat, a.backend], Direction::ToService);
    let mut identifications = Identifications::new(0, 1, 1);
    let mut frame = outward[0].clone();
    c.bench_function("time/rewrite/udp4", |b| {
        b.iter(|| {
            frame[18] = 64;
            rewrite(black_box(&mut frame), &packet, &translation, &mut identifications);
        });
    });
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
                        batch.vacant().expect("room")[..length].copy_from_slice(frame);
                        batch.keep(length);
                    }
                    forwarder.receive_batch(&mut batch, at, &context, |_, verdict, _| {
                        assert!(matches!(verdict, Verdict::Forward { .. }));
                    });
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
    let mut denied = tcp_frame(client(1), ([10, 1, 9, 5], 443), true, 1);
    c.bench_function("time/deny/tcp4_unknown_endpoint", |b| {
        b.iter(|| forwarder.receive(black_box(&mut denied), CONSUMER, &context));
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
        let mut frames: Vec<Vec<u8>> = (0..part as u32).map(|number| udp_frame(client(number), ENDPOINT)).collect();
        let mut forwarder = forwarder(snapshot, 20_000);
        let began = Instant::now();
        for frame in &mut frames {
            black_box(forwarder.receive(frame, CONSUMER, &context));
        }
        total += began.elapsed();
        left -= part;
    }
    total
}

criterion_group!(benches, stages, whole, admission);
criterion_main!(benches);
