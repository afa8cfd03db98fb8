//! Segments that somebody sends in the name of an end of a connection, against the kernels of real clients and servers:
//! no live connection ends by them, and a revocation reaches every end all the same.

use std::collections::BTreeMap;
use std::io::ErrorKind::ConnectionReset;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::ipproto;

use crate::lab::{Daemon, ask, cli, drops_exactly, eventually, ip, isolated, now, orders, two_legs};
use crate::packets::{ACK, RST, SYN, Side, data};
use crate::peers::{Capture, accept_all, connect, end_of, inject, listen, raw, tcp};

const FIN: u8 = 1;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 5);
const ENDPOINT: Side = (Ipv4Addr::new(10, 1, 9, 4), 7);
const SERVER: Side = (Ipv4Addr::new(10, 20, 0, 2), 7_000);

/// A number half the space away: one of two such is far from any other.
const FAR: u32 = 1 << 31;

/// Within which every end is told of a revocation.
const TOLD: Duration = Duration::from_secs(3);

/// Somebody in each network who sends in the name of others, and sees nothing.
struct Attackers {
    near_client: OwnedFd,
    near_server: OwnedFd,
    /// Whether their checksums are wrong.
    spoil: bool,
}

/// A connection, its kernel sockets, and how the provider's side names its client.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    port: u16,
    nat: Side,
}

impl Attackers {
    fn new(spoil: bool) -> Self {
        Self { near_client: raw("spoke", ipproto::RAW), near_server: raw("core", ipproto::RAW), spoil }
    }

    fn as_client(&self, pair: &Pair, flags: u8, numbers: (u32, u32), payload: &[u8]) {
        self.send(&self.near_client, data((CLIENT, pair.port), ENDPOINT, flags, numbers, payload));
    }

    fn as_server(&self, pair: &Pair, flags: u8, numbers: (u32, u32), payload: &[u8]) {
        self.send(&self.near_server, data(SERVER, pair.nat, flags, numbers, payload));
    }

    fn send(&self, by: &OwnedFd, mut packet: Vec<u8>) {
        packet[20 + 16] ^= if self.spoil { 0x55 } else { 0 };
        inject(by, &packet).expect("sent");
    }
}

type Accepted = Receiver<(TcpStream, SocketAddr)>;

fn server() -> Accepted {
    accept_all(listen("core", "10.20.0.2:7000", 128))
}

fn open(accepted: &Accepted) -> Pair {
    let client = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
    let (server, seen) = accepted.recv().expect("accepted");
    let SocketAddr::V4(seen) = seen else { panic!("{seen}") };
    let port = client.local_addr().expect("bound").port();
    let mut pair = Pair { client, server, port, nat: (*seen.ip(), seen.port()) };
    pair.works();
    pair
}

impl Pair {
    /// Data passes both ways.
    fn works(&mut self) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"data").expect("sent");
            let mut heard = [0; 4];
            to.read_exact(&mut heard).expect("heard");
            assert_eq!(&heard, b"data");
        }
    }
}

/// The live sessions by the client's port: the provider's name of it, and the state.
fn flows() -> BTreeMap<u16, (Side, String)> {
    let flows: serde_json::Value = serde_json::from_slice(&cli("flows --limit 10000 -o json").stdout).expect("JSON");
    let port = |side: &serde_json::Value| u16::try_from(side["port"].as_u64().expect("a port")).expect("a port");
    let one = |flow: &serde_json::Value| {
        let nat = flow["nat"]["ip"].as_str().expect("an address").parse().expect("an address");
        (port(&flow["consumer"]), ((nat, port(&flow["nat"])), flow["state"].as_str().expect("a state").to_owned()))
    };
    flows["items"].as_array().expect("a list").iter().filter(|flow| flow["state"] != "ended").map(one).collect()
}

/// How somebody who sees nothing tries to end a connection, with a number of his choice.
type Attack = fn(&Attackers, &Pair, u32);

const ATTACKS: [(&str, Attack); 6] = [
    ("an acknowledgement by one and a reset at its number by the other", |by, pair, x| {
        for x in [x, x.wrapping_add(FAR)] {
            by.as_client(pair, ACK, (x, x), b"");
            by.as_server(pair, RST, (x, 0), b"");
            by.as_server(pair, ACK, (x, x), b"");
            by.as_client(pair, RST, (x, 0), b"");
        }
    }),
    ("data, a reset behind it, and a SYN", |by, pair, x| {
        by.as_client(pair, ACK, (x, x), b"x");
        by.as_client(pair, RST, (x.wrapping_add(1), 0), b"");
        by.as_client(pair, SYN, (x, 0), b"");
    }),
    ("data and a reset by the server, and a SYN by the client", |by, pair, x| {
        by.as_server(pair, ACK, (x, x), b"x");
        by.as_server(pair, RST, (x.wrapping_add(1), 0), b"");
        by.as_client(pair, SYN, (x, 0), b"");
    }),
    ("FINs of both at impossible numbers, and a SYN", |by, pair, x| {
        by.as_client(pair, FIN | ACK, (x, x), b"");
        by.as_server(pair, FIN | ACK, (x, x), b"");
        by.as_client(pair, SYN, (x, 0), b"");
    }),
    ("a SYN-ACK", |by, pair, x| by.as_server(pair, SYN | ACK, (x, x), b"")),
    ("SYNs, and an answer to each", |by, pair, x| {
        for isn in [x, x, x, x.wrapping_add(77)] {
            by.as_client(pair, SYN, (isn, 0), b"");
            by.as_server(pair, SYN | ACK, (x, isn.wrapping_add(1)), b"");
        }
    }),
];

#[test]
fn no_blind_segments_end_a_live_connection() {
    /// Of each attack.
    const PAIRS: u32 = 20;
    isolated("forged::no_blind_segments_end_a_live_connection", || {
        two_legs();
        let accepted = server();
        let limit = "status = \"Approved\"\nmax_sessions = 240";
        let _daemon = Daemon::start(&orders("Approved").replace("status = \"Approved\"", limit));
        let mut pairs = Vec::new();
        for attackers in [Attackers::new(false), Attackers::new(true)] {
            for (name, attack) in ATTACKS {
                let first = pairs.len();
                for number in 0..PAIRS {
                    let pair = open(&accepted);
                    attack(&attackers, &pair, number.wrapping_mul(1_234_567_891));
                    pairs.push(pair);
                }
                pairs[first..].iter_mut().for_each(Pair::works);
                let flows = flows();
                for pair in &pairs[first..] {
                    let wanted = (pair.nat, "established".to_owned());
                    assert_eq!(flows.get(&pair.port), Some(&wanted), "{name}; wrong checksums: {}", attackers.spoil);
                }
            }
        }
        // None of them has left its limit.
        drops_exactly("session_limit", 1, || tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").expect_err("full"));
        pairs.iter_mut().for_each(Pair::works);
    });
}

#[test]
fn a_client_that_lost_its_connection_gets_another_by_the_same_nat_port() {
    isolated("forged::a_client_that_lost_its_connection_gets_another_by_the_same_nat_port", || {
        two_legs();
        let accepted = server();
        let _daemon = Daemon::start(&orders("Approved"));
        let lost = open(&accepted);
        let (port, nat) = (lost.port, lost.nat);
        // The client's host forgets the connection, and nobody hears of it.
        ip("-n spoke route add blackhole 10.1.9.4/32 metric 0 table 77");
        ip("-n spoke rule add to 10.1.9.4 lookup 77 pref 1");
        rustix::net::sockopt::set_socket_linger(&lost.client, Some(Duration::ZERO)).expect("set");
        drop(lost.client);
        ip("-n spoke rule del pref 1");
        let mut client = connect("spoke", &format!("10.1.0.5:{port}"), "10.1.9.4:7").expect("connected");
        let mut server = accepted.recv().expect("accepted").0;
        client.write_all(b"anew").expect("sent");
        server.read_exact(&mut [0; 4]).expect("heard");
        assert_eq!(flows().get(&port), Some(&(nat, "established".to_owned())));
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

/// Whether the kernel knows that each of these is over.
fn over(ends: &[&TcpStream]) -> Vec<bool> {
    let mut fds: Vec<PollFd<'_>> = ends.iter().map(|end| PollFd::new(end, PollFlags::empty())).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polled");
    fds.iter().map(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP)).collect()
}

/// Sends and reads until the connection is over.
fn keep_busy(mut stream: TcpStream) {
    let mut reader = stream.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    std::thread::spawn(move || {
        while stream.write_all(&[7; 1_400]).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_reject_reaches_every_end_whatever_was_injected_before() {
    isolated("forged::a_reject_reaches_every_end_whatever_was_injected_before", || {
        two_legs();
        let accepted = server();
        let _daemon = Daemon::start(&orders("Approved"));
        let attackers = Attackers::new(false);
        let mut pairs: Vec<Pair> = (0..16).map(|_| open(&accepted)).collect();
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
            for x in [x, x.wrapping_add(FAR)] {
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
        for pair in &pairs[8..] {
            keep_busy(pair.client.try_clone().expect("a descriptor"));
            keep_busy(pair.server.try_clone().expect("a descriptor"));
        }
        ask("connection reject orders");
        let began = now();
        let ends: Vec<&TcpStream> = pairs.iter().flat_map(|pair| [&pair.client, &pair.server]).collect();
        let mut left = Vec::new();
        eventually("every end knows", || {
            let told = over(&ends);
            left = (0..ends.len()).filter(|end| !told[*end]).collect();
            left.is_empty() || began.elapsed() > TOLD
        });
        println!("every end knew after {:?}", began.elapsed());
        assert_eq!(left, Vec::<usize>::new(), "client and server of each in turn: not told");
        for end in &ends[..16] {
            let error = end.take_error().expect("asked").map(|error| error.kind());
            assert_eq!(error, Some(ConnectionReset), "the idle ones");
        }
    });
}
