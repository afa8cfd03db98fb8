//! Networks that overlap, networks that are peered, a site behind a tunnel, several endpoints of one
//! resource, several addresses of one endpoint.

use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, TimedOut};

use crate::lab::{
    CORE, Daemon, attachment, consumer_vnet, daemon_table, drops_exactly, echo_service, endpoint, ip, isolated, join,
    leg, sysctl, two_legs,
};
use crate::peers::{Capture, connect, greeted, serve, tcp, tcp_once, udp};

/// One connection and one datagram from the same source to each of these, all open at once.
fn at_once(questions: &[(&str, &str, &str)]) {
    const FROM: &str = "10.1.0.5:40000";
    let open = |namespace: &str, to: &str| connect(namespace, FROM, to).expect("connected");
    let mut streams: Vec<_> = questions.iter().map(|(namespace, to, _)| open(namespace, to)).collect();
    for (stream, (_, to, name)) in streams.iter_mut().zip(questions) {
        assert_eq!(&greeted(stream).expect("greeted"), name, "{to}");
    }
    for (namespace, to, name) in questions {
        assert_eq!(udp(namespace, FROM, to).as_deref(), Ok(*name), "{to}");
    }
}

#[test]
fn overlapping_vnets_each_reach_their_own_service_at_once() {
    isolated("topologies::overlapping_vnets_each_reach_their_own_service_at_once", || {
        for name in ["red", "blue"] {
            leg(name, &["10.1.0.5"]);
        }
        leg("core", &["10.20.0.2", "10.20.0.3"]);
        serve("core", "10.20.0.2:7000", "one");
        serve("core", "10.20.0.3:7000", "two");
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                ["red", "blue", "core"].map(attachment).concat(),
                ["red", "blue"].map(|name| consumer_vnet(name, "")).concat(),
                CORE.to_owned(),
                echo_service("one", "10.20.0.2", "\"10.20.99.4\""),
                echo_service("two", "10.20.0.3", "\"10.20.99.5\""),
                endpoint("of-red", "red", "10.1.9.4", "one", "Approved"),
                endpoint("of-blue", "blue", "10.1.9.4", "two", "Approved"),
            ]
            .concat(),
        );
        at_once(&[("red", "10.1.9.4:7", "one"), ("blue", "10.1.9.4:7", "two")]);
    });
}

/// A VNet `10.N.0.0/16` with its peers, in a region.
fn vnet(name: &str, number: u8, region: &str, peers: &str) -> String {
    format!(
        "[[vnet]]\nname = \"{name}\"\nregion = \"{region}\"\naddress_space = [\"10.{number}.0.0/16\"]\n\
         peerings = [{peers}]\nsubnets = [{{ name = \"endpoints\", prefix = \"10.{number}.9.0/24\" }}]\n"
    )
}

#[test]
fn a_direct_peer_gets_through_and_a_peers_peer_and_a_one_sided_peer_do_not() {
    isolated("topologies::a_direct_peer_gets_through_and_a_peers_peer_and_a_one_sided_peer_do_not", || {
        let names = ["hub", "near", "far", "beyond", "onesided"];
        for (number, name) in (1_u8..).zip(names) {
            leg(name, &[&format!("10.{number}.0.5")]);
            // What privlink does not route meets this: a client has no other way.
            ip(&format!("-n {name} route add unreachable default metric 4000"));
        }
        leg("core", &["10.20.0.2"]);
        serve("core", "10.20.0.2:7000", "echo");
        let core = CORE.replace("name = \"core\"", "name = \"core\"\nregion = \"north\"");
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                names.map(attachment).concat(),
                attachment("core"),
                vnet("hub", 1, "north", "\"near\", \"far\", \"onesided\""),
                vnet("near", 2, "north", "\"hub\", \"beyond\""),
                vnet("far", 3, "south", "\"hub\""),
                vnet("beyond", 4, "north", "\"near\""),
                vnet("onesided", 5, "north", ""),
                core,
                echo_service("echo", "10.20.0.2", "\"10.20.99.4\""),
                endpoint("orders", "hub", "10.1.9.4", "echo", "Approved"),
            ]
            .concat(),
        );
        let ask = |namespace: &str, number: u8| tcp(namespace, &format!("10.{number}.0.5:0"), "10.1.9.4:7");
        assert_eq!(ask("hub", 1).as_deref(), Ok("echo"));
        assert_eq!(ask("near", 2).as_deref(), Ok("echo"), "a peer in the same region");
        assert_eq!(ask("far", 3).as_deref(), Ok("echo"), "a peer in another region");

        let provider = Capture::start("core");
        provider.quiet();
        for (name, number) in [("beyond", 4), ("onesided", 5)] {
            let refused = ask(name, number).expect_err("refused");
            assert!(matches!(refused, HostUnreachable | std::io::ErrorKind::NetworkUnreachable), "{name}: {refused}");
            // And with a route of its own making: the forwarder knows no such endpoint from there.
            ip(&format!("-n {name} route replace 10.1.9.4/32 dev pl-{name}"));
            let refused = drops_exactly("unknown_endpoint", 1, || ask(name, number));
            assert_eq!(refused, Err(HostUnreachable), "{name}");
        }
        // A peer's client that comes in by the hub is none of the hub's: its own VNet is attached.
        ip("-n hub address add 10.4.0.77/32 dev lo");
        let refused = drops_exactly("source_not_allowed", 1, || tcp_once("hub", "10.4.0.77:0", "10.1.9.4:7"));
        assert_eq!(refused, Err(TimedOut));
        assert_eq!(provider.packets(), Vec::<Vec<u8>>::new());
    });
}

#[test]
fn a_site_behind_a_tunnel_gets_through_by_its_prefix() {
    isolated("topologies::a_site_behind_a_tunnel_gets_through_by_its_prefix", on_premises);
}

/// A site behind a VXLAN tunnel that ends in a router, which is a neighbour of the consumer's namespace.
fn on_premises() {
    leg("spoke", &["10.1.0.5"]);
    leg("router", &[]);
    leg("site", &["192.168.40.7", "192.168.50.7"]);
    leg("core", &["10.20.0.2"]);
    join(("spoke", "lan", "10.1.1.1/24"), ("router", "lan", "10.1.1.2/24"));
    join(("router", "wan", "203.0.113.1/24"), ("site", "wan", "203.0.113.2/24"));
    let ends = [
        ("router", "10.255.0.1/30", "203.0.113.1", "203.0.113.2"),
        ("site", "10.255.0.2/30", "203.0.113.2", "203.0.113.1"),
    ];
    for (namespace, address, local, remote) in ends {
        ip(&format!("-n {namespace} link add tun1 type vxlan id 7 local {local} remote {remote} dstport 4789"));
        ip(&format!("-n {namespace} address add {address} dev tun1"));
        ip(&format!("-n {namespace} link set tun1 up"));
    }
    ip("-n site route add 10.1.0.0/16 via 10.255.0.1");
    ip("-n router route add 192.168.0.0/16 via 10.255.0.2");
    ip("-n router route add 10.1.9.0/24 via 10.1.1.1");
    ip("-n spoke route add 192.168.0.0/16 via 10.1.1.2");
    sysctl("router", "ipv4/ip_forward", "1");
    sysctl("spoke", "ipv4/ip_forward", "1");
    serve("core", "10.20.0.2:7000", "echo");
    let _daemon = Daemon::start(
        &[
            daemon_table(""),
            attachment("spoke"),
            attachment("core"),
            consumer_vnet("spoke", "on_premises = [\"192.168.40.0/24\"]"),
            CORE.to_owned(),
            echo_service("echo", "10.20.0.2", "\"10.20.99.4\""),
            endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved"),
        ]
        .concat(),
    );
    assert_eq!(tcp("site", "192.168.40.7:0", "10.1.9.4:7").as_deref(), Ok("echo"));
    assert_eq!(udp("site", "192.168.40.7:0", "10.1.9.4:7").as_deref(), Ok("echo"));
    let provider = Capture::start("core");
    provider.quiet();
    let refused = drops_exactly("source_not_allowed", 1, || tcp_once("site", "192.168.50.7:0", "10.1.9.4:7"));
    assert_eq!(refused, Err(TimedOut));
    assert_eq!(provider.packets(), Vec::<Vec<u8>>::new());
}

#[test]
fn endpoints_of_one_resource_in_one_subnet_and_in_two_work_at_once_from_one_port() {
    isolated("topologies::endpoints_of_one_resource_in_one_subnet_and_in_two_work_at_once_from_one_port", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let spoke = consumer_vnet("spoke", "")
            .replace("dedicated = true }", "dedicated = true }, { name = \"more\", prefix = \"10.1.10.0/24\" }");
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                attachment("spoke"),
                attachment("core"),
                spoke,
                CORE.to_owned(),
                echo_service("echo", "10.20.0.2", "\"10.20.99.4\""),
                endpoint("one", "spoke", "10.1.9.4", "echo", "Approved"),
                endpoint("two", "spoke", "10.1.9.5", "echo", "Approved"),
                endpoint("three", "spoke", "10.1.10.4", "echo", "Approved").replace("\"endpoints\"", "\"more\""),
                endpoint("four", "spoke", "10.1.9.6", "echo", "Pending"),
            ]
            .concat(),
        );
        at_once(&[("spoke", "10.1.9.4:7", "echo"), ("spoke", "10.1.9.5:7", "echo"), ("spoke", "10.1.10.4:7", "echo")]);
        let refused = drops_exactly("not_approved_pending", 1, || tcp("spoke", "10.1.0.5:40000", "10.1.9.6:7"));
        assert_eq!(refused, Err(ConnectionRefused), "another endpoint of the same resource opens nothing for this one");
    });
}

#[test]
fn each_address_of_an_endpoint_reaches_its_own_members_backends_only() {
    isolated("topologies::each_address_of_an_endpoint_reaches_its_own_members_backends_only", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "registry");
        serve("core", "10.20.0.3:7000", "data");
        let resource = "[[resource]]\ntype = \"Microsoft.ContainerRegistry/registries\"\nname = \"images\"\n\
            vnet = \"core\"\nnat = [\"10.20.99.4\"]\ntargets = [\n\
            { subresource = \"registry\", member = \"registry\", backends = [\"10.20.0.2\"], ports = [\
            { protocol = \"tcp\", port = 7, backend_port = 7000 }, { protocol = \"udp\", port = 7, backend_port = 7000 }] },\n\
            { subresource = \"registry\", member = \"data\", backends = [\"10.20.0.3\"], ports = [\
            { protocol = \"tcp\", port = 7, backend_port = 7000 }, { protocol = \"udp\", port = 7, backend_port = 7000 }, \
            { protocol = \"tcp\", port = 8, backend_port = 7000 }] }]\n";
        let images = endpoint("images", "spoke", "10.1.9.4", "images", "Approved").replace(
            "ip = \"10.1.9.4\"",
            "subresource = \"registry\"\n\
             addresses = [{ member = \"registry\", ip = \"10.1.9.4\" }, { member = \"data\", ip = \"10.1.9.5\" }]",
        );
        let _daemon = Daemon::start(
            &[
                daemon_table(""),
                attachment("spoke"),
                attachment("core"),
                consumer_vnet("spoke", ""),
                CORE.to_owned(),
                resource.to_owned(),
                images,
            ]
            .concat(),
        );
        at_once(&[("spoke", "10.1.9.4:7", "registry"), ("spoke", "10.1.9.5:7", "data")]);
        for _ in 0..40 {
            assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("registry"));
            assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:7").as_deref(), Ok("data"));
        }
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.5:8").as_deref(), Ok("data"));
        let refused = drops_exactly("port_not_exposed", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:8"));
        assert_eq!(refused, Err(ConnectionRefused), "the other member's port");
    });
}
