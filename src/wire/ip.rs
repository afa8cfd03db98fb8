//! IP headers of both versions, checked once and outlined alike: where things are, and what becomes of
//! the packet whatever its policy. Nothing later reads a length that has not been compared here.

use super::address::{Address, Version};
use super::checksum;
use super::headers::{half, word};

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// IPv6 extension headers (RFC 8200 §4).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// Next-header number of the fragment header.
pub const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Extension headers walked before a packet is given up (requirement X-2): no host sends as many.
const MOST_EXTENSIONS: usize = 8;

/// The checked outline of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its version.
    pub version: Version,
    /// Who sent it.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    // Narrow, so that an outline takes no more room than a packet of a flow (`nat::classify`).
    total: u32,
    header: u16,
    /// Transport protocol number; of a fragment: what its header says about the datagram.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// Which piece of a datagram it is, when it is not all of it.
    pub fragment: Option<Fragment>,
}

impl Outline {
    /// Bytes before the transport header (of a fragment: before its piece of the datagram), options and
    /// extension headers included.
    #[inline]
    #[must_use]
    pub const fn header(&self) -> usize {
        self.header as usize
    }

    /// Length of the packet; at most the bytes that are there. What follows is link padding (T-10).
    #[inline]
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total as usize
    }
}

/// One piece of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What all pieces of the datagram share, besides addresses and protocol. 16 bits in IPv4.
    pub identification: u32,
    /// Whether another piece follows it.
    pub more: bool,
    offset: u16,
    repeated: u16,
}

impl Fragment {
    /// Where the piece begins in the datagram, bytes: a multiple of 8.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset as usize
    }

    /// Bytes of the packet before what is fragmented: all of an IPv4 header; in IPv6 up to the fragment header. Each
    /// piece repeats them.
    #[must_use]
    pub const fn repeated(&self) -> usize {
        self.repeated as usize
    }
}

/// Why a packet can be forwarded under no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Fewer bytes than a header, or than the header says.
    Truncated,
    /// Neither version 4 nor 6.
    Version,
    /// Header length below 20, or total length below the header's, or a jumbogram.
    Length,
    /// The IPv4 header checksum is wrong.
    Checksum,
    /// Options that run over their header's end.
    Options,
    /// An IPv6 packet with a mapped IPv4 address (RFC 4291 §2.5.5.2, RFC 6890): no host may send one.
    Mapped,
    /// A source route: IPv4 options 131 and 137 (RFC 7126 §4.3, §4.4), IPv6 routing headers that are not
    /// used up, and those of type 0 whatever they say (RFC 5095). Or a record of the way, IPv4 options 7 and 68
    /// (RFC 791 §3.1): it would show each side the routers of the other (requirement I-6).
    SourceRoute,
    /// An IPv6 extension header that a router may not pass over, an option that demands to be understood
    /// (RFC 8200 §4.2), or too many of them.
    Extension,
}

/// Checks an IP packet and says where things are in it.
///
/// # Errors
/// The first [`Flaw`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
pub fn outline(packet: &[u8]) -> Result<Outline, Flaw> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => v4(packet),
        Some(6) => v6(packet),
        Some(_) => Err(Flaw::Version),
        None => Err(Flaw::Truncated),
    }
}

/// Type of service (RFC 2474), or traffic class.
#[must_use]
pub fn traffic_class(packet: &[u8], version: Version) -> u8 {
    match version {
        Version::V4 => packet.get(1).copied().unwrap_or(0),
        Version::V6 => half(packet, 0).to_be_bytes()[0] << 4 | half(packet, 0).to_be_bytes()[1] >> 4,
    }
}

/// IPv4: lengths, checksum (RFC 1812 §5.2.2), options.
#[inline]
fn v4(packet: &[u8]) -> Result<Outline, Flaw> {
    const SHORTEST: u16 = 20;
    let Some(fixed) = packet.first_chunk::<20>() else { return Err(Flaw::Truncated) };
    let (header, total) = (u16::from(fixed[0] & 0x0F) * 4, half(fixed, 2));
    if header < SHORTEST || total < header {
        return Err(Flaw::Length);
    }
    if usize::from(total) > packet.len() {
        return Err(Flaw::Truncated);
    }
    if header == SHORTEST {
        if !checksum::is_right(fixed) {
            return Err(Flaw::Checksum);
        }
    } else {
        options_of(packet, usize::from(header))?;
    }
    Ok(Outline {
        version: Version::V4,
        source: Address::v4(word(fixed, 12)),
        destination: Address::v4(word(fixed, 16)),
        header,
        total: u32::from(total),
        protocol: fixed[9],
        hops: fixed[8],
        fragment: v4_fragment(fixed, header),
    })
}

/// More fragments, or an offset; the don't-fragment flag does not count.
#[inline]
fn v4_fragment(fixed: &[u8; 20], header: u16) -> Option<Fragment> {
    let field = half(fixed, 6);
    match field & 0x3FFF {
        0 => None,
        _ => Some(v4_piece(fixed, field, header)),
    }
}

#[cold]
fn v4_piece(fixed: &[u8; 20], field: u16, header: u16) -> Fragment {
    Fragment {
        identification: u32::from(half(fixed, 4)),
        offset: (field & 0x1FFF) * 8,
        more: field & 0x2000 != 0,
        repeated: header,
    }
}

/// Checks an IPv4 header of more than its fixed part.
#[cold]
fn options_of(packet: &[u8], header: usize) -> Result<(), Flaw> {
    let whole = packet.get(..header).ok_or(Flaw::Truncated)?;
    if checksum::sum(whole) != 0xFFFF {
        return Err(Flaw::Checksum);
    }
    if names_routers(&whole[Version::V4.header()..])? { Err(Flaw::SourceRoute) } else { Ok(()) }
}

/// Walks IPv4 options (RFC 791 §3.1) for a loose or strict source route, a recorded route, or timestamps.
fn names_routers(mut options: &[u8]) -> Result<bool, Flaw> {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return Ok(false),
            (1, _) => rest,
            (7 | 68 | 131 | 137, _) => return Ok(true),
            (_, [length, ..]) if *length >= 2 => options.get(usize::from(*length)..).ok_or(Flaw::Options)?,
            _ => return Err(Flaw::Options),
        };
    }
    Ok(false)
}

/// IPv6: length, addresses, extension headers.
#[inline(never)]
fn v6(packet: &[u8]) -> Result<Outline, Flaw> {
    const HEADER: u16 = 40;
    let Some(fixed) = packet.first_chunk::<40>() else { return Err(Flaw::Truncated) };
    let total = u32::from(HEADER) + u32::from(half(fixed, 4));
    let whole = packet.get(..total as usize).ok_or(Flaw::Truncated)?;
    let source = Address::read(fixed, 8, Version::V6);
    let destination = Address::read(fixed, 24, Version::V6);
    if source.version() == Version::V4 || destination.version() == Version::V4 {
        return Err(Flaw::Mapped);
    }
    let mut outline = Outline {
        version: Version::V6,
        source,
        destination,
        header: HEADER,
        total,
        protocol: fixed[6],
        hops: fixed[7],
        fragment: None,
    };
    walk(whole, &mut outline)?;
    Ok(outline)
}

/// Follows the chain of extension headers to the transport header, or to the piece that a fragment carries.
fn walk(packet: &[u8], outline: &mut Outline) -> Result<(), Flaw> {
    for walked in 0..=MOST_EXTENSIONS {
        let rest = packet.get(outline.header()..).unwrap_or_default();
        let length = match outline.protocol {
            // Only right behind the fixed header (RFC 8200 §4.1); anywhere else it is no extension header.
            HOP_BY_HOP if outline.header() == Version::V6.header() => options(rest, may_be_skipped)?,
            HOP_BY_HOP => return Err(Flaw::Extension),
            DESTINATION_OPTIONS => options(rest, is_padding)?,
            ROUTING => routing(rest)?,
            FRAGMENT => {
                let fields = rest.first_chunk::<8>().ok_or(Flaw::Truncated)?;
                let (offset, more) = (half(fields, 2) & 0xFFF8, fields[3] & 1 != 0);
                let piece = Fragment { identification: word(fields, 4), offset, more, repeated: outline.header };
                // One that is all of its datagram is handled by itself (RFC 6946 §4).
                if offset != 0 || more {
                    (outline.fragment, outline.protocol) = (Some(piece), fields[0]);
                    outline.header += 8;
                    return Ok(());
                }
                8
            }
            _ => return Ok(()),
        };
        if walked == MOST_EXTENSIONS {
            break;
        }
        outline.protocol = rest[0];
        // At most eight of at most 2 KiB each.
        outline.header = outline.header.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
    }
    Err(Flaw::Extension)
}

/// Length of an extension header that is there whole.
fn sized(header: &[u8]) -> Result<usize, Flaw> {
    let [_, units, ..] = header else { return Err(Flaw::Truncated) };
    let length = (usize::from(*units) + 1) * 8;
    if length > header.len() { Err(Flaw::Truncated) } else { Ok(length) }
}

/// Hop-by-hop options (RFC 8200 §4.2, §4.3): one that this router does not know, and that may not be
/// skipped, ends the packet; a jumbogram (RFC 2675) does not fit through a TUN.
const fn may_be_skipped(option: u8) -> bool {
    option & 0xC0 == 0
}

/// Destination options: padding alone. A router on the way passes every one on (RFC 9288 §3.5), but this is the border
/// of two networks, where the addresses in one (the home address, RFC 6275 §6.3) would pass by every check of sources.
const fn is_padding(option: u8) -> bool {
    option <= 1
}

/// Length of a header of options, each of which `passes`.
fn options(header: &[u8], passes: impl Fn(u8) -> bool) -> Result<usize, Flaw> {
    let length = sized(header)?;
    let mut options = &header[2..length];
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => rest,
            (kind, _) if !passes(*kind) => return Err(Flaw::Extension),
            (_, [size, data @ ..]) => data.get(usize::from(*size)..).ok_or(Flaw::Options)?,
            _ => return Err(Flaw::Options),
        };
    }
    Ok(length)
}

/// A routing header is passed over only when it has nothing left to say.
fn routing(header: &[u8]) -> Result<usize, Flaw> {
    let length = sized(header)?;
    let (kind, left) = (header[2], header[3]);
    if kind == 0 || left != 0 { Err(Flaw::SourceRoute) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::super::headers::put_half;
    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let length = 20 + options.len();
        let mut packet =
            vec![0x40 | (length / 4) as u8, 0, 0, length as u8, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(options);
        let sum = checksum::sum(&packet);
        put_half(&mut packet, 10, !sum);
        packet
    }

    #[test]
    fn a_header_is_refused_for_its_first_flaw() {
        let good = header(&[]);
        assert_eq!(outline(&good).expect("valid").total, 20);
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = good.clone();
            change(&mut packet);
            outline(&packet).expect_err("flawed")
        };
        assert_eq!(broken(&|p| p.truncate(0)), Flaw::Truncated);
        assert_eq!(broken(&|p| p.truncate(19)), Flaw::Truncated);
        assert_eq!(broken(&|p| p[0] = 0x55), Flaw::Version);
        assert_eq!(broken(&|p| p[0] = 0x65), Flaw::Truncated);
        assert_eq!(broken(&|p| p[0] = 0x44), Flaw::Length);
        assert_eq!(broken(&|p| p[3] = 19), Flaw::Length);
        assert_eq!(broken(&|p| p[3] = 21), Flaw::Truncated);
        assert_eq!(broken(&|p| p[8] = 63), Flaw::Checksum);
    }

    /// T-9.
    #[test]
    fn source_routes_are_found_behind_other_options() {
        let routed = |options: &[u8]| outline(&header(options)) == Err(Flaw::SourceRoute);
        assert!(routed(&[1, 1, 131, 2]));
        assert!(routed(&[148, 3, 4, 137]));
        assert!(routed(&[7, 7, 4, 0, 0, 0, 0, 0]) && routed(&[1, 68, 4, 5, 0, 0, 0, 0]), "records of the way");
        assert!(outline(&header(&[148, 4, 131, 0])).is_ok(), "131 is data of option 148");
        assert!(outline(&header(&[0, 131, 2, 0])).is_ok(), "after the end of options");
        assert_eq!(outline(&header(&[148, 9, 0, 0])), Err(Flaw::Options));
        assert_eq!(outline(&header(&[148, 0, 0, 0])), Err(Flaw::Options));
    }

    #[test]
    fn dont_fragment_alone_is_no_fragment() {
        for (field, expected) in [
            (0x4000_u16, None),
            (0, None),
            (0x2000, Some((0, true))),
            (0x0001, Some((8, false))),
            (0x6001, Some((8, true))),
            (0x1FFF, Some((65_528, false))),
        ] {
            let mut packet = header(&[]);
            put_half(&mut packet, 6, field);
            put_half(&mut packet, 10, 0);
            let sum = checksum::sum(&packet);
            put_half(&mut packet, 10, !sum);
            let fragment = outline(&packet).expect("valid").fragment;
            assert_eq!(fragment.map(|piece| (piece.offset(), piece.more)), expected, "{field:#x}");
        }
    }

    /// An IPv6 packet whose first next-header number is `first`, with `rest` behind the fixed header.
    fn v6_packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6], packet[7]) = (0x60, first, 64);
        put_half(&mut packet, 4, rest.len() as u16);
        (packet[8], packet[23], packet[24], packet[39]) = (0xFD, 1, 0xFD, 2);
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn extension_headers_are_walked_to_the_transport_header() {
        let plain = outline(&v6_packet(TCP, &[0; 20])).expect("valid");
        assert_eq!((plain.header, plain.total, plain.protocol, plain.hops), (40, 60, TCP, 64));
        let mut chain = vec![DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        chain.extend([ROUTING, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        chain.extend([FRAGMENT, 0, 4, 0, 0, 0, 0, 0]);
        chain.extend([UDP, 0, 0, 0, 0, 0, 0, 9]);
        chain.extend([0; 8]);
        let walked = outline(&v6_packet(HOP_BY_HOP, &chain)).expect("an atomic fragment is whole");
        assert_eq!((walked.header(), walked.protocol, walked.fragment), (80, UDP, None));
        chain[35] = 1;
        let fragment = outline(&v6_packet(HOP_BY_HOP, &chain)).expect("valid");
        let piece = Fragment { identification: 9, offset: 0, more: true, repeated: 72 };
        assert_eq!((fragment.header(), fragment.protocol, fragment.fragment), (80, UDP, Some(piece)));
    }

    /// what a router may not pass over, and a bound on the walk.
    #[test]
    fn headers_that_may_not_be_skipped_end_the_packet() {
        let refused = |first, rest: &[u8]| outline(&v6_packet(first, rest)).expect_err("refused");
        assert_eq!(refused(ROUTING, &[TCP, 0, 0, 0, 0, 0, 0, 0]), Flaw::SourceRoute, "type 0");
        assert_eq!(refused(ROUTING, &[TCP, 0, 4, 1, 0, 0, 0, 0]), Flaw::SourceRoute, "a hop left");
        assert_eq!(refused(HOP_BY_HOP, &[TCP, 0, 0xC2, 4, 0, 1, 0, 0]), Flaw::Extension, "a jumbogram");
        assert_eq!(refused(HOP_BY_HOP, &[TCP, 0, 0x40, 0, 0, 0, 0, 0]), Flaw::Extension, "an unknown critical option");
        assert_eq!(refused(HOP_BY_HOP, &[TCP, 0, 5, 9, 0, 0, 0, 0]), Flaw::Options);
        assert!(outline(&v6_packet(HOP_BY_HOP, &[TCP, 0, 5, 2, 0, 0, 1, 0])).is_ok(), "a router alert");
        let home = [&[TCP, 2, 1, 2, 0, 0, 0xC9, 16][..], &[0xFD; 16]].concat();
        assert_eq!(refused(DESTINATION_OPTIONS, &home), Flaw::Extension, "a home address");
        for option in [4, 0x3E, 0x8B, 0xC2] {
            let header = [TCP, 0, option, 4, 0, 0, 0, 0];
            assert_eq!(refused(DESTINATION_OPTIONS, &header), Flaw::Extension, "option {option:#x}");
        }
        for padding in [[0; 6], [1, 4, 0, 0, 0, 0], [0, 1, 2, 0, 0, 0]] {
            let header = [&[TCP, 0][..], &padding].concat();
            assert!(outline(&v6_packet(DESTINATION_OPTIONS, &header)).is_ok(), "{padding:?}");
        }
        assert_eq!(refused(DESTINATION_OPTIONS, &[HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0]), Flaw::Extension);
        assert_eq!(refused(DESTINATION_OPTIONS, &[TCP, 1, 0, 0, 0, 0, 0, 0]), Flaw::Truncated);
        assert_eq!(refused(FRAGMENT, &[TCP, 0, 0, 0]), Flaw::Truncated);
        let long: Vec<u8> = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(9);
        assert_eq!(refused(DESTINATION_OPTIONS, &long), Flaw::Extension);
        let mut mapped = v6_packet(TCP, &[0; 20]);
        mapped[8..24].copy_from_slice(&Address::v4(1).bits().to_be_bytes());
        assert_eq!(outline(&mapped), Err(Flaw::Mapped));
    }
}
