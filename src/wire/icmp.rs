//! ICMP errors: read with the packet they quote, and rebuilt for the other side of a translator, of the same
//! family or of the other (RFC 5508 §4, RFC 7915 §4.2, §4.3, §5.2, §5.3).

use super::address::{Address, Version};
use super::headers::{self, half, put_half, word};
use super::ip::{self, Outline};
use super::{build, checksum};

/// Bytes of a quoted transport header that every error carries (RFC 792): ports, and what tells segments apart.
const QUOTED: usize = 8;

/// MTUs that IPv4 routers which do not say theirs may have (RFC 1191 §7.1), as RFC 7915 §4.2 uses them.
const PLATEAUS: [u16; 10] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];

/// An ICMP error and the packet that it quotes.
#[derive(Clone, Copy, Debug)]
pub struct ErrorMessage<'a> {
    /// TTL or hop limit it arrived with.
    pub hops: u8,
    /// Its type of service or traffic class.
    pub traffic_class: u8,
    /// Type and code in its own family.
    pub kind: [u8; 2],
    /// Its second word; what RFC 4884 puts there is left out.
    pub word: u32,
    /// The packet that it is about.
    pub quote: Quote<'a>,
}

/// A quoted packet, cut short as a rule.
#[derive(Clone, Copy, Debug)]
pub struct Quote<'a> {
    /// Its version: that of the error.
    pub version: Version,
    /// Who sent it.
    pub source: Address,
    /// Where it went.
    pub destination: Address,
    /// Transport protocol.
    pub protocol: u8,
    /// Source port; identifier of an echo request, 0 of a reply.
    pub source_port: u16,
    /// Destination port; identifier of an echo reply, 0 of a request.
    pub destination_port: u16,
    /// TCP's sequence number.
    pub sequence: Option<u32>,
    /// Bytes before the transport header.
    header: usize,
    bytes: &'a [u8],
}

/// Why a message is no error that could be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its checksum is wrong, or its quoted IPv4 header's (RFC 5508 REQ-3).
    Checksum,
    /// The quote is too short, no first fragment, or of a protocol that has no sessions; an error about an error.
    Quote,
}

/// The tuple that a quoted packet is to have.
#[derive(Clone, Copy, Debug)]
pub struct QuotedAs {
    /// Who sent it.
    pub source: Address,
    /// Where it went.
    pub destination: Address,
    /// See [`Quote::source_port`].
    pub source_port: u16,
    /// See [`Quote::destination_port`].
    pub destination_port: u16,
}

impl ErrorMessage<'_> {
    /// What fits, when it says that the quoted packet is too big; 0 from a router that does not know (RFC 1191 §5).
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        match (self.quote.version, self.kind) {
            (Version::V4, [3, 4]) => Some(self.word & 0xFFFF),
            (Version::V6, [2, _]) => Some(self.word),
            _ => None,
        }
    }

    /// The same, at least what every link carries. A router that does not know is taken for the next smaller of the
    /// usual (RFC 1191 §7.1).
    #[must_use]
    pub fn fitting(&self) -> Option<u16> {
        let known = match self.mtu()? {
            0 => plateau_below(self.quote.length()),
            told => u16::try_from(told).unwrap_or(u16::MAX),
        };
        Some(known.max(self.quote.version.least_mtu()))
    }
}

impl Quote<'_> {
    /// Length of the quoted packet, as its IPv4 header says.
    fn length(&self) -> u16 {
        half(self.bytes, 2)
    }

    /// Bytes that followed its header when it was sent, as that says; the quote has the first of them.
    fn payload(&self) -> usize {
        let total = match self.version {
            Version::V4 => usize::from(self.length()),
            Version::V6 => Version::V6.header() + usize::from(half(self.bytes, 4)),
        };
        total.saturating_sub(self.header)
    }
}

/// The next smaller of the usual MTUs; 0: there is none.
fn plateau_below(length: u16) -> u16 {
    PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(0)
}

/// Reads the ICMP error in `packet`.
///
/// # Errors
/// See [`Unusable`].
pub fn read_error<'a>(packet: &'a [u8], outline: &Outline) -> Result<ErrorMessage<'a>, Unusable> {
    let message = packet.get(outline.header()..outline.total()).unwrap_or_default();
    let (Some(fixed), Some(rest)) = (message.first_chunk::<8>(), message.get(headers::ICMP_HEADER..)) else {
        return Err(Unusable::Quote);
    };
    let pseudo = match outline.version {
        Version::V4 => 0,
        Version::V6 => build::pseudo_sum(outline.source, outline.destination, ip::ICMPV6, message.len()),
    };
    if checksum::join(pseudo, checksum::sum(message)) != 0xFFFF {
        return Err(Unusable::Checksum);
    }
    let kind = [fixed[0], fixed[1]];
    // RFC 4884: where the quote ends, and an extension begins that would show the provider's topology.
    let (length, word) = match (outline.version, kind[0]) {
        (Version::V4, _) => (usize::from(fixed[5]) * 4, word(fixed, 4) & 0xFF00_FFFF),
        (Version::V6, 1 | 3) => (usize::from(fixed[4]) * 8, word(fixed, 4) & 0x00FF_FFFF),
        (Version::V6, _) => (0, word(fixed, 4)),
    };
    let length = if length == 0 { without_unannounced_extension(rest, outline.version, kind[0]) } else { length };
    let quoted = &rest[..rest.len().min(length)];
    Ok(ErrorMessage {
        hops: outline.hops,
        traffic_class: ip::traffic_class(packet, outline.version),
        kind,
        word,
        quote: read_quote(quoted, outline.version)?,
    })
}

/// Length of a quote whose message does not say it: routers older than RFC 4884 put their extension behind the 128th
/// byte (§5), and only its version and checksum tell that it is there.
fn without_unannounced_extension(rest: &[u8], version: Version, kind: u8) -> usize {
    const FIXED: usize = 128;
    let extensible = matches!((version, kind), (Version::V4, 3 | 11 | 12) | (Version::V6, 1 | 3));
    let is_extension =
        |bytes: &[u8]| bytes.len() >= 8 && bytes[0] >> 4 == 2 && half(bytes, 2) != 0 && checksum::sum(bytes) == 0xFFFF;
    if extensible && rest.get(FIXED..).is_some_and(is_extension) { FIXED } else { rest.len() }
}

/// Reads a quote as far as it goes; lengths in it are its sender's, the bytes that are there decide.
fn read_quote(bytes: &[u8], version: Version) -> Result<Quote<'_>, Unusable> {
    let (header, protocol, total) = match version {
        Version::V4 => v4_quote(bytes)?,
        Version::V6 => v6_quote(bytes)?,
    };
    // Padding behind a short packet is none of its bytes.
    let bytes = &bytes[..bytes.len().min(total)];
    let transport = bytes.get(header..).filter(|transport| transport.len() >= QUOTED).ok_or(Unusable::Quote)?;
    let (source_port, destination_port) = match (protocol, version) {
        (ip::TCP | ip::UDP, _) => (half(transport, 0), half(transport, 2)),
        (ip::ICMP, Version::V4) | (ip::ICMPV6, Version::V6) => match transport[0] {
            headers::ICMP_ECHO_REQUEST | headers::ICMPV6_ECHO_REQUEST => (half(transport, 4), 0),
            headers::ICMP_ECHO_REPLY if version == Version::V4 => (0, half(transport, 4)),
            headers::ICMPV6_ECHO_REPLY => (0, half(transport, 4)),
            _ => return Err(Unusable::Quote),
        },
        _ => return Err(Unusable::Quote),
    };
    Ok(Quote {
        version,
        source: Address::read(bytes, version.addresses(), version),
        destination: Address::read(bytes, version.addresses() + version.address_bytes(), version),
        protocol,
        source_port,
        destination_port,
        sequence: (protocol == ip::TCP).then(|| word(transport, 4)),
        header,
        bytes,
    })
}

/// Header length, protocol and total length of a quoted IPv4 packet.
fn v4_quote(bytes: &[u8]) -> Result<(usize, u8, usize), Unusable> {
    let first = *bytes.first().ok_or(Unusable::Quote)?;
    let header = usize::from(first & 0x0F) * 4;
    let whole = bytes.get(..header).filter(|_| first >> 4 == 4 && header >= 20).ok_or(Unusable::Quote)?;
    if checksum::sum(whole) != 0xFFFF {
        return Err(Unusable::Checksum);
    }
    if half(whole, 6) & 0x1FFF != 0 {
        return Err(Unusable::Quote);
    }
    Ok((header, whole[9], usize::from(half(whole, 2)).max(header)))
}

/// The same of a quoted IPv6 packet, whose extension headers are walked as far as any router does.
fn v6_quote(bytes: &[u8]) -> Result<(usize, u8, usize), Unusable> {
    const FIXED: usize = Version::V6.header();
    let fixed = bytes.first_chunk::<FIXED>().filter(|fixed| fixed[0] >> 4 == 6).ok_or(Unusable::Quote)?;
    let total = FIXED + usize::from(half(fixed, 4));
    let (mut at, mut next) = (FIXED, fixed[6]);
    for _ in 0..8 {
        let extension = bytes.get(at..).filter(|rest| rest.len() >= 8);
        match (next, extension) {
            (0 | 43 | 60, Some(rest)) => (next, at) = (rest[0], at + (usize::from(rest[1]) + 1) * 8),
            (ip::FRAGMENT, Some(rest)) if half(rest, 2) & 0xFFF8 == 0 => (next, at) = (rest[0], at + 8),
            (0 | 43 | 60 | ip::FRAGMENT, _) => return Err(Unusable::Quote),
            _ => return Ok((at, next, total)),
        }
    }
    Err(Unusable::Quote)
}

/// The error as the other side of the translator gets it: a whole frame, its hop limit one less, from `from` to
/// `to`, whose family may be the other one. `None`: that family has no such error.
#[must_use]
pub fn rebuild(message: &ErrorMessage<'_>, from: Address, to: Address, quoted: &QuotedAs) -> Option<Vec<u8>> {
    let version = from.version();
    let (kind, word) =
        if version == message.quote.version { (message.kind, message.word) } else { translated(message, version)? };
    let mut quote = requote(&message.quote, quoted);
    quote.truncate(build::error_limit(version) - version.header() - headers::ICMP_HEADER);
    let mut frame = build::icmp(from, to, kind, word, &quote);
    build::set_hops(&mut frame, version, message.hops.saturating_sub(1), message.traffic_class);
    Some(frame)
}

/// Type, code and second word in the other family (RFC 7915 §4.2, §5.2).
fn translated(message: &ErrorMessage<'_>, version: Version) -> Option<([u8; 2], u32)> {
    let [kind, code] = message.kind;
    Some(match (version, kind, code) {
        (Version::V6, 3, 4) => ([2, 0], mtu_towards_v6(message)),
        (Version::V6, 3, 0 | 1 | 5..=8 | 11 | 12) => ([1, 0], 0),
        (Version::V6, 3, 2) => ([4, 1], 6),
        (Version::V6, 3, 3) => ([1, 4], 0),
        (Version::V6, 3, 9 | 10 | 13 | 15) => ([1, 1], 0),
        (Version::V6, 11, code) => ([3, code], 0),
        (Version::V6, 12, 0 | 2) => ([4, 0], pointer_towards_v6(message.word >> 24)?),
        (Version::V4, 1, 0 | 2 | 3) => ([3, 1], 0),
        (Version::V4, 1, 1) => ([3, 10], 0),
        (Version::V4, 1, 4) => ([3, 3], 0),
        (Version::V4, 2, _) => ([3, 4], message.word.saturating_sub(20).min(0xFFFF)),
        (Version::V4, 3, code) => ([11, code], 0),
        (Version::V4, 4, 0) => ([12, 0], pointer_towards_v4(message.word)? << 24),
        (Version::V4, 4, 1) => ([3, 2], 0),
        _ => return None,
    })
}

/// A router that does not say what fits is taken for the next smaller of the usual (RFC 7915 §4.2).
fn mtu_towards_v6(message: &ErrorMessage<'_>) -> u32 {
    let told = message.word & 0xFFFF;
    let known = if told == 0 { u32::from(plateau_below(message.quote.length())) } else { told };
    (known + 20).max(u32::from(Version::V6.least_mtu()))
}

/// RFC 7915 §4.2, figure 3.
fn pointer_towards_v6(pointer: u32) -> Option<u32> {
    Some(match pointer {
        0 | 1 => pointer,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// RFC 7915 §5.2, figure 6.
fn pointer_towards_v4(pointer: u32) -> Option<u32> {
    Some(match pointer {
        0 | 1 => pointer,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

/// The quoted packet with another tuple, in the tuple's family. Its checksums follow by their deltas: what was
/// wrong in it stays wrong.
fn requote(quote: &Quote<'_>, to: &QuotedAs) -> Vec<u8> {
    let version = to.source.version();
    let (old_header, old_transport) = quote.bytes.split_at(quote.header);
    let mut out = if version == quote.version { old_header.to_vec() } else { other_header(quote, version) };
    to.source.write(&mut out, version.addresses());
    to.destination.write(&mut out, version.addresses() + version.address_bytes());
    let before = checksum::join(quote.source.sum(), quote.destination.sum());
    let addresses = checksum::delta(before, checksum::join(to.source.sum(), to.destination.sum()));
    if version == Version::V4 {
        if quote.version == Version::V4 {
            let field = half(&out, 10);
            put_half(&mut out, 10, checksum::update(field, addresses));
        } else {
            let sum = checksum::sum(&out);
            put_half(&mut out, 10, !sum);
        }
    }
    let mut transport = old_transport.to_vec();
    retransport(&mut transport, quote, to, addresses);
    out.extend_from_slice(&transport);
    out
}

/// A quoted header in the other family, addresses and checksum left out.
fn other_header(quote: &Quote<'_>, version: Version) -> Vec<u8> {
    let protocol = match (quote.protocol, version) {
        (ip::ICMP | ip::ICMPV6, Version::V4) => ip::ICMP,
        (ip::ICMP | ip::ICMPV6, Version::V6) => ip::ICMPV6,
        (protocol, _) => protocol,
    };
    let class = ip::traffic_class(quote.bytes, quote.version);
    let mut out = vec![0; version.header()];
    build::ip_header(&mut out, version, class, protocol, quote.bytes[quote.version.hops()], quote.payload());
    out
}

/// Ports or identifier of a quoted transport header, and its checksum where the quote reaches that far.
fn retransport(transport: &mut [u8], quote: &Quote<'_>, to: &QuotedAs, addresses: u16) {
    let before = checksum::join(quote.source_port, quote.destination_port);
    let ports = checksum::delta(before, checksum::join(to.source_port, to.destination_port));
    match quote.protocol {
        ip::TCP | ip::UDP => {
            put_half(transport, 0, to.source_port);
            put_half(transport, 2, to.destination_port);
            let at = if quote.protocol == ip::TCP { 16 } else { 6 };
            let field = half(transport, at);
            let is_udp = quote.protocol == ip::UDP;
            if transport.len() >= at + 2 && !(is_udp && field == 0) {
                let sum = checksum::update(field, checksum::join(addresses, ports));
                put_half(transport, at, if is_udp && sum == 0 { 0xFFFF } else { sum });
            }
        }
        _ => {
            put_half(transport, 4, to.source_port | to.destination_port);
            let version = to.source.version();
            let kind = transport[0];
            transport[0] = match (version, kind) {
                (Version::V6, headers::ICMP_ECHO_REQUEST) => headers::ICMPV6_ECHO_REQUEST,
                (Version::V6, headers::ICMP_ECHO_REPLY) => headers::ICMPV6_ECHO_REPLY,
                (Version::V4, headers::ICMPV6_ECHO_REQUEST) => headers::ICMP_ECHO_REQUEST,
                (Version::V4, headers::ICMPV6_ECHO_REPLY) => headers::ICMP_ECHO_REPLY,
                _ => kind,
            };
            let renamed = checksum::delta(u16::from(kind) << 8, u16::from(transport[0]) << 8);
            let covered = covered_by_echo(quote, to, addresses);
            let field = half(transport, 2);
            let change = checksum::join(ports, checksum::join(renamed, covered));
            put_half(transport, 2, checksum::update(field, change));
        }
    }
}

/// Change of the pseudo-header that a quoted echo's checksum covers: ICMPv6 has one, ICMP has none.
fn covered_by_echo(quote: &Quote<'_>, to: &QuotedAs, addresses: u16) -> u16 {
    let sum = |from, to| build::pseudo_sum(from, to, ip::ICMPV6, quote.payload());
    match (quote.version, to.source.version()) {
        (Version::V4, Version::V4) => 0,
        (Version::V6, Version::V6) => addresses,
        (Version::V4, Version::V6) => sum(to.source, to.destination),
        (Version::V6, Version::V4) => !sum(quote.source, quote.destination),
    }
}

#[cfg(test)]
mod tests;
