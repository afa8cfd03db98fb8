//! Transport headers, read at fixed offsets after one length check each.

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
/// ICMPv6 echo request (RFC 4443 §4.1).
pub const ICMPV6_ECHO_REQUEST: u8 = 128;
/// ICMPv6 echo reply (RFC 4443 §4.2).
pub const ICMPV6_ECHO_REPLY: u8 = 129;

/// TCP flag: no more data from this end.
pub const FIN: u8 = 0x01;
/// TCP flag: opens a connection.
pub const SYN: u8 = 0x02;
/// TCP flag: ends a connection at once.
pub const RST: u8 = 0x04;
/// TCP flag: the receiver is to hand on what it has.
pub const PSH: u8 = 0x08;
/// TCP flag: the acknowledgement number is valid.
pub const ACK: u8 = 0x10;
/// TCP flag: the urgent pointer is valid.
pub const URG: u8 = 0x20;
/// TCP flag: the sender has lowered its window, as it was told to (RFC 3168 §6.1.2).
pub const CWR: u8 = 0x80;

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
#[inline]
pub fn put_word(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(quad) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *quad = value.to_be_bytes();
    }
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
    /// Window as it stands in the header, not scaled.
    pub window: u16,
    /// Payload bytes; of all segments in a super-packet.
    pub payload: u32,
}

impl TcpSegment {
    /// Reads a segment whose header length has been checked. `transport` begins at the TCP header
    /// and ends where the IP packet does.
    #[inline]
    #[must_use]
    pub fn read(transport: &[u8]) -> Self {
        let Some(fixed) = transport.first_chunk::<TCP_HEADER>() else {
            return Self { seq: 0, ack: 0, flags: 0, window: 0, payload: 0 };
        };
        let header = usize::from(fixed[12] >> 4) * 4;
        Self {
            seq: word(fixed, 4),
            ack: word(fixed, 8),
            flags: fixed[13],
            window: half(fixed, 14),
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

/// Where the value of an option stands in a TCP header: the first of `kind` whose length is `length` (RFC 9293 §3.1).
#[must_use]
pub fn tcp_option(header: &[u8], kind: u8, length: u8) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        match (*header.get(at)?, header.get(at + 1)) {
            (0, _) => return None,
            (1, _) => at += 1,
            (found, Some(own)) if found == kind && *own == length && at + usize::from(length) <= header.len() => {
                return Some(at + 2);
            }
            (found, Some(own)) if found != kind && *own >= 2 => at += usize::from(*own),
            _ => return None,
        }
    }
}
