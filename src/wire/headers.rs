//! IP and transport headers, read at fixed offsets after one length check each.

use super::checksum;

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Bytes of a TCP header without options.
pub const TCP_HEADER: usize = 20;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Bytes of an ICMP header.
pub const ICMP_HEADER: usize = 8;

/// ICMP echo reply (RFC 792).
pub const ICMP_ECHO_REPLY: u8 = 0;
/// ICMP echo request (RFC 792).
pub const ICMP_ECHO_REQUEST: u8 = 8;

/// TCP flag: no more data from this end.
pub const FIN: u8 = 0x01;
/// TCP flag: opens a connection.
pub const SYN: u8 = 0x02;
/// TCP flag: ends a connection at once.
pub const RST: u8 = 0x04;
/// TCP flag: the acknowledgement number is valid.
pub const ACK: u8 = 0x10;

/// Big-endian half-word at `at`; zero where the bytes end.
#[inline]
#[must_use]
pub fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |pair| u16::from_be_bytes(*pair))
}

/// Big-endian word at `at`; zero where the bytes end.
#[inline]
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |quad| u32::from_be_bytes(*quad))
}

/// Writes a big-endian half-word to `at`; nothing where the bytes end.
#[inline]
pub fn put_half(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(pair) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *pair = value.to_be_bytes();
    }
}

/// Writes a big-endian word to `at`; nothing where the bytes end.
pub fn put_word(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(quad) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *quad = value.to_be_bytes();
    }
}

/// The checked outline of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Outline {
    /// Header length in bytes, 20 to 60.
    pub header: usize,
    /// Total length in bytes; at most the bytes that are there.
    pub total: usize,
    /// Transport protocol number.
    pub protocol: u8,
    /// Whether it is part of a fragmented datagram.
    pub fragment: bool,
    /// Whether it carries a source route (RFC 7126 §4.3, §4.4).
    pub source_route: bool,
}

/// Why a header cannot be an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Fewer bytes than a header, or than the header says.
    Truncated,
    /// Not version 4.
    Version,
    /// Header length below 20, or total length below the header's.
    Length,
    /// The header checksum is wrong.
    Checksum,
    /// Options that run over the header's end.
    Options,
}

/// Checks an IPv4 header: lengths, checksum (RFC 1812 §5.2.2), options.
///
/// # Errors
/// The first [`Flaw`].
#[inline]
pub fn ipv4(packet: &[u8]) -> Result<Ipv4Outline, Flaw> {
    let Some(fixed) = packet.first_chunk::<IPV4_HEADER>() else { return Err(Flaw::Truncated) };
    if fixed[0] >> 4 != 4 {
        return Err(Flaw::Version);
    }
    let header = usize::from(fixed[0] & 0x0F) * 4;
    let total = usize::from(half(fixed, 2));
    if header < IPV4_HEADER || total < header {
        return Err(Flaw::Length);
    }
    if total > packet.len() {
        return Err(Flaw::Truncated);
    }
    let Some(whole) = packet.get(..header) else { return Err(Flaw::Truncated) };
    if checksum::sum(whole) != 0xFFFF {
        return Err(Flaw::Checksum);
    }
    let source_route = header > IPV4_HEADER && has_source_route(&whole[IPV4_HEADER..])?;
    // More-fragments flag or a non-zero offset; the don't-fragment flag does not count.
    let fragment = half(fixed, 6) & 0x3FFF != 0;
    Ok(Ipv4Outline { header, total, protocol: fixed[9], fragment, source_route })
}

/// Walks IPv4 options (RFC 791 §3.1) for a loose or strict source route.
fn has_source_route(mut options: &[u8]) -> Result<bool, Flaw> {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return Ok(false),
            (1, _) => rest,
            (131 | 137, _) => return Ok(true),
            (_, [length, ..]) if *length >= 2 => options.get(usize::from(*length)..).ok_or(Flaw::Options)?,
            _ => return Err(Flaw::Options),
        };
    }
    Ok(false)
}

/// The fields of a TCP segment that a session tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSegment {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Acknowledgement number; meaningful with [`ACK`].
    pub ack: u32,
    /// Flag byte.
    pub flags: u8,
    /// Payload bytes; of all segments in a super-packet.
    pub payload: u32,
}

impl TcpSegment {
    /// Reads a segment whose header length has been checked. `transport` begins at the TCP header
    /// and ends where the IP packet does.
    #[inline]
    #[must_use]
    pub fn read(transport: &[u8]) -> Self {
        let header = usize::from(transport.get(12).copied().unwrap_or(0x50) >> 4) * 4;
        Self {
            seq: word(transport, 4),
            ack: word(transport, 8),
            flags: transport.get(13).copied().unwrap_or(0),
            payload: u32::try_from(transport.len().saturating_sub(header)).unwrap_or(0),
        }
    }

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Sequence number after this segment: SYN and FIN count one each (RFC 9293 §3.4).
    #[inline]
    #[must_use]
    pub const fn end(self) -> u32 {
        let control = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        self.seq.wrapping_add(self.payload).wrapping_add(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let length = IPV4_HEADER + options.len();
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
        assert_eq!(ipv4(&good).expect("valid").total, 20);
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = good.clone();
            change(&mut packet);
            ipv4(&packet).expect_err("flawed")
        };
        assert_eq!(broken(&|p| p.truncate(19)), Flaw::Truncated);
        assert_eq!(broken(&|p| p[0] = 0x65), Flaw::Version);
        assert_eq!(broken(&|p| p[0] = 0x44), Flaw::Length);
        assert_eq!(broken(&|p| p[3] = 19), Flaw::Length);
        assert_eq!(broken(&|p| p[3] = 21), Flaw::Truncated);
        assert_eq!(broken(&|p| p[8] = 63), Flaw::Checksum);
    }

    #[test]
    fn source_routes_are_found_behind_other_options() {
        assert!(ipv4(&header(&[1, 1, 131, 2])).expect("valid").source_route);
        assert!(ipv4(&header(&[7, 3, 4, 137])).expect("valid").source_route);
        assert!(!ipv4(&header(&[7, 4, 131, 0])).expect("valid").source_route, "131 is data of option 7");
        assert!(!ipv4(&header(&[0, 131, 2, 0])).expect("valid").source_route, "after the end of options");
        assert_eq!(ipv4(&header(&[7, 9, 0, 0])), Err(Flaw::Options));
        assert_eq!(ipv4(&header(&[7, 0, 0, 0])), Err(Flaw::Options));
    }

    #[test]
    fn dont_fragment_alone_is_no_fragment() {
        for (field, expected) in [(0x4000_u16, false), (0x2000, true), (0x0001, true), (0x6001, true), (0, false)] {
            let mut packet = header(&[]);
            put_half(&mut packet, 6, field);
            put_half(&mut packet, 10, 0);
            let sum = checksum::sum(&packet);
            put_half(&mut packet, 10, !sum);
            assert_eq!(ipv4(&packet).expect("valid").fragment, expected, "{field:#x}");
        }
    }
}
