//! Drains and limits, changed by SIGHUP while sessions live.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::{
    Daemon, drops, drops_exactly, drops_grow, endpoint, eventually, inside, ip, isolated, json, metrics, now, orders,
    read_log, run, sessions, two_legs, two_sides,
};
use crate::packets::{SYN, Side, datagram, echo_request, segment};
use crate::peers::{connect, greeted, inject, raw, serve, tcp, udp, udp_once};
use crate::support::wanted::full;

fn still_echoes(stream: &mut TcpStream) {
    stream.write_all(b"still").expect("sent");
    stream.read_exact(&mut [0; 5]).expect("echoed");
}

#[test]
fn a_draining_backend_keeps_its_sessions_and_takes_no_new_ones() {
    isolated("limits::a_draining_backend_keeps_its_sessions_and_takes_no_new_ones", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "first");
        serve("core", "10.20.0.3:7000", "second");
        let file = orders("Approved").replace("[\"10.20.0.2\"]", "[\"10.20.0.2\", \"10.20.0.3\"]");
        let daemon = Daemon::start(&file);
        let mut names = std::collections::BTreeSet::new();
        let mut held = Vec::new();
        eventually("sessions are spread over both", || {
            let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
            names.insert(greeted(&mut stream).expect("greeted"));
            held.push(stream);
            names.len() == 2
        });
        let drain = |address: &str| format!("{{ address = \"{address}\", drain = true }}");
        daemon.apply(&file.replace("\"10.20.0.2\",", &format!("{},", drain("10.20.0.2"))));
        held.iter_mut().for_each(still_echoes);
        for _ in 0..30 {
            assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("second"));
        }
        let both = format!("[{}, {}]", drain("10.20.0.2"), drain("10.20.0.3"));
        daemon.apply(&file.replace("[\"10.20.0.2\", \"10.20.0.3\"]", &both));
        held.iter_mut().for_each(still_echoes);
        drops_exactly("no_backend", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").expect_err("nobody takes it"));
        daemon.apply(&file);
        assert!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").is_ok());
        held.iter_mut().for_each(still_echoes);
    });
}

#[test]
fn a_limit_of_sessions_follows_the_file_and_ends_none() {
    isolated("limits::a_limit_of_sessions_follows_the_file_and_ends_none", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let file = orders("Approved");
        let daemon = Daemon::start(&file);
        let open = || {
            let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
            assert_eq!(greeted(&mut stream).expect("greeted"), "echo");
            stream
        };
        let mut held: Vec<_> = (0..3).map(|_| open()).collect();
        let limited =
            |setting: &str| file.replace("status = \"Approved\"", &format!("status = \"Approved\"\n{setting}"));
        daemon.apply(&limited("max_sessions = 3"));
        held.iter_mut().for_each(still_echoes);
        drops_exactly("session_limit", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").expect_err("full"));
        daemon.apply(&limited("max_sessions = 4"));
        held.push(open());
        drops_exactly("session_limit", 1, || tcp("spoke", "10.1.0.6:0", "10.1.9.4:7").expect_err("full again"));
        held.pop();
        eventually("a closed session makes room", || sessions() == 3);
        held.push(open());
        daemon.apply(&limited("max_sessions = 1"));
        held.iter_mut().for_each(still_echoes);
        daemon.apply(&file.replace("nat = [", "max_sessions = 4\nnat = ["));
        drops_exactly("session_limit", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").expect_err("the resource's own"));
        held.iter_mut().for_each(still_echoes);
    });
}

#[test]
fn the_daemons_own_limit_refuses_what_does_not_fit() {
    isolated("limits::the_daemons_own_limit_refuses_what_does_not_fit", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let settings = "workers = 1\nmax_sessions = 2";
        let _daemon = Daemon::start(&two_sides(settings, &endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved")));
        for port in [5_001, 5_002] {
            assert_eq!(udp("spoke", &format!("10.1.0.5:{port}"), "10.1.9.4:7").as_deref(), Ok("echo"));
        }
        drops_exactly("table_full", 1, || udp("spoke", "10.1.0.5:5003", "10.1.9.4:7").expect_err("full"));
        assert_eq!(udp("spoke", "10.1.0.5:5001", "10.1.9.4:7").as_deref(), Ok("echo"));
    });
}

/// The endpoint that is flooded.
const FLOODED: Side = (Ipv4Addr::new(10, 1, 9, 4), 7);

/// Sends `count` packets, each of another client, none of whom says anything more. A full queue of the device loses
/// some; `sent` counts on, so that the next are of others, and each round of a flood comes nearer to its end.
fn flood(sent: &mut u32, count: u32, packet: fn(Side, u32) -> Vec<u8>) {
    let socket = raw("spoke", rustix::net::ipproto::RAW);
    let numbers = *sent..*sent + count;
    *sent = numbers.end;
    inside("spoke", || {
        for number in numbers {
            let [_, high, low, _] = (number << 8).to_be_bytes();
            let source = Ipv4Addr::new(10, 1, 100 + high % 100, low.max(1));
            let port = 1_024 + u16::try_from(number / 7_919).expect("few rounds");
            let _ = inject(&socket, &packet((source, port), number));
        }
    });
}

fn question(from: Side, _: u32) -> Vec<u8> {
    datagram(from, FLOODED, b"x")
}

fn syn(from: Side, number: u32) -> Vec<u8> {
    segment(from, FLOODED, SYN, number, 0)
}

/// 64,512 ports for one NAT address, protocol and server, and clients for all of them.
#[test]
fn a_resource_without_a_nat_port_is_a_condition_and_another_address_ends_it() {
    isolated("limits::a_resource_without_a_nat_port_is_a_condition_and_another_address_ends_it", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let orders = endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved");
        let wide = two_sides("workers = 2", &orders);
        let file = wide.replace("\"10.20.99.4\", \"10.20.99.5\"", "\"10.20.99.4\"");
        let daemon = Daemon::start(&file);
        let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        assert_eq!(greeted(&mut stream).as_deref().expect("greeted"), "echo");
        let conditions = || json("status")["conditions"].to_string();
        let exhausted = || conditions().contains("NatPortsExhausted");
        assert!(!exhausted());
        let mut sent = 0;
        eventually("every port is taken", || {
            flood(&mut sent, 4_000, question);
            exhausted()
        });
        let said = conditions();
        assert!(said.contains("resource default/echo has no NAT port left towards udp 10.20.0.2:7000"), "{said}");
        let refused = || udp_once("spoke", "10.1.0.6:900", "10.1.9.4:7").expect_err("no port");
        // What a queue still holds of the flood is refused, too.
        eventually("one is refused, and it alone", || drops_grow("nat_ports_exhausted", 1, refused).is_ok());
        still_echoes(&mut stream);
        assert_eq!(tcp("spoke", "10.1.0.6:0", "10.1.9.4:7").as_deref(), Ok("echo"), "another protocol has its own");
        daemon.apply(&wide);
        assert_eq!(udp("spoke", "10.1.0.6:901", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert!(!exhausted(), "{}", conditions());
        still_echoes(&mut stream);
    });
}

/// Fair share: whoever takes all ports there are through one endpoint leaves some to the other's clients.
#[test]
fn one_endpoint_starves_no_other() {
    isolated("limits::one_endpoint_starves_no_other", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let greedy = endpoint("greedy", "spoke", "10.1.9.4", "echo", "Approved");
        let modest = endpoint("modest", "spoke", "10.1.9.5", "echo", "Approved");
        let file = two_sides("workers = 2", &format!("{greedy}{modest}"));
        let _daemon = Daemon::start(&file.replace("\"10.20.99.4\", \"10.20.99.5\"", "\"10.20.99.4\""));
        let refused = || drops().get("nat_ports_exhausted").copied().unwrap_or(0);
        let mut sent = 0;
        eventually("the endpoint has its share", || {
            flood(&mut sent, 4_000, question);
            refused() > 0
        });
        for port in 5_000..5_030 {
            assert_eq!(udp("spoke", &format!("10.1.0.6:{port}"), "10.1.9.5:7").as_deref(), Ok("echo"), "{port}");
        }
        let greedy = || udp_once("spoke", "10.1.0.6:5030", "10.1.9.4:7").expect_err("and none of it to the greedy one");
        eventually("one is refused, and it alone", || drops_grow("nat_ports_exhausted", 1, greedy).is_ok());
    });
}

/// Resident memory of the daemon in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn memory_stays_flat_under_a_flood_of_syns_and_sessions_live_on() {
    isolated("limits::memory_stays_flat_under_a_flood_of_syns_and_sessions_live_on", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let orders = endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved");
        let daemon = Daemon::start(&two_sides("workers = 2\nmax_sessions = 40000", &orders));
        let mut stream = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        assert_eq!(greeted(&mut stream).as_deref().expect("greeted"), "echo");
        let mut sent = 0;
        eventually("the table is full", || {
            flood(&mut sent, 100_000, syn);
            sessions() > 39_500
        });
        let opened = || -> u64 {
            let all = metrics().into_iter().filter(|(name, _)| name.starts_with("privlink_sessions_opened_total{"));
            all.map(|(_, count)| count).sum()
        };
        let (before, first) = (resident(&daemon), opened());
        eventually("100,000 more make room for one another", || {
            flood(&mut sent, 100_000, syn);
            still_echoes(&mut stream);
            opened() - first > 100_000
        });
        let (after, more) = (resident(&daemon), opened() - first);
        println!("{before} KiB with a full table, {after} KiB after {more} more half-open sessions");
        assert!(after < before + 2_048, "{before} KiB before, {after} KiB after");
        assert!(sessions() <= 40_000, "{} sessions", sessions());
        still_echoes(&mut stream);
        // What nobody answered makes room for who comes next.
        let mut next = connect("spoke", "10.1.0.6:0", "10.1.9.4:7").expect("connected");
        assert_eq!(greeted(&mut next).as_deref().expect("greeted"), "echo");
    });
}

/// A program that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Packets whose lengths, offsets and options lie, as far as a kernel sends such.
fn malformed() -> Vec<Vec<u8>> {
    let (from, to) = ((Ipv4Addr::new(10, 1, 0, 6), 5_000), (Ipv4Addr::new(10, 1, 9, 4), 7));
    let (syn, question) = (segment(from, to, SYN, 1, 0), datagram(from, to, b"question"));
    let echo = echo_request(from.0, to.0, 7, 64);
    let with = |packet: &[u8], at: usize, byte: u8| {
        let mut lies = packet.to_vec();
        lies[at] = byte;
        lies
    };
    vec![
        with(&syn, 32, 0xf0),     // a TCP header that is longer than its packet
        with(&syn, 32, 0x40),     // and one shorter than any
        syn[..31].to_vec(),       // cut off
        with(&question, 25, 200), // a datagram longer than its packet
        with(&question, 25, 7),   // and shorter than its header
        question[..26].to_vec(),  // cut off
        echo[..23].to_vec(),      // an ICMP header of three bytes
        with(&question, 6, 0x20), // a first piece that holds 16 bytes and says there are more
        with(&question, 7, 0x01), // a last piece that follows nothing
        with(&echo, 20, 3),       // an error about nothing
    ]
}

/// The fault table's "10 K malformed packets a second": the good flow keeps its pace, memory stays flat, and the log
/// says nothing of single packets. Three seconds, or a minute with `PRIVLINK_TESTS=netns,full`.
#[test]
fn malformed_packets_by_the_thousand_cost_a_good_flow_nothing() {
    isolated("limits::malformed_packets_by_the_thousand_cost_a_good_flow_nothing", || {
        two_legs();
        let seconds = if full() { 60 } else { 3 };
        let mut server = Command::new("ip");
        server.args(["netns", "exec", "core", "iperf3", "-s", "-B", "10.20.0.2", "-p", "7000"]).stdout(Stdio::null());
        let _server = Ended(server.spawn().expect("iperf3"));
        let orders = endpoint("orders", "spoke", "10.1.9.4", "echo", "Approved");
        let daemon = Daemon::start(&two_sides("workers = 2", &orders));
        let flow = |seconds: u64| {
            let rate = "iperf3 -J -c 10.1.9.4 -p 7 -b 200M -t";
            let said = run("ip", &format!("netns exec spoke {rate} {seconds}"));
            let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            said["end"]["sum_received"]["bits_per_second"].as_f64().expect("a rate") / 1e6
        };
        eventually("the server listens", || ip("netns exec core ss -ltn").contains(":7000"));
        let undisturbed = flow(3);
        let (mut before, log, dropped) = (resident(&daemon), read_log().len(), drops());
        let (ended, mut sent) = (AtomicBool::new(false), 0_u64);
        let beside = std::thread::scope(|scope| {
            let flow = scope.spawn(|| {
                let rate = flow(seconds);
                ended.store(true, Ordering::Relaxed);
                rate
            });
            let (socket, packets, began) = (raw("spoke", rustix::net::ipproto::RAW), malformed(), now());
            inside("spoke", || {
                while !ended.load(Ordering::Relaxed) {
                    // A full queue of the device loses some.
                    packets
                        .iter()
                        .cycle()
                        .take(100)
                        .for_each(|packet| sent += u64::from(inject(&socket, packet).is_ok()));
                    if sent < 10_000 {
                        // What a flood needs at all it needs within its first second.
                        before = resident(&daemon);
                    }
                    std::thread::sleep(Duration::from_millis(sent / 10).saturating_sub(began.elapsed()));
                }
            });
            flow.join().expect("iperf3")
        });
        let (after, said) = (resident(&daemon), read_log().split_off(log));
        let grown: u64 = drops().values().sum::<u64>() - dropped.values().sum::<u64>();
        println!(
            "{undisturbed:.0} Mbit/s, {beside:.0} beside {sent} malformed packets in {seconds} s, {grown} dropped"
        );
        println!("{before} KiB before, {after} after; log grew by {} bytes; dropped: {:?}", said.len(), drops());
        assert!(sent > 9_000 * seconds, "{sent} packets in {seconds} s");
        assert!(grown > sent * 9 / 10, "{grown} of {sent} counted");
        assert!(beside > undisturbed * 0.9, "{beside:.0} of {undisturbed:.0} Mbit/s");
        assert!(after < before + 2_048, "{before} KiB before, {after} KiB after");
        assert!(said.len() < 2_048, "the log says {said}");
    });
}
