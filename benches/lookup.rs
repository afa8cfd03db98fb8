//! The session table against maps that might replace it: hit and miss at 1 K, 64 K and 1 M sessions,
//! uniformly random, both directions. Names: `metric/stage/packet_map_sessions`.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a bench builds keys from small numbers; criterion's macros write undocumented items"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use privlink::dataplane::session::{Addresses, Admitted, FlowKey, Session, Slot, Table, Tick};
use privlink::snapshot::{AttachmentId, EndpointId, Generation, Protocol, ResourceId, TargetId};
use privlink::wire::Address;

fn session(number: u32) -> (Addresses, Session) {
    let addresses = Addresses {
        consumer: Address::v4(0x0A02_0000 + (number >> 14)),
        endpoint: Address::v4(0x0A01_0904),
        nat: Address::v4(0x0AC8_6301 + (number >> 15)),
        backend: Address::v4(0x0AC8_0002),
        consumer_port: 2_000 + (number & 0x3FFF) as u16,
        endpoint_port: 443,
        nat_port: 1_024 + (number & 0x7FFF) as u16,
        backend_port: 443,
    };
    let admitted = Admitted {
        link: 0,
        consumer_attachment: AttachmentId(0),
        provider_attachment: AttachmentId(1),
        endpoint: EndpointId(0),
        generation: Generation(1),
        resource: ResourceId(0),
        target: TargetId(0),
        idle_limit: 2_400,
    };
    (addresses, Session::open(&addresses, Protocol::Tcp, &admitted, Tick(0)))
}

/// Keys of both directions in random order, and as many that no session has.
fn keys(count: u32) -> (Vec<FlowKey>, Vec<FlowKey>) {
    let mut random = fastrand::Rng::with_seed(1);
    let pick = |random: &mut fastrand::Rng| {
        let (addresses, session) = session(random.u32(..count));
        if random.bool() { session.service_key(&addresses) } else { session.consumer_key(&addresses) }
    };
    let hits: Vec<_> = (0..1 << 18).map(|_| pick(&mut random)).collect();
    let misses =
        hits.iter().map(|key| FlowKey { source: Address::v4(key.source.low() ^ 0x4000_0000), ..*key }).collect();
    (hits, misses)
}

fn lookup(c: &mut Criterion) {
    for (name, count) in [("1k", 1_000_u32), ("64k", 64_000), ("1m", 1_000_000)] {
        let mut ours = Table::new(count, [3, 5]);
        let mut hashbrown: HashMap<FlowKey, Slot, RandomState> = HashMap::default();
        let dashmap: DashMap<FlowKey, Slot, RandomState> = DashMap::default();
        for number in 0..count {
            let (addresses, session) = session(number);
            let keys = [session.service_key(&addresses), session.consumer_key(&addresses)];
            let slot = ours.insert(&addresses, session).expect("room");
            for key in keys {
                hashbrown.insert(key, slot);
                dashmap.insert(key, slot);
            }
        }
        let (hits, misses) = keys(count);
        for (kind, keys) in [("hit", &hits), ("miss", &misses)] {
            let mut group = c.benchmark_group(format!("time/lookup_{kind}"));
            group.throughput(Throughput::Elements(1));
            let mut at = 0;
            let mut next = move || {
                at = (at + 1) & ((1 << 18) - 1);
                at
            };
            // Every contender ends by reading the session's line that a hit reads next.
            let touch = |slot: Option<Slot>| slot.and_then(|slot| ours.get(slot)).map(|session| session.idle_limit);
            group.bench_function(format!("tcp4_ours_{name}"), |b| {
                b.iter(|| touch(ours.find_any(black_box(&keys[next()])).map(|(slot, _)| slot)));
            });
            group.bench_function(format!("tcp4_hashbrown_{name}"), |b| {
                b.iter(|| touch(hashbrown.get(black_box(&keys[next()])).copied()));
            });
            group.bench_function(format!("tcp4_dashmap_{name}"), |b| {
                b.iter(|| touch(dashmap.get(black_box(&keys[next()])).map(|slot| *slot)));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
