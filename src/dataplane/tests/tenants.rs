//! Two tenants, each a VNet with an endpoint of the same service: what one floods takes nothing from the other.

use super::laws::is_reset;
use super::*;

/// The other consumer's attachment.
const OTHER: AttachmentId = AttachmentId(2);

/// How many sessions each endpoint, their resource and the daemon may hold.
#[derive(Clone, Copy)]
struct Limits {
    endpoint: u32,
    resource: u32,
    all: u32,
}

const WIDE: Limits = Limits { endpoint: u32::MAX, resource: u32::MAX, all: 70_000 };

/// `flooding` at 10.1.9.4 of 10.1.0.0/16, `quiet` at 10.3.9.4 of 10.3.0.0/16, before one server. The quiet network is
/// peered with the other, and may use its endpoint.
fn snapshot(limits: Limits) -> Snapshot {
    let prefix = |text: &str| text.parse::<ipnet::IpNet>().expect("a prefix");
    let mut builder = SnapshotBuilder::default();
    builder.settings.max_sessions = limits.all;
    for (number, name, space) in
        [(0, "flooding", "10.1.0.0/16"), (1, "core", "10.20.0.0/16"), (2, "quiet", "10.3.0.0/16")]
    {
        builder.attachments.push(Attachment {
            vnet: Arc::from(name),
            vnet_number: number,
            peers: (number == 2)
                .then(|| crate::snapshot::Peer { vnet_number: 0, sources: [prefix(space)].iter().collect() })
                .into_iter()
                .collect(),
            sources: [prefix(space)].iter().collect(),
            unsent: crate::snapshot::prefixes::PrefixSet::default(),
            mtu: 1_500,
            excluded_workloads: Vec::new(),
        });
    }
    let resource = builder.resource(Resource {
        retired: Vec::new(),
        name: Arc::from("default/service"),
        provider: PROVIDER,
        nat: vec![ip("10.20.99.4")],
        targets: vec![Target {
            subresource: Arc::from(""),
            member: Arc::from(""),
            backends: vec![Backend { address: ip("10.20.0.2"), state: crate::snapshot::BackendState::Up }],
            ports: vec![PortMap { protocol: Protocol::Tcp, first: 5_432, last: 5_432, backend_first: 5_432 }],
            icmp: false,
            silent: Vec::new(),
        }],
        timeouts: Timeouts::default(),
        balance: Balance::LeastSessions,
        answer: None,
        max_sessions: limits.resource,
        meter: None,
    });
    for (id, vnet, address) in [(0, 0, "10.1.9.4"), (1, 2, "10.3.9.4")] {
        let endpoint = Endpoint {
            link: id,
            id: EndpointId(id),
            name: Arc::from("default/one"),
            state: Approved,
            resource,
            sources: None,
            rules: None,
            max_sessions: limits.endpoint,
            meter: None,
        };
        builder.endpoint(vnet, endpoint, &[(ip(address), TargetId(0))], Stamp::default());
    }
    builder.build(9)
}

fn world(limits: Limits) -> World {
    let world = World::new();
    world.publisher.publish(snapshot(limits));
    world
}

fn syn(number: u32) -> Packet {
    let source = format!("10.1.{}.{}", number / 50_000, 5 + number / 10_000 % 5);
    tcp(&source, 10_000 + (number % 10_000) as u16, "10.1.9.4", 5_432).flags(SYN).seq(7)
}

/// Opens a connection of the quiet tenant whole, and the flood goes on between its segments.
fn connects(world: &mut World, port: u16, endpoint: &str, flood: &mut dyn FnMut(&mut World)) {
    let first = tcp("10.3.0.5", port, endpoint, 5_432).flags(SYN).seq(100);
    let at_server = world.forwarded_amid(OTHER, &first);
    flood(world);
    world.forwarded_amid(PROVIDER, &at_server.reply().flags(SYN | ACK).seq(900).ack(101));
    flood(world);
    world.forwarded_amid(OTHER, &first.clone().flags(ACK).seq(101).ack(901));
    flood(world);
    world.forwarded_amid(PROVIDER, &at_server.reply().flags(ACK).seq(901).ack(101));
}

impl World {
    /// Delivers a packet that must be forwarded; resets may leave beside it.
    fn forwarded_amid(&mut self, at: AttachmentId, packet: &Packet) -> Packet {
        let out = self.deliver(at, packet);
        let mut crossed = out.into_iter().filter(|(to, packet)| *to != at && !is_reset(packet));
        crossed.next().unwrap_or_else(|| panic!("{packet:?} was not forwarded")).1
    }
}

/// Every limit: of the endpoint that both use, of the resource, of the daemon.
#[test]
fn a_flood_of_half_open_sessions_makes_room_for_another_tenant() {
    for (limits, endpoint) in [
        (Limits { endpoint: 1_000, ..WIDE }, "10.1.9.4"),
        (Limits { resource: 1_000, ..WIDE }, "10.3.9.4"),
        (Limits { all: 1_000, ..WIDE }, "10.3.9.4"),
    ] {
        let mut world = world(limits);
        let mut number = 0;
        let mut flood = |world: &mut World| {
            for _ in 0..400 {
                world.deliver(CONSUMER, &syn(number));
                number += 1;
            }
        };
        (0..5).for_each(|_| flood(&mut world));
        assert!((900..=1_000).contains(&world.sessions()), "{}", world.sessions());
        for port in 40_000..40_020 {
            connects(&mut world, port, endpoint, &mut flood);
        }
        world.check_sums();
    }
}

/// Neither the one that came first, nor the one whose number is lower.
#[test]
fn of_tenants_that_hold_as_many_a_random_one_gives() {
    let mut world = world(Limits { endpoint: 2, ..WIDE });
    let (mut held, mut gave): (Vec<(AttachmentId, u16)>, _) = (Vec::new(), [0; 2]);
    for port in 10_000..10_200 {
        let (at, source) = if port % 2 == 0 { (CONSUMER, "10.1.0.5") } else { (OTHER, "10.3.0.5") };
        let out = world.deliver(at, &tcp(source, port, "10.1.9.4", 5_432).flags(SYN).seq(7));
        let are_equal = matches!(held[..], [one, other] if one.0 != other.0);
        for (_, packet) in out {
            let nat = packet.ports().0;
            if !is_reset(&packet) {
                held.push((at, nat));
                continue;
            }
            let given = held.iter().position(|(_, port)| *port == nat).expect("one that was half open");
            gave[usize::from(held.remove(given).0 == OTHER)] += usize::from(are_equal);
        }
    }
    assert!(gave.iter().all(|gave| *gave > 15), "{gave:?}");
}

/// The server is told, and the port is free at once.
#[test]
fn what_makes_room_is_reset_at_the_server_and_its_port_is_used_again() {
    let mut world = world(WIDE);
    let mut server_sees = std::collections::HashMap::new();
    for number in 0..64_512 {
        for (_, packet) in world.deliver(CONSUMER, &syn(number)) {
            server_sees.insert(packet.ports().0, packet);
        }
    }
    let out = world.deliver(OTHER, &tcp("10.3.0.5", 40_000, "10.3.9.4", 5_432).flags(SYN).seq(100));
    let (resets, crossed): (Vec<_>, Vec<_>) = out.into_iter().partition(|(_, packet)| is_reset(packet));
    // The quiet one may find one of the ports that are kept for who holds few.
    let kept = 64_512 - server_sees.len();
    assert!(kept <= 64 && crossed.len() == 1 && crossed[0].0 == PROVIDER, "{kept} kept, {crossed:?}");
    assert!(resets.is_empty() == (kept > 0), "{resets:?}");
    for port in 40_001..40_200 {
        let out = world.deliver(OTHER, &tcp("10.3.0.5", port, "10.3.9.4", 5_432).flags(SYN).seq(100));
        let (resets, crossed): (Vec<_>, Vec<_>) = out.into_iter().partition(|(_, packet)| is_reset(packet));
        assert_eq!(crossed.len(), 1, "port {port} of the quiet tenant");
        for (to, reset) in resets {
            assert_eq!((to, reset.ports().0), (PROVIDER, crossed[0].1.ports().0), "the port that it gave");
            let told = &server_sees[&reset.ports().0];
            assert_eq!((reset.source, reset.destination), (told.source, told.destination));
        }
    }
    world.check_sums();
}

#[test]
fn a_flood_of_what_is_refused_takes_no_answer_from_another_tenant() {
    let mut world = world(WIDE);
    let refused = |source: &str, to: &str, port| tcp(source, port, to, 80).flags(SYN).seq(7);
    let flooded: usize =
        (0..5_000).map(|n| world.deliver(CONSUMER, &refused("10.1.0.5", "10.1.9.4", 1_024 + n)).len()).sum();
    assert!(flooded <= 1_000, "{flooded} answers");
    for port in 0..200 {
        assert_eq!(world.deliver(OTHER, &refused("10.3.0.5", "10.3.9.4", 1_024 + port)).len(), 1, "{port}");
    }
}
