//! Allocates endpoint addresses: the lowest free one of the subnet. The choice is stored in the model, so an endpoint
//! keeps its address for its whole life.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::model::rules::subnets;
use crate::model::{Key, Map, Model, Subnet};

/// Allocates addresses of one model's subnets. Its cost hardly grows with the number of endpoints or subnets. Cloning
/// it costs one reference count: each change is prepared with a clone, which is dropped if the change is refused.
#[derive(Clone, Debug, Default)]
pub struct Allocator(Map<InVnet>);

/// The allocation state of one VNet.
#[derive(Clone, Debug, Default)]
struct InVnet {
    taken: RedBlackTreeSetSync<IpAddr>,
    /// Prefixes by their first address. Prefixes of one VNet are disjoint.
    searches: RedBlackTreeMapSync<IpAddr, Search>,
}

/// Addresses as numbers.
type Returned = RedBlackTreeSetSync<u128>;

/// Where the search for the lowest free address of a prefix starts.
#[derive(Clone, Debug)]
struct Search {
    prefix: IpNet,
    /// Every address below is taken or released.
    next: u128,
    /// Released addresses. Some may have been taken again explicitly.
    returned: Returned,
}

/// No address is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subnet {subnet} of {vnet} has no free address left")]
pub struct SubnetFull {
    /// The subnet's VNet.
    pub vnet: Key,
    /// The subnet.
    pub subnet: String,
}

impl SubnetFull {
    /// What to do about it.
    pub const REMEDY: &str = "add a prefix to it, or delete an endpoint";
}

impl Allocator {
    /// An allocator that avoids the addresses in use by `model`: endpoints, NAT addresses, backends and resolvers.
    pub fn new(model: &Model) -> Self {
        let mut allocator = Self::default();
        for (key, vnet) in &model.vnets {
            vnet.dns.iter().flat_map(|dns| &dns.listen).for_each(|ip| allocator.spare(key, *ip));
        }
        for resource in model.resources.values() {
            let backends = resource.targets.iter().flat_map(|target| &target.backends).map(|backend| backend.address);
            let Some(vnet) = &resource.vnet else { continue };
            resource.nat.iter().copied().chain(backends).for_each(|ip| allocator.spare(vnet, ip));
        }
        for endpoint in model.endpoints.values() {
            endpoint.addresses.iter().filter_map(|a| a.ip).for_each(|ip| allocator.spare(&endpoint.vnet, ip));
        }
        allocator
    }

    /// Marks `ip` as taken.
    pub fn spare(&mut self, vnet: &Key, ip: IpAddr) {
        self.of(vnet, |vnet| vnet.taken.insert_mut(ip));
    }

    /// Whether `ip` is in use in `vnet`.
    pub fn is_taken(&self, vnet: &Key, ip: IpAddr) -> bool {
        self.0.get(vnet).is_some_and(|vnet| vnet.taken.contains(&ip))
    }

    /// Releases `ip`, so that it can be allocated again.
    pub fn release(&mut self, vnet: &Key, ip: IpAddr) {
        let Some(vnet) = self.0.get_mut(vnet) else { return };
        vnet.taken.remove_mut(&ip);
        let nearest = vnet.searches.range(..=ip).next_back().map(|(first, _)| *first);
        let number = number(ip);
        if let Some(search) = nearest.and_then(|first| vnet.searches.get_mut(&first))
            && search.prefix.contains(&ip)
            && (usable(&search.prefix).0..search.next).contains(&number)
        {
            search.returned.insert_mut(number);
        }
    }

    /// Takes the lowest free address of `subnet`, from its IPv4 prefixes first.
    ///
    /// # Errors
    /// Every address is reserved or taken.
    pub fn allocate(&mut self, vnet: &Key, subnet: &Subnet) -> Result<IpAddr, SubnetFull> {
        let found = self.of(vnet, |within| within.allocate(subnet));
        found.ok_or_else(|| SubnetFull { vnet: vnet.clone(), subnet: subnet.name.clone() })
    }

    fn of<T>(&mut self, vnet: &Key, work: impl FnOnce(&mut InVnet) -> T) -> T {
        if let Some(known) = self.0.get_mut(vnet) {
            return work(known);
        }
        let mut new = InVnet::default();
        let done = work(&mut new);
        self.0.insert(vnet.clone(), new);
        done
    }
}

impl InVnet {
    fn allocate(&mut self, subnet: &Subnet) -> Option<IpAddr> {
        let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) =
            subnet.prefixes.iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
        v4.into_iter().chain(v6).find_map(|prefix| self.lowest(prefix))
    }

    /// Takes the lowest free address of `prefix`.
    fn lowest(&mut self, prefix: &IpNet) -> Option<IpAddr> {
        let (first, last) = usable(prefix);
        let known = self.searches.get(&prefix.network()).cloned();
        let mut search =
            known.unwrap_or_else(|| Search { prefix: *prefix, next: first, returned: Returned::new_sync() });
        let found = loop {
            let number = match search.returned.first().copied() {
                Some(number) => {
                    search.returned.remove_mut(&number);
                    number
                }
                None if search.next <= last => {
                    search.next += 1;
                    search.next - 1
                }
                None => break None,
            };
            let ip = address(prefix, number);
            if !self.taken.contains(&ip) {
                self.taken.insert_mut(ip);
                break Some(ip);
            }
        };
        self.searches.insert_mut(prefix.network(), search);
        found
    }
}

/// The first and last address that may be allocated, as numbers. Empty if first > last.
fn usable(prefix: &IpNet) -> (u128, u128) {
    // The very last address is never allocated, so a cursor past the end always exists.
    subnets::usable(prefix).map_or((1, 0), |(first, last)| (number(first), number(last).min(u128::MAX - 1)))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
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
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{self, ip};

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
            Some(crate::model::DnsSettings { listen: vec![ip("10.1.9.5")], ..Default::default() });
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

    #[test]
    fn what_is_given_out_is_always_the_lowest_free_address() {
        let (vnet, subnet) = (Key::new("default", "spoke"), subnet(&["10.1.9.0/27", "10.1.8.0/28"]));
        let usable: Vec<IpAddr> = all(&mut Allocator::new(&Model::default()), &subnet);
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut allocator = Allocator::new(&Model::default());
            let mut taken: HashSet<IpAddr> = HashSet::new();
            for step in 0..500 {
                let any = usable[random.usize(..usable.len())];
                match random.u8(..8) {
                    0..=3 => {
                        let lowest = usable.iter().find(|ip| !taken.contains(ip)).copied();
                        assert_eq!(allocator.allocate(&vnet, &subnet).ok(), lowest, "seed {seed}, step {step}");
                        taken.extend(lowest);
                    }
                    4..=6 => {
                        allocator.release(&vnet, any);
                        taken.remove(&any);
                    }
                    _ => {
                        allocator.spare(&vnet, any);
                        taken.insert(any);
                    }
                }
                assert_eq!(allocator.is_taken(&vnet, any), taken.contains(&any), "seed {seed}, step {step}");
            }
        }
    }
}
