//! Fills in derived fields: a service's NAT addresses from its subnet, and its targets from a load balancer or its only
//! server. Both are stored, so that they stay the same until somebody changes them.

use crate::compile::addresses::{Allocator, SubnetFull};
use crate::model::error::{Error, ErrorKind};
use crate::model::sentence::{Mention, itself, sentence};
use crate::model::state::{Item, ItemKind};
use crate::model::{FrontendRef, Key, LinkResource, Model, NatConfig, TargetSpec, Vnet};

/// `wanted` as it would stand in `model` under `key`.
///
/// # Errors
/// It refers to something that is not there, or its subnet is full.
pub(in super::super) fn settled(
    model: &Model,
    addresses: &mut Allocator,
    key: &Key,
    wanted: &LinkResource,
) -> Result<LinkResource, Error> {
    let mut settled = wanted.clone();
    if !wanted.nat_configs.is_empty() {
        settled.nat = nat(model, addresses, model.resources.get(key), wanted)?;
    }
    if let Some(targets) = targets(model, wanted)? {
        settled.targets = targets;
    }
    Ok(settled)
}

/// Updates the targets of every resource behind the load balancer `changed`, and returns the resources that changed.
///
/// # Errors
/// The load balancer no longer has what a resource refers to.
pub(in super::super) fn follow(model: &mut Model, changed: &Key) -> Result<Vec<Item>, Error> {
    let behind = |resource: &LinkResource| resource.frontends.iter().any(|frontend| frontend.balancer == *changed);
    let keys: Vec<Key> = model.resources.iter().filter(|(_, r)| behind(r)).map(|(key, _)| key.clone()).collect();
    let mut moved = Vec::new();
    for key in keys {
        let Some(resource) = model.resources.get(&key) else { continue };
        let Some(targets) = targets(model, resource)? else { continue };
        if resource.targets != targets {
            model.resources.get_mut(&key).into_iter().for_each(|resource| resource.targets.clone_from(&targets));
            moved.push(Item { kind: ItemKind::Resource, key });
        }
    }
    Ok(moved)
}

/// Keeps a VNet's accepted names from `before` where its new version does not mention them.
pub(in super::super) fn keep_accepted(before: &Model, after: &mut Model) {
    let silent = |vnet: &Vnet| vnet.dns.as_ref().is_some_and(|dns| dns.accept_names.is_none());
    let changed = before.vnets.changes(&after.vnets).into_iter();
    let keys: Vec<Key> = changed.filter(|(_, wanted)| wanted.is_some_and(silent)).map(|(key, _)| key.clone()).collect();
    for key in keys {
        let accepted = before.vnets.get(&key).and_then(|vnet| vnet.dns.as_ref()?.accept_names.clone());
        if let Some(dns) = after.vnets.get_mut(&key).and_then(|vnet| vnet.dns.as_mut()) {
            dns.accept_names = accepted;
        }
    }
}

/// Marks a peering as Disconnected in `after` when the other side removed it. Both sides must then create it again.
pub(in super::super) fn sever_taken_back(before: &Model, after: &mut Model) {
    let mut left = Vec::new();
    for (key, new) in before.vnets.changes(&after.vnets) {
        let (Some(old), Some(new)) = (before.vnets.get(key), new) else { continue };
        let gone = |remote: &Key| old.peers_with(remote) && !new.labelled().iter().any(|label| label.remote == *remote);
        for remote in old.labelled().into_iter().map(|label| label.remote).filter(gone) {
            let both = [before, &*after].map(|model| model.vnets.get(&remote).is_some_and(|vnet| vnet.peers_with(key)));
            if both == [true, true] {
                left.push((remote, key.clone()));
            }
        }
    }
    for (vnet, gone) in left {
        after.vnets.get_mut(&vnet).into_iter().for_each(|vnet| vnet.sever(&gone));
    }
}

/// `None`: the request lists the targets itself.
fn targets(model: &Model, wanted: &LinkResource) -> Result<Option<Vec<TargetSpec>>, Error> {
    match (wanted.destination, wanted.frontends.as_slice()) {
        (None, []) => Ok(None),
        (Some(server), []) => Ok(Some(vec![TargetSpec::direct(server)])),
        (None, [one]) => Ok(Some(vec![behind(model, one)?])),
        (_, several) => Err(Error::new(
            ErrorKind::Invalid,
            "InvalidLoadBalancerFrontend",
            sentence!("a private link service has one frontend or one destination, this one {}", several.len()),
            "name one frontend IP configuration, or `destinationIPAddress` alone",
        )),
    }
}

fn behind(model: &Model, frontend: &FrontendRef) -> Result<TargetSpec, Error> {
    let FrontendRef { balancer, frontend } = frontend;
    let found = model.load_balancers.get(balancer).ok_or_else(|| {
        let message = itself(format!("there is no load balancer {balancer}"));
        Error::new(ErrorKind::Invalid, "InvalidResourceReference", message, "create it first")
    })?;
    found.target(frontend).map_err(|why| {
        let message = Mention::of(ItemKind::LoadBalancer, balancer, format_args!("load balancer {balancer} {why}"));
        let remedy = "give the frontend rules with one backend pool, or change the services behind it first";
        Error::new(ErrorKind::Invalid, "InvalidLoadBalancerFrontend", message, remedy)
    })
}

/// One address per configuration: the one given, else its previous one, else the next free one of its subnet.
fn nat(
    model: &Model,
    addresses: &mut Allocator,
    before: Option<&LinkResource>,
    wanted: &LinkResource,
) -> Result<Vec<std::net::IpAddr>, Error> {
    let absent = |what: String| {
        let remedy = "name a subnet of the provider's VNet in every IP configuration";
        Error::new(ErrorKind::Invalid, "InvalidResourceReference", itself(format!("there is no {what}")), remedy)
    };
    let vnet = wanted.vnet.as_ref().ok_or_else(|| absent("VNet named".into()))?;
    let network = model.vnets.get(vnet).ok_or_else(|| absent(format!("VNet {vnet}")))?;
    let had = |config: &NatConfig| {
        let before = before.filter(|before| before.vnet.as_ref() == Some(vnet))?;
        let same = |old: &&(&NatConfig, &std::net::IpAddr)| {
            old.0.name.eq_ignore_ascii_case(&config.name) && old.0.subnet.eq_ignore_ascii_case(&config.subnet)
        };
        before
            .nat_configs
            .iter()
            .zip(&before.nat)
            .filter(|(_, ip)| ip.is_ipv6() == config.v6)
            .find(|o| same(&o))
            .map(|(_, ip)| *ip)
    };
    let mut given = Vec::new();
    for (index, config) in wanted.nat_configs.iter().enumerate() {
        let named = network.subnets.iter().find(|subnet| subnet.name.eq_ignore_ascii_case(&config.subnet));
        let mut subnet = named.ok_or_else(|| absent(format!("subnet {} of VNet {vnet}", config.subnet)))?.clone();
        subnet.prefixes.retain(|prefix| matches!(prefix, ipnet::IpNet::V6(_)) == config.v6);
        // An address that no neighbour answered for, if one was found.
        let proposed = wanted.nat.get(index).copied().filter(|free| {
            !addresses.is_taken(vnet, *free) && subnet.prefixes.iter().any(|prefix| prefix.contains(free))
        });
        let ip = match config.address.or_else(|| had(config)).or(proposed) {
            Some(ip) => {
                addresses.spare(vnet, ip);
                ip
            }
            None => addresses.allocate(vnet, &subnet).map_err(|full| {
                Error::new(ErrorKind::Invalid, "SubnetIsFull", itself(full.to_string()), SubnetFull::REMEDY)
            })?,
        };
        given.push(ip);
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BackendPool, BalancingRule, Frontend, LoadBalancer, PoolAddress};
    use crate::snapshot::Protocol;
    use crate::testing::{ip, key, model, resource};

    fn config(name: &str, address: Option<&str>) -> NatConfig {
        NatConfig { name: name.into(), subnet: "NAT".into(), address: address.map(ip), v6: false, primary: None }
    }

    fn service(configs: Vec<NatConfig>) -> LinkResource {
        LinkResource { nat: vec![], nat_configs: configs, targets: vec![], ..resource("core", "10.20.99.9", vec![]) }
    }

    fn settle(model: &Model, name: &str, wanted: &LinkResource) -> Result<LinkResource, Error> {
        settled(model, &mut Allocator::new(model), &key(name), wanted)
    }

    fn balancer(port: u16) -> LoadBalancer {
        LoadBalancer {
            frontends: vec![Frontend { name: "fe".into(), ..Frontend::default() }],
            pools: vec![BackendPool {
                name: "be".into(),
                addresses: vec![PoolAddress { name: "b".into(), address: ip("10.20.0.7"), vnet: None, drain: false }],
            }],
            rules: vec![BalancingRule {
                name: "r".into(),
                frontend: "fe".into(),
                pool: "be".into(),
                protocol: Some(Protocol::Tcp),
                frontend_port: 443,
                backend_port: port,
                probe: None,
                distribution: crate::model::Distribution::Default,
            }],
            ..LoadBalancer::default()
        }
    }

    #[test]
    fn a_nat_address_is_the_next_free_one_and_stays() {
        let mut model = model();
        let wanted = service(vec![config("a", None), config("b", Some("10.20.99.200"))]);
        let first = settle(&model, "new", &wanted).unwrap();
        assert_eq!(first.nat, [ip("10.20.99.5"), ip("10.20.99.200")]);
        model.resources.insert(key("new"), first);
        let wanted = service(vec![config("c", None), config("A", None)]);
        assert_eq!(settle(&model, "new", &wanted).unwrap().nat, [ip("10.20.99.6"), ip("10.20.99.5")]);
    }

    #[test]
    fn a_configuration_without_its_subnet_is_refused() {
        let mut wanted = service(vec![NatConfig { subnet: "none".into(), ..config("a", None) }]);
        assert!(settle(&model(), "new", &wanted).unwrap_err().message.contains("subnet none"));
        wanted.vnet = None;
        assert!(settle(&model(), "new", &wanted).unwrap_err().message.contains("VNet"));
    }

    #[test]
    fn the_targets_follow_the_load_balancer() {
        let mut model = model();
        model.load_balancers.insert(key("lb"), balancer(10000));
        let behind = FrontendRef { balancer: key("lb"), frontend: "FE".into() };
        let wanted = LinkResource { frontends: vec![behind.clone()], ..service(vec![config("a", None)]) };
        let made = settle(&model, "new", &wanted).unwrap();
        assert_eq!(
            (made.targets[0].backends[0].address, made.targets[0].ports[0].backend_first),
            (ip("10.20.0.7"), 10000)
        );
        model.resources.insert(key("new"), made);
        model.load_balancers.insert(key("lb"), balancer(20000));
        let moved = follow(&mut model, &key("LB")).unwrap();
        assert_eq!(moved, [Item { kind: ItemKind::Resource, key: key("new") }]);
        assert_eq!(model.resources[&key("new")].targets[0].ports[0].backend_first, 20000);
        assert_eq!(follow(&mut model, &key("lb")).unwrap(), []);
        model.load_balancers.get_mut(&key("lb")).unwrap().frontends.clear();
        assert_eq!(follow(&mut model, &key("lb")).unwrap_err().code, "InvalidLoadBalancerFrontend");
        let two = LinkResource { frontends: vec![behind.clone(), behind], ..wanted };
        assert_eq!(settle(&model, "new", &two).unwrap_err().code, "InvalidLoadBalancerFrontend");
    }

    #[test]
    fn a_destination_exposes_every_port_of_its_server() {
        let wanted = LinkResource { destination: Some(ip("10.20.0.9")), ..service(vec![config("a", None)]) };
        let made = settle(&model(), "new", &wanted).unwrap();
        assert_eq!(made.targets, [TargetSpec::direct(ip("10.20.0.9"))]);
    }
}
