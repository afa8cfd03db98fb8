//! One address type for both families, so that sessions and packets are written once. An IPv4 address is
//! held as its mapped form (RFC 4291 §2.5.5.2), which no packet may carry on the wire (see `ip::outline`):
//! so the two families can never be taken for each other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// What every mapped IPv4 address begins with: 80 zero bits and 16 ones.
const MAPPED: u64 = 0xFFFF << 32;

/// The IP version of a packet or an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// IPv4 (RFC 791).
    #[default]
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

impl Version {
    /// Bytes of an address of this version.
    #[inline]
    #[must_use]
    pub const fn address_bytes(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// Offset of the source address in the header; the destination follows it.
    #[inline]
    #[must_use]
    pub const fn addresses(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    /// Bytes of a header without options or extension headers.
    #[inline]
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// Offset of TTL or hop limit.
    #[inline]
    #[must_use]
    pub const fn hops(self) -> usize {
        match self {
            Self::V4 => 8,
            Self::V6 => 7,
        }
    }

    /// Smallest path MTU that is believed: what every IPv4 host must take (RFC 791 §3.2, rounded as RFC 1122
    /// §3.3.2 does), and what every IPv6 link must carry (RFC 8200 §5). A report below it is forged or useless.
    #[inline]
    #[must_use]
    pub const fn least_mtu(self) -> u16 {
        match self {
            Self::V4 => 576,
            Self::V6 => 1280,
        }
    }
}

/// An IPv4 or IPv6 address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    // Two words rather than one of 128 bits, which would be aligned to 16 bytes and pad whatever holds it.
    high: u64,
    low: u64,
}

impl Address {
    /// An IPv4 address in host order.
    #[inline]
    #[must_use]
    pub const fn v4(address: u32) -> Self {
        Self { high: 0, low: MAPPED | address as u64 }
    }

    /// An IPv6 address in host order. A mapped one would be an IPv4 address.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    pub const fn v6(address: u128) -> Self {
        Self { high: (address >> 64) as u64, low: address as u64 }
    }

    /// Its family.
    #[inline]
    #[must_use]
    pub const fn version(self) -> Version {
        if self.high == 0 && self.low >> 32 == MAPPED >> 32 { Version::V4 } else { Version::V6 }
    }

    /// The IPv4 address in host order; the low half of an IPv6 one's low half.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the low word is what is wanted")]
    pub const fn low(self) -> u32 {
        self.low as u32
    }

    /// All 128 bits, mapped for IPv4.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The standard library's type.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        match self.version() {
            Version::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.low())),
            Version::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.bits())),
        }
    }

    /// One's-complement sum of the address as it stands in a header.
    #[inline]
    #[must_use]
    pub fn sum(self) -> u16 {
        match self.version() {
            Version::V4 => checksum::fold(self.low()),
            Version::V6 => checksum::sum(&self.bits().to_be_bytes()),
        }
    }

    /// Its high and its low half.
    #[inline]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// Folded to 32 bits: itself for IPv4, its four words' exclusive or for IPv6. Whoever chooses addresses can make it
    /// the same for many.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the words are what is wanted")]
    pub const fn folded(self) -> u32 {
        match self.version() {
            Version::V4 => self.low(),
            Version::V6 => {
                let both = self.high ^ self.low;
                (both >> 32) as u32 ^ both as u32
            }
        }
    }

    /// Reads the address of `version` that stands at `at`; zero where the bytes end.
    #[inline]
    #[must_use]
    pub fn read(packet: &[u8], at: usize, version: Version) -> Self {
        let rest = packet.get(at..).unwrap_or_default();
        match version {
            Version::V4 => Self::v4(rest.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))),
            Version::V6 => Self::v6(rest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))),
        }
    }

    /// Writes the address to `at`, in as many bytes as its family has; nothing where the bytes end.
    #[inline]
    pub fn write(self, packet: &mut [u8], at: usize) {
        let Some(rest) = packet.get_mut(at..) else { return };
        match self.version() {
            Version::V4 => {
                if let Some(bytes) = rest.first_chunk_mut() {
                    *bytes = self.low().to_be_bytes();
                }
            }
            Version::V6 => {
                if let Some(bytes) = rest.first_chunk_mut() {
                    *bytes = self.bits().to_be_bytes();
                }
            }
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(address) => Self::v4(address.to_bits()),
            IpAddr::V6(address) => Self::v6(address.to_bits()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_written_and_never_out_of_bounds() {
        let mut packet = [0; 40];
        Address::v6(0x1234).write(&mut packet, 8);
        assert_eq!(Address::read(&packet, 8, Version::V6), Address::v6(0x1234));
        Address::v4(7).write(&mut packet, 38);
        assert_eq!(Address::read(&packet, 38, Version::V4), Address::v4(0), "beyond the end reads as zero");
    }

    #[test]
    fn the_families_differ_and_each_survives_the_standard_type() {
        for text in ["10.1.9.4", "0.0.0.0", "fd00::a01:904", "::", "::a01:904"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!((Address::from(ip).ip(), Address::from(ip).to_string()), (ip, text.to_owned()));
        }
        assert_ne!(Address::v4(1), Address::v6(1));
        assert_eq!(Address::v4(0x0A01_0904).sum(), 0x1305);
        assert_eq!(Address::v6(0x1_0000_0000_0000_0002).sum(), 3);
    }
}
