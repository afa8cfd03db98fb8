//! Frame → key, or why there is none. Everything later stages read of a packet is checked here, once.

use crate::dataplane::handoff::RxMeta;
use crate::dataplane::session::FlowKey;
use crate::snapshot::DropReason;
use crate::snapshot::{AttachmentId, Protocol};
use crate::wire::headers::{self, ACK, FIN, RST, SYN, TcpSegment};
use crate::wire::ip::{self, Flaw, Outline};
use crate::wire::{Version, VnetHeader, build, checksum, vnet};

/// A frame whose headers have been checked: where things are, and which flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its flow.
    pub key: FlowKey,
    /// Its IP version.
    pub version: Version,
    /// TTL or hop limit it arrived with.
    pub hops: u8,
    /// The frame's virtio header; empty where it asks for nothing.
    pub vnet: VnetHeader,
    // Offsets in the frame, half as wide as a `usize`: a packet is one cache line.
    transport: u32,
    end: u32,
    transport_header: u32,
}

impl Packet {
    /// Offset of the transport header in the frame.
    #[inline]
    #[must_use]
    pub const fn transport(&self) -> usize {
        self.transport as usize
    }

    /// Length of the transport header.
    #[inline]
    #[must_use]
    pub const fn transport_header(&self) -> usize {
        self.transport_header as usize
    }

    /// End of the IP packet in the frame; what follows is link padding (requirement T-10).
    #[inline]
    #[must_use]
    pub const fn end(&self) -> usize {
        self.end as usize
    }

    /// The IP packet within its frame.
    #[inline]
    #[must_use]
    pub fn ip<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(vnet::LENGTH..self.end()).unwrap_or_default()
    }

    /// Transport header and payload within the frame.
    #[inline]
    #[must_use]
    pub fn segment(&self, frame: &[u8]) -> TcpSegment {
        TcpSegment::read(frame.get(self.transport()..self.end()).unwrap_or_default())
    }

    /// Whether it is a super-packet, which the kernel cuts into segments.
    #[inline]
    #[must_use]
    pub const fn is_super(&self) -> bool {
        self.vnet.gso_size != 0
    }

    /// Bytes of the IP packets it becomes on the wire, the last one of a super-packet excepted.
    #[inline]
    #[must_use]
    pub const fn wire_length(&self) -> usize {
        if self.is_super() {
            self.transport() + self.transport_header() - vnet::LENGTH + self.vnet.gso_size as usize
        } else {
            self.end() - vnet::LENGTH
        }
    }

    /// Segments on the wire and their bytes: a super-packet counts as what it is cut into.
    #[inline]
    #[must_use]
    pub fn wire_size(&self) -> (u64, u64) {
        let total = (self.end() - vnet::LENGTH) as u64;
        if !self.is_super() {
            return (1, total);
        }
        let headers = (self.transport() + self.transport_header() - vnet::LENGTH) as u64;
        let segments = total.saturating_sub(headers).div_ceil(u64::from(self.vnet.gso_size)).max(1);
        (segments, total + (segments - 1) * headers)
    }

    /// Whether it is a datagram whose sender left the checksum out (RFC 768; in IPv6 such a one is not valid, RFC 8200
    /// §8.1).
    #[inline]
    #[must_use]
    pub fn lacks_checksum(&self, frame: &[u8]) -> bool {
        let at = self.transport() + 6;
        self.key.protocol == Protocol::Udp
            && !self.vnet.needs_csum()
            && frame.get(at..at + 2).is_some_and(|sum| sum == [0, 0])
    }

    /// A SYN that opens a connection: neither an answer nor garbage (requirement C-4).
    #[must_use]
    pub fn is_plain_syn(&self, frame: &[u8]) -> bool {
        self.key.protocol == Protocol::Tcp && self.segment(frame).flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Whether the receiver of a TCP segment finds its checksum right: it is, the kernel completes it, or the kernel
    /// has looked.
    #[must_use]
    pub fn is_intact(&self, frame: &[u8]) -> bool {
        if frame.first().is_some_and(|flags| flags & (vnet::NEEDS_CSUM | vnet::DATA_VALID) != 0) {
            return true;
        }
        let transport = frame.get(self.transport()..self.end()).unwrap_or_default();
        let pseudo = build::pseudo_sum(self.key.source, self.key.destination, ip::TCP, transport.len());
        checksum::join(pseudo, checksum::sum(transport)) == 0xFFFF
    }

    /// Whether the transport checksum is right, or the kernel is yet to compute it.
    #[must_use]
    pub fn is_sound(&self, frame: &[u8]) -> bool {
        if self.vnet.needs_csum() {
            return true;
        }
        let bytes = frame.get(self.transport()..self.end()).unwrap_or_default();
        let key = &self.key;
        let (number, covered) = match (key.protocol, self.version) {
            (Protocol::Udp, _) if self.lacks_checksum(frame) => return self.version == Version::V4,
            // What follows the datagram within its packet is not covered.
            (Protocol::Udp, _) => (ip::UDP, bytes.get(..usize::from(headers::half(bytes, 4))).unwrap_or_default()),
            (Protocol::Tcp, _) => (ip::TCP, bytes),
            (Protocol::Icmp, Version::V4) => return checksum::sum(bytes) == 0xFFFF,
            (Protocol::Icmp, Version::V6) => (ip::ICMPV6, bytes),
        };
        let pseudo = build::pseudo_sum(key.source, key.destination, number, covered.len());
        checksum::join(pseudo, checksum::sum(covered)) == 0xFFFF
    }
}

/// A packet of a flow as it came in.
#[derive(Debug)]
pub struct Rx<'f, 'm> {
    /// Virtio header and packet.
    pub frame: &'f mut [u8],
    /// What its headers say.
    pub packet: &'m Packet,
    /// How it came to be here.
    pub meta: &'m RxMeta,
}

/// What a frame is that belongs to no flow by itself. No larger than a [`Packet`], so that a `Result` of both is not
/// either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAFlow {
    /// It fails check 1 (the checks: `snapshot::policy`).
    Drop(DropReason),
    /// A piece of a datagram, whose flow is known once the datagram is whole; or an ICMP error, which belongs to the flow
    /// of the packet that it quotes.
    Other(Outline),
}

/// Checks a frame and names its flow.
///
/// # Errors
/// What else it is: see [`NotAFlow`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "a packet goes from registers to where it is kept, not by way of the stack")]
pub fn classify(frame: &[u8], attachment: AttachmentId) -> Result<Packet, NotAFlow> {
    let vnet = VnetHeader::read(frame).ok_or(NotAFlow::Drop(DropReason::Malformed))?;
    let ip = &frame[vnet::LENGTH..];
    let outline = ip::outline(ip).map_err(unreadable)?;
    if outline.fragment.is_some() {
        return Err(NotAFlow::Other(outline));
    }
    let transport = &ip[outline.header()..outline.total()];
    let (protocol, ports, transport_header) = ports(&outline, transport)?;
    let vnet = checked(vnet, &outline, protocol).map_err(NotAFlow::Drop)?;
    Ok(Packet {
        key: FlowKey {
            attachment,
            protocol,
            source: outline.source,
            destination: outline.destination,
            source_port: ports.0,
            destination_port: ports.1,
        },
        version: outline.version,
        hops: outline.hops,
        vnet,
        transport: narrow(vnet::LENGTH + outline.header()),
        end: narrow(vnet::LENGTH + outline.total()),
        transport_header: narrow(transport_header),
    })
}

/// The drop reason of a header that cannot be used.
#[cold]
fn unreadable(flaw: Flaw) -> NotAFlow {
    NotAFlow::Drop(match flaw {
        Flaw::Truncated | Flaw::Version | Flaw::Length | Flaw::Checksum | Flaw::Options => DropReason::Malformed,
        Flaw::Mapped => DropReason::SpoofedSource,
        Flaw::SourceRoute => DropReason::SourceRoute,
        Flaw::Extension => DropReason::ExtensionHeader,
    })
}

/// Ports of a transport header (echo identifiers of an ICMP one), and its length.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
fn ports(outline: &Outline, transport: &[u8]) -> Result<(Protocol, (u16, u16), usize), NotAFlow> {
    const MALFORMED: NotAFlow = NotAFlow::Drop(DropReason::Malformed);
    let pair = (headers::half(transport, 0), headers::half(transport, 2));
    match (outline.protocol, outline.version) {
        (ip::TCP, _) => {
            let Some(fixed) = transport.first_chunk::<{ headers::TCP_HEADER }>() else {
                return Err(MALFORMED);
            };
            let length = usize::from(fixed[12] >> 4) * 4;
            let flawed = length < headers::TCP_HEADER || length > transport.len() || pair.0 == 0 || pair.1 == 0;
            if flawed { Err(MALFORMED) } else { Ok((Protocol::Tcp, pair, length)) }
        }
        (ip::UDP, _) => {
            let length = usize::from(headers::half(transport, 4));
            let fits =
                transport.len() >= headers::UDP_HEADER && (headers::UDP_HEADER..=transport.len()).contains(&length);
            if fits && pair.1 != 0 { Ok((Protocol::Udp, pair, headers::UDP_HEADER)) } else { Err(MALFORMED) }
        }
        (ip::ICMP, Version::V4) | (ip::ICMPV6, Version::V6) => message(outline, transport),
        _ => Err(NotAFlow::Drop(DropReason::UnsupportedProtocol)),
    }
}

/// An ICMP message: an echo has a flow of its own, an error belongs to another's; nothing else is carried
/// (RFC 5508 REQ-11).
fn message(outline: &Outline, transport: &[u8]) -> Result<(Protocol, (u16, u16), usize), NotAFlow> {
    if transport.len() < headers::ICMP_HEADER {
        return Err(NotAFlow::Drop(DropReason::Malformed));
    }
    let identifier = headers::half(transport, 4);
    let echo = |ports| Ok((Protocol::Icmp, ports, headers::ICMP_HEADER));
    match (outline.version, transport[0], transport[1]) {
        (Version::V4, headers::ICMP_ECHO_REQUEST, 0) | (Version::V6, headers::ICMPV6_ECHO_REQUEST, 0) => {
            echo((identifier, 0))
        }
        // Identifier 0 would make a reply look like a request; NAT identifiers begin at 1024.
        (Version::V4, headers::ICMP_ECHO_REPLY, 0) | (Version::V6, headers::ICMPV6_ECHO_REPLY, 0)
            if identifier != 0 =>
        {
            echo((0, identifier))
        }
        (Version::V4, 3 | 11 | 12, _) | (Version::V6, 1..=4, _) => Err(NotAFlow::Other(*outline)),
        _ => Err(NotAFlow::Drop(DropReason::IcmpUnmatched)),
    }
}

/// What a virtio header asks for, and nothing else of it. One that contradicts the packet would make the kernel write
/// a checksum, or cut segments, in the wrong place.
#[inline]
fn checked(vnet: VnetHeader, outline: &Outline, protocol: Protocol) -> Result<VnetHeader, DropReason> {
    if vnet.flags & vnet::NEEDS_CSUM == 0 && vnet.gso_type == vnet::GSO_NONE {
        return Ok(VnetHeader::default());
    }
    let checksum_at = match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => return Err(DropReason::Malformed),
    };
    let segmented_as = match (vnet.gso_type & !vnet::GSO_ECN, outline.version) {
        (vnet::GSO_NONE, _) => protocol,
        (vnet::GSO_TCPV4, Version::V4) | (vnet::GSO_TCPV6, Version::V6) => Protocol::Tcp,
        (vnet::GSO_UDP_L4, _) => Protocol::Udp,
        _ => return Err(DropReason::Malformed),
    };
    let is_whole = vnet.gso_type == vnet::GSO_NONE;
    let consistent = vnet.needs_csum()
        && usize::from(vnet.csum_start) == outline.header()
        && vnet.csum_offset == checksum_at
        && segmented_as == protocol
        && (is_whole || vnet.gso_size > 0);
    let gso_size = if is_whole { 0 } else { vnet.gso_size };
    if consistent { Ok(VnetHeader { gso_size, ..vnet }) } else { Err(DropReason::Malformed) }
}

/// An offset in a frame: a frame is far smaller than 4 GiB.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "no frame is longer than `MAX_FRAME`")]
const fn narrow(offset: usize) -> u32 {
    offset as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_one_cache_line() {
        assert!(size_of::<Result<Packet, NotAFlow>>() <= 64, "{}", size_of::<Result<Packet, NotAFlow>>());
    }
}
