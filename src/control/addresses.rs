//! Endpoint addresses: the lowest free one of the subnet, chosen once. What is chosen is part of the
//! durable model, so an endpoint keeps its address over restarts and for its whole life.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::model::{Key, Model, Subnet};

/// Addresses at the start of an IPv4 subnet that nobody may have (as Azure reserves them).
const RESERVED_FIRST: u32 = 4;

/// Hands out addresses of the subnets of one model.
#[derive(Debug)]
pub struct Allocator {
    taken: HashMap<Key, HashSet<IpAddr>>,
    /// Where the search of a prefix begins: everything below is taken, and nothing is given back.
    cursors: HashMap<(Key, IpNet), u128>,
}

/// No address is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subnet {subnet} of {vnet} has no free address left; add a prefix to it, or delete an endpoint")]
pub struct SubnetFull {
    /// Its VNet.
    pub vnet: Key,
    /// The subnet.
    pub subnet: String,
}

impl Allocator {
    /// An allocator that spares what `model` uses already: addresses of endpoints, NAT addresses,
    /// backends and resolvers.
    pub fn new(model: &Model) -> Self {
        let mut taken: HashMap<Key, HashSet<IpAddr>> = HashMap::new();
        for (key, vnet) in &model.vnets {
            taken.entry(key.clone()).or_default().extend(vnet.dns.iter().flat_map(|dns| &dns.listen));
        }
        for resource in model.resources.values() {
            let backends = resource.targets.iter().flat_map(|target| &target.backends).map(|backend| backend.address);
            let Some(vnet) = resource.vnet.clone() else { continue };
            taken.entry(vnet).or_default().extend(resource.nat.iter().copied().chain(backends));
        }
        let mut allocator = Self { taken, cursors: HashMap::new() };
        for endpoint in model.endpoints.values() {
            endpoint.addresses.iter().filter_map(|a| a.ip).for_each(|ip| allocator.spare(&endpoint.vnet, ip));
        }
        allocator
    }

    /// Marks `ip` as taken.
    pub fn spare(&mut self, vnet: &Key, ip: IpAddr) {
        self.taken.entry(vnet.clone()).or_default().insert(ip);
    }

    /// Whether `ip` is in use in `vnet`.
    pub fn is_taken(&self, vnet: &Key, ip: IpAddr) -> bool {
        self.taken.get(vnet).is_some_and(|taken| taken.contains(&ip))
    }

    /// Gives `ip` back: it is the lowest free one again where it lies below the others.
    pub fn release(&mut self, vnet: &Key, ip: IpAddr) {
        if let Some(taken) = self.taken.get_mut(vnet) {
            taken.remove(&ip);
        }
        let number = match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        };
        for ((_, prefix), cursor) in self.cursors.iter_mut().filter(|((of, _), _)| of == vnet) {
            if prefix.contains(&ip) && number >= usable(prefix).0 {
                *cursor = number.min(*cursor);
            }
        }
    }

    /// The lowest free address of `subnet`, of its IPv4 prefixes first; taken from now on.
    ///
    /// # Errors
    /// Every address is reserved or taken.
    pub fn allocate(&mut self, vnet: &Key, subnet: &Subnet) -> Result<IpAddr, SubnetFull> {
        let taken = self.taken.entry(vnet.clone()).or_default();
        let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
            subnet.prefixes.iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
        for prefix in v4.into_iter().chain(v6) {
            let (first, last) = usable(prefix);
            let cursor = self.cursors.entry((vnet.clone(), *prefix)).or_insert(first);
            while *cursor <= last {
                let ip = address(prefix, *cursor);
                *cursor += 1;
                if taken.insert(ip) {
                    return Ok(ip);
                }
            }
        }
        Err(SubnetFull { vnet: vnet.clone(), subnet: subnet.name.clone() })
    }
}

/// First and last address that may be given out, as numbers; empty when first > last.
fn usable(prefix: &IpNet) -> (u128, u128) {
    match prefix {
        IpNet::V4(net) => {
            let first = u128::from(u32::from(net.network())) + u128::from(RESERVED_FIRST);
            (first, u128::from(u32::from(net.broadcast()).saturating_sub(1)))
        }
        IpNet::V6(net) => {
            let first = u128::from(net.network()).saturating_add(u128::from(RESERVED_FIRST));
            // The very last address of all is never reached, so a cursor past the end always exists.
            (first, u128::from(net.broadcast()).min(u128::MAX - 1))
        }
    }
}

fn address(prefix: &IpNet, number: u128) -> IpAddr {
    match prefix {
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{self, ip};

    fn subnet(prefixes: &[&str]) -> Subnet {
        Subnet {
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
            ..testing::subnet("endpoints", "10.1.9.0/24")
        }
    }

    fn all(allocator: &mut Allocator, subnet: &Subnet) -> Vec<IpAddr> {
        std::iter::from_fn(|| allocator.allocate(&Key::new("default", "spoke"), subnet).ok()).collect()
    }

    #[test]
    fn the_first_four_and_the_last_address_are_never_given_out() {
        let mut allocator = Allocator::new(&Model::default());
        assert_eq!(all(&mut allocator, &subnet(&["10.1.9.0/29"])), [ip("10.1.9.4"), ip("10.1.9.5"), ip("10.1.9.6")]);
        for too_small in ["10.1.9.0/30", "10.1.9.0/31", "10.1.9.0/32", "255.255.255.252/30"] {
            assert_eq!(all(&mut allocator, &subnet(&[too_small])), [] as [IpAddr; 0], "{too_small}");
        }
    }

    #[test]
    fn what_the_model_uses_is_spared_and_the_next_prefix_serves_when_one_is_full() {
        let mut model = testing::model();
        model.vnets.get_mut(&testing::key("spoke")).unwrap().dns =
            Some(crate::control::model::DnsSettings { listen: vec![ip("10.1.9.5")], upstream: vec![] });
        // 10.1.9.4 is the address of the model's endpoint, 10.1.9.5 its resolver's.
        let mut allocator = Allocator::new(&model);
        assert_eq!(
            all(&mut allocator, &subnet(&["10.1.9.0/29", "10.1.8.0/29"])),
            [ip("10.1.9.6"), ip("10.1.8.4"), ip("10.1.8.5"), ip("10.1.8.6")]
        );
    }

    #[test]
    fn a_full_subnet_is_named() {
        let mut allocator = Allocator::new(&Model::default());
        let refused = allocator.allocate(&Key::new("default", "spoke"), &subnet(&["10.1.9.0/30"])).unwrap_err();
        assert!(refused.to_string().contains("endpoints of default/spoke"), "{refused}");
    }
}
