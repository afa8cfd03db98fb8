//! Separate namespaces: what is approved works, everything else is refused, counted and never forwarded.

use std::io::ErrorKind::{ConnectionRefused, TimedOut};
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use rustix::net::{RecvFlags, ipproto};

use crate::lab::{
    Daemon, Place, ask, drops, drops_exactly, endpoint, eventually, ip, isolated, isolated_in, json, metrics, orders,
    two_legs, two_sides, verdict,
};
use crate::packets::echo_request;
use crate::peers::{Capture, connect, inject, ping, raw, serve, tcp, tcp_once, udp, udp_once};

#[test]
fn an_approved_endpoint_answers_and_everything_else_is_refused_under_its_name() {
    isolated("basics::an_approved_endpoint_answers_and_everything_else_is_refused_under_its_name", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        serve("core", "10.20.0.2:8", "another port");
        let daemon = Daemon::start(&orders("Pending"));
        let provider = Capture::start("core");

        let refused = drops_exactly("not_approved_pending", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"));
        assert_eq!(refused, Err(ConnectionRefused), "it was told, and did not give up");
        let refused = drops_exactly("not_approved_pending", 1, || udp("spoke", "10.1.0.5:0", "10.1.9.4:7"));
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(provider.packets(), Vec::<Vec<u8>>::new());

        ask("connection approve orders");
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert_eq!(udp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert!(ping("spoke", "10.1.0.5", "10.1.9.4"));
        provider.quiet();
        let provider = Capture::start("core");
        let attempts = [
            ("port_not_exposed", "10.1.0.5:0", "10.1.9.4:8", ConnectionRefused),
            ("unknown_endpoint", "10.1.0.5:0", "10.1.9.77:7", std::io::ErrorKind::HostUnreachable),
            ("source_not_allowed", "172.16.0.9:0", "10.1.9.4:7", TimedOut),
        ];
        for (reason, from, to, told) in attempts {
            let refused = drops_exactly(reason, 1, || tcp_once("spoke", from, to));
            assert_eq!(refused, Err(told), "{reason}");
            let refused = drops_exactly(reason, 1, || udp_once("spoke", from, to));
            assert!(refused.is_err(), "{reason}: {refused:?}");
        }
        drops_exactly("no_session", 1, || tcp_once("core", "10.20.0.2:0", "10.20.99.4:7").expect_err("dropped"));
        assert_eq!(provider.packets(), Vec::<Vec<u8>>::new());
        assert_eq!(tcp("core", "10.20.0.3:0", "10.20.0.2:8").as_deref(), Ok("another port"), "the target was alive");
        drop(daemon);
    });
}

#[test]
fn a_packet_whose_ttl_ends_here_gets_time_exceeded_from_the_endpoint() {
    isolated("basics::a_packet_whose_ttl_ends_here_gets_time_exceeded_from_the_endpoint", || {
        two_legs();
        let _daemon = Daemon::start(&orders("Approved"));
        let (hears, sends) = (raw("spoke", ipproto::ICMP), raw("spoke", ipproto::RAW));
        let provider = Capture::start("core");
        let (from, to) = (Ipv4Addr::new(10, 1, 0, 5), Ipv4Addr::new(10, 1, 9, 4));
        let probe = echo_request(from, to, 77, 1);
        drops_exactly("ttl_expired", 1, || inject(&sends, &probe).expect("sent"));
        let mut buffer = [0; 512];
        let (_, length) = rustix::net::recv(&hears, &mut buffer, RecvFlags::empty()).expect("an answer");
        let packet = &buffer[..length];
        assert_eq!((packet[20], packet[21]), (11, 0), "time exceeded in transit");
        assert_eq!(packet[12..16], to.octets(), "the endpoint says so");
        assert_eq!(packet[28..28 + probe.len()][12..20], probe[12..20], "it quotes the packet");
        assert!(provider.packets().is_empty());
        inject(&sends, &echo_request(from, to, 78, 2)).expect("sent");
        eventually("TTL 2 arrives with TTL 1", || provider.packets().iter().any(|packet| packet[8] == 1));
    });
}

/// Bulk, datagrams and pings; then the counters against the kernel's own.
fn everything_adds_up(daemon: &str, steering: bool, hands_over: bool) {
    two_legs();
    serve("core", "10.20.0.2:7000", "echo");
    let _daemon = Daemon::start(&two_sides(daemon, &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved")));
    assert_eq!(json("status")["steering"], steering);
    std::thread::scope(|scope| {
        for number in 0..12_u8 {
            scope.spawn(move || bulk(number));
        }
    });
    for _ in 0..40 {
        assert_eq!(udp("spoke", "10.1.0.6:0", "10.1.9.4:7").as_deref(), Ok("echo"));
    }
    for _ in 0..4 {
        assert!(ping("spoke", "10.1.0.5", "10.1.9.4"));
    }
    drops_exactly("port_not_exposed", 1, || udp("spoke", "10.1.0.5:0", "10.1.9.4:9").expect_err("refused"));
    let sent = |namespace: &str| {
        let link: serde_json::Value =
            serde_json::from_str(&ip(&format!("-n {namespace} -s -j link show pl-{namespace}"))).expect("JSON");
        link[0]["stats64"]["tx"]["packets"].as_u64().expect("a number")
    };
    let mut last = String::new();
    eventually("the counters agree with the kernel's", || {
        let counted = metrics();
        let of = |name| verdict(&counted, name);
        let kernel = sent("spoke") + sent("core");
        last = format!("read {} of the kernel's {kernel}: {counted:?}, {:?}", of("read"), drops());
        let law = of("read") + of("handed_in") == of("forwarded") + of("dropped") + of("handed_out") + of("held");
        law && of("read") == kernel && of("handed_in") == of("handed_out")
    });
    let counted = metrics();
    assert_eq!(verdict(&counted, "handed_out") > 0, hands_over, "{last}");
    let bytes = |direction: &str| {
        let name = format!("direction=\"{direction}\"");
        let mine = |key: &str| key.starts_with("privlink_endpoint_bytes_total") && key.contains(&name);
        counted.iter().filter(|(key, _)| mine(key)).map(|(_, value)| value).sum::<u64>()
    };
    for direction in ["to_service", "to_consumer"] {
        assert!(bytes(direction) > 12 * (2 << 20), "{direction}: {}", bytes(direction));
    }
}

/// Two megabytes there and back, compared byte by byte.
fn bulk(number: u8) {
    const SIZE: usize = 2 << 20;
    let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
    let mut name = [0; 5];
    stream.read_exact(&mut name).expect("greeted");
    assert_eq!(&name, b"echo\n");
    let data: Vec<u8> = (0..251).cycle().take(SIZE).map(|byte: u8| byte ^ number).collect();
    let mut sender = stream.try_clone().expect("cloned");
    std::thread::scope(|scope| {
        scope.spawn(|| sender.write_all(&data).expect("sent"));
        let mut back = vec![0; SIZE];
        stream.read_exact(&mut back).expect("echoed");
        assert!(back == data, "the echo differs");
    });
}

#[test]
fn counters_agree_with_the_kernel_with_two_steered_workers() {
    isolated("basics::counters_agree_with_the_kernel_with_two_steered_workers", || {
        // Inside a user namespace the kernel refuses BPF; only root can have steering.
        let root = std::fs::read_to_string("/proc/self/uid_map").expect("a map").contains("4294967295");
        everything_adds_up("workers = 2", root, !root);
    });
}

#[test]
fn counters_agree_with_the_kernel_with_two_workers_and_no_steering() {
    isolated_in(Place::User, "basics::counters_agree_with_the_kernel_with_two_workers_and_no_steering", || {
        everything_adds_up("workers = 2", false, true);
    });
}

#[test]
fn counters_agree_with_the_kernel_without_offload() {
    isolated("basics::counters_agree_with_the_kernel_without_offload", || {
        // One worker needs no steering, and has nobody to hand a packet to.
        everything_adds_up("workers = 1\noffload = false", false, false);
    });
}
