//! Packets the forwarder makes by itself, over IPv4: TCP resets and ICMP messages. Each is a whole
//! frame with a zero virtio header and complete checksums.

use super::headers::{self, ACK, FIN, RST, SYN, TcpSegment};
use super::{checksum, vnet};

/// TTL of packets the forwarder makes.
const TTL: u8 = 64;

/// RFC 1812 §4.3.2.3: an ICMP error is no longer than 576 bytes.
const ICMP_ERROR_LIMIT: usize = 576;

/// Both ends of a TCP connection as a reset names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Address and port the reset seems to come from.
    pub from: (u32, u16),
    /// Address and port it goes to.
    pub to: (u32, u16),
}

/// Type and code of the ICMP messages the forwarder sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// No endpoint at this address.
    HostUnreachable,
    /// RFC 1812 §5.2.7.1: communication administratively prohibited.
    Prohibited,
    /// TTL exceeded in transit.
    TimeExceeded,
}

impl IcmpError {
    const fn type_and_code(self) -> [u8; 2] {
        match self {
            Self::HostUnreachable => [3, 1],
            Self::Prohibited => [3, 13],
            Self::TimeExceeded => [11, 0],
        }
    }
}

/// A reset with exactly this sequence number: what a live peer accepts when it equals the next byte
/// it expects (RFC 9293 §3.5.3, RFC 5961 §3.2).
#[must_use]
pub fn reset_at(ends: Ends, seq: u32) -> Vec<u8> {
    tcp(ends, seq, 0, RST)
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
    let mut frame = ipv4_frame(ends.from.0, ends.to.0, 6, headers::TCP_HEADER);
    let segment = &mut frame[vnet::LENGTH + headers::IPV4_HEADER..];
    headers::put_half(segment, 0, ends.from.1);
    headers::put_half(segment, 2, ends.to.1);
    headers::put_word(segment, 4, seq);
    headers::put_word(segment, 8, ack);
    segment[12] = 0x50;
    segment[13] = flags;
    let pseudo = pseudo_sum(ends.from.0, ends.to.0, 6, segment.len());
    let sum = checksum::join(pseudo, checksum::sum(segment));
    headers::put_half(segment, 16, !sum);
    frame
}

/// An ICMP error about `packet` (a whole IPv4 packet as its sender sent it), from `from` to the
/// packet's source. Quotes as much as fits into 576 bytes (RFC 1812 §4.3.2.3).
#[must_use]
pub fn icmp_error(from: u32, packet: &[u8], error: IcmpError) -> Vec<u8> {
    let to = headers::word(packet, 12);
    let quote = &packet[..packet.len().min(ICMP_ERROR_LIMIT - headers::IPV4_HEADER - headers::ICMP_HEADER)];
    let mut frame = ipv4_frame(from, to, 1, headers::ICMP_HEADER + quote.len());
    let message = &mut frame[vnet::LENGTH + headers::IPV4_HEADER..];
    message[..2].copy_from_slice(&error.type_and_code());
    message[headers::ICMP_HEADER..].copy_from_slice(quote);
    let sum = checksum::sum(message);
    headers::put_half(message, 2, !sum);
    frame
}

/// A zero virtio header, an IPv4 header and room for `payload` bytes.
fn ipv4_frame(from: u32, to: u32, protocol: u8, payload: usize) -> Vec<u8> {
    let total = headers::IPV4_HEADER + payload;
    let mut frame = vec![0; vnet::LENGTH + total];
    let header = &mut frame[vnet::LENGTH..][..headers::IPV4_HEADER];
    header[0] = 0x45;
    headers::put_half(header, 2, u16::try_from(total).unwrap_or(u16::MAX));
    headers::put_half(header, 6, 0x4000);
    header[8] = TTL;
    header[9] = protocol;
    headers::put_word(header, 12, from);
    headers::put_word(header, 16, to);
    let sum = checksum::sum(header);
    headers::put_half(header, 10, !sum);
    frame
}

/// Sum of the IPv4 pseudo-header (RFC 9293 §3.1, RFC 768).
#[must_use]
pub fn pseudo_sum(from: u32, to: u32, protocol: u8, length: usize) -> u16 {
    let addresses = checksum::join(checksum::fold(from), checksum::fold(to));
    let rest = u32::from(protocol) + u32::try_from(length).unwrap_or(0);
    checksum::join(addresses, checksum::fold(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const ENDS: Ends = Ends { from: (0x0A01_0904, 5432), to: (0x0A01_0005, 40_000) };

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
            let frame = reset_answering(ENDS, TcpSegment { seq: 100, ack: 0, flags: SYN, payload });
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
        let frame = reset_answering(ENDS, TcpSegment { seq: 100, ack: 777, flags: ACK, payload: 10 });
        let sliced = parse(&frame);
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        assert!(tcp.rst() && !tcp.ack());
        assert_eq!(tcp.sequence_number(), 777);
    }

    #[test]
    fn an_error_quotes_at_most_what_fits_into_576_bytes() {
        let mut packet = reset_at(ENDS, 1).split_off(vnet::LENGTH);
        packet.resize(2_000, 7);
        let frame = icmp_error(0x0A01_0904, &packet, IcmpError::Prohibited);
        assert_eq!(frame.len(), vnet::LENGTH + 576);
        let message = &frame[vnet::LENGTH + 20..];
        assert_eq!(message[..2], [3, 13]);
        assert_eq!(checksum::sum(message), 0xFFFF);
        parse(&frame);
    }
}
