//! What is not on the hit path: NAT ports, policy, changes of the rules, sweeps, snapshots. Names:
//! `metric/stage/packet_how`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench builds tables from small numbers and measures real time; criterion's macros write undocumented items"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use privlink::dataplane::forwarder::PAUSE;
use privlink::dataplane::nat::ports::{Claim, PoolKey, PortPools};
use privlink::dataplane::session::Tick;
use privlink::dataplane::{Context, Forwarder};
use privlink::snapshot::policy::judge;
use privlink::snapshot::tables::Stamp;
use privlink::snapshot::{
    ConnectionState, EndpointId, Generation, Protocol, Publisher, Query, ResourceId, Snapshot, TargetId,
};
use privlink::wire::Address;

mod common;
use common::{CONSUMER, FOUR, NOW, add, client, endpoint, forwarder, networks, open, open_sessions, resource};

/// An endpoint that shares its ports with one other.
const CLAIM: Claim = Claim { endpoint: EndpointId(0), contenders: 2, now: NOW };

/// A snapshot with `count` endpoints, 10.64.0.0 and on.
fn many(count: u32) -> Snapshot {
    let mut builder = networks();
    let resource = resource(&mut builder, [10, 200, 0, 2].into(), vec![[10, 200, 99, 1].into()]);
    (0..count).for_each(|id| add(&mut builder, id, address(id), resource));
    builder.build(1)
}

fn address(id: u32) -> IpAddr {
    (0x0A40_0000 + id).to_be_bytes().into()
}

/// Reserving a port while a share of the range is taken already.
fn ports(c: &mut Criterion) {
    const RANGE: u32 = 64_512;
    const EACH: u32 = 32;
    const POOLS: u32 = 32;
    let mut group = c.benchmark_group("time/port");
    group.sample_size(10).warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(500));
    let key = |number: u32| PoolKey {
        nat: Address::v4(0x0AC8_6301),
        protocol: Protocol::Tcp,
        backend: Address::v4(0x0AC8_0002 + number),
        backend_port: 443,
    };
    for (name, thousandths) in [("10", 100), ("50", 500), ("90", 900), ("99.9", 999)] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut full = || {
            let mut pools = PortPools::new(0, 1);
            for number in 0..POOLS {
                for taken in 0..RANGE * thousandths / 1_000 {
                    let claim = Claim { endpoint: EndpointId(taken % 2 + 1), ..CLAIM };
                    pools.reserve_fresh(key(number), claim, &mut random).expect("a port");
                }
            }
            pools
        };
        group.bench_function(format!("reserve_{name}_percent_taken"), |b| {
            // Each pool gives a few ports only, lest it be fuller at the end than its name says; longer runs are
            // extrapolated from as many as there are.
            b.iter_custom(|count| {
                let (mut pools, mut random) = (full(), fastrand::Rng::with_seed(2));
                let reserved = count.clamp(1, u64::from(POOLS * EACH));
                let began = Instant::now();
                for number in 0..reserved as u32 {
                    black_box(pools.reserve_fresh(key(number % POOLS), CLAIM, &mut random)).expect("a port");
                }
                // While it warms up, criterion doubles its count however large it is.
                let each = began.elapsed().as_secs_f64() / reserved as f64;
                Duration::try_from_secs_f64(each * count as f64).unwrap_or(Duration::MAX)
            });
        });
    }
}

/// `judge()` for an endpoint among many, and for an address that is none.
fn policy(c: &mut Criterion) {
    for (name, count) in [("1", 1), ("1k", 1_000), ("100k", 100_000)] {
        let snapshot = many(count);
        let mut random = fastrand::Rng::with_seed(1);
        let query = |destination| Query {
            attachment: CONSUMER,
            source: [10, 2, 0, 1].into(),
            destination,
            protocol: Protocol::Tcp,
            port: 443,
        };
        let queries: Vec<Query> = (0..1 << 16).map(|_| query(address(random.u32(..count)))).collect();
        let mut turn = queries.iter().cycle();
        c.bench_function(&format!("time/judge/tcp4_{name}_endpoints"), |b| {
            b.iter(|| black_box(judge(&snapshot, turn.next().expect("endless"))).is_ok());
        });
        let unknown = query([10, 1, 1, 1].into());
        c.bench_function(&format!("time/judge/tcp4_unknown_{name}_endpoints"), |b| {
            b.iter(|| black_box(judge(&snapshot, black_box(&unknown))).is_err());
        });
    }
}

const SESSIONS: u32 = 100_000;

/// The same rules under a new generation, or with the endpoint's connection rejected.
fn changed(state: ConnectionState, epoch: u64) -> Snapshot {
    let before = common::snapshot();
    let stamp =
        Stamp { current: Generation(2), valid_since: Generation(u32::from(state != ConnectionState::Approved) * 2) };
    let changed = Arc::new(privlink::snapshot::Endpoint { state, ..endpoint(0, ResourceId(0)) });
    before.with_endpoint(epoch, EndpointId(0), &[(0, FOUR)], Some((0, changed, &[(FOUR, TargetId(0))])), stamp)
}

/// All housekeeping that a change causes, per session: judged anew and kept, or ended with a reset for each side.
fn change(c: &mut Criterion) {
    let snapshot = common::snapshot();
    let mut group = c.benchmark_group("time/change");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(SESSIONS)));
    for (name, state, protocol) in [
        ("tcp4_kept", ConnectionState::Approved, Protocol::Tcp),
        ("tcp4_revoked", ConnectionState::Rejected, Protocol::Tcp),
    ] {
        let after = changed(state, 2);
        group.bench_function(name, |b| {
            let full = || {
                let mut forwarder = forwarder(&snapshot, SESSIONS);
                for number in 0..SESSIONS {
                    let (address, port) = client(number);
                    open(
                        &mut forwarder,
                        &snapshot,
                        protocol,
                        (address.into(), port),
                        (FOUR, 1_000 + (number % 16) as u16),
                    );
                }
                taken(&mut forwarder);
                forwarder
            };
            b.iter_batched_ref(full, |forwarder| settle(forwarder, &after), BatchSize::PerIteration);
        });
    }
}

/// Batches of housekeeping until nothing is left of a change; returns the packets that it made.
fn settle(forwarder: &mut Forwarder, after: &Snapshot) -> usize {
    let mut context = Context::new(after, NOW);
    forwarder.handle_snapshot(&context);
    let mut made = 0;
    loop {
        forwarder.handle_timeout(&context);
        made += taken(forwarder);
        match forwarder.poll_timeout(context.now) {
            Duration::ZERO => {}
            PAUSE => context = Context::new(context.snapshot, Tick(context.now.0 + 1)),
            _ => return made,
        }
    }
}

/// Takes the packets that wait to be sent.
fn taken(forwarder: &mut Forwarder) -> usize {
    let mut taken = 0;
    while forwarder.poll_transmit().is_some() {
        taken += 1;
    }
    taken
}

/// Looking at a million slots for idle sessions, none of which there is.
fn sweep(c: &mut Criterion) {
    const FULL: u32 = 1_000_000;
    let snapshot = common::snapshot();
    let mut forwarder = forwarder(&snapshot, FULL);
    open_sessions(&mut forwarder, &snapshot, FULL);
    let mut group = c.benchmark_group("time/sweep");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(FULL)));
    let mut now = NOW;
    group.bench_function("udp4_slot", |b| {
        b.iter(|| {
            // A second later a new sweep begins, and it is years until they are idle.
            now = Tick(now.0 + Tick::PER_SECOND);
            let context = Context::new(&snapshot, now);
            loop {
                forwarder.handle_timeout(&context);
                if !forwarder.poll_timeout(now).is_zero() {
                    break;
                }
            }
        });
    });
    assert_eq!(forwarder.sessions().len(), FULL as usize, "none has idled out");
}

/// Snapshots: built whole, and one endpoint changed until two busy workers have begun to work by it.
fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("time/snapshot");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for (name, count) in [("1k", 1_000), ("100k", 100_000)] {
        group.bench_function(format!("build_{name}_endpoints"), |b| b.iter(|| black_box(many(count))));
        let mut publisher = Publisher::new();
        let stop = AtomicBool::new(false);
        let readers = [publisher.reader(Box::new(|| ())), publisher.reader(Box::new(|| ()))];
        publisher.publish(many(count));
        std::thread::scope(|scope| {
            for mut reader in readers {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        black_box(reader.begin_batch());
                        std::thread::yield_now();
                    }
                });
            }
            let mut epoch = 1;
            group.bench_function(format!("change_one_and_publish_{name}_endpoints"), |b| {
                b.iter(|| {
                    epoch += 1;
                    let id = epoch as u32 % count;
                    let stamp = Stamp { current: Generation(epoch as u32), valid_since: Generation(0) };
                    let new = (0, Arc::new(endpoint(id, ResourceId(0))), &[(address(id), TargetId(0))][..]);
                    let next =
                        publisher.current().with_endpoint(epoch, EndpointId(id), &[(0, address(id))], Some(new), stamp);
                    publisher.publish(next);
                    publisher.wait(Duration::from_secs(2), |_, passed| passed).expect("workers that read");
                });
            });
            stop.store(true, Ordering::Relaxed);
        });
    }
}

criterion_group!(benches, ports, policy, change, sweep, snapshots);
criterion_main!(benches);
