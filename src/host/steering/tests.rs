//! The program in the kernel against the functions it repeats.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use crate::snapshot::steering::{Secret, nat_queue};

use super::{Steering, syscall};

const NAT: Ipv4Addr = Ipv4Addr::new(10, 20, 99, 4);
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 1, 9, 4);

/// One for each number of queues.
fn secret(workers: u16) -> Secret {
    Secret::new([u64::from(workers) << 40 | 0x5EED, 0xFEDC_BA98_7654_3210])
}

/// Outside the machine's own user namespace the kernel refuses BPF, and there is nothing to test.
fn load(workers: u16) -> Option<Steering> {
    let owns_the_machine = std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    match Steering::load(workers, &secret(workers)) {
        Ok(steering) => Some(steering),
        Err(error) if rustix::process::geteuid().is_root() && owns_the_machine => panic!("{error}"),
        Err(error) => {
            println!("skipped, not root of this machine: {error}");
            None
        }
    }
}

/// The queue the kernel chooses for an IP packet.
fn kernel(steering: &Steering, packet: &[u8]) -> u16 {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    frame.extend(packet);
    let queue = syscall::test_run(steering.program.as_fd(), &frame).expect("the program runs");
    u16::try_from(queue).expect("a queue number")
}

struct Ip {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    identification: u16,
    fragment: u16,
    options: usize,
}

impl Ip {
    fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> Self {
        Self { source, destination, protocol, identification: 7, fragment: 0x4000, options: 0 }
    }

    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let words = 5 + self.options;
        let mut packet = vec![0; words * 4];
        packet[0] = 0x40 | u8::try_from(words).expect("at most 15");
        packet[4..6].copy_from_slice(&self.identification.to_be_bytes());
        packet[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        packet[9] = self.protocol;
        packet[12..16].copy_from_slice(&self.source.octets());
        packet[16..20].copy_from_slice(&self.destination.octets());
        packet.extend(payload);
        packet
    }
}

fn transport(source_port: u16, destination_port: u16) -> Vec<u8> {
    [source_port.to_be_bytes(), destination_port.to_be_bytes(), [0; 2], [0; 2]].concat()
}

fn icmp(kind: u8, identifier: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1]);
    message.extend(rest);
    message
}

/// What steering must answer for one random conversation: in words of the Rust functions only.
fn check(random: &mut fastrand::Rng, steering: &Steering, workers: u16) {
    let client = Ipv4Addr::from(random.u32(..));
    let backend = Ipv4Addr::from(random.u32(..));
    let (port, service, identification) = (random.u16(..), random.u16(..), random.u16(..));
    let protocol = *random.choice(&[6_u8, 17]).expect("not empty");
    let options = random.usize(0..=10);
    let (secret, address) = (secret(workers), |address: Ipv4Addr| IpAddr::from(address));
    let queue =
        |ports: (u16, u16)| secret.consumer_queue(address(client), address(ENDPOINT), ports.0, ports.1, workers);
    let (tuple, echo, portless) = (queue((port, service)), queue((port, 0)), queue((0, 0)));
    let fragment = |source: Ipv4Addr, destination: Ipv4Addr| {
        let (source, destination) = (address(source), address(destination));
        secret.fragment_queue(source, destination, u32::from(identification), protocol, workers)
    };
    let from_client = |protocol| Ip { options, ..Ip::new(client, ENDPOINT, protocol) };
    let from_backend = |protocol| Ip { options, ..Ip::new(backend, NAT, protocol) };
    // An error quotes the packet it answers, which went the other way.
    let to_client = Ip { options, ..Ip::new(ENDPOINT, client, protocol) }.packet(&transport(service, port));
    let answered = Ip::new(ENDPOINT, client, 1).packet(&icmp(0, port, &[]));
    let to_backend = Ip { options, ..Ip::new(NAT, backend, protocol) }.packet(&transport(port, service));
    let asked = Ip::new(NAT, backend, 1).packet(&icmp(8, port, &[]));
    let error = *random.choice(&[3_u8, 4, 5, 11, 12]).expect("not empty");
    let fragments = [0x2000, 0x2001, 0x0001];
    let piece =
        Ip { identification, fragment: *random.choice(&fragments).expect("not empty"), ..from_client(protocol) };
    let provider_part = Ip { identification, fragment: 0x2000, ..from_backend(protocol) };

    for (what, packet, expected) in [
        ("consumer", from_client(protocol).packet(&transport(port, service)), tuple),
        ("consumer echo", from_client(1).packet(&icmp(8, port, &[])), echo),
        ("consumer error", from_client(1).packet(&icmp(error, 0, &to_client)), tuple),
        ("consumer error about echo", from_client(1).packet(&icmp(error, 0, &answered)), echo),
        ("consumer fragment", piece.packet(&transport(port, service)), fragment(client, ENDPOINT)),
        ("provider", from_backend(protocol).packet(&transport(service, port)), nat_queue(port, workers)),
        ("provider echo", from_backend(1).packet(&icmp(0, port, &[])), nat_queue(port, workers)),
        ("provider error", from_backend(1).packet(&icmp(error, 0, &to_backend)), nat_queue(port, workers)),
        ("provider error about echo", from_backend(1).packet(&icmp(error, 0, &asked)), nat_queue(port, workers)),
        ("provider fragment", provider_part.packet(&transport(service, port)), fragment(backend, NAT)),
        ("no ports", from_client(47).packet(&[9; 8]), portless),
        ("other ICMP", from_client(1).packet(&icmp(13, port, &[])), portless),
        ("cut short", from_client(protocol).packet(&transport(port, service)[..3]), 0),
    ] {
        assert_eq!(kernel(steering, &packet), expected, "{what}: {packet:02x?}, {workers} workers");
    }
}

#[test]
fn the_kernel_chooses_the_queue_that_the_rust_functions_name() {
    for workers in [1, 2, 3, 4, 7, 16] {
        let Some(mut steering) = load(workers) else { return };
        steering.set_nat(&[IpAddr::from(NAT)]).expect("room for one");
        let mut random = fastrand::Rng::with_seed(u64::from(workers));
        for _ in 0..200 {
            check(&mut random, &steering, workers);
        }
    }
}

#[test]
fn a_nat_address_counts_from_when_it_is_added_until_it_is_removed() {
    let Some(mut steering) = load(4) else { return };
    let (backend, port) = (Ipv4Addr::new(10, 20, 0, 2), 65_000);
    let packet = Ip::new(backend, NAT, 6).packet(&transport(5432, port));
    let as_consumer = secret(4).consumer_queue(IpAddr::from(backend), IpAddr::from(NAT), 5432, port, 4);
    assert_ne!(as_consumer, nat_queue(port, 4), "the example must tell the two apart");
    assert_eq!(kernel(&steering, &packet), as_consumer);
    steering.set_nat(&[IpAddr::from(NAT)]).expect("added");
    assert_eq!(kernel(&steering, &packet), nat_queue(port, 4));
    steering.set_nat(&[]).expect("removed");
    assert_eq!(kernel(&steering, &packet), as_consumer);
}

#[test]
fn a_packet_of_another_version_goes_to_the_first_queue() {
    let Some(steering) = load(4) else { return };
    let mut packet = vec![0xA5; 60];
    packet[0] = 0x50;
    assert_eq!(kernel(&steering, &packet), 0);
}

/// An IPv6 packet: extension headers as (number, bytes) before the transport.
fn six(source: u128, destination: u128, extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[8..24].copy_from_slice(&source.to_be_bytes());
    packet[24..40].copy_from_slice(&destination.to_be_bytes());
    let numbers: Vec<u8> = extensions.iter().map(|(number, _)| *number).chain([protocol]).collect();
    packet[6] = numbers[0];
    for ((_, bytes), next) in extensions.iter().zip(&numbers[1..]) {
        let at = packet.len();
        packet.extend(bytes);
        packet[at] = *next;
    }
    packet.extend(payload);
    packet
}

fn six_of(address: u128) -> IpAddr {
    IpAddr::from(Ipv6Addr::from(address))
}

/// What steering must answer for one random conversation of IPv6.
fn check_six(random: &mut fastrand::Rng, steering: &Steering, workers: u16, nat: u128) {
    let (client, endpoint, backend) = (random.u128(..), random.u128(..), random.u128(..));
    let (port, service, identification) = (random.u16(..), random.u16(..), random.u32(..));
    let protocol = *random.choice(&[6_u8, 17]).expect("not empty");
    let padded = |units: u8| [&[0, units][..], &vec![0; 6 + usize::from(units) * 8]].concat();
    let piece = |offset: u16| {
        let mut header = vec![0, 0];
        header.extend(offset.to_be_bytes());
        header.extend(identification.to_be_bytes());
        (44, header)
    };
    let chains = [vec![], vec![(60, padded(2))], vec![(0, padded(0)), (43, padded(1)), piece(0)], vec![piece(0)]];
    let chain = random.choice(&chains).expect("not empty");
    let broken = [chain.as_slice(), &[piece(*random.choice(&[1, 8, 9, 0xFFF8]).expect("not empty"))]].concat();
    let secret = secret(workers);
    let (from, to) = (six_of(client), six_of(endpoint));
    let queue = |ports: (u16, u16)| secret.consumer_queue(from, to, ports.0, ports.1, workers);
    let (tuple, echo, portless) = (queue((port, service)), queue((port, 0)), queue((0, 0)));
    let fragment = |source, destination| {
        secret.fragment_queue(six_of(source), six_of(destination), identification, protocol, workers)
    };
    let ports = transport(port, service);
    let back = transport(service, port);
    let to_client = six(endpoint, client, &[], protocol, &back);
    let cut_to_client = six(endpoint, client, &[piece(1)], protocol, &back);
    let answered = six(endpoint, client, &[], 58, &icmp(129, port, &[]));
    let to_backend = six(nat, backend, &[], protocol, &ports);
    let asked = six(nat, backend, &[], 58, &icmp(128, port, &[]));
    let error = random.u8(1..=4);
    let long: Vec<(u8, Vec<u8>)> = (0..6).map(|_| (60, padded(0))).collect();
    for (what, packet, expected) in [
        ("consumer", six(client, endpoint, chain, protocol, &ports), tuple),
        ("consumer echo", six(client, endpoint, chain, 58, &icmp(128, port, &[])), echo),
        ("consumer error", six(client, endpoint, chain, 58, &icmp(error, 0, &to_client)), tuple),
        ("consumer error about a piece", six(client, endpoint, &[], 58, &icmp(error, 0, &cut_to_client)), tuple),
        ("consumer error about echo", six(client, endpoint, &[], 58, &icmp(error, 0, &answered)), echo),
        ("consumer fragment", six(client, endpoint, &broken, protocol, &ports), fragment(client, endpoint)),
        ("provider", six(backend, nat, chain, protocol, &back), nat_queue(port, workers)),
        ("provider echo", six(backend, nat, chain, 58, &icmp(129, port, &[])), nat_queue(port, workers)),
        ("provider error", six(backend, nat, chain, 58, &icmp(error, 0, &to_backend)), nat_queue(port, workers)),
        ("provider error about echo", six(backend, nat, &[], 58, &icmp(error, 0, &asked)), nat_queue(port, workers)),
        ("provider fragment", six(backend, nat, &broken, protocol, &back), fragment(backend, nat)),
        ("no ports", six(client, endpoint, chain, 47, &[9; 8]), portless),
        ("other ICMPv6", six(client, endpoint, chain, 58, &icmp(135, port, &[])), portless),
        ("a long chain", six(client, endpoint, &long, protocol, &ports), 0),
        ("cut short", six(client, endpoint, &[], protocol, &ports[..3]), 0),
    ] {
        assert_eq!(kernel(steering, &packet), expected, "{what}: {packet:02x?}, {workers} workers");
    }
}

#[test]
fn ipv6_is_steered_as_the_rust_functions_name_it() {
    for workers in [1, 2, 3, 4, 7, 16] {
        let Some(mut steering) = load(workers) else { return };
        let nat = 0xFD20 << 112 | 0x99;
        steering.set_nat(&[IpAddr::from(NAT), IpAddr::from(Ipv6Addr::from(nat))]).expect("room for two");
        let mut random = fastrand::Rng::with_seed(u64::from(workers));
        for _ in 0..200 {
            check_six(&mut random, &steering, workers, nat);
        }
    }
}
