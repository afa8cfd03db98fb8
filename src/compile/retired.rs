//! NAT addresses that were removed from a resource while sessions used them. They keep their route until their last
//! session has ended. They are not stored, because sessions are not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::Allocator;
use crate::model::{Key, LinkResource, Model};

/// A retired address of one resource.
pub type RetiredAddress = (Key, IpAddr);

/// All retired addresses, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired(BTreeMap<Key, BTreeSet<IpAddr>>);

impl Retired {
    /// The retired addresses of one resource.
    pub fn of(&self, resource: &Key) -> impl Iterator<Item = IpAddr> + use<'_> {
        self.0.get(resource).into_iter().flatten().copied()
    }

    /// All retired addresses.
    pub fn iter(&self) -> impl Iterator<Item = RetiredAddress> + use<'_> {
        self.0.iter().flat_map(|(key, addresses)| addresses.iter().map(move |address| (key.clone(), *address)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The retired addresses after a change from `before` to `after`. An address leaves the list, and its sessions end
    /// at once, if another object uses it now, or if its VNet no longer has it.
    #[must_use]
    pub fn after(&self, before: &Model, after: &Model) -> Self {
        let mut taken = None;
        let mut free = |resource: &LinkResource, address: IpAddr| {
            let Some(vnet) = &resource.vnet else { return false };
            let space = after.vnets.get(vnet).map(|vnet| vnet.address_space.as_slice()).unwrap_or_default();
            space.iter().any(|prefix| prefix.contains(&address))
                && !taken.get_or_insert_with(|| Allocator::new(after)).is_taken(vnet, address)
        };
        let of = |(key, old): (&Key, &LinkResource)| {
            let new = after.resources.get(key).filter(|new| new.vnet == old.vnet)?;
            let gone = old.nat.iter().copied().chain(self.of(key)).filter(|address| !new.nat.contains(address));
            let kept: BTreeSet<IpAddr> = gone.filter(|address| free(new, *address)).collect();
            (!kept.is_empty()).then(|| (key.clone(), kept))
        };
        Self(before.resources.iter().filter_map(of).collect())
    }

    /// Removes addresses whose last session has ended.
    #[must_use]
    pub fn without(&self, over: &BTreeSet<RetiredAddress>) -> Self {
        let mut left = self.clone();
        for (key, address) in over {
            left.0.entry(key.clone()).and_modify(|addresses| _ = addresses.remove(address));
        }
        left.0.retain(|_, addresses| !addresses.is_empty());
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{endpoint, ip, key, model};

    fn with_nat(addresses: &[&str]) -> Model {
        let mut model = model();
        let name = key("orders-db");
        let mut resource = model.resources.get(&name).expect("the resource").clone();
        resource.nat = addresses.iter().map(|address| ip(address)).collect();
        model.resources.insert(name, resource);
        model
    }

    fn kept(retired: &Retired) -> Vec<String> {
        retired.of(&key("orders-db")).map(|address| address.to_string()).collect()
    }

    #[test]
    fn an_address_stays_until_it_is_over_or_named_again_or_somebody_elses() {
        let (two, one) = (with_nat(&["10.20.99.4", "10.20.99.40"]), with_nat(&["10.20.99.4"]));
        let retired = Retired::default().after(&two, &one);
        assert_eq!(kept(&retired), ["10.20.99.40"]);
        assert_eq!(kept(&retired.after(&one, &one)), ["10.20.99.40"], "a later change leaves it");
        assert!(retired.after(&one, &two).is_empty(), "named again");
        assert!(retired.without(&BTreeSet::from([(key("orders-db"), ip("10.20.99.40"))])).is_empty(), "over");

        let mut given_away = one.clone();
        let mut other = endpoint("core", Some("10.20.99.40"), "orders-db");
        other.subnet = "nat".into();
        given_away.endpoints.insert(key("other"), other);
        assert!(retired.after(&one, &given_away).is_empty(), "an endpoint's now");
        let mut gone = one.clone();
        gone.resources.remove(&key("orders-db"));
        assert!(retired.after(&one, &gone).is_empty(), "its resource is deleted");
    }
}
