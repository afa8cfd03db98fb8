//! Bits that pass an endpoint: a bucket for each direction is the whole model.

use std::sync::Arc;

use privlink::snapshot::DropReason;
use privlink::snapshot::{Meter, Rates};

use super::packet::{Packet, Sum, UDP, VNET};
use super::rules::{Bucket, Families, PROVIDER, Rules, ip};
use super::world::World;

const RATE: u64 = 100_000;

/// What passes at once after a pause: two super-packets.
const AT_ONCE: u64 = 2 * 65_536 * 8;

const WORKERS: u16 = 2;

const STEPS: u32 = 12_000;

/// A session: the client's port, and how the server sees its first packet.
type Talk = (u16, Packet);

fn question(port: u16, payload: Vec<u8>) -> Packet {
    let (source, destination) = (ip(10, 1, 5, 1), ip(10, 1, 9, 4));
    Packet { source, destination, protocol: UDP, ports: (port, 53), ttl: 64, flags: 0, seq: 0, ack: 0, payload }
}

fn answer(seen: &Packet, payload: Vec<u8>) -> Packet {
    let (source, destination, ports) = (seen.destination, seen.source, (seen.ports.1, seen.ports.0));
    Packet { source, destination, ports, payload, ..seen.clone() }
}

/// Whatever worker reads them and whichever session they are of, packets pass while the bucket of their direction holds
/// as many bits as they have; the others are dropped, and nobody is told (M-11).
pub(crate) fn what_passes_is_what_plain_buckets_hold() {
    for number in 0..4 {
        let families = Families { consumer: number & 1 != 0, provider: number & 2 != 0 };
        let mut random = fastrand::Rng::with_seed(number);
        let mut rules = Rules::new(1 << 20, families);
        let rates = Rates { bits_per_second: Some(RATE), new_sessions_per_second: None };
        rules.endpoints[0].meter = Some(Arc::new(Meter::new(rates)));
        let mut world = World::new(WORKERS, number);
        world.publish(rules.snapshot(1));
        let mut now = 1_000;
        world.settle(now);
        let mut buckets = [(); 2].map(|()| Bucket::new(RATE / 10, AT_ONCE));
        let (mut talks, mut limited): (Vec<Talk>, u64) = (Vec::new(), 0);
        for step in 0..STEPS {
            now += u32::from(random.u8(..10) == 0);
            let payload = vec![7; random.usize(..1_000)];
            let known = random.usize(..20);
            let forth = known >= talks.len() || random.bool();
            let port = talks.get(known).map_or(20_000 + step as u16, |talk| talk.0);
            let (at, packet) = match talks.get(known) {
                Some((_, seen)) if !forth => (PROVIDER, answer(seen, payload)),
                _ => (0, question(port, payload)),
            };
            let frame = packet.frame(Sum::Full, families.at(at));
            let bits = (frame.len() - VNET) as u64 * 8;
            let bucket = &mut buckets[usize::from(forth)];
            let passes = bucket.holds(bits, now);
            if passes {
                bucket.take(bits, now);
            } else {
                limited += 1;
            }
            world.push(random.usize(..usize::from(WORKERS)), at, frame);
            let out = world.settle(now);
            assert_eq!(out.len(), usize::from(passes), "step {step}: {bits} bits, {packet:?}");
            if let [(to, frame)] = out.as_slice() {
                assert_eq!(*to, if forth { PROVIDER } else { 0 });
                if known >= talks.len() {
                    talks.push((port, Packet::parse(frame)));
                }
            }
        }
        let counts = world.counts();
        assert_eq!((counts.dropped[DropReason::RateLimited as usize], counts.answered), (limited, 0));
        assert_eq!(counts.dropped_total(), limited, "and nothing for another reason");
        assert!((1_000..u64::from(STEPS) * 3 / 4).contains(&limited), "{limited} of {STEPS}");
    }
}
