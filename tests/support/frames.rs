//! Frames as they come from a device: a virtio header, and a packet that etherparse makes.

use std::net::IpAddr;

use etherparse::PacketBuilder;

/// Bytes of the virtio header in front of every packet.
pub(crate) const HEADER: usize = 10;

/// What a frame carries besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// A UDP datagram.
    Udp,
    /// A TCP segment: SYN, SYN and ACK, or ACK with data.
    Syn,
    SynAck,
    Data,
    /// An ICMP echo request; the source port is its identifier.
    Echo,
}

/// A frame with full checksums: 36 bytes of UDP payload, or 24 of TCP.
pub(crate) fn frame(carries: Carries, source: (IpAddr, u16), destination: (IpAddr, u16)) -> Vec<u8> {
    let mut frame = vec![0; HEADER];
    let builder = match (source.0, destination.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => unreachable!("both ends are of one family"),
    };
    let (from, to) = (source.1, destination.1);
    let written = match carries {
        Carries::Udp => builder.udp(from, to).write(&mut frame, &[7; 36]),
        Carries::Syn => builder.tcp(from, to, 100, 65_000).syn().write(&mut frame, &[]),
        Carries::SynAck => builder.tcp(from, to, 900, 65_000).syn().ack(101).write(&mut frame, &[]),
        Carries::Data => builder.tcp(from, to, 101, 65_000).ack(901).write(&mut frame, &[7; 24]),
        Carries::Echo => builder.icmpv4_echo_request(from, 1).write(&mut frame, &[7; 2]),
    };
    written.expect("a packet");
    frame
}
