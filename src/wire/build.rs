//! Packets the forwarder makes by itself, of either family: TCP resets and ICMP messages. Each is a whole
//! frame with a zero virtio header and complete checksums.

use super::headers::{self, ACK, FIN, RST, SYN, TcpSegment};
use super::{Address, Version, checksum, ip, vnet};

/// TTL or hop limit of packets the forwarder makes.
const HOPS: u8 = 64;

/// An ICMP error is no longer than what every host must take: 576 bytes (RFC 1812 §4.3.2.3), or the least
/// MTU of IPv6 (RFC 4443 §2.4 (c)).
#[must_use]
pub const fn error_limit(version: Version) -> usize {
    version.least_mtu() as usize
}

/// Both ends of a TCP connection as a reset names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Address and port the reset seems to come from.
    pub from: (Address, u16),
    /// Address and port it goes to.
    pub to: (Address, u16),
}

/// Type and code of the ICMP messages the forwarder sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No endpoint at this address.
    HostUnreachable,
    /// RFC 1812 §5.2.7.1, RFC 4443 §3.1: communication administratively prohibited.
    Prohibited,
    /// TTL or hop limit exceeded in transit.
    TimeExceeded,
    /// The pieces of a datagram did not all come in time (RFC 792, RFC 4443 §3.3).
    ReassemblyTime,
    /// It fits only in pieces, and may not be cut: RFC 1191 §4, RFC 4443 §3.2.
    TooBig {
        /// What fits, bytes.
        mtu: u16,
    },
}

impl IcmpError {
    /// Type, code, and the second word of the message.
    const fn fields(self, version: Version) -> ([u8; 2], u32) {
        match (self, version) {
            (Self::HostUnreachable, Version::V4) | (Self::ReassemblyTime, Version::V6) => ([3, 1], 0),
            (Self::HostUnreachable, Version::V6) => ([1, 3], 0),
            (Self::Prohibited, Version::V4) => ([3, 13], 0),
            (Self::Prohibited, Version::V6) => ([1, 1], 0),
            (Self::TimeExceeded, Version::V4) => ([11, 0], 0),
            (Self::TimeExceeded, Version::V6) => ([3, 0], 0),
            (Self::ReassemblyTime, Version::V4) => ([11, 1], 0),
            (Self::TooBig { mtu }, Version::V4) => ([3, 4], mtu as u32),
            (Self::TooBig { mtu }, Version::V6) => ([2, 0], mtu as u32),
        }
    }
}

/// A reset with exactly this sequence number: what a live peer accepts when it equals the next byte
/// it expects (RFC 9293 §3.5.3, RFC 5961 §3.2).
#[must_use]
pub fn reset_at(ends: Ends, seq: u32) -> Vec<u8> {
    tcp(ends, seq, 0, RST)
}

/// Window of a [`probe_at`]: whoever takes it for a segment of the connection may go on sending.
const PROBE_WINDOW: u16 = 1 << 10;

/// A bare acknowledgement with numbers of the caller's choice: a live peer outside whose window it lies answers with
/// its own numbers (RFC 9293 §3.10.7.4), a host without the connection with a reset.
#[must_use]
pub fn probe_at(ends: Ends, seq: u32, ack: u32) -> Vec<u8> {
    tcp(ends, seq, ack, ACK)
}

/// The reset that answers `segment`, as RFC 9293 §3.5.2 has it: at the segment's ACK number, or
/// acknowledging all of a segment that carries none (a SYN's RST acknowledges its sequence number + 1).
#[must_use]
pub fn reset_answering(ends: Ends, segment: TcpSegment) -> Vec<u8> {
    if segment.has(ACK) {
        return tcp(ends, segment.ack, 0, RST);
    }
    // A SYN that carries data is answered for the SYN: the peer holds the data back for the connection.
    let control = u32::from(segment.has(SYN)) + u32::from(segment.has(FIN));
    let end = if segment.has(SYN) { segment.seq.wrapping_add(control) } else { segment.end() };
    tcp(ends, 0, end, RST | ACK)
}

fn tcp(ends: Ends, seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let mut frame = ip_frame(ends.from.0, ends.to.0, ip::TCP, headers::TCP_HEADER);
    let segment = &mut frame[vnet::LENGTH + ends.from.0.version().header()..];
    headers::put_half(segment, 0, ends.from.1);
    headers::put_half(segment, 2, ends.to.1);
    headers::put_word(segment, 4, seq);
    headers::put_word(segment, 8, ack);
    segment[12] = 0x50;
    segment[13] = flags;
    headers::put_half(segment, 14, if flags & RST == 0 { PROBE_WINDOW } else { 0 });
    let pseudo = pseudo_sum(ends.from.0, ends.to.0, ip::TCP, segment.len());
    let sum = checksum::join(pseudo, checksum::sum(segment));
    headers::put_half(segment, 16, !sum);
    frame
}

/// An ICMP error about `packet` (a whole IP packet as its sender sent it), from `from` to the packet's
/// source, in the packet's family. Quotes as much as fits into [`error_limit`].
#[must_use]
pub fn icmp_error(from: Address, packet: &[u8], error: IcmpError) -> Vec<u8> {
    let version = from.version();
    let to = Address::read(packet, version.addresses(), version);
    let (kind, word) = error.fields(version);
    let room = error_limit(version) - version.header() - headers::ICMP_HEADER;
    icmp(from, to, kind, word, &packet[..packet.len().min(room)])
}

/// An ICMP message of the addresses' family: type and code, the second word, and what follows it.
#[must_use]
pub fn icmp(from: Address, to: Address, kind: [u8; 2], word: u32, rest: &[u8]) -> Vec<u8> {
    let version = from.version();
    let protocol = if version == Version::V4 { ip::ICMP } else { ip::ICMPV6 };
    let mut frame = ip_frame(from, to, protocol, headers::ICMP_HEADER + rest.len());
    let message = &mut frame[vnet::LENGTH + version.header()..];
    message[..2].copy_from_slice(&kind);
    headers::put_word(message, 4, word);
    message[headers::ICMP_HEADER..].copy_from_slice(rest);
    // ICMPv6 covers its addresses too (RFC 4443 §2.3).
    let pseudo = if version == Version::V4 { 0 } else { pseudo_sum(from, to, protocol, message.len()) };
    let sum = checksum::join(pseudo, checksum::sum(message));
    headers::put_half(message, 2, !sum);
    frame
}

/// Gives a frame made here another hop limit and traffic class.
pub(super) fn set_hops(frame: &mut [u8], version: Version, hops: u8, traffic_class: u8) {
    let header = &mut frame[vnet::LENGTH..][..version.header()];
    header[version.hops()] = hops;
    match version {
        Version::V4 => {
            header[1] = traffic_class;
            headers::put_half(header, 10, 0);
            let sum = checksum::sum(header);
            headers::put_half(header, 10, !sum);
        }
        Version::V6 => headers::put_half(header, 0, 0x6000 | u16::from(traffic_class) << 4),
    }
}

/// A zero virtio header, an IP header of the addresses' family, and room for `payload` bytes.
fn ip_frame(from: Address, to: Address, protocol: u8, payload: usize) -> Vec<u8> {
    let version = from.version();
    let mut frame = vec![0; vnet::LENGTH + version.header() + payload];
    let header = &mut frame[vnet::LENGTH..][..version.header()];
    ip_header(header, version, 0, protocol, HOPS, payload);
    from.write(header, version.addresses());
    to.write(header, version.addresses() + version.address_bytes());
    if version == Version::V4 {
        let sum = checksum::sum(header);
        headers::put_half(header, 10, !sum);
    }
    frame
}

/// Writes an IP header of a packet that must not be cut, addresses and checksum left out.
pub(super) fn ip_header(
    header: &mut [u8],
    version: Version,
    traffic_class: u8,
    protocol: u8,
    hops: u8,
    payload: usize,
) {
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX);
    match version {
        Version::V4 => {
            (header[0], header[1], header[9]) = (0x45, traffic_class, protocol);
            headers::put_half(header, 2, length(version.header() + payload));
            headers::put_half(header, 6, 0x4000);
        }
        Version::V6 => {
            headers::put_half(header, 0, 0x6000 | u16::from(traffic_class) << 4);
            headers::put_half(header, 4, length(payload));
            header[6] = protocol;
        }
    }
    header[version.hops()] = hops;
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1).
#[must_use]
pub fn pseudo_sum(from: Address, to: Address, protocol: u8, length: usize) -> u16 {
    let addresses = checksum::join(from.sum(), to.sum());
    let rest = u32::from(protocol) + u32::try_from(length).unwrap_or(0);
    checksum::join(addresses, checksum::fold(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const ENDS: Ends = Ends { from: (Address::v4(0x0A01_0904), 5432), to: (Address::v4(0x0A01_0005), 40_000) };
    const WIDE: Ends =
        Ends { from: (Address::v6(0xFD00 << 112 | 4), 5432), to: (Address::v6(0xFD00 << 112 | 5), 40_000) };

    fn parse(frame: &[u8]) -> SlicedPacket<'_> {
        let sliced = SlicedPacket::from_ip(&frame[vnet::LENGTH..]).expect("a packet");
        if let Some(NetSlice::Ipv4(ip)) = &sliced.net {
            assert_eq!(ip.header().to_header().calc_header_checksum(), ip.header().header_checksum());
        }
        sliced
    }

    #[test]
    fn a_syn_is_answered_with_its_sequence_number_plus_one() {
        for (payload, expected) in [(0, 101), (500, 101)] {
            let frame = reset_answering(ENDS, TcpSegment { seq: 100, ack: 0, flags: SYN, window: 0, payload });
            let sliced = parse(&frame);
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
            assert!(tcp.rst() && tcp.ack());
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (0, expected));
            let header = tcp.to_header();
            let sum = header.calc_checksum_ipv4_raw([10, 1, 9, 4], [10, 1, 0, 5], &[]).expect("sum");
            assert_eq!(sum, tcp.checksum());
        }
    }

    #[test]
    fn a_segment_with_an_acknowledgement_is_answered_at_it() {
        let frame = reset_answering(ENDS, TcpSegment { seq: 100, ack: 777, flags: ACK, window: 0, payload: 10 });
        let sliced = parse(&frame);
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        assert!(tcp.rst() && !tcp.ack());
        assert_eq!(tcp.sequence_number(), 777);
    }

    #[test]
    fn an_error_quotes_at_most_what_fits_into_576_bytes() {
        let mut packet = reset_at(ENDS, 1).split_off(vnet::LENGTH);
        packet.resize(2_000, 7);
        let frame = icmp_error(Address::v4(0x0A01_0904), &packet, IcmpError::Prohibited);
        assert_eq!(frame.len(), vnet::LENGTH + 576);
        let message = &frame[vnet::LENGTH + 20..];
        assert_eq!(message[..2], [3, 13]);
        assert_eq!(checksum::sum(message), 0xFFFF);
        parse(&frame);
    }
    #[test]
    fn ipv6_has_the_same_answers() {
        let frame = reset_answering(WIDE, TcpSegment { seq: 100, ack: 0, flags: SYN, window: 0, payload: 0 });
        let Some(TransportSlice::Tcp(tcp)) = parse(&frame).transport else { panic!("no TCP") };
        let ends = [4, 5].map(|last| (0xFD00_u128 << 112 | last).to_be_bytes());
        assert_eq!(tcp.to_header().calc_checksum_ipv6_raw(ends[0], ends[1], &[]).expect("sum"), tcp.checksum());
        assert_eq!((tcp.acknowledgment_number(), tcp.rst()), (101, true));
        let mut packet = reset_at(WIDE, 1).split_off(vnet::LENGTH);
        packet.resize(2_000, 7);
        for (error, kind, word) in [
            (IcmpError::HostUnreachable, [1, 3], 0),
            (IcmpError::Prohibited, [1, 1], 0),
            (IcmpError::TimeExceeded, [3, 0], 0),
            (IcmpError::ReassemblyTime, [3, 1], 0),
            (IcmpError::TooBig { mtu: 1_400 }, [2, 0], 1_400),
        ] {
            let frame = icmp_error(WIDE.to.0, &packet, error);
            assert_eq!(frame.len(), vnet::LENGTH + 1280);
            let message = &frame[vnet::LENGTH + 40..];
            assert_eq!((&message[..2], headers::word(message, 4)), (&kind[..], word));
            let pseudo = pseudo_sum(WIDE.to.0, WIDE.from.0, 58, message.len());
            assert_eq!(checksum::join(pseudo, checksum::sum(message)), 0xFFFF);
        }
    }
}
