//! A reject is in force when its call returns: both ends are reset without sending anything, and no
//! packet is forwarded any more.

use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::ipproto;

use crate::lab::{
    Daemon, ask, drops, eventually, inside, isolated, leg, metrics, orders, sessions, sysctl, two_legs, verdict,
};
use crate::packets::{ACK, RST, SYN, datagram, segment};
use crate::peers::{Capture, accept_all, connect, end_of, greeted, inject, listen, raw, serve, tcp, udp, udp_once};

#[test]
fn a_reject_resets_a_bulk_transfer_and_an_idle_connection_at_both_ends() {
    isolated("revocation::a_reject_resets_a_bulk_transfer_and_an_idle_connection_at_both_ends", || {
        two_legs();
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 128));
        let daemon = Daemon::start(&orders("Approved"));
        let mut client = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        let mut server = accepted.recv().expect("accepted").0;
        let mut idle_client = connect("spoke", "10.1.0.6:0", "10.1.9.4:7").expect("connected");
        let mut idle_server = accepted.recv().expect("accepted").0;
        // Idle, and not virgin: what the resets are aimed at has moved on both sides.
        idle_client.write_all(b"question").expect("sent");
        idle_server.read_exact(&mut [0; 8]).expect("heard");
        idle_server.write_all(b"answer").expect("sent");
        idle_client.read_exact(&mut [0; 6]).expect("heard");

        let received = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let down = scope.spawn(|| {
                let mut buffer = vec![0; 65_536];
                loop {
                    match client.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(length) => received.fetch_add(length as u64, Ordering::Relaxed),
                        Err(error) => return Err(error.kind()),
                    };
                }
            });
            let up = scope.spawn(|| {
                let data = vec![7; 65_536];
                loop {
                    if let Err(error) = server.write_all(&data) {
                        return error.kind();
                    }
                }
            });
            eventually("the transfer is under way", || received.load(Ordering::Relaxed) > 4 << 20);
            ask("connection reject orders --reason enough");
            let (provider, consumer) = (Capture::start("core"), Capture::start("spoke"));
            assert_eq!(down.join().expect("ran"), Err(ConnectionReset), "the reader");
            assert_eq!(up.join().expect("ran"), ConnectionReset, "the writer");
            assert_eq!(end_of(&mut idle_client), Err(ConnectionReset), "the idle client");
            assert_eq!(end_of(&mut idle_server), Err(ConnectionReset), "the idle server");
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(provider.forwarded(), Vec::<Vec<u8>>::new(), "towards the provider");
            assert_eq!(consumer.from([10, 1, 9]), Vec::<Vec<u8>>::new(), "towards the consumer");
        });
        assert_eq!(sessions(), 0);
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7"), Err(ConnectionRefused));
        ask("connection approve orders");
        connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected without a restart");
        drop(daemon);
    });
}

#[test]
fn an_approve_after_a_reject_does_not_revive_what_was_revoked() {
    isolated("revocation::an_approve_after_a_reject_does_not_revive_what_was_revoked", || {
        two_legs();
        serve("core", "10.20.0.2:7000", "echo");
        let _daemon = Daemon::start(&orders("Approved"));
        let mut before = connect("spoke", "10.1.0.5:0", "10.1.9.4:7").expect("connected");
        assert_eq!(greeted(&mut before).expect("greeted"), "echo");
        assert_eq!(udp("spoke", "10.1.0.5:5000", "10.1.9.4:7").as_deref(), Ok("echo"));
        ask("connection reject orders");
        assert!(udp_once("spoke", "10.1.0.5:5000", "10.1.9.4:7").is_err());
        ask("connection approve orders");
        assert_eq!(end_of(&mut before), Err(ConnectionReset));
        assert_eq!(tcp("spoke", "10.1.0.5:0", "10.1.9.4:7").as_deref(), Ok("echo"));
        assert_eq!(udp("spoke", "10.1.0.5:5000", "10.1.9.4:7").as_deref(), Ok("echo"));
    });
}

/// Waits until the kernel has reset every one of these sockets; none of them sends or reads.
fn all_reset(who: &str, streams: &[TcpStream]) {
    let mut left = 0;
    eventually(&format!("every {who} is reset"), || {
        let mut fds: Vec<PollFd<'_>> = streams.iter().map(|stream| PollFd::new(stream, PollFlags::empty())).collect();
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polled");
        left = fds.iter().filter(|fd| !fd.revents().contains(PollFlags::ERR)).count();
        left == 0
    });
    for stream in streams {
        let error = stream.take_error().expect("asked").map(|error| error.kind());
        assert_eq!(error, Some(ConnectionReset), "{who}, {left} left");
    }
}

#[test]
fn thousands_of_idle_connections_are_all_reset_at_both_ends() {
    const CONNECTIONS: usize = 4_000;
    const DATAGRAMS: u64 = 1_000;
    isolated("revocation::thousands_of_idle_connections_are_all_reset_at_both_ends", || {
        two_legs();
        sysctl("core", "core/somaxconn", "8192");
        let accepted = accept_all(listen("core", "10.20.0.2:7000", 8_192));
        let _daemon = Daemon::start(&orders("Approved"));
        let connecting = |from: &'static str| {
            move || -> Vec<TcpStream> {
                let one = |_| connect("spoke", from, "10.1.9.4:7").expect("connected");
                (0..CONNECTIONS / 2).map(one).collect()
            }
        };
        let halves = [connecting("10.1.0.5:0"), connecting("10.1.0.6:0")].map(std::thread::spawn);
        let clients: Vec<TcpStream> = halves.into_iter().flat_map(|half| half.join().expect("ran")).collect();
        let servers: Vec<TcpStream> = accepted.iter().take(CONNECTIONS).map(|(stream, _)| stream).collect();
        let sends = raw("spoke", ipproto::RAW);
        let datagrams = || {
            for port in 0..u16::try_from(DATAGRAMS).expect("small") {
                let from = (Ipv4Addr::new(10, 1, 7, 7), 10_000 + port);
                inject(&sends, &datagram(from, (Ipv4Addr::new(10, 1, 9, 4), 7), b"x")).expect("sent");
            }
        };
        eventually("every session is open", || {
            datagrams();
            sessions() == CONNECTIONS as u64 + DATAGRAMS
        });

        ask("connection reject orders");
        let (provider, consumer) = (Capture::start("core"), Capture::start("spoke"));
        all_reset("client", &clients);
        all_reset("server", &servers);
        datagrams();
        eventually("the datagrams are refused", || {
            drops().get("not_approved_rejected").is_some_and(|count| *count >= DATAGRAMS / 2)
        });
        assert_eq!(provider.forwarded(), Vec::<Vec<u8>>::new());
        let late = consumer.from([10, 1, 9]);
        assert!(late.iter().all(|packet| packet[9] == 1), "only ICMP answers to datagrams: {late:?}");
        assert_eq!(sessions(), 0);
    });
}

/// Every port of one client: SYN, and ACK of whatever the server's kernel answers.
struct Flood {
    sends: std::os::fd::OwnedFd,
    /// The server's initial sequence number by client port.
    answered: Vec<Option<u32>>,
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 7, 7);
const ENDPOINT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 9, 4), 7);
const ISN: u32 = 1_000_000;

impl Flood {
    fn open(&mut self, first: u16, capture: &Capture) {
        let mut missing: Vec<u16> =
            (first..=u16::MAX).filter(|port| self.answered[usize::from(*port)].is_none()).collect();
        eventually("every connection is open", || {
            for chunk in missing.chunks(512) {
                for port in chunk {
                    inject(&self.sends, &segment((CLIENT, *port), ENDPOINT, SYN, ISN, 0)).expect("sent");
                }
                std::thread::sleep(Duration::from_millis(4));
                self.acknowledge(capture);
            }
            missing.retain(|port| self.answered[usize::from(*port)].is_none());
            missing.is_empty()
        });
    }

    fn acknowledge(&mut self, capture: &Capture) {
        for packet in capture.packets() {
            if packet[9] != 6 || packet[12..16] != ENDPOINT.0.octets() || packet[33] & (SYN | ACK) != SYN | ACK {
                continue;
            }
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            let isn = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
            self.answered[usize::from(port)] = Some(isn);
            let ack = segment((CLIENT, port), ENDPOINT, ACK, ISN + 1, isn.wrapping_add(1));
            inject(&self.sends, &ack).expect("sent");
        }
    }
}

/// Sockets of a namespace that are connected, waiting to be accepted included.
fn established(namespace: &str) -> usize {
    // Field 3 of a line is the state; 01 is ESTABLISHED.
    let table = inside(namespace, || std::fs::read_to_string("/proc/thread-self/net/tcp")).expect("readable");
    table.lines().filter(|line| line.split_whitespace().nth(3) == Some("01")).count()
}

#[test]
fn sixty_four_thousand_connections_are_all_reset_at_both_ends() {
    const FIRST: u16 = 1_025;
    const ALL: usize = 65_536 - FIRST as usize;
    isolated("revocation::sixty_four_thousand_connections_are_all_reset_at_both_ends", || {
        leg("spoke", &["10.1.0.5"]);
        leg("core", &["10.20.0.2"]);
        for (key, value) in [("core/somaxconn", "80000"), ("ipv4/tcp_max_syn_backlog", "80000")] {
            sysctl("core", key, value);
        }
        // Nobody accepts: the kernel holds the connections, and needs no descriptor for them.
        let _listener = listen("core", "10.20.0.2:7000", 80_000);
        let _daemon = Daemon::start(&orders("Approved"));
        // The client has no sockets: its address is nobody's, and its kernel says nothing.
        let consumer = Capture::start("spoke");
        let mut flood = Flood { sends: raw("spoke", ipproto::RAW), answered: vec![None; 65_536] };
        flood.open(FIRST, &consumer);
        eventually("the server's kernel has all of them", || {
            flood.acknowledge(&consumer);
            established("core") == ALL
        });
        assert_eq!(sessions(), ALL as u64);
        drop(consumer);

        let consumer = Capture::start("spoke");
        ask("connection reject orders");
        let provider = Capture::start("core");
        eventually("the server's kernel has none of them", || established("core") == 0);
        let mut reset = vec![false; 65_536];
        for packet in consumer.packets() {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            let seq = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
            let expected = flood.answered[usize::from(port)].map(|isn| isn.wrapping_add(1));
            // RFC 5961 §3.2: a reset is accepted at exactly the next byte expected.
            if packet[33] & RST != 0 && Some(seq) == expected {
                reset[usize::from(port)] = true;
            }
        }
        let missed = (FIRST..=u16::MAX).filter(|port| !reset[usize::from(*port)]).count();
        assert_eq!(missed, 0, "clients that heard no reset they accept");
        assert_eq!(provider.forwarded(), Vec::<Vec<u8>>::new());
        eventually("all resets are counted", || verdict(&metrics(), "originated") >= 2 * ALL as u64);
        assert_eq!(sessions(), 0);
    });
}
