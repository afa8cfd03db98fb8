//! Address families. Session and packet types are written once, generic over the family of each
//! side, so that IPv4 and IPv6 never become twin functions.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// What differs between IPv4 and IPv6 for a translator.
pub trait Family: Copy + Debug + Default + Eq + Hash + Send + Sync + 'static {
    /// An address as it stands in a header, in host order.
    type Address: Copy + Debug + Default + Eq + Hash + Send + Sync + 'static;

    /// The version nibble.
    const VERSION: u8;

    /// Offset of the source address in the header; the destination follows it.
    const ADDRESSES: usize;

    /// Bytes of one address.
    const ADDRESS_BYTES: usize;

    /// The address as the standard library's type.
    fn ip(address: Self::Address) -> IpAddr;

    /// The address of this family in `ip`, if it is one.
    fn from_ip(ip: IpAddr) -> Option<Self::Address>;

    /// One's-complement sum of the address.
    fn sum(address: Self::Address) -> u16;

    /// The address folded to the 64 bits that a table hashes.
    fn word(address: Self::Address) -> u64;

    /// The address folded to the 32 bits that steering hashes.
    fn steering_word(address: Self::Address) -> u32;

    /// Reads the address that stands at `at`; zero where the bytes end.
    fn read(packet: &[u8], at: usize) -> Self::Address;

    /// Writes the address to `at`; nothing where the bytes end.
    fn write(packet: &mut [u8], at: usize, address: Self::Address);
}

/// IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V4;

/// IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V6;

impl Family for V4 {
    type Address = u32;
    const VERSION: u8 = 4;
    const ADDRESSES: usize = 12;
    const ADDRESS_BYTES: usize = 4;

    fn ip(address: u32) -> IpAddr {
        Ipv4Addr::from(address).into()
    }

    fn from_ip(ip: IpAddr) -> Option<u32> {
        match ip {
            IpAddr::V4(address) => Some(address.into()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline]
    fn sum(address: u32) -> u16 {
        checksum::fold(address)
    }

    #[inline]
    fn word(address: u32) -> u64 {
        u64::from(address)
    }

    #[inline]
    fn steering_word(address: u32) -> u32 {
        address
    }

    #[inline]
    fn read(packet: &[u8], at: usize) -> u32 {
        packet.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    #[inline]
    fn write(packet: &mut [u8], at: usize, address: u32) {
        if let Some(bytes) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = address.to_be_bytes();
        }
    }
}

impl Family for V6 {
    type Address = u128;
    const VERSION: u8 = 6;
    const ADDRESSES: usize = 8;
    const ADDRESS_BYTES: usize = 16;

    fn ip(address: u128) -> IpAddr {
        Ipv6Addr::from(address).into()
    }

    fn from_ip(ip: IpAddr) -> Option<u128> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.into()),
        }
    }

    #[inline]
    fn sum(address: u128) -> u16 {
        checksum::sum(&address.to_be_bytes())
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    fn word(address: u128) -> u64 {
        (address >> 64) as u64 ^ (address as u64).rotate_left(23)
    }

    #[inline]
    fn steering_word(address: u128) -> u32 {
        fold_v6(address)
    }

    #[inline]
    fn read(packet: &[u8], at: usize) -> u128 {
        packet.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u128::from_be_bytes(*bytes))
    }

    #[inline]
    fn write(packet: &mut [u8], at: usize, address: u128) {
        if let Some(bytes) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *bytes = address.to_be_bytes();
        }
    }
}

/// Exclusive-or of an IPv6 address's four words: what steering hashes.
fn fold_v6(address: u128) -> u32 {
    address.to_be_bytes().as_chunks::<4>().0.iter().fold(0, |word, bytes| word ^ u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_written_and_never_out_of_bounds() {
        let mut packet = [0; 40];
        V6::write(&mut packet, 8, 0x1234);
        assert_eq!(V6::read(&packet, 8), 0x1234);
        V4::write(&mut packet, 38, 7);
        assert_eq!(V4::read(&packet, 38), 0, "an address beyond the end reads as zero");
    }
}
