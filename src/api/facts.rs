//! Names of what the counters count, and how much there is of it, from the view in force.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::control::{ControlPlane, ServerView};
use crate::model::{LinkResource, TargetSpec};
use crate::observe::{BackendFacts, EndpointFacts, Facts};

/// Names for whoever reads the counters, from the view in force.
pub fn facts(control: &ControlPlane) -> Facts {
    let view = control.view();
    let endpoints = view.registry.endpoint_ids().filter_map(|(key, id)| {
        let endpoint = view.state.model.endpoints.get(key)?;
        let link = view.state.connections.get(key)?.link;
        Some(EndpointFacts { id, name: key.to_string(), resource: endpoint.resource.to_string(), link })
    });
    Facts {
        endpoints: endpoints.collect(),
        resources: view.state.model.resources.keys().map(ToString::to_string).collect(),
        backends: view.servers().filter(|one| one.checked).map(|one| backend_facts(&one)).collect(),
        nat_pools: view.state.model.resources.iter().flat_map(|(_, resource)| nat_pools(resource)).collect(),
    }
}

fn backend_facts(view: &ServerView) -> BackendFacts {
    BackendFacts {
        resource: view.server.resource.to_string(),
        target: view.server.target_name(),
        address: view.server.address,
        up: view.well,
    }
}

/// Each NAT address, and how often its ports can be given out: once for each protocol, backend of its family and backend
/// port.
fn nat_pools(resource: &LinkResource) -> impl Iterator<Item = (IpAddr, u64)> {
    let pools =
        |ipv4: bool| resource.targets.iter().flat_map(move |target| pools(target, ipv4)).collect::<BTreeSet<_>>();
    let counts = [false, true].map(|ipv4| count(&pools(ipv4)));
    resource.nat.iter().map(move |nat| (*nat, counts[usize::from(nat.is_ipv4())]))
}

/// A protocol by its name, a backend, and the first and last of its ports.
type Pools = (String, IpAddr, u16, u16);

fn pools(target: &TargetSpec, ipv4: bool) -> impl Iterator<Item = Pools> {
    let backends = target.backends.iter().map(|backend| backend.address).filter(move |one| one.is_ipv4() == ipv4);
    backends.flat_map(move |backend| {
        let echo = target.icmp.then(|| ("icmp".to_owned(), backend, 0, 0));
        let ports = target.ports.iter().map(move |spec| {
            (spec.protocol.to_string(), backend, spec.backend_first, spec.backend_first + (spec.last - spec.first))
        });
        ports.chain(echo)
    })
}

/// How many ports `pools` have; two targets may have some in common.
fn count(pools: &BTreeSet<Pools>) -> u64 {
    let mut count = 0;
    let mut before: Option<&Pools> = None;
    let mut counted_to = 0;
    for pool @ (protocol, backend, first, last) in pools {
        let same = before.is_some_and(|(other, server, ..)| other == protocol && server == backend);
        let from = if same { u32::from(*first).max(counted_to) } else { u32::from(*first) };
        let end = u32::from(*last) + 1;
        count += u64::from(end.saturating_sub(from));
        counted_to = if same { counted_to.max(end) } else { end };
        before = Some(pool);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_backend_is_counted_once() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let pool = |protocol: &str, server: &str, first, last| (protocol.to_owned(), ip(server), first, last);
        let all = [
            pool("tcp", "10.20.0.2", 8_000, 8_009),
            pool("tcp", "10.20.0.2", 8_002, 8_004),
            pool("tcp", "10.20.0.2", 8_008, 8_011),
            pool("tcp", "10.20.0.3", 8_000, 8_000),
            pool("udp", "10.20.0.2", 8_000, 8_000),
            pool("icmp", "10.20.0.2", 0, 0),
        ];
        assert_eq!(count(&all.into()), 12 + 1 + 1 + 1);
        assert_eq!(count(&BTreeSet::new()), 0);
    }
}
