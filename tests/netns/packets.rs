//! IPv4 packets made by hand.

use std::net::{IpAddr, Ipv4Addr};

use privlink::wire::{build, checksum};

/// TCP flags.
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// An address and a port.
pub(crate) type Side = (Ipv4Addr, u16);

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("short");
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, ttl, protocol, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = !checksum::sum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn with_sum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, mut payload: Vec<u8>, at: usize) -> Vec<u8> {
    let pseudo = build::pseudo_sum(IpAddr::from(from).into(), IpAddr::from(to).into(), protocol, payload.len());
    let sum = !checksum::join(pseudo, checksum::sum(&payload));
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, to, protocol, 64, &payload)
}

/// An ICMP echo request with sequence number 1.
pub(crate) fn echo_request(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, ttl: u8) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 0, 0, 1];
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    let sum = !checksum::sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, to, 1, ttl, &message)
}

/// A UDP datagram.
pub(crate) fn datagram(from: Side, to: Side, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    segment.extend(u16::try_from(8 + payload.len()).expect("short").to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    with_sum(from.0, to.0, 17, segment, 6)
}

/// A TCP segment without data.
pub(crate) fn segment(from: Side, to: Side, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    data(from, to, flags, (seq, ack), b"")
}

/// A TCP segment with data.
pub(crate) fn data(from: Side, to: Side, flags: u8, (seq, ack): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut header = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    header.extend(seq.to_be_bytes());
    header.extend(ack.to_be_bytes());
    header.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header.extend(payload);
    with_sum(from.0, to.0, 6, header, 16)
}
