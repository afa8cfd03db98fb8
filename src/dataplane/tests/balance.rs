use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;

const THREE: [&str; 3] = ["10.20.0.2", "10.20.0.3", "10.20.0.4"];

fn among(backends: &[&'static str], balance: Balance, generation: u32) -> Rules {
    let stamp = Stamp { current: Generation(generation), valid_since: Generation(1) };
    Rules { backends: backends.to_vec(), balance, stamp, ..Rules::default() }
}

impl World {
    /// Where `count` connections go that one client opens from `port` on.
    fn spread(&mut self, client: &str, port: u16, count: u16) -> BTreeMap<Ipv4Addr, usize> {
        let mut at = BTreeMap::new();
        for port in port..port + count {
            *at.entry(self.connect_from(client, port).destination).or_default() += 1;
        }
        at
    }
}

#[test]
fn new_sessions_go_where_the_fewest_are_live() {
    let mut world = World::with_workers(2);
    world.publish(&among(&THREE[..2], Balance::LeastSessions, 2));
    let counts = |at: BTreeMap<Ipv4Addr, usize>| at.into_values().collect::<Vec<_>>();
    assert_eq!(counts(world.spread("10.1.1.7", 1_000, 10)), [5, 5]);
    world.publish(&among(&THREE, Balance::LeastSessions, 3));
    assert_eq!(world.spread("10.1.1.7", 2_000, 5), BTreeMap::from([(Ipv4Addr::new(10, 20, 0, 4), 5)]));
    assert_eq!(counts(world.spread("10.1.1.7", 3_000, 3)), [1, 1, 1]);
    world.publish(&among(&THREE[..2], Balance::LeastSessions, 4));
    world.settle();
    assert!(!world.sent().is_empty(), "resets");
    // Its sessions of before went with it, and count no more.
    world.publish(&among(&THREE, Balance::LeastSessions, 5));
    assert_eq!(world.spread("10.1.1.7", 4_000, 6), BTreeMap::from([(Ipv4Addr::new(10, 20, 0, 4), 6)]));
}

/// The source port of a TCP segment.
fn source_port(body: &packets::Body) -> Option<u16> {
    if let packets::Body::Tcp { source, .. } = body { Some(*source) } else { None }
}

#[test]
fn a_backend_that_fails_the_check_of_one_port_serves_the_others() {
    let mut world = World::new();
    world.publish(&among(&THREE[..2], Balance::LeastSessions, 2));
    let at = |address: &str| address.parse::<Ipv4Addr>().expect("an address");
    assert_eq!(world.spread("10.1.1.7", 1_000, 4).len(), 2);
    world.sent();
    world.publish(&Rules { deaf: vec![THREE[0]], ..among(&THREE[..2], Balance::LeastSessions, 3) });
    world.settle();
    let sent = world.sent();
    let resets = sent.iter().filter(|(to, packet)| *to == PROVIDER && packet.destination == at(THREE[0]));
    let ended: std::collections::BTreeSet<u16> = resets.filter_map(|(_, packet)| source_port(&packet.body)).collect();
    assert_eq!(ended.len(), 2, "its sessions at that port end: {sent:?}");
    assert_eq!(world.spread("10.1.1.7", 2_000, 6), BTreeMap::from([(at(THREE[1]), 6)]));
    // Another protocol is another port.
    let datagrams: BTreeMap<Ipv4Addr, usize> = (3_000..3_006).fold(BTreeMap::new(), |mut to, port| {
        let packet = world.forwarded(CONSUMER, &udp("10.1.1.7", port, "10.1.9.4", 5432));
        *to.entry(packet.destination).or_default() += 1;
        to
    });
    assert!(datagrams.contains_key(&at(THREE[0])), "{datagrams:?}");
    world.publish(&Rules { deaf: THREE[..2].to_vec(), ..among(&THREE[..2], Balance::LeastSessions, 4) });
    world.settle();
    world.sent();
    let refused = world.deliver(CONSUMER, &tcp("10.1.1.7", 4_000, "10.1.9.4", 5432).flags(SYN).seq(1));
    assert!(refused.iter().all(|(to, _)| *to == CONSUMER), "nothing reaches a backend: {refused:?}");
}

#[test]
fn a_client_keeps_to_its_backend_and_only_those_of_a_lost_one_move() {
    let mut world = World::new();
    world.publish(&among(&THREE, Balance::Source, 2));
    let clients: Vec<String> = (1..=60).map(|last| format!("10.1.1.{last}")).collect();
    let mut home = BTreeMap::new();
    for client in &clients {
        let at = world.spread(client, 1_000, 3);
        assert_eq!(at.len(), 1, "{client}: {at:?}");
        home.insert(client, *at.keys().next().expect("one"));
    }
    for backend in THREE {
        let share = home.values().filter(|at| IpAddr::from(**at) == ip(backend)).count();
        assert!((8..=35).contains(&share), "{share} of 60 clients at {backend}");
    }
    world.publish(&among(&[THREE[2], THREE[0]], Balance::Source, 3));
    world.settle();
    world.sent();
    for client in &clients {
        let now = world.spread(client, 2_000, 1);
        let (now, before) = (*now.keys().next().expect("one"), home[client]);
        assert!(now == before || IpAddr::from(before) == ip(THREE[1]), "{client} moved from {before} to {now}");
    }
}
