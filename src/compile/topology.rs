//! Computes the host's topology: routes, neighbours and prefixes of each attachment.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Input;
use super::peering::Peering;
use crate::model::{Key, Vnet};
use crate::snapshot::AttachmentId;
use crate::snapshot::topology::{AttachmentPlan, Topology};

/// Every endpoint has a route in every state, so that denied packets are answered. A deleted one has none.
pub(super) fn compile(input: &Input<'_>, peering: &Peering<'_>) -> Topology {
    let plan = |(spec, id): (&crate::model::AttachmentSpec, u16)| {
        let id = AttachmentId(id);
        let routed = peering.routed(id);
        let own = peering.vnet(&spec.vnet);
        let carried = |prefix: &IpNet| spec.carries(prefix);
        let here = |ip: &IpAddr| spec.carries(&IpNet::from(*ip));
        let dedicated: Vec<IpNet> = routed.iter().flat_map(|vnet| dedicated(peering, vnet)).filter(carried).collect();
        let whole = |ip: &IpAddr| dedicated.iter().any(|prefix| prefix.contains(ip));
        let addresses = || {
            let endpoints = input.model.endpoints.values().filter(|endpoint| routed.contains(&&endpoint.vnet));
            endpoints.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.ip).filter(here)
        };
        let provided =
            || input.model.resources.iter().filter(|(_, resource)| resource.vnet.as_ref() == Some(&spec.vnet));
        AttachmentPlan {
            id,
            vnet: spec.vnet.to_string(),
            netns: spec.netns.clone(),
            device: spec.device.clone(),
            mtu: spec.mtu,
            proxy_on: spec.proxy_on.clone(),
            own_prefixes: sorted(
                own.iter().flat_map(|v| v.address_space.iter().chain(&v.on_premises)).copied().filter(carried),
            ),
            endpoints: sorted(addresses().filter(|ip| !whole(ip))),
            neighbours: if spec.proxy_on.is_empty() { Vec::new() } else { sorted(addresses()) },
            dedicated: sorted(dedicated),
            nat_addresses: sorted(
                provided()
                    .flat_map(|(key, resource)| resource.nat.iter().copied().chain(input.retired.of(key)))
                    .filter(here),
            ),
            denied: sorted(
                own.iter()
                    .filter(|vnet| vnet.lockdown)
                    .flat_map(|vnet| &vnet.public_prefixes)
                    .map(IpNet::trunc)
                    .filter(carried),
            ),
            resolvers: sorted(own.iter().flat_map(|vnet| resolvers(vnet)).filter(here)),
            backends: sorted(
                provided()
                    .flat_map(|(_, r)| &r.targets)
                    .flat_map(|target| &target.backends)
                    .map(|backend| backend.address)
                    .filter(|ip| own.is_none_or(|vnet| spec.serves(vnet, *ip))),
            ),
        }
    };
    Topology {
        attachments: input.host.attachments.iter().zip(0_u16..).map(plan).collect(),
        on_exit: input.host.on_exit,
        workers: input.workers,
        offload: input.host.offload,
    }
}

/// The union of two topologies of one host.
#[must_use]
pub fn union(before: &Topology, after: &Topology) -> Topology {
    let mut both = after.clone();
    for (plan, old) in both.attachments.iter_mut().zip(&before.attachments) {
        let merge = |new: &mut Vec<IpAddr>, old: &[IpAddr]| *new = sorted(new.iter().chain(old).copied());
        let merge_prefixes = |new: &mut Vec<IpNet>, old: &[IpNet]| *new = sorted(new.iter().chain(old).copied());
        merge_prefixes(&mut plan.own_prefixes, &old.own_prefixes);
        merge_prefixes(&mut plan.dedicated, &old.dedicated);
        merge(&mut plan.endpoints, &old.endpoints);
        merge(&mut plan.neighbours, &old.neighbours);
        merge(&mut plan.nat_addresses, &old.nat_addresses);
        merge(&mut plan.backends, &old.backends);
        merge(&mut plan.resolvers, &old.resolvers);
        merge_prefixes(&mut plan.denied, &old.denied);
    }
    both
}

/// Addresses of a VNet's resolver within the VNet. Others belong to the host.
fn resolvers(vnet: &Vnet) -> impl Iterator<Item = IpAddr> {
    let listen = vnet.dns.iter().flat_map(|dns| &dns.listen).copied();
    listen.filter(|address| vnet.address_space.iter().any(|prefix| prefix.contains(address)))
}

fn dedicated(peering: &Peering<'_>, vnet: &Key) -> Vec<IpNet> {
    let subnets = peering.vnet(vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
    subnets.iter().filter(|subnet| subnet.dedicated).flat_map(|subnet| subnet.prefixes.iter().copied()).collect()
}

/// Sorted and without duplicates, so that equal requests give equal topologies.
fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}
