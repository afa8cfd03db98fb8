//! Subnet arithmetic: which addresses of a prefix may be given out (DESIGN §4: IPv4 subnets reserve their first
//! four and their last address).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::control::model::{Subnet, Vnet};

/// Addresses at the start of an IPv4 subnet that nobody gets: network, router and two for its services.
pub const RESERVED_FIRST: u32 = 4;

/// First and last address of `prefix` that may be given out; `None`: it is too small to have one, or IPv6.
pub fn usable(prefix: &IpNet) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let IpNet::V4(prefix) = prefix else { return None };
    let first = u32::from(prefix.network()).checked_add(RESERVED_FIRST)?;
    let last = u32::from(prefix.broadcast()).checked_sub(1)?;
    (first <= last).then(|| (first.into(), last.into()))
}

/// How many addresses of a subnet may be given out.
pub fn capacity(subnet: &Subnet) -> u64 {
    subnet
        .prefixes
        .iter()
        .filter_map(usable)
        .map(|(first, last)| u64::from(u32::from(last)) - u64::from(u32::from(first)) + 1)
        .sum()
}

/// Whether `address` lies in the subnet.
pub fn contains(subnet: &Subnet, address: IpAddr) -> bool {
    subnet.prefixes.iter().any(|prefix| prefix.contains(&address))
}

/// Whether `address` lies in the subnet and is reserved there.
pub fn is_reserved(subnet: &Subnet, address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    subnet
        .prefixes
        .iter()
        .filter(|prefix| prefix.contains(&IpAddr::V4(address)))
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
    fn the_first_four_and_the_last_address_are_reserved() {
        for (prefix, expected) in [
            ("10.1.9.0/24", Some(("10.1.9.4", "10.1.9.254"))),
            ("10.1.9.0/29", Some(("10.1.9.4", "10.1.9.6"))),
            ("10.1.9.0/30", None),
            ("10.1.9.0/32", None),
            ("0.0.0.0/0", Some(("0.0.0.4", "255.255.255.254"))),
            ("255.255.255.252/30", None),
            ("fd00::/64", None),
        ] {
            let prefix: IpNet = prefix.parse().expect("literal");
            let expected = expected.map(|(a, b)| (a.parse().expect("literal"), b.parse().expect("literal")));
            assert_eq!(usable(&prefix), expected, "{prefix}");
        }
    }
}
