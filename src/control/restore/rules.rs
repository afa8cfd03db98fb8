//! Compares two rule sets, or two sets of prefixes: which allows more?

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{Access, Protocol, SecurityRule};

/// The most packets that are tried. Rule sets that need more count as not comparable.
const TRIED: usize = 1 << 20;

/// Whether `other` allows every packet that `one` allows. By priority, the first matching rule decides; without a match
/// the packet passes. All packets between two neighbouring bounds of the rules get the same result, so one of each is
/// tried.
pub(super) fn within(one: &[SecurityRule], other: &[SecurityRule]) -> bool {
    if one == other || other.is_empty() {
        return true;
    }
    let (one, other) = (by_priority(one), by_priority(other));
    let all = || one.iter().chain(&other).copied();
    let sources = samples(all().flat_map(|rule| &rule.sources));
    let destinations = samples(all().flat_map(|rule| &rule.destinations));
    let ports = ports(all());
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
    if sources.len().saturating_mul(destinations.len()).saturating_mul(ports.len()) > TRIED {
        return false;
    }
    protocols.into_iter().all(|protocol| {
        // An ICMP echo has no port: it counts as port 0.
        let ports: &[u16] = if protocol == Protocol::Icmp { &[0] } else { &ports };
        ports.iter().all(|&port| {
            sources.iter().all(|&source| {
                let same_family = |destination: &&IpAddr| destination.is_ipv4() == source.is_ipv4();
                destinations.iter().filter(same_family).all(|&destination| {
                    let passes = |rules: &[&SecurityRule]| passes(rules, (source, destination), protocol, port);
                    !passes(&one) || passes(&other)
                })
            })
        })
    })
}

fn by_priority(rules: &[SecurityRule]) -> Vec<&SecurityRule> {
    let mut sorted: Vec<&SecurityRule> = rules.iter().collect();
    sorted.sort_by_key(|rule| rule.priority);
    sorted
}

fn passes(rules: &[&SecurityRule], (source, destination): (IpAddr, IpAddr), protocol: Protocol, port: u16) -> bool {
    let holds = |prefixes: &[IpNet], address: IpAddr| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(&address))
    };
    let matches = |rule: &&&SecurityRule| {
        let SecurityRule { name: _, priority: _, access: _, protocol: only, sources, destinations, ports } = rule;
        only.is_none_or(|only| only == protocol)
            && holds(sources, source)
            && holds(destinations, destination)
            && (ports.is_empty() || ports.iter().any(|&(first, last)| (first..=last).contains(&port)))
    };
    rules.iter().find(matches).is_none_or(|rule| rule.access == Access::Allow)
}

/// One address from each range between two bounds of `prefixes`, in both families.
fn samples<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> Vec<IpAddr> {
    let mut samples = BTreeSet::from([IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    for prefix in prefixes {
        samples.insert(prefix.network());
        samples.extend(match prefix.broadcast() {
            IpAddr::V4(last) => u32::from(last).checked_add(1).map(|next| IpAddr::V4(next.into())),
            IpAddr::V6(last) => u128::from(last).checked_add(1).map(|next| IpAddr::V6(next.into())),
        });
    }
    samples.into_iter().collect()
}

fn ports<'a>(rules: impl Iterator<Item = &'a SecurityRule>) -> Vec<u16> {
    let bounds = rules.flat_map(|rule| &rule.ports).flat_map(|&(first, last)| [Some(first), last.checked_add(1)]);
    bounds.flatten().chain([0]).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether `wider` contains every address of `prefixes`. An empty list means every address.
pub(super) fn covers(wider: &[IpNet], prefixes: &[IpNet]) -> bool {
    let covered = |prefix: &IpNet| wider.iter().any(|wider| wider.contains(prefix));
    wider.is_empty() || !prefixes.is_empty() && prefixes.iter().all(covered)
}

/// The intersection of two lists of prefixes. An empty list means no address.
pub(super) fn common(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    // Two prefixes are nested or disjoint.
    let inside = |inner: &[IpNet], outer: &[IpNet]| -> Vec<IpNet> {
        inner.iter().filter(|inner| outer.iter().any(|outer| outer.contains(*inner))).copied().collect()
    };
    let mut common = inside(one, other);
    let more: Vec<IpNet> = inside(other, one).into_iter().filter(|prefix| !common.contains(prefix)).collect();
    common.extend(more);
    common
}

/// The union of two lists of prefixes, without duplicates.
pub(super) fn all_of(one: &[IpNet], other: &[IpNet]) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = Vec::new();
    for prefix in one.iter().chain(other) {
        if !all.iter().any(|wider| wider.contains(prefix)) {
            all.retain(|narrower| !prefix.contains(narrower));
            all.push(*prefix);
        }
    }
    all
}
