//! Rates over time: what is offered beyond them is dropped silently, whichever worker it comes to.

use super::*;
use crate::snapshot::Rates;

fn world(workers: u16, rates: Rates) -> (World, Rules) {
    let mut world = World::with_workers(workers);
    let rules = Rules { meter: Some(Arc::new(Meter::new(rates))), ..Rules::default() };
    world.publish(&rules);
    (world, rules)
}

fn bits(bits: u64) -> Rates {
    Rates { bits_per_second: Some(bits), ..Rates::default() }
}

fn sessions(sessions: u32) -> Rates {
    Rates { new_sessions_per_second: Some(sessions), ..Rates::default() }
}

/// Bytes of IP packets that pass towards the service within ten seconds, where `offered` a second are sent in
/// datagrams of 1,250 bytes, from so many sockets in turn, spread over all workers.
fn passed(world: &mut World, offered: u64, sockets: u16) -> u64 {
    let datagram = |number: u64| {
        let port = 5_000 + (number % u64::from(sockets)) as u16;
        udp("10.1.0.5", port, "10.1.9.4", 5432).payload(&[7; 1_222])
    };
    let (mut number, mut bytes) = (0, 0);
    for _ in 0..100 {
        world.now = Tick(world.now.0 + 1);
        for _ in 0..offered / 10 / 1_250 {
            let worker = (number % world.workers.len() as u64) as usize;
            number += 1;
            let out = world.deliver_to(worker, CONSUMER, &datagram(number));
            assert!(out.iter().all(|(to, _)| *to == PROVIDER), "nobody is answered: {out:?}");
            bytes += out.len() as u64 * 1_250;
        }
    }
    world.check_sums();
    bytes
}

fn is_near(passed: u64, allowed: u64) {
    assert!((allowed * 95..=allowed * 105).contains(&(passed * 100)), "{passed} where {allowed} are allowed");
}

#[test]
fn twice_the_rate_passes_once_through_one_worker_or_all() {
    for (workers, sockets) in [(1, 1), (1, 40), (4, 1), (4, 40)] {
        let (mut world, _) = world(workers, bits(20_000_000));
        let passed = passed(&mut world, 5_000_000, sockets);
        is_near(passed, 25_000_000);
        let limited: u64 =
            world.workers.iter().map(|w| w.forwarder().published().endpoint(EndpointId(0)).rate_limited).sum();
        assert_eq!(limited, world.drops(DropReason::RateLimited));
        assert_eq!(limited, (50_000_000 - passed) / 1_250);
    }
}

#[test]
fn less_than_the_rate_passes_whole() {
    let (mut world, _) = world(2, bits(20_000_000));
    assert_eq!(passed(&mut world, 2_000_000, 7), 20_000_000);
}

#[test]
fn each_direction_has_the_rate_to_itself() {
    let (mut world, _) = world(1, bits(20_000_000));
    let there = world.forwarded(CONSUMER, &udp("10.1.0.5", 5_000, "10.1.9.4", 5432));
    let back = there.reply().payload(&[7; 1_222]);
    is_near(passed(&mut world, 5_000_000, 1), 25_000_000);
    // At the same moment the other way is free.
    world.forwarded(PROVIDER, &back);
    let mut bytes = 0;
    for _ in 0..100 {
        world.now = Tick(world.now.0 + 1);
        bytes += (0..400).map(|_| world.deliver(PROVIDER, &back).len() as u64 * 1_250).sum::<u64>();
    }
    is_near(bytes, 25_000_000);
}

#[test]
fn new_sessions_are_counted_and_not_the_packets_of_those_there_are() {
    for workers in [1, 3] {
        let (mut world, _) = world(workers, sessions(20));
        let mut opened = Vec::new();
        for round in 0..100_u16 {
            world.now = Tick(world.now.0 + 1);
            for number in 0..4 {
                let syn = tcp("10.1.0.5", 10_000 + round * 4 + number, "10.1.9.4", 5432).flags(SYN).seq(1);
                let out = world.deliver(CONSUMER, &syn);
                assert!(out.iter().all(|(to, _)| *to == PROVIDER), "nobody is answered: {out:?}");
                opened.extend(out.into_iter().map(|(_, at_server)| at_server));
            }
        }
        is_near(opened.len() as u64, 200);
        // Those that there are go on.
        for at_server in &opened {
            world.forwarded(PROVIDER, &at_server.reply().flags(SYN | ACK).seq(9).ack(2));
        }
    }
}

#[test]
fn what_another_check_denies_pays_nothing() {
    let (mut world, rules) = world(1, sessions(1));
    for port in 0..50 {
        world.dropped(CONSUMER, &tcp("10.1.0.5", port + 1, "10.1.9.4", 5432), DropReason::NotSyn);
        world.dropped(CONSUMER, &udp("10.1.0.5", port + 1, "10.1.9.4", 5433), DropReason::PortNotExposed);
    }
    world.publish(&Rules { max_sessions: 0, ..rules.clone() });
    for port in 0..50 {
        world.dropped(CONSUMER, &udp("10.1.0.5", port + 1, "10.1.9.4", 5432), DropReason::SessionLimit);
    }
    world.publish(&rules);
    for port in 0..2 {
        world.forwarded(CONSUMER, &udp("10.1.0.5", port + 1, "10.1.9.4", 5432));
    }
    let over = udp("10.1.0.5", 3, "10.1.9.4", 5432);
    assert_eq!(world.dropped(CONSUMER, &over, DropReason::RateLimited), None);
}

#[test]
fn rates_follow_the_rules_for_the_sessions_that_there_are() {
    let mut world = World::new();
    let datagram = udp("10.1.0.5", 5_000, "10.1.9.4", 5432).payload(&[7; 1_222]);
    let meter = Arc::new(Meter::new(bits(1_000_000)));
    let stamp = |current| Stamp { current: Generation(current), valid_since: Generation(1) };
    let limited = |current| Rules { meter: Some(Arc::clone(&meter)), stamp: stamp(current), ..Rules::default() };
    let offer = |world: &mut World| (0..200).map(|_| world.deliver(CONSUMER, &datagram).len()).sum::<usize>();
    assert_eq!(offer(&mut world), 200, "no rate");
    world.publish(&limited(2));
    assert_eq!(offer(&mut world), 104, "131,072 bytes at once");
    world.publish(&limited(3));
    assert_eq!(offer(&mut world), 0, "another change of the rules lends nothing");
    world.publish(&Rules { stamp: stamp(4), ..Rules::default() });
    assert_eq!(offer(&mut world), 200, "no rate again");
}
