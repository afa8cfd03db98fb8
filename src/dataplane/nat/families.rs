//! A packet of a session whose sides are of different families: new headers beside the frame, its payload where it
//! is (RFC 7915 §4.1, §5.1). Options and extension headers end here, as the RFC has it; a super-packet passes whole.

use crate::dataplane::nat::classify::Packet;
use crate::dataplane::nat::rewrite::Translation;
use crate::snapshot::DropReason;
use crate::snapshot::Protocol;
use crate::wire::fragment::Identifications;
use crate::wire::headers::{self, half, put_half};
use crate::wire::{Version, VnetHeader, build, checksum, ip, vnet};

/// Room for a virtio header, an IPv6 header and the longest TCP header.
const MOST: usize = vnet::LENGTH + Version::V6.header() + 60;

/// RFC 7915 §5.1: an IPv4 packet of more bytes than this came from a path that carries 1280 of IPv6, and whoever
/// sent it minds what does not fit.
const MAY_BE_CUT: usize = 1260;

/// Headers to be written before a payload that stays in its frame.
#[derive(Clone, Debug)]
pub struct Head {
    bytes: [u8; MOST],
    length: usize,
}

impl Head {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; MOST], length: 0 }
    }

    /// The headers.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new()
    }
}

impl Head {
    /// Makes these the headers of a packet in the other family. Returns where in the frame what follows them begins.
    ///
    /// # Errors
    /// No header can say how long the packet becomes.
    pub(super) fn translate(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        translation: &Translation,
        identifications: &mut Identifications,
    ) -> Result<usize, DropReason> {
        let version = translation.source.version();
        let from = packet.transport() + packet.transport_header();
        let carried = packet.end() - packet.transport();
        let (header, transport) = (version.header(), frame.get(packet.transport()..from).unwrap_or_default());
        let Ok(total) = u16::try_from(if version == Version::V4 { header + carried } else { carried }) else {
            return Err(DropReason::PacketTooBig);
        };
        let numbered = identifications.take16(packet.wire_size().0);
        let head = self;
        head.length = vnet::LENGTH + header + transport.len();
        head.bytes = [0; MOST];
        // Without a partial checksum nothing is asked of the kernel, and the header stays empty.
        if packet.vnet.needs_csum() {
            head.bytes[..vnet::LENGTH].copy_from_slice(&virtio(packet, version).bytes());
        }
        let (fields, rest) = head.bytes[vnet::LENGTH..].split_at_mut(header);
        let class = ip::traffic_class(&frame[vnet::LENGTH..], packet.version);
        match version {
            Version::V4 => {
                (fields[0], fields[1], fields[9]) = (0x45, class, number(packet.key.protocol, version));
                put_half(fields, 2, total);
                put_half(fields, 4, numbered);
                put_half(fields, 6, if usize::from(total) > MAY_BE_CUT { 0x4000 } else { 0 });
            }
            Version::V6 => {
                put_half(fields, 0, 0x6000 | u16::from(class) << 4);
                put_half(fields, 4, total);
                fields[6] = number(packet.key.protocol, version);
            }
        }
        fields[version.hops()] = packet.hops - 1;
        translation.source.write(fields, version.addresses());
        translation.destination.write(fields, version.addresses() + version.address_bytes());
        if version == Version::V4 {
            let sum = checksum::sum(fields);
            put_half(fields, 10, !sum);
        }
        rest[..transport.len()].copy_from_slice(transport);
        translate_transport(&mut rest[..transport.len()], frame, packet, translation);
        Ok(from)
    }
}

const fn number(protocol: Protocol, version: Version) -> u8 {
    match (protocol, version) {
        (Protocol::Icmp, Version::V6) => ip::ICMPV6,
        _ => protocol as u8,
    }
}

/// The header of a packet whose checksum is partial.
fn virtio(packet: &Packet, version: Version) -> VnetHeader {
    let vnet = packet.vnet;
    let header = u16::try_from(version.header()).unwrap_or(0);
    let segmented = vnet.gso_type & !vnet::GSO_ECN;
    let tcp = if version == Version::V4 { vnet::GSO_TCPV4 } else { vnet::GSO_TCPV6 };
    let is_tcp = segmented == vnet::GSO_TCPV4 || segmented == vnet::GSO_TCPV6;
    VnetHeader {
        flags: vnet::NEEDS_CSUM,
        gso_type: if is_tcp { tcp | vnet.gso_type & vnet::GSO_ECN } else { vnet.gso_type },
        hdr_len: header + u16::try_from(packet.transport_header()).unwrap_or(0),
        csum_start: header,
        ..vnet
    }
}

/// Ports and checksums of a copied transport header; the payload is read for a checksum that IPv6 demands only.
fn translate_transport(header: &mut [u8], frame: &[u8], packet: &Packet, to: &Translation) {
    match packet.key.protocol {
        Protocol::Icmp => echo(header, packet, to),
        Protocol::Tcp | Protocol::Udp => {
            put_half(header, 0, to.source_port);
            put_half(header, 2, to.destination_port);
            let is_udp = packet.key.protocol == Protocol::Udp;
            let at = if is_udp { 6 } else { 16 };
            let field = half(header, at);
            let sum = if packet.vnet.needs_csum() {
                checksum::update_partial(field, to.addresses)
            } else if is_udp && field == 0 {
                absent(header, frame, packet, to)
            } else {
                checksum::update(field, checksum::join(to.addresses, to.ports))
            };
            let sum = if is_udp && sum == 0 && field != 0 { 0xFFFF } else { sum };
            put_half(header, at, sum);
        }
    }
}

/// A UDP checksum that the sender left out: IPv4 may, IPv6 may not (RFC 7915 §4.5), so it is computed there.
fn absent(header: &[u8], frame: &[u8], packet: &Packet, to: &Translation) -> u16 {
    if packet.version == Version::V6 {
        return 0;
    }
    let length = usize::from(half(header, 4));
    let payload = frame.get(packet.transport() + headers::UDP_HEADER..packet.transport() + length).unwrap_or_default();
    let pseudo = build::pseudo_sum(to.source, to.destination, ip::UDP, length);
    let sum = !checksum::join(pseudo, checksum::join(checksum::sum(header), checksum::sum(payload)));
    if sum == 0 { 0xFFFF } else { sum }
}

/// An echo message (RFC 7915 §4.2, §5.2): another type, and a pseudo-header that ICMPv6 alone covers.
fn echo(header: &mut [u8], packet: &Packet, to: &Translation) {
    let length = packet.end() - packet.transport();
    let kind = match header.first() {
        Some(&headers::ICMP_ECHO_REQUEST) => headers::ICMPV6_ECHO_REQUEST,
        Some(&headers::ICMP_ECHO_REPLY) => headers::ICMPV6_ECHO_REPLY,
        Some(&headers::ICMPV6_ECHO_REQUEST) => headers::ICMP_ECHO_REQUEST,
        _ => headers::ICMP_ECHO_REPLY,
    };
    let pseudo = match packet.version {
        Version::V4 => build::pseudo_sum(to.source, to.destination, ip::ICMPV6, length),
        Version::V6 => !build::pseudo_sum(packet.key.source, packet.key.destination, ip::ICMPV6, length),
    };
    let before = checksum::join(half(header, 0), half(header, 4));
    header[0] = kind;
    put_half(header, 4, to.identifier());
    let change = checksum::delta(before, checksum::join(half(header, 0), half(header, 4)));
    let field = half(header, 2);
    put_half(header, 2, checksum::update(field, checksum::join(change, pseudo)));
}
