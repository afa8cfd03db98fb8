//! Frame → key, or why there is none. Everything later stages read of a packet is checked here, once.

use crate::dataplane::session::FlowKey;
use crate::dataplane::verdict::DropReason;
use crate::snapshot::{AttachmentId, Protocol};
use crate::wire::headers::{self, Flaw, Ipv4Outline, TcpSegment};
use crate::wire::{Family, V4, VnetHeader, vnet};

/// A frame whose headers have been checked: where things are, and which flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<F: Family> {
    /// Its flow.
    pub key: FlowKey<F>,
    /// Offset of the transport header in the frame.
    pub transport: usize,
    /// End of the IP packet in the frame; what follows is link padding (nat-requirements T-10).
    pub end: usize,
    /// Length of the transport header.
    pub transport_header: usize,
    /// The frame's virtio header.
    pub vnet: VnetHeader,
}

impl<F: Family> Packet<F> {
    /// The IP packet within its frame.
    #[inline]
    #[must_use]
    pub fn ip<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(vnet::LENGTH..self.end).unwrap_or_default()
    }

    /// Transport header and payload within the frame.
    #[inline]
    #[must_use]
    pub fn segment(&self, frame: &[u8]) -> TcpSegment {
        TcpSegment::read(frame.get(self.transport..self.end).unwrap_or_default())
    }

    /// Segments on the wire and their bytes: a super-packet counts as what it is cut into.
    #[inline]
    #[must_use]
    pub fn wire_size(&self) -> (u64, u64) {
        let total = (self.end - vnet::LENGTH) as u64;
        if self.vnet.gso_size == 0 || self.vnet.gso_type == vnet::GSO_NONE {
            return (1, total);
        }
        let headers = (self.transport + self.transport_header - vnet::LENGTH) as u64;
        let segments = total.saturating_sub(headers).div_ceil(u64::from(self.vnet.gso_size)).max(1);
        (segments, total + (segments - 1) * headers)
    }
}

/// Checks an IPv4 frame and names its flow.
///
/// # Errors
/// The drop reason of check 1 (DESIGN §3).
#[inline]
pub fn classify(frame: &[u8], attachment: AttachmentId) -> Result<Packet<V4>, DropReason> {
    let vnet = VnetHeader::read(frame).ok_or(DropReason::Malformed)?;
    let ip = &frame[vnet::LENGTH..];
    let outline = headers::ipv4(ip).map_err(|flaw| unreadable(ip, flaw))?;
    if outline.source_route {
        return Err(DropReason::SourceRoute);
    }
    if outline.fragment {
        return Err(DropReason::Fragment);
    }
    let transport = &ip[outline.header..outline.total];
    let (protocol, ports, transport_header) = ports(outline.protocol, transport)?;
    check_offload(vnet, &outline, protocol)?;
    Ok(Packet {
        key: FlowKey {
            attachment,
            protocol,
            source: V4::read(ip, V4::ADDRESSES),
            destination: V4::read(ip, V4::ADDRESSES + V4::ADDRESS_BYTES),
            source_port: ports.0,
            destination_port: ports.1,
        },
        transport: vnet::LENGTH + outline.header,
        end: vnet::LENGTH + outline.total,
        transport_header,
        vnet,
    })
}

/// IPv6 is a protocol this version does not carry; anything else that is not IPv4 is malformed.
#[cold]
fn unreadable(ip: &[u8], flaw: Flaw) -> DropReason {
    let is_v6 = flaw == Flaw::Version && ip[0] >> 4 == 6;
    if is_v6 { DropReason::UnsupportedProtocol } else { DropReason::Malformed }
}

/// Ports of a transport header (echo identifiers of an ICMP one), and its length.
#[inline]
fn ports(number: u8, transport: &[u8]) -> Result<(Protocol, (u16, u16), usize), DropReason> {
    let pair = (headers::half(transport, 0), headers::half(transport, 2));
    match number {
        6 => {
            let Some(fixed) = transport.first_chunk::<{ headers::TCP_HEADER }>() else {
                return Err(DropReason::Malformed);
            };
            let length = usize::from(fixed[12] >> 4) * 4;
            let flawed = length < headers::TCP_HEADER || length > transport.len() || pair.0 == 0 || pair.1 == 0;
            if flawed { Err(DropReason::Malformed) } else { Ok((Protocol::Tcp, pair, length)) }
        }
        17 => {
            let length = usize::from(headers::half(transport, 4));
            let fits =
                transport.len() >= headers::UDP_HEADER && (headers::UDP_HEADER..=transport.len()).contains(&length);
            if fits && pair.1 != 0 {
                Ok((Protocol::Udp, pair, headers::UDP_HEADER))
            } else {
                Err(DropReason::Malformed)
            }
        }
        1 => {
            if transport.len() < headers::ICMP_HEADER {
                return Err(DropReason::Malformed);
            }
            let identifier = headers::half(transport, 4);
            match (transport[0], transport[1]) {
                (headers::ICMP_ECHO_REQUEST, 0) => Ok((Protocol::Icmp, (identifier, 0), headers::ICMP_HEADER)),
                // Identifier 0 would make a reply look like a request; NAT identifiers begin at 1024.
                (headers::ICMP_ECHO_REPLY, 0) if identifier != 0 => {
                    Ok((Protocol::Icmp, (0, identifier), headers::ICMP_HEADER))
                }
                _ => Err(DropReason::IcmpUnmatched),
            }
        }
        _ => Err(DropReason::UnsupportedProtocol),
    }
}

/// A virtio header that contradicts the packet would make the kernel write a checksum, or cut
/// segments, in the wrong place.
#[inline]
fn check_offload(vnet: VnetHeader, outline: &Ipv4Outline, protocol: Protocol) -> Result<(), DropReason> {
    if vnet.flags & vnet::NEEDS_CSUM == 0 && vnet.gso_type == vnet::GSO_NONE {
        return Ok(());
    }
    let checksum_at = match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => return Err(DropReason::Malformed),
    };
    let segmented_as = match vnet.gso_type & !vnet::GSO_ECN {
        vnet::GSO_NONE => protocol,
        vnet::GSO_TCPV4 => Protocol::Tcp,
        vnet::GSO_UDP_L4 => Protocol::Udp,
        _ => return Err(DropReason::Malformed),
    };
    let consistent = vnet.needs_csum()
        && usize::from(vnet.csum_start) == outline.header
        && vnet.csum_offset == checksum_at
        && segmented_as == protocol
        && (vnet.gso_type == vnet::GSO_NONE || vnet.gso_size > 0);
    if consistent { Ok(()) } else { Err(DropReason::Malformed) }
}
