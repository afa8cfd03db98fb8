//! Subnet arithmetic: which addresses of a prefix may be given out (as in Azure, IPv4 subnets reserve their first
//! four and their last address; IPv6 ones, which have no broadcast address, their first four).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Subnet, Vnet};

/// Addresses at the start of a subnet that nobody gets: network (in IPv6 the routers' anycast address, RFC 4291
/// §2.6.1), router and two for its services.
pub const RESERVED_FIRST: u32 = 4;

/// First and last address of `prefix` that may be given out; `None`: it is too small to have one.
pub fn usable(prefix: &IpNet) -> Option<(IpAddr, IpAddr)> {
    match prefix {
        IpNet::V4(prefix) => {
            let first = u32::from(prefix.network()).checked_add(RESERVED_FIRST)?;
            let last = u32::from(prefix.broadcast()).checked_sub(1)?;
            (first <= last).then(|| (Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()))
        }
        IpNet::V6(prefix) => {
            let first = u128::from(prefix.network()).checked_add(u128::from(RESERVED_FIRST))?;
            let last = u128::from(prefix.broadcast());
            (first <= last).then(|| (Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into()))
        }
    }
}

/// How many addresses of a subnet may be given out; of an IPv6 one, as many as can be counted.
pub fn capacity(subnet: &Subnet) -> u64 {
    let count = |(first, last)| match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u64::from(u32::from(last) - u32::from(first)) + 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            u64::try_from(u128::from(last) - u128::from(first)).unwrap_or(u64::MAX).saturating_add(1)
        }
        _ => 0,
    };
    subnet.prefixes.iter().filter_map(usable).map(count).fold(0, u64::saturating_add)
}

/// Whether `address` lies in the subnet.
pub fn contains(subnet: &Subnet, address: IpAddr) -> bool {
    subnet.prefixes.iter().any(|prefix| prefix.contains(&address))
}

/// Whether `address` lies in the subnet and is reserved there.
pub fn is_reserved(subnet: &Subnet, address: IpAddr) -> bool {
    subnet
        .prefixes
        .iter()
        .filter(|prefix| prefix.contains(&address))
        .any(|prefix| usable(prefix).is_none_or(|(first, last)| !(first..=last).contains(&address)))
}

/// The subnet of that name, compared without regard to case.
pub fn named<'a>(vnet: &'a Vnet, name: &str) -> Option<&'a Subnet> {
    vnet.subnets.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(name))
}

/// The addresses that may be given out, for messages.
pub fn usable_text(subnet: &Subnet) -> String {
    let ranges = subnet.prefixes.iter().filter_map(usable);
    let ranges: Vec<String> = ranges.map(|(first, last)| format!("between {first} and {last}")).collect();
    if ranges.is_empty() {
        "of a larger subnet (this one has only reserved ones)".to_owned()
    } else {
        ranges.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_addresses_and_the_broadcast_address_are_reserved() {
        for (prefix, expected) in [
            ("10.1.9.0/24", Some(("10.1.9.4", "10.1.9.254"))),
            ("10.1.9.0/29", Some(("10.1.9.4", "10.1.9.6"))),
            ("10.1.9.0/30", None),
            ("10.1.9.0/32", None),
            ("0.0.0.0/0", Some(("0.0.0.4", "255.255.255.254"))),
            ("255.255.255.252/30", None),
            ("fd00::/64", Some(("fd00::4", "fd00::ffff:ffff:ffff:ffff"))),
            ("fd00::/126", None),
        ] {
            let prefix: IpNet = prefix.parse().expect("literal");
            let expected = expected.map(|(a, b)| (a.parse().expect("literal"), b.parse().expect("literal")));
            assert_eq!(usable(&prefix), expected, "{prefix}");
        }
    }
}
