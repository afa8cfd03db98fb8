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
/// source (RFC 6890, RFC 1812 §5.3.7; nat-requirements P-3).
#[must_use]
pub fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => martian_v4(address),
        IpAddr::V6(address) => martian_v6(address),
    }
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
