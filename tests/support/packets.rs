//! Packets by hand, and what is read of those that leave: written again rather than taken from the code under test.

use std::net::{IpAddr, Ipv4Addr};

/// TCP flags.
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// An IPv4 address and a port.
pub(crate) type Side = (Ipv4Addr, u16);

/// Hops that a packet has left.
const HOPS: u8 = 64;

/// Bytes of the virtio header before a packet.
pub(crate) const VNET: usize = 10;

/// Addresses, protocol and ports of a packet, the identifier twice for an echo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ports: (u16, u16),
}

impl Seen {
    /// `None`: it is no IP packet.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        let word = |at: usize| packet.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        let four = |at: usize| packet.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(IpAddr::from);
        let six = |at: usize| packet.get(at..at + 16).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from);
        let (source, destination, protocol, at) = match packet.first()? >> 4 {
            4 => (four(12)?, four(16)?, packet[9], usize::from(packet[0] & 15) * 4),
            6 if packet.get(6) == Some(&44) => (six(8)?, six(24)?, *packet.get(40)?, 48),
            6 => (six(8)?, six(24)?, packet[6], 40),
            _ => return None,
        };
        let ports = match protocol {
            1 | 58 => (word(at + 4), word(at + 4)),
            _ => (word(at), word(at + 2)),
        };
        Some(Self { source, destination, protocol, ports })
    }
}

/// RFC 1071, beginning with `sum`.
fn checksum(bytes: &[u8], sum: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.fold(sum, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An IP packet; addresses of two families make an IPv4 packet from nobody.
fn ip(from: IpAddr, to: IpAddr, protocol: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    if from.is_ipv6() && to.is_ipv6() {
        let head =
            [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[protocol, hops], &octets(from), &octets(to)].concat();
        return [&head, payload].concat();
    }
    let total = (length + 20).to_be_bytes();
    let mut head = [&[0x45, 0][..], &total, &[0, 7, 0, 0, hops, protocol, 0, 0], &octets(from), &octets(to)].concat();
    head.resize(20, 0);
    let sum = checksum(&head, 0);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [&head, payload].concat()
}

/// [`transport_of`] with the usual hops.
fn transport(from: IpAddr, to: IpAddr, protocol: u8, segment: Vec<u8>, at: usize) -> Vec<u8> {
    transport_of(from, to, protocol, HOPS, segment, at)
}

/// `segment` in an IP packet, its checksum at `at` made right.
fn transport_of(from: IpAddr, to: IpAddr, protocol: u8, hops: u8, mut segment: Vec<u8>, at: usize) -> Vec<u8> {
    let pseudo = [octets(from), octets(to)].concat();
    let start = u32::from(!checksum(&pseudo, 0)) + u32::from(protocol) + segment.len() as u32;
    let sum = checksum(&segment, if protocol == 1 { 0 } else { start });
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, protocol, hops, &segment)
}

pub(crate) fn tcp(from: IpAddr, to: IpAddr, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    let head =
        [&source[..], &destination, &[0, 0, 1, 0, 0, 0, 1, 1, 0x60, flags, 0xff, 0xff, 0, 0, 0, 0], &[2, 4, 5, 0xb4]];
    transport(from, to, 6, [&head.concat(), payload].concat(), 16)
}

pub(crate) fn udp(from: IpAddr, to: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let words = [ports.0, ports.1, payload.len() as u16 + 8, 0].map(u16::to_be_bytes).concat();
    transport(from, to, 17, [&words, payload].concat(), 6)
}

pub(crate) fn echo(from: IpAddr, to: IpAddr, request: bool, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match (from.is_ipv6(), request) {
        (false, true) => 8,
        (false, false) => 0,
        (true, true) => 128,
        (true, false) => 129,
    };
    let head = [&[kind, 0, 0, 0][..], &identifier.to_be_bytes(), &[0, 1]].concat();
    icmp_over(from, to, [&head, payload].concat(), true)
}

/// An IPv4 echo request with sequence number 1.
pub(crate) fn echo_request(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, hops: u8) -> Vec<u8> {
    let message = [&[8, 0, 0, 0][..], &identifier.to_be_bytes(), &[0, 1]].concat();
    transport_of(from.into(), to.into(), 1, hops, message, 2)
}

/// An IPv4 datagram.
pub(crate) fn datagram(from: Side, to: Side, payload: &[u8]) -> Vec<u8> {
    udp(from.0.into(), to.0.into(), (from.1, to.1), payload)
}

/// An IPv4 TCP segment without options or data.
pub(crate) fn segment(from: Side, to: Side, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    data(from, to, flags, (seq, ack), b"")
}

/// An IPv4 TCP segment without options.
pub(crate) fn data(from: Side, to: Side, flags: u8, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let ports = [from.1, to.1].map(u16::to_be_bytes).concat();
    let numbers = [seq, ack].map(u32::to_be_bytes).concat();
    let segment = [&ports, &numbers, &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0][..], payload].concat();
    transport(from.0.into(), to.0.into(), 6, segment, 16)
}

/// An ICMP message with a right checksum, or the one it has.
pub(crate) fn icmp_over(from: IpAddr, to: IpAddr, mut message: Vec<u8>, right: bool) -> Vec<u8> {
    let protocol = if from.is_ipv6() { 58 } else { 1 };
    message.resize(message.len().max(8), 0);
    if right {
        message[2..4].fill(0);
        return transport(from, to, protocol, message, 2);
    }
    ip(from, to, protocol, HOPS, &message)
}

/// `count` units of 8 bytes of a packet from unit `first` on, as a fragment; `damaged`: of other bytes.
pub(crate) fn piece(whole: &[u8], number: u16, first: u16, count: usize, last: bool, damaged: bool) -> Vec<u8> {
    let six = whole[0] >> 4 == 6;
    let header = if six { 40 } else { 20 };
    let from = (header + usize::from(first) * 8).min(whole.len());
    let end = if last { whole.len() } else { (from + count * 8).min(whole.len()) };
    let mut bytes = whole[from..end].to_vec();
    if damaged && let Some(byte) = bytes.last_mut() {
        *byte ^= 0x55;
    }
    let more = u16::from(!last);
    if six {
        let mut head = whole[..header].to_vec();
        head[4..6].copy_from_slice(&(bytes.len() as u16 + 8).to_be_bytes());
        let next = std::mem::replace(&mut head[6], 44);
        let offset = (first << 3 | more).to_be_bytes();
        return [&head[..], &[next, 0], &offset, &[0, 0], &number.to_be_bytes(), &bytes].concat();
    }
    let mut head = whole[..header].to_vec();
    head[2..4].copy_from_slice(&(bytes.len() as u16 + 20).to_be_bytes());
    head[4..6].copy_from_slice(&number.to_be_bytes());
    head[6..8].copy_from_slice(&(first & 0x1fff | more << 13).to_be_bytes());
    head[10..12].fill(0);
    let sum = checksum(&head, 0);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [head, bytes].concat()
}
