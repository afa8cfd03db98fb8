//! Cutting a super-packet into the packets that it stands for, as the kernel does: for devices without offload, and
//! for datagrams that do not fit where they go.

use super::headers::{self, CWR, FIN, PSH, half, put_half, put_word, word};
use super::ip::Outline;
use super::{Version, VnetHeader, build, checksum, ip, vnet};

/// The packets that a frame stands for, each a frame with a zero virtio header and a complete checksum: one, unless
/// it is a super-packet. `None` where its virtio header contradicts it.
#[must_use]
pub fn segments(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let vnet = VnetHeader::read(frame)?;
    let outline = ip::outline(&frame[vnet::LENGTH..]).ok()?;
    let packet = &frame[vnet::LENGTH..vnet::LENGTH + outline.total()];
    if vnet.gso_type == vnet::GSO_NONE {
        return complete(packet, vnet).map(|whole| vec![whole]);
    }
    let transport_header = match (outline.protocol, vnet.gso_type & !vnet::GSO_ECN) {
        (ip::TCP, vnet::GSO_TCPV4 | vnet::GSO_TCPV6) => usize::from(packet.get(outline.header() + 12)? >> 4) * 4,
        (ip::UDP, vnet::GSO_UDP_L4) => headers::UDP_HEADER,
        _ => return None,
    };
    let (head, payload) = packet.split_at_checked(outline.header() + transport_header)?;
    let size = usize::from(vnet.gso_size);
    if transport_header < headers::UDP_HEADER || size == 0 || outline.fragment.is_some() {
        return None;
    }
    let count = payload.len().div_ceil(size).max(1);
    let numbered = (0..count).map(|number| {
        let offset = number * size;
        let bytes = &payload[offset..payload.len().min(offset + size)];
        let mut frame = [&[0; vnet::LENGTH][..], head, bytes].concat();
        adapt(&mut frame[vnet::LENGTH..], &outline, offset, (number, number + 1 == count))?;
        Some(frame)
    });
    numbered.collect()
}

/// A frame of one packet, whose checksum the kernel was to compute if `vnet` says so.
fn complete(packet: &[u8], vnet: VnetHeader) -> Option<Vec<u8>> {
    let mut frame = [&[0; vnet::LENGTH][..], packet].concat();
    if vnet.needs_csum() {
        let covered = frame.get_mut(vnet::LENGTH + usize::from(vnet.csum_start)..)?;
        let sum = !checksum::sum(covered);
        let field = covered.get_mut(usize::from(vnet.csum_offset)..)?.first_chunk_mut()?;
        *field = if sum == 0 { 0xFFFF_u16 } else { sum }.to_be_bytes();
    }
    Some(frame)
}

/// Makes copied headers those of one packet, whose payload stands at `offset` in all of it; packets are numbered from 0.
fn adapt(packet: &mut [u8], outline: &Outline, offset: usize, (number, is_last): (usize, bool)) -> Option<()> {
    let length = packet.len();
    let (ip, transport) = packet.split_at_mut(outline.header());
    match outline.version {
        Version::V4 => {
            put_half(ip, 2, u16::try_from(length).ok()?);
            let identification = half(ip, 4).wrapping_add(u16::try_from(number).ok()?);
            put_half(ip, 4, identification);
            put_half(ip, 10, 0);
            let sum = !checksum::sum(ip);
            put_half(ip, 10, sum);
        }
        Version::V6 => put_half(ip, 4, u16::try_from(length - Version::V6.header()).ok()?),
    }
    let checksum_at = if outline.protocol == ip::TCP {
        let sequence = word(transport, 4).wrapping_add(u32::try_from(offset).ok()?);
        put_word(transport, 4, sequence);
        // What ends the data stands in its last segment; that the window was lowered is said once (RFC 3168 §6.1.2).
        transport[13] &= if is_last { !0 } else { !(FIN | PSH) } & if number == 0 { !0 } else { !CWR };
        16
    } else {
        put_half(transport, 4, u16::try_from(transport.len()).ok()?);
        6
    };
    put_half(transport, checksum_at, 0);
    let pseudo = build::pseudo_sum(outline.source, outline.destination, outline.protocol, transport.len());
    let sum = !checksum::join(pseudo, checksum::sum(transport));
    put_half(transport, checksum_at, if sum == 0 { 0xFFFF } else { sum });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    const PAYLOAD: [u8; 2_500] = [7; 2_500];

    /// A super-packet in segments of 1,000 bytes; the checksum in it is nobody's.
    fn super_packet(six: bool, tcp: bool) -> Vec<u8> {
        let mut segment = etherparse::TcpHeader::new(443, 40_000, u32::MAX - 1_500, 64_000);
        (segment.ack, segment.fin, segment.psh, segment.cwr) = (true, true, true, true);
        segment.acknowledgment_number = 77;
        segment.set_options_raw(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]).expect("options");
        let builder = if six {
            PacketBuilder::ipv6([0xFD; 16], [0xFC; 16], 9)
        } else {
            PacketBuilder::ipv4([10, 1, 9, 4], [10, 1, 0, 5], 9)
        };
        let start = if six { 40 } else { 20 };
        let (kind, csum_offset) = match (tcp, six) {
            (true, false) => (vnet::GSO_TCPV4 | vnet::GSO_ECN, 16),
            (true, true) => (vnet::GSO_TCPV6 | vnet::GSO_ECN, 16),
            _ => (vnet::GSO_UDP_L4, 6),
        };
        let vnet = VnetHeader {
            flags: vnet::NEEDS_CSUM,
            gso_type: kind,
            gso_size: 1_000,
            csum_start: start,
            csum_offset,
            hdr_len: 0,
        };
        let mut frame = vnet.bytes().to_vec();
        let written = if tcp {
            builder.tcp_header(segment).write(&mut frame, &PAYLOAD)
        } else {
            builder.udp(5_353, 40_000).write(&mut frame, &PAYLOAD)
        };
        written.expect("written");
        frame
    }

    /// Payload of a packet whose lengths and checksums are right, its IPv4 identification, and its TCP header.
    fn read(frame: &[u8]) -> (usize, Option<u16>, Option<etherparse::TcpHeader>) {
        assert_eq!(frame[..vnet::LENGTH], [0; vnet::LENGTH]);
        let sliced = SlicedPacket::from_ip(&frame[vnet::LENGTH..]).expect("a packet");
        let net = sliced.net.expect("IP");
        let payload = net.ip_payload_ref().expect("payload").payload;
        let (identification, header) = match &net {
            NetSlice::Ipv4(v4) => {
                assert_eq!(v4.header().header_checksum(), v4.header().to_header().calc_header_checksum());
                (Some(v4.header().identification()), 20)
            }
            NetSlice::Ipv6(_) | NetSlice::Arp(_) => (None, 40),
        };
        let outline = ip::outline(&frame[vnet::LENGTH..]).expect("a packet");
        assert_eq!((outline.total(), header + payload.len()), (frame.len() - vnet::LENGTH, outline.total()));
        let pseudo = build::pseudo_sum(outline.source, outline.destination, outline.protocol, payload.len());
        assert_eq!(checksum::join(pseudo, checksum::sum(payload)), 0xFFFF);
        match sliced.transport.expect("a transport") {
            TransportSlice::Tcp(tcp) => (tcp.payload().len(), identification, Some(tcp.to_header())),
            TransportSlice::Udp(udp) => {
                assert_eq!(usize::from(udp.length()), payload.len());
                (udp.payload().len(), identification, None)
            }
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
                panic!("another protocol")
            }
        }
    }

    #[test]
    fn a_super_packet_becomes_the_packets_that_it_stands_for() {
        for (six, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
            let frame = super_packet(six, tcp);
            let packets: Vec<_> = segments(&frame).expect("cut").iter().map(|packet| read(packet)).collect();
            assert_eq!(packets.iter().map(|packet| packet.0).collect::<Vec<_>>(), [1_000, 1_000, 500]);
            if !six {
                assert_eq!(packets.iter().map(|packet| packet.1).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
            }
            if tcp {
                let said = packets.iter().map(|packet| {
                    let tcp = packet.2.as_ref().expect("TCP");
                    (tcp.sequence_number, tcp.fin, tcp.psh, tcp.cwr, tcp.acknowledgment_number, tcp.options.len())
                });
                let first = u32::MAX - 1_500;
                let expected = [
                    (first, false, false, true, 77, 12),
                    (first + 1_000, false, false, false, 77, 12),
                    (first.wrapping_add(2_000), true, true, false, 77, 12),
                ];
                assert_eq!(said.collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn one_packet_stays_one_and_its_checksum_becomes_complete() {
        for (six, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
            let mut frame = super_packet(six, tcp);
            frame[..vnet::LENGTH].fill(0);
            assert_eq!(segments(&frame), Some(vec![frame.clone()]), "nothing is asked for");
            let outline = ip::outline(&frame[vnet::LENGTH..]).expect("a packet");
            let transport = outline.total() - outline.header();
            let at = vnet::LENGTH + outline.header() + if tcp { 16 } else { 6 };
            let pseudo = build::pseudo_sum(outline.source, outline.destination, outline.protocol, transport);
            put_half(&mut frame, at, pseudo);
            let (start, csum_offset) = (outline.header() as u16, if tcp { 16 } else { 6 });
            let vnet = VnetHeader { flags: vnet::NEEDS_CSUM, csum_start: start, csum_offset, ..Default::default() };
            frame[..vnet::LENGTH].copy_from_slice(&vnet.bytes());
            let packets = segments(&frame).expect("one");
            assert_eq!(packets.iter().map(|packet| read(packet).0).collect::<Vec<_>>(), [2_500]);
        }
    }

    #[test]
    fn a_header_that_contradicts_its_packet_makes_nothing() {
        for (at, value) in [(1, vnet::GSO_UDP_L4), (1, 9)] {
            let mut frame = super_packet(false, true);
            frame[at] = value;
            assert_eq!(segments(&frame), None);
        }
        let mut frame = super_packet(false, true);
        frame[4..6].fill(0);
        assert_eq!(segments(&frame), None, "segments of nothing");
        let mut frame = super_packet(false, true);
        (frame[1], frame[6]) = (0, 0xFF);
        frame[7] = 0xFF;
        assert_eq!(segments(&frame), None, "a checksum behind the end");
        assert_eq!(segments(&frame[..20]), None);
    }
}
