//! The 10-byte `virtio_net_hdr` (virtio 1.2 §5.1.6, Linux `include/uapi/linux/virtio_net.h`), in native
//! byte order. On a TUN its offsets count from the IP header.

/// Its length in bytes.
pub const LENGTH: usize = 10;

/// The checksum at `csum_start + csum_offset` holds only the pseudo-header's sum.
pub const NEEDS_CSUM: u8 = 1;

/// The sender of the frame has verified the checksum.
pub const DATA_VALID: u8 = 2;

/// No segmentation: one packet.
pub const GSO_NONE: u8 = 0;
/// Super-packet of TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// Super-packet of TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// Super-packet of UDP datagrams.
pub const GSO_UDP_L4: u8 = 5;
/// May be combined with a TCP type: the segments carry ECN's CWR once.
pub const GSO_ECN: u8 = 0x80;

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`] or others.
    pub flags: u8,
    /// One of the `GSO_` types.
    pub gso_type: u8,
    /// Length of IP and transport header: a hint for the kernel's linear part.
    pub hdr_len: u16,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where checksumming starts.
    pub csum_start: u16,
    /// Where the checksum stands, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads the header; `None` when `frame` is too short.
    #[inline]
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = frame.first_chunk()?;
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: half(2),
            gso_size: half(4),
            csum_start: half(6),
            csum_offset: half(8),
        })
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn bytes(self) -> [u8; LENGTH] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [s0, s1] = self.gso_size.to_ne_bytes();
        let [c0, c1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, s0, s1, c0, c1, o0, o1]
    }

    /// Whether the transport checksum is partial.
    #[inline]
    #[must_use]
    pub const fn needs_csum(self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }
}
