//! What of sessions and counters a caller may see: those of endpoints that it sees, each side without the other's
//! addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::control::View;
use crate::model::{Caller, Key};
use crate::observe::Sample;
use crate::types::{Flow, Match, Side};

/// Which sides of a session its reader sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    /// The endpoint is the reader's to read: who uses it from where.
    consumer: bool,
    /// What it is bound to is: NAT addresses and servers.
    provider: bool,
}

/// Whose sessions a caller may see.
pub(super) struct Visible {
    /// The caller sees everything, what is deleted as well.
    whole: bool,
    endpoints: BTreeMap<String, Sides>,
}

impl Visible {
    pub(super) fn to(view: &View, caller: &Caller) -> Self {
        if view.is_whole_to(caller) {
            return Self { whole: true, endpoints: BTreeMap::new() };
        }
        let seen = view.seen_by(caller);
        let model = &seen.state.model;
        let sides = |(key, endpoint): (&Key, &crate::model::PrivateEndpoint)| {
            let provider = model.resources.contains_key(&endpoint.resource);
            (key.to_string(), Sides { consumer: seen.reads_endpoint(key), provider })
        };
        Self { whole: false, endpoints: model.endpoints.iter().map(sides).collect() }
    }

    /// Whether everything is visible.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The session as its reader sees it; `None`: not at all.
    pub(super) fn flow(&self, flow: Flow) -> Option<Flow> {
        let sides = self.sides(Some(&flow.endpoint))?;
        let vnet = if sides.consumer { flow.vnet } else { String::new() };
        Some(Flow {
            vnet,
            consumer: told(sides.consumer, flow.consumer),
            endpoint_address: told(sides.consumer, flow.endpoint_address),
            nat: told(sides.provider, flow.nat),
            backend: told(sides.provider, flow.backend),
            ..flow
        })
    }

    /// The same of a session that was looked for. Where the connection that it came by is not `there` any more, an
    /// endpoint of that name is bound to something else by now, whose owner sees nothing of it.
    pub(super) fn found(&self, found: Match, there: bool) -> Option<Match> {
        let mut sides = self.sides(found.endpoint.as_deref())?;
        if !there && !self.whole {
            sides.provider = false;
            return sides.consumer.then(|| Self::of_sides(sides, found));
        }
        Some(Self::of_sides(sides, found))
    }

    fn of_sides(sides: Sides, found: Match) -> Match {
        Match {
            consumer: told(sides.consumer, found.consumer),
            endpoint_address: told(sides.consumer, found.endpoint_address),
            backend: told(sides.provider, found.backend),
            ..found
        }
    }

    fn sides(&self, endpoint: Option<&str>) -> Option<Sides> {
        if self.whole {
            return Some(Sides { consumer: true, provider: true });
        }
        self.endpoints.get(endpoint?).copied()
    }
}

fn told(seen: bool, side: Side) -> Side {
    if seen { side } else { Side::default() }
}

/// The counters of what `caller` sees, and those of nothing in particular.
pub(super) fn sample(view: &View, caller: &Caller, mut sample: Sample) -> Sample {
    if view.is_whole_to(caller) {
        return sample;
    }
    let seen = view.seen_by(caller);
    let model = &seen.state.model;
    let names = |keys: &mut dyn Iterator<Item = &Key>| keys.map(ToString::to_string).collect::<BTreeSet<String>>();
    let (endpoints, resources) = (names(&mut model.endpoints.keys()), names(&mut model.resources.keys()));
    let vnets = names(&mut model.vnets.keys());
    let nat: BTreeSet<IpAddr> = model.resources.values().flat_map(|resource| resource.nat.iter().copied()).collect();
    sample.endpoints.retain(|name, _| endpoints.contains(name));
    sample.links.retain(|name, _| endpoints.contains(name));
    sample.resources.retain(|name, _| resources.contains(name));
    let [of_endpoints, of_resources] = &mut sample.rates;
    of_endpoints.retain(|(name, _)| endpoints.contains(&**name));
    of_resources.retain(|(name, _)| resources.contains(&**name));
    sample.backends.retain(|backend| resources.contains(&backend.resource));
    sample.nat_ports.retain(|ports| nat.contains(&ports.nat_ip));
    sample.names.retain(|counts| vnets.contains(&counts.vnet));
    sample
}
