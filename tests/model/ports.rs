//! All ports of a NAT address towards one server: a set of tuples is the whole model.

use std::collections::HashSet;

use privlink::snapshot::DropReason;
use privlink::snapshot::{BackendState, ConnectionState};

use super::packet::{ICMP, Packet, Sum, UDP};
use super::rules::{Families, PROVIDER, Rules, ip};
use super::world::World;

/// Ports of a NAT address: 1024 and above.
const PORTS: u32 = 64_512;

const WORKERS: u16 = 2;

/// A question of the client with this number.
fn question(number: u32) -> Packet {
    Packet {
        source: ip(10, 1, 5, 0) + number / 60_000,
        destination: ip(10, 1, 9, 4),
        protocol: UDP,
        ports: (2_000 + (number % 60_000) as u16, 53),
        ttl: 64,
        flags: 0,
        seq: 0,
        ack: 0,
        payload: b"?".to_vec(),
    }
}

/// Delivers a packet to a worker; what leaves.
fn deliver(world: &mut World, at: u16, packet: &Packet, worker: usize, now: u32) -> Vec<(u16, Packet)> {
    world.push(worker, at, packet.frame(Sum::Full, false));
    world.settle(now).into_iter().map(|(to, frame)| (to, Packet::parse(&frame))).collect()
}

/// As many sessions as there are ports, no two of one tuple; not one more; none that lives is harmed; ports rest two
/// minutes after an idle end (M-1, M-7, M-10).
pub(crate) fn every_port_is_used_once() {
    let mut random = fastrand::Rng::with_seed(4_787);
    let mut rules = Rules::new(1 << 20, Families::default());
    rules.resources[0].nat = vec![ip(10, 20, 99, 4)];
    rules.resources[0].targets[0].backends = vec![(ip(10, 20, 0, 2), BackendState::Up)];
    // Alone, lest the last ports be kept for another endpoint of this resource.
    rules.endpoints[3].state = ConnectionState::Rejected;
    let mut world = World::with_capacity(WORKERS, 7, PORTS);
    world.publish(rules.snapshot(1));
    let (mut now, mut used) = (1_000, HashSet::new());
    world.settle(now);
    let mut open = |world: &mut World, number: u32, now| {
        let worker = random.usize(..usize::from(WORKERS));
        deliver(world, 0, &question(number), worker, now)
    };
    for number in 0..PORTS {
        let out = open(&mut world, number, now);
        let [(PROVIDER, seen)] = out.as_slice() else { panic!("session {number} became {out:?}") };
        assert_eq!((seen.source, seen.destination), (ip(10, 20, 99, 4), ip(10, 20, 0, 2)));
        assert!(seen.ports.0 >= 1_024 && used.insert(seen.ports.0), "{seen:?}");
    }
    let refused = |world: &World| world.counts().dropped[DropReason::NatPortsExhausted as usize];
    for number in PORTS..PORTS + 150 {
        let before = world.counts().answered;
        let out = open(&mut world, number, now);
        let [(0, answer)] = out.as_slice() else { panic!("session {number} became {out:?}") };
        assert_eq!((answer.protocol, answer.source), (ICMP, ip(10, 1, 9, 4)));
        assert_eq!(world.counts().answered, before + 1);
    }
    assert_eq!(refused(&world), 150);
    for number in (0..PORTS).step_by(97) {
        assert!(matches!(open(&mut world, number, now).as_slice(), [(PROVIDER, _)]), "session {number} lives");
    }
    // All idle out; their ports have not rested yet, then they have.
    now += 301 * 10;
    world.settle(now);
    assert!(matches!(open(&mut world, PORTS, now).as_slice(), [(0, _)]), "at once");
    now += 119 * 10;
    assert!(matches!(open(&mut world, PORTS, now).as_slice(), [(0, _)]), "a second too soon");
    now += 30;
    for number in 0..1_000 {
        assert!(matches!(open(&mut world, number, now).as_slice(), [(PROVIDER, _)]), "session {number}");
    }
    assert_eq!(refused(&world), 152);
}
