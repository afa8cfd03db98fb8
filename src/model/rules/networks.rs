//! Networks: address spaces, subnets, peerings, workloads.

use ipnet::IpNet;

use super::{
    Findings, Locator, Object, check_address, check_key, check_name, check_prefix, known, list, overlaps, short,
};
use crate::model::sentence::{Mention, Part, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{EXCLUDED_WORKLOADS, Key, Limits, Model, NetworkPolicies, Subnet, Vnet};
use crate::snapshot::prefixes::{holds_martians, is_martian};

pub(super) fn check(model: &Model, limits: Limits, key: &Key, vnet: &Vnet, findings: &mut Findings) {
    let object = Object::Vnet(key.clone());
    check_key(key, &object, findings);
    if vnet.region.trim().is_empty() {
        findings.error("InvalidRegion", object.at("region"), "the region is empty", "name one, such as \"westeurope\"");
    }
    check_space(&object, vnet, findings);
    check_subnets(&object, vnet, model, limits, findings);
    check_peerings(key, vnet, model, findings);
    check_workloads(&object, vnet, limits, findings);
    check_dns(&object, vnet, findings);
    check_lockdown(&object, vnet, model, findings);
}

/// Whether both VNets list each other: only then a peering counts.
pub(super) fn peered(model: &Model, one: &Key, other: &Key) -> bool {
    let lists = |from: &Key, to: &Key| model.vnets.get(from).is_some_and(|vnet| vnet.peerings.contains(to));
    one != other && lists(one, other) && lists(other, one)
}

fn check_space(object: &Object, vnet: &Vnet, findings: &mut Findings) {
    if vnet.address_space.is_empty() {
        let remedy = "name its prefixes, such as [\"10.1.0.0/16\"]";
        findings.error("InvalidAddressSpace", object.at("address_space"), "the address space is empty", remedy);
    }
    for (field, prefixes) in [("address_space", &vnet.address_space), ("on_premises", &vnet.on_premises)] {
        for (index, prefix) in prefixes.iter().enumerate() {
            let at = object.at(format!("{field}[{index}]"));
            if check_prefix(prefix, at.clone(), findings) {
                check_purpose(prefix, at, findings);
            }
        }
        for (first, second) in overlaps(prefixes) {
            let message = itself(format!("prefix {} overlaps {}", prefixes[second], prefixes[first]));
            findings.error(
                "OverlappingPrefixes",
                object.at(format!("{field}[{second}]")),
                message,
                "keep one of the two",
            );
        }
    }
    for (index, prefix) in vnet.on_premises.iter().enumerate() {
        if let Some(own) = overlapping(prefix, &vnet.address_space) {
            findings.error(
                "OverlappingPrefixes",
                object.at(format!("on_premises[{index}]")),
                itself(format!("on-premises prefix {prefix} overlaps {own} of the VNet's own address space")),
                "an address is either in the VNet or behind its VPN: shorten one of the two",
            );
        }
    }
}

/// Addresses that no host has are nobody's to route.
fn check_purpose(prefix: &IpNet, at: Locator, findings: &mut Findings) {
    let message = itself(format!("{prefix} holds special-purpose addresses"));
    let remedy = "name prefixes whose addresses hosts can have";
    if is_martian(prefix.network()) {
        findings.error("InvalidAddressSpace", at, message, remedy);
    } else if holds_martians(prefix) {
        findings.tightened("InvalidAddressSpace", at, prefix, message, remedy);
    }
}

fn overlapping<'a>(prefix: &IpNet, others: &'a [IpNet]) -> Option<&'a IpNet> {
    others.iter().find(|other| other.contains(prefix) || prefix.contains(*other))
}

fn check_subnets(object: &Object, vnet: &Vnet, model: &Model, limits: Limits, findings: &mut Findings) {
    let mut all: Vec<(usize, usize)> = Vec::new();
    let mut prefixes: Vec<IpNet> = Vec::new();
    for (index, subnet) in vnet.subnets.iter().enumerate() {
        let field = |name: &str| object.at(format!("subnets[{index}].{name}"));
        check_name(&format!("subnets[{index}].name"), "subnet name", &subnet.name, object, findings);
        if vnet.subnets[..index].iter().any(|other| other.name.eq_ignore_ascii_case(&subnet.name)) {
            let message = itself(format!("the VNet has a subnet `{}` already", subnet.name));
            findings.error("DuplicateName", field("name"), message, "choose another name");
        }
        if subnet.prefixes.is_empty() {
            findings.error(
                "SubnetWithoutPrefix",
                field("prefix"),
                itself(format!("subnet `{}` has no prefix", subnet.name)),
                "name one",
            );
        }
        for (number, prefix) in subnet.prefixes.iter().enumerate() {
            all.push((index, number));
            prefixes.push(*prefix);
            let at = field(&format!("prefixes[{number}]"));
            if check_prefix(prefix, at.clone(), findings) && !inside(vnet, prefix) {
                findings.error(
                    "NetcfgSubnetRangeOutsideVnet",
                    at,
                    itself(format!("subnet `{}` ({prefix}) is outside the VNet's address space", subnet.name)),
                    itself(format!("choose a prefix inside {}, or extend `address_space`", list(&vnet.address_space))),
                );
            }
        }
        check_group(object, vnet, index, model, findings);
        check_effects(object, index, subnet, limits, findings);
    }
    for (first, second) in overlaps(&prefixes) {
        let ((one, _), (two, number)) = (all[first], all[second]);
        let other = if one == two { "itself".to_owned() } else { format!("subnet `{}`", vnet.subnets[one].name) };
        findings.error(
            "NetcfgSubnetRangesOverlap",
            object.at(format!("subnets[{two}].prefixes[{number}]")),
            itself(format!(
                "subnet `{}` ({}) overlaps {other} ({})",
                vnet.subnets[two].name, prefixes[second], prefixes[first]
            )),
            "give each subnet a prefix of its own",
        );
    }
}

/// Whether the VNet's own space holds the prefix; an empty space is a mistake of its own.
fn inside(vnet: &Vnet, prefix: &IpNet) -> bool {
    vnet.address_space.is_empty() || vnet.address_space.iter().any(|own| own.contains(prefix))
}

fn check_group(object: &Object, vnet: &Vnet, index: usize, model: &Model, findings: &mut Findings) {
    let subnet = &vnet.subnets[index];
    let field = |name: &str| object.at(format!("subnets[{index}].{name}"));
    if let Some(group) = &subnet.security_group {
        if !model.security_groups.contains_key(group) {
            let remedy = known("known security groups", ItemKind::SecurityGroup, &model.security_groups);
            findings.error(
                "InvalidResourceReference",
                field("security_group"),
                itself(format!("there is no security group `{}`", short(group))),
                remedy,
            );
        }
        let judged = match subnet.network_policies {
            NetworkPolicies::Enabled | NetworkPolicies::NetworkSecurityGroupEnabled => true,
            NetworkPolicies::Disabled | NetworkPolicies::RouteTableEnabled => false,
        };
        if !judged {
            findings.warning(
                "SecurityGroupIgnored",
                field("security_group"),
                itself(format!("endpoints of subnet `{}` ignore its security group", subnet.name)),
                "set `network_policies = \"NetworkSecurityGroupEnabled\"` to have its rules judged",
            );
        }
    }
}

/// Settings that are kept and do nothing.
fn check_effects(object: &Object, index: usize, subnet: &Subnet, limits: Limits, findings: &mut Findings) {
    let field = |name: &str| object.at(format!("subnets[{index}].{name}"));
    if subnet.network_policies == NetworkPolicies::RouteTableEnabled {
        findings.warning(
            "SettingWithoutEffect",
            field("network_policies"),
            "RouteTableEnabled has no effect: there are no route tables here",
            "leave it out, or write \"NetworkSecurityGroupEnabled\"",
        );
    }
    if !subnet.service_endpoints.is_empty() && limits.service_endpoints {
        findings.warning(
            "SettingWithoutEffect",
            field("service_endpoints"),
            "service endpoints are kept and shown, and have no effect here",
            "leave them out unless you want them shown",
        );
    }
}

fn check_peerings(key: &Key, vnet: &Vnet, model: &Model, findings: &mut Findings) {
    let object = Object::Vnet(key.clone());
    let mut spaces: Vec<IpNet> = Vec::new();
    let mut owners: Vec<usize> = Vec::new();
    for (index, peer) in vnet.peerings.iter().enumerate() {
        let at = object.at(format!("peerings[{index}]"));
        let name = short(peer);
        let Some(other) = model.vnets.get(peer) else {
            let others = model.vnets.keys().filter(|known| *known != key);
            let others = others.map(|other| Mention::of(ItemKind::Vnet, other, short(other))).collect();
            findings.error(
                "InvalidResourceReference",
                at,
                itself(format!("there is no VNet `{name}`")),
                Part::Known("known VNets", others),
            );
            continue;
        };
        if peer == key {
            findings.error(
                "InvalidPeering",
                at,
                itself(format!("VNet `{name}` is peered with itself")),
                "remove this peering",
            );
            continue;
        }
        if vnet.peerings[..index].contains(peer) {
            findings.error(
                "InvalidPeering",
                at,
                itself(format!("VNet `{name}` is listed twice")),
                "remove one of the two",
            );
            continue;
        }
        if !other.peerings.contains(key) {
            findings.warning(
                "PeeringInitiated",
                at,
                itself(format!("the peering with `{name}` is one-sided: its state is Initiated, it passes nothing")),
                itself(format!("add `{}` to `peerings` of `{name}`, or remove it here", short(key))),
            );
            findings.involving(Object::Vnet(peer.clone()));
            continue;
        }
        for prefix in &other.address_space {
            if let Some(own) = overlapping(prefix, &vnet.address_space) {
                findings.error(
                    "OverlappingPeers",
                    at.clone(),
                    sentence!(
                        "peered {} overlaps this one ({})",
                        Mention::vnet(peer).with(format_args!(" ({prefix})")),
                        own
                    ),
                    "peered VNets need address spaces of their own: remove the peering or change one of them",
                );
                findings.involving(Object::Vnet(peer.clone()));
            }
            spaces.push(*prefix);
            owners.push(index);
        }
    }
    for (first, second) in overlaps(&spaces) {
        let (one, two) = (&vnet.peerings[owners[first]], &vnet.peerings[owners[second]]);
        if one == two {
            continue;
        }
        findings.error(
            "OverlappingPeers",
            object.at(format!("peerings[{}]", owners[second])),
            sentence!(
                "peers {} and {} overlap each other",
                Mention::vnet(one).with(format_args!(" ({})", spaces[first])),
                Mention::vnet(two).with(format_args!(" ({})", spaces[second])),
            ),
            "a source address must belong to one peer only: keep one of the two peerings",
        );
        findings.involving(Object::Vnet(one.clone())).involving(Object::Vnet(two.clone()));
    }
}

fn check_workloads(object: &Object, vnet: &Vnet, limits: Limits, findings: &mut Findings) {
    for (index, workload) in vnet.workloads.iter().enumerate() {
        if workload.class.trim().is_empty() {
            let remedy = "name it, such as \"Azure Container Instance\"";
            findings.error(
                "InvalidWorkload",
                object.at(format!("workloads[{index}].class")),
                "the workload class is empty",
                remedy,
            );
        }
        if workload.private_endpoints && !limits.workloads && is_excluded(&workload.class) {
            findings.error(
                "WorkloadCannotUsePrivateEndpoints",
                object.at(format!("workloads[{index}].private_endpoints")),
                itself(format!("workload `{}` cannot access private endpoints (limits: workloads)", workload.class)),
                "set `private_endpoints = false`: there is no mitigation, its packets are dropped",
            );
        }
        let at = object.at(format!("workloads[{index}].prefix"));
        let prefix = &workload.prefix;
        let inside = vnet.address_space.iter().chain(&vnet.on_premises).any(|own| own.contains(prefix));
        if check_prefix(prefix, at.clone(), findings) && !inside {
            findings.error(
                "InvalidWorkload",
                at,
                itself(format!(
                    "workload `{}` ({prefix}) is neither in the address space nor on premises",
                    workload.class
                )),
                itself(format!("choose a prefix inside {}", list(&vnet.address_space))),
            );
        }
    }
}

/// Whether a class is one of those that Azure excluded in 2019, written with or without "Azure", in the plural or not.
fn is_excluded(class: &str) -> bool {
    let plain = |text: &str| {
        let folded = text.trim().to_lowercase();
        folded.strip_prefix("azure ").unwrap_or(&folded).trim_end_matches('s').to_owned()
    };
    EXCLUDED_WORKLOADS.iter().any(|(known, _)| plain(known) == plain(class))
}

/// Prefixes that a locked down VNet is kept away from are nobody's own.
fn check_lockdown(object: &Object, vnet: &Vnet, model: &Model, findings: &mut Findings) {
    let at = |index: usize| object.at(format!("public_prefixes[{index}]"));
    for (index, prefix) in vnet.public_prefixes.iter().enumerate() {
        if !check_prefix(prefix, at(index), findings) {
            continue;
        }
        let own: Vec<IpNet> = vnet.address_space.iter().chain(&vnet.on_premises).copied().collect();
        let mut peers = vnet.peerings.iter().filter_map(|peer| Some((peer, model.vnets.get(peer)?)));
        let peer = peers.find_map(|(key, peer)| Some((key, overlapping(prefix, &peer.address_space)?)));
        let dns =
            vnet.dns.iter().flat_map(|dns| dns.listen.iter().chain(&dns.upstream)).find(|ip| prefix.contains(*ip));
        if let Some(other) = overlapping(prefix, &own) {
            let message = itself(format!("public prefix {prefix} overlaps {other}, which the VNet must reach"));
            findings.error("OverlappingPrefixes", at(index), message, "name public addresses of typed resources only");
        } else if let Some((key, other)) = peer {
            let peer = Mention::vnet(key).with(format_args!(" ({other})"));
            let message = sentence!("public prefix {} overlaps peered {}, which the VNet must reach", prefix, peer);
            findings.error("OverlappingPrefixes", at(index), message, "name public addresses of typed resources only");
        } else if let Some(address) = dns {
            let message = itself(format!(
                "public prefix {prefix} holds {address}, an address of the VNet's resolver or upstream"
            ));
            findings.error("OverlappingPrefixes", at(index), message, "shorten the prefix, or move the server");
        } else if holds_martians(prefix) {
            let message = itself(format!("public prefix {prefix} holds special-purpose addresses"));
            let remedy = "name public addresses of typed resources only";
            findings.tightened("InvalidPrefix", at(index), prefix, message, remedy);
        }
    }
    for (first, second) in overlaps(&vnet.public_prefixes) {
        let message =
            itself(format!("prefix {} overlaps {}", vnet.public_prefixes[second], vnet.public_prefixes[first]));
        findings.error("OverlappingPrefixes", at(second), message, "keep one of the two");
    }
    if !vnet.lockdown && !vnet.public_prefixes.is_empty() {
        let message = "the VNet is not locked down: its public prefixes are kept, and packets reach them";
        findings.warning("SettingWithoutEffect", object.at("public_prefixes"), message, "set `lockdown = true`");
    }
    if vnet.lockdown && vnet.dns.is_none() {
        let message = "the VNet has no resolver, so lockdown keeps no name away from anybody";
        findings.warning(
            "SettingWithoutEffect",
            object.at("lockdown"),
            message,
            "give it one: dns = { listen = \"…\" }",
        );
    }
}

fn check_dns(object: &Object, vnet: &Vnet, findings: &mut Findings) {
    let Some(dns) = &vnet.dns else { return };
    for (field, addresses) in [("listen", &dns.listen), ("upstream", &dns.upstream)] {
        for (index, &address) in addresses.iter().enumerate() {
            check_address(address, "DNS address", object.at(format!("dns.{field}[{index}]")), findings);
        }
    }
    for (index, address) in dns.listen.iter().enumerate() {
        let dedicated = |subnet: &&Subnet| subnet.dedicated && subnet.prefixes.iter().any(|p| p.contains(address));
        if let Some(subnet) = vnet.subnets.iter().find(dedicated) {
            let message = itself(format!(
                "resolver address {address} lies in subnet `{}`, which holds endpoints only",
                subnet.name
            ));
            let remedy = "choose an address of the VNet outside its dedicated subnets";
            findings.error("AddressInUse", object.at(format!("dns.listen[{index}]")), message, remedy);
        }
    }
    for (index, _) in dns.upstream.iter().enumerate().filter(|(_, address)| dns.listen.contains(address)) {
        let (at, remedy) = (object.at(format!("dns.upstream[{index}]")), "name the servers that know all other names");
        findings.error("ResolverLoop", at, "the resolver would ask itself", remedy);
    }
}
