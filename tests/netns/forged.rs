//! Segments that somebody sends in the name of an end of a connection, against the kernels of real clients and servers:
//! no live connection ends by them, and a revocation reaches every end all the same.

use std::io::ErrorKind::ConnectionReset;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::net::ipproto;

use crate::lab::{Daemon, ask, cli, eventually, ip, isolated, now, orders, two_legs};
use crate::packets::{ACK, RST, SYN, Side, data};
use crate::peers::{Capture, accept_all, connect, connect_within, end_of, inject, listen, raw};

const FIN: u8 = 1;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
const ENDPOINT: Side = (Ipv4Addr::new(10, 1, 9, 4), 7);
const SERVER: Side = (Ipv4Addr::new(10, 20, 0, 2), 7_000);

/// Somebody in each network who sends in the name of others.
struct Attackers {
    near_client: OwnedFd,
    near_server: OwnedFd,
}

/// A connection, its kernel sockets, and how the provider's side names its client.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    port: u16,
    nat: Side,
}

impl Attackers {
    fn new() -> Self {
        Self { near_client: raw("spoke", ipproto::RAW), near_server: raw("core", ipproto::RAW) }
    }

    fn as_client(&self, pair: &Pair, flags: u8, numbers: (u32, u32), payload: &[u8]) {
        inject(&self.near_client, &data((CLIENT, pair.port), ENDPOINT, flags, numbers, payload)).expect("sent");
    }

    fn as_server(&self, pair: &Pair, flags: u8, numbers: (u32, u32), payload: &[u8]) {
        inject(&self.near_server, &data(SERVER, pair.nat, flags, numbers, payload)).expect("sent");
    }
}

/// The provider's name of the client at `port`, and the state of the session.
fn flow(port: u16) -> Option<(Side, String)> {
    let flows: serde_json::Value = serde_json::from_slice(&cli("flows -o json").stdout).expect("JSON");
    let items = flows["items"].as_array().expect("a list").iter();
    let one = items.filter(|flow| flow["state"] != "ended").find(|flow| flow["consumer"]["port"] == port)?;
    let ip = one["nat"]["ip"].as_str()?.parse().ok()?;
    let nat_port = u16::try_from(one["nat"]["port"].as_u64()?).ok()?;
    Some(((ip, nat_port), one["state"].as_str()?.to_owned()))
}

fn open(accepted: &Receiver<(TcpStream, std::net::SocketAddr)>) -> Pair {
    let client = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
    let server = accepted.recv().expect("accepted").0;
    let port = client.local_addr().expect("bound").port();
    let nat = flow(port).expect("a session").0;
    let mut pair = Pair { client, server, port, nat };
    pair.works();
    pair
}

impl Pair {
    /// Data passes both ways.
    fn works(&mut self) {
        self.client.write_all(b"data").expect("sent");
        self.server.read_exact(&mut [0; 4]).expect("heard");
        self.server.write_all(b"data").expect("sent");
        self.client.read_exact(&mut [0; 4]).expect("heard");
    }
}

#[test]
fn no_blind_segments_end_a_live_connection() {
    isolated("forged::no_blind_segments_end_a_live_connection", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 128));
        let _daemon = Daemon::start(&orders("Approved"));
        let attackers = Attackers::new();
        let mut pairs: Vec<Pair> = (0..12).map(|_| open(&accepted)).collect();
        for (number, pair) in (0_u32..).zip(&pairs) {
            let x = number.wrapping_mul(357_913_941);
            for x in [x, x.wrapping_add(1 << 31)] {
                // A byte and a reset behind it, in either name; FINs at impossible numbers from both; a SYN-ACK.
                attackers.as_client(pair, ACK, (x, x), b"x");
                attackers.as_client(pair, RST, (x.wrapping_add(1), 0), b"");
                attackers.as_server(pair, ACK, (x, x), b"x");
                attackers.as_server(pair, RST, (x.wrapping_add(1), 0), b"");
                attackers.as_client(pair, FIN | ACK, (x, x), b"");
                attackers.as_server(pair, FIN | ACK, (x, x), b"");
                attackers.as_server(pair, SYN | ACK, (x, x), b"");
                for isn in [x, x, x, x.wrapping_add(77)] {
                    attackers.as_client(pair, SYN, (isn, 0), b"");
                }
            }
        }
        for pair in &mut pairs {
            pair.works();
            let (nat, state) = flow(pair.port).expect("a session");
            assert_eq!((nat, state.as_str()), (pair.nat, "established"));
        }
    });
}

#[test]
fn a_client_that_lost_its_connection_gets_another_by_the_same_nat_port() {
    isolated("forged::a_client_that_lost_its_connection_gets_another_by_the_same_nat_port", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 128));
        let _daemon = Daemon::start(&orders("Approved"));
        let lost = open(&accepted);
        let (port, nat) = (lost.port, lost.nat);
        // The client's host forgets the connection, and nobody hears of it.
        ip("-n spoke route add blackhole 10.1.9.4/32 metric 0 table 77");
        ip("-n spoke rule add to 10.1.9.4 lookup 77 pref 1");
        rustix::net::sockopt::set_socket_linger(&lost.client, Some(Duration::ZERO)).expect("set");
        drop(lost.client);
        ip("-n spoke rule del pref 1");
        let mut client = connect_within("spoke", &format!("10.1.0.5:{port}"), "10.1.9.4:7", Duration::from_secs(20))
            .expect("connected");
        let mut server = accepted.recv().expect("accepted").0;
        client.write_all(b"anew").expect("sent");
        server.read_exact(&mut [0; 4]).expect("heard");
        assert_eq!(flow(port).expect("a session"), (nat, "established".to_owned()));
        let mut old = lost.server;
        assert_eq!(end_of(&mut old), Err(ConnectionReset), "the server's end of the old one");
    });
}

/// What the client at `port` sends and expects next, by the newest segment that the endpoint sent it.
fn said(capture: &Capture, port: u16) -> Option<(u32, u32)> {
    let word =
        |packet: &[u8], at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let of = |packet: &&Vec<u8>| {
        packet.len() >= 40
            && packet[9] == 6
            && packet[12..16] == ENDPOINT.0.octets()
            && packet[22..24] == port.to_be_bytes()
    };
    let packets = capture.packets();
    packets.iter().rfind(of).map(|packet| {
        let payload = u32::from(u16::from_be_bytes([packet[2], packet[3]])) - 20 - u32::from(packet[32] >> 4) * 4;
        (word(packet, 28), word(packet, 24).wrapping_add(payload))
    })
}

#[test]
fn a_reject_reaches_every_end_whatever_was_injected_before() {
    isolated("forged::a_reject_reaches_every_end_whatever_was_injected_before", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 128));
        let _daemon = Daemon::start(&orders("Approved"));
        let attackers = Attackers::new();
        let mut pairs: Vec<Pair> = (0..8).map(|_| open(&accepted)).collect();
        for (number, pair) in (0_u32..).zip(&mut pairs) {
            let capture = Capture::start("spoke");
            pair.works();
            let (mut seq, mut ack) = (0, 0);
            eventually("the client's numbers", || {
                said(&capture, pair.port).is_some_and(|numbers| {
                    (seq, ack) = numbers;
                    true
                })
            });
            let x = number.wrapping_mul(500_000_003);
            for x in [x, x.wrapping_add(1 << 31)] {
                attackers.as_server(pair, SYN | ACK, (x, x), b"");
                attackers.as_server(pair, ACK, (x, x), b"forged");
                attackers.as_client(pair, ACK, (x, x), b"forged");
                attackers.as_client(pair, SYN, (x, 0), b"");
            }
            if number % 2 == 0 {
                // Data that the kernels take for the other end's: what both expect is not what either has sent.
                attackers.as_client(pair, ACK, (seq, ack), b"one of the attacker's own");
                attackers.as_server(pair, ACK, (ack, seq), b"and another");
            }
        }
        // Half of them are busy when the end comes.
        for pair in pairs.iter_mut().skip(4) {
            let _ = (pair.client.write_all(&[7; 4_096]), pair.server.write_all(&[7; 4_096]));
        }
        let began = now();
        ask("connection reject orders");
        for pair in &mut pairs {
            for end in [&mut pair.client, &mut pair.server] {
                assert_eq!(end_of(end), Err(ConnectionReset));
            }
        }
        println!("every end knew after {:?}", began.elapsed());
    });
}
