//! Sets of prefixes. A VNet has a handful of them and they are asked only when a session opens, so a
//! sorted list of merged address ranges with a binary search is both the smallest and the fastest form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An immutable set of addresses given as prefixes of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl PrefixSet {
    /// Whether `address` lies in one of the prefixes.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => holds(&self.v4, u32::from(address)),
            IpAddr::V6(address) => holds(&self.v6, u128::from(address)),
        }
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl<'a> FromIterator<&'a IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = &'a IpNet>>(prefixes: I) -> Self {
        let mut set = Self::default();
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => set.v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => set.v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        set.v4 = merged(set.v4);
        set.v6 = merged(set.v6);
        set
    }
}

/// Whether a host may send from `address` at all: special-purpose addresses are never a legitimate
/// source (RFC 6890, RFC 1812 §5.3.7; requirement P-3).
#[must_use]
pub fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => martian_v4(address),
        IpAddr::V6(address) => martian_v6(address),
    }
}

/// Whether `prefix` has any such address in it, be it at its beginning or further on.
#[must_use]
pub fn holds_martians(prefix: &IpNet) -> bool {
    const V4: [(u32, u32); 4] =
        [(0, 0x00ff_ffff), (0x7f00_0000, 0x7fff_ffff), (0xa9fe_0000, 0xa9fe_ffff), (0xe000_0000, u32::MAX)];
    const V6: [(u128, u128); 4] = [
        (0, 1),
        (0xffff_0000_0000, 0xffff_ffff_ffff),
        (0xfe80 << 112, (0xfec0 << 112) - 1),
        (0xff00 << 112, u128::MAX),
    ];
    match prefix {
        IpNet::V4(prefix) => meets(&V4, (prefix.network().to_bits(), prefix.broadcast().to_bits())),
        IpNet::V6(prefix) => meets(&V6, (prefix.network().to_bits(), prefix.broadcast().to_bits())),
    }
}

fn meets<T: Copy + Ord>(ranges: &[(T, T)], (from, to): (T, T)) -> bool {
    ranges.iter().any(|&(first, last)| first <= to && from <= last)
}

fn martian_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 0 || first == 127 || first >= 224 || (first == 169 && second == 254)
}

fn martian_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some()
}

/// Sorts ranges and joins those that touch, so that a search looks at one of them only.
fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn holds<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_holds_martians_wherever_in_it_they_are() {
        for (prefix, expected) in [
            ("0.0.0.0/0", true),
            ("126.0.0.0/7", true),
            ("126.0.0.0/8", false),
            ("127.255.255.255/32", true),
            ("128.0.0.0/1", true),
            ("168.0.0.0/7", true),
            ("169.255.0.0/16", false),
            ("192.0.0.0/3", false),
            ("192.0.0.0/2", true),
            ("10.0.0.0/8", false),
            ("::/0", true),
            ("::2/127", false),
            ("::ffff:0:0/95", true),
            ("2000::/3", false),
            ("fc00::/7", false),
            ("fc00::/6", true),
            ("fe00::/9", false),
            ("fec0::/10", false),
        ] {
            assert_eq!(holds_martians(&prefix.parse().expect("literal")), expected, "{prefix}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(256))]

        #[test]
        fn a_single_address_is_held_as_it_is_judged(v4: u32, v6: u128, low: u16, high: u16) {
            let near = u128::from(high) << 112 | u128::from(low);
            let mapped = 0xffff_0000_0000 | u128::from(v4);
            let v6 = [v6, near, u128::from(low), mapped].map(|bits| IpAddr::V6(bits.into()));
            for address in v6.into_iter().chain([IpAddr::V4(v4.into())]) {
                prop_assert_eq!(holds_martians(&IpNet::from(address)), is_martian(address), "{}", address);
            }
        }
    }

    #[test]
    fn special_purpose_sources_are_martians() {
        for (address, expected) in [
            ("0.1.2.3", true),
            ("127.0.0.1", true),
            ("169.254.3.4", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("10.1.0.1", false),
            ("192.168.1.1", false),
            ("::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("fd00::1", false),
        ] {
            let address: IpAddr = address.parse().expect("literal");
            assert_eq!(is_martian(address), expected, "{address}");
        }
    }

    proptest! {
        #![proptest_config(crate::testing::cases(256))]

        #[test]
        fn a_set_answers_as_a_linear_scan_does(
            nets in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..12),
            probes in proptest::collection::vec(any::<u32>(), 1..40),
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(address, length)| IpNet::new(Ipv4Addr::from(address).into(), length).expect("length in range"))
                .collect();
            let set: PrefixSet = nets.iter().collect();
            let edges = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
            for probe in probes.into_iter().map(|probe| IpAddr::from(Ipv4Addr::from(probe))).chain(edges) {
                prop_assert_eq!(set.contains(probe), nets.iter().any(|net| net.contains(&probe)));
            }
        }
    }
}
