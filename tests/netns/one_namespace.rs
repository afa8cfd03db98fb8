//! A host with a leg in both networks and no namespace of its own: the interface tells the sides apart.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rustix::net::ipproto;

use crate::lab::{
    CORE, Daemon, consumer_vnet, daemon_table, echo_service, endpoint, eventually, fails_to_start, inside, ip,
    isolated, leg, metrics, sessions, verdict,
};
use crate::packets::datagram;
use crate::peers::{Capture, address, connect, inject, ping, raw, serve, tcp, tcp_once, udp};

const ENDPOINT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 9, 4), 7);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);

/// `clients` behind `lan1`, `servers` behind `lan2`; this namespace routes.
fn two_lans(clients: &str) {
    for (name, interface, host, neighbour) in
        [("clients", "lan1", "10.1.0.1/24", clients), ("servers", "lan2", "10.20.0.1/24", "10.20.0.2/24")]
    {
        leg(name, &[]);
        ip(&format!("link add {interface} type veth peer name eth0 netns {name}"));
        ip(&format!("address add {host} dev {interface}"));
        ip(&format!("link set {interface} up"));
        ip(&format!("-n {name} address add {neighbour} dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding");
    ip("-n servers route add default via 10.20.0.1");
}

fn file(proxy: &str) -> String {
    [
        daemon_table("").as_str(),
        "[[attachment]]\nvnet = \"spoke\"\n",
        proxy,
        "[[attachment]]\nvnet = \"core\"\n",
        &consumer_vnet("spoke", ""),
        CORE,
        &echo_service("echo", "10.20.0.2", "\"10.20.99.4\""),
        &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"),
    ]
    .concat()
}

fn read() -> u64 {
    verdict(&metrics(), "read")
}

#[test]
fn clients_behind_one_leg_get_through_and_neither_side_can_play_the_other() {
    isolated("one_namespace::clients_behind_one_leg_get_through_and_neither_side_can_play_the_other", || {
        two_lans("10.1.0.5/24");
        ip("-n clients route add default via 10.1.0.1");
        serve("servers", "10.20.0.2:7000", "echo");
        let _daemon = Daemon::start(&file(""));
        assert_eq!(tcp("clients", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert_eq!(udp("clients", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert!(ping("clients", "10.1.0.5", "10.1.9.4"));

        let provider = Capture::start("servers");
        provider.quiet();
        let (before, open) = (read(), sessions());
        let (server, client) = (raw("servers", ipproto::RAW), raw("clients", ipproto::RAW));
        let gateway = Capture::start("servers");
        for source in [CLIENT, Ipv4Addr::new(10, 1, 200, 1), Ipv4Addr::new(10, 20, 0, 2)] {
            for port in 0..20 {
                inject(&server, &datagram((source, 3_000 + port), ENDPOINT, b"spoofed")).expect("sent");
            }
        }
        let nat = (Ipv4Addr::new(10, 20, 99, 4), 3_000);
        for source in [CLIENT, Ipv4Addr::new(10, 20, 0, 2)] {
            for port in 0..20 {
                inject(&client, &datagram((source, 7_000 + port), nat, b"spoofed")).expect("sent");
            }
        }
        // The last thing sent by each side is allowed: when it is through, so is all before it.
        assert_eq!(udp("clients", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert!(ping("servers", "10.20.0.2", "10.20.0.1"));
        assert_eq!(gateway.forwarded().len(), 1, "only the client's own datagram");
        assert_eq!(sessions(), open + 1);
        assert_eq!(read(), before + 2, "nothing else came near a device: the question and its answer");

        // The same packet from where it belongs goes through: the attempts above were sound.
        inject(&client, &datagram((CLIENT, 3_000), ENDPOINT, b"genuine")).expect("sent");
        eventually("it arrives", || sessions() == open + 2);
    });
}

#[test]
fn clients_without_a_route_find_endpoints_by_proxy_neighbours() {
    isolated("one_namespace::clients_without_a_route_find_endpoints_by_proxy_neighbours", || {
        // A /16 on the wire: the client asks for 10.1.9.4 by ARP.
        two_lans("10.1.0.5/16");
        serve("servers", "10.20.0.2:7000", "echo");
        let _daemon = Daemon::start(&file("proxy_on = [\"lan1\"]\n"));
        // The kernel answers for a neighbour after a random delay of up to 0.8 s.
        connect("clients", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        assert!(tcp_once("clients", "10.1.0.5:0", "10.1.9.5:7").is_err(), "nobody answers for other addresses");
    });
}

#[test]
fn both_sides_behind_one_interface_are_refused_with_the_reason() {
    isolated("one_namespace::both_sides_behind_one_interface_are_refused_with_the_reason", || {
        two_lans("10.1.0.5/24");
        ip("address del 10.20.0.1/24 dev lan2");
        ip("address add 10.20.0.1/24 dev lan1");
        let routes = ip("route show table all");
        let (code, said) = fails_to_start(&file(""));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("both lie behind lan1") && said.contains("a namespace of its own"), "{said}");
        assert_eq!(ip("route show table all"), routes, "nothing is left behind");
        assert!(!ip("link").contains("pl-"), "nothing is left behind");
    });
}

/// [`two_lans`] by IPv6 alone.
fn two_lans_by_ipv6() {
    for key in ["all/forwarding", "default/forwarding"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{key}"), "1").expect("forwarding");
    }
    std::fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0").expect("every error is answered");
    for (name, interface, host, neighbour) in
        [("clients", "lan1", "fd01:1::1/64", "fd01:1::10/64"), ("servers", "lan2", "fd20:1::1/64", "fd20:1::2/64")]
    {
        leg(name, &[]);
        ip(&format!("link add {interface} type veth peer name eth0 netns {name}"));
        ip(&format!("address add {host} dev {interface} nodad"));
        ip(&format!("link set {interface} up"));
        ip(&format!("-n {name} address add {neighbour} dev eth0 nodad"));
        ip(&format!("-n {name} link set eth0 up"));
        let gate = host.trim_end_matches("/64");
        ip(&format!("-n {name} -6 route add default via {gate}"));
    }
}

/// ICMPv6 messages that have come to a namespace and say that something cannot be reached.
fn errors_heard(namespace: &str) -> u64 {
    let counters = inside(namespace, || std::fs::read_to_string("/proc/thread-self/net/snmp6")).expect("counters");
    let line = counters.lines().find_map(|line| line.strip_prefix("Icmp6InDestUnreachs")).expect("a counter");
    line.trim().parse().expect("a number")
}

#[test]
fn by_ipv6_neither_side_gets_any_answer_where_it_plays_the_other() {
    isolated("one_namespace::by_ipv6_neither_side_gets_any_answer_where_it_plays_the_other", || {
        two_lans_by_ipv6();
        serve("servers", "[fd20:1::2]:7000", "echo");
        let file = [
            daemon_table("").as_str(),
            "[[attachment]]\nvnet = \"spoke\"\n[[attachment]]\nvnet = \"core\"\n",
            "[[vnet]]\nname = \"spoke\"\naddress_space = [\"fd01::/16\"]\n\
             subnets = [{ name = \"endpoints\", prefix = \"fd01:9::/64\", dedicated = true }]\n\
             [[vnet]]\nname = \"core\"\naddress_space = [\"fd20::/16\"]\n\
             subnets = [{ name = \"nat\", prefix = \"fd20:99::/64\", nat = true }]\n",
            &echo_service("echo", "fd20:1::2", "\"fd20:99::4\""),
            &endpoint("orders", "spoke", "fd01:9::4", "echo", "Approved"),
        ]
        .concat();
        let _daemon = Daemon::start(&file);
        let from_client = |to: &str| udp("clients", "[fd01:1::10]:0", to);
        // By TCP: the kernel tells a SYN's sender of every error, and a datagram's of few (net/ipv6/icmp.c). One that
        // comes back while the first SYN is being sent shows with the second, a second later.
        let opened = |namespace: &str, to: &str| {
            let to = address(to);
            let tried = inside(namespace, || TcpStream::connect_timeout(&to, Duration::from_millis(2_500)));
            tried.map(drop).map_err(|error| error.kind())
        };
        eventually("addresses are there and the endpoint answers", || {
            from_client("[fd01:9::4]:7").as_deref() == Ok("echo")
        });
        for (namespace, to, table, prefix) in
            [("servers", "[fd01:9::4]:7", 7_701, "fd01:9::/64"), ("clients", "[fd20:99::4]:7000", 7_702, "fd20:99::4")]
        {
            // A route that answers is heard each time (below). What was on its way before, such as a neighbour that was
            // not there yet, is heard once.
            eventually("nothing is heard", || {
                let before = errors_heard(namespace);
                assert_eq!(opened(namespace, to), Err(ErrorKind::TimedOut), "{prefix}");
                errors_heard(namespace) == before
            });
            let before = errors_heard(namespace);
            let routes = ip(&format!("-6 route show table {table}"));
            assert!(routes.contains(&format!("blackhole {prefix}")), "{routes}");
            // A route that answers would be heard: the silence was the blackhole's.
            ip(&format!("-6 route del {prefix} table {table}"));
            ip(&format!("-6 route add unreachable {prefix} table {table}"));
            eventually("an unreachable route is heard", || {
                opened(namespace, to) == Err(ErrorKind::NetworkUnreachable) && errors_heard(namespace) > before
            });
        }
    });
}
