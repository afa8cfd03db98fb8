//! The control plane's views as the JSON types of `types`.

use jiff::Timestamp;

use crate::compile::health::Health;
use crate::compile::names::waiting_at_home;
use crate::control::codec::Record as Recorded;
use crate::control::views::PeeringState;
use crate::control::{ConnectionView, EndpointView, ResourceView, VnetView};
use crate::model::state::{Connection as Decided, ControlState, DecidedBy};
use crate::model::{BackendState, Key, PortSpec, PrivateEndpoint, Protocol, TargetSpec, ids};
use crate::observe::{Observer, Sample, rates, traffic};
use crate::types::{
    Actor, Address, Connection, Decision, Ending, Endpoint, Line, Peering, Record, Resource, Step, Subnet, Target, Vnet,
};

/// Azure's word for a service of one's own.
const PRIVATE_LINK_SERVICE: &str = "Microsoft.Network/privateLinkServices";

pub(super) fn line(view: &EndpointView, sessions: u64, now: Timestamp) -> Line {
    Line {
        endpoint: view.key.to_string(),
        addresses: texts(view.addresses()),
        resource: view.endpoint.resource.to_string(),
        subresource: view.endpoint.subresource.clone(),
        state: view.connection.state.to_string(),
        reason: view.connection.description.clone(),
        decision: decision(&view.connection),
        ending: ending(view.connection.ends_at, now),
        backends: view.backends.map(|count| count as u64),
        sessions,
    }
}

/// `whole` is everything: a name may come from a resource that the endpoint's author does not read.
pub(super) fn endpoint(view: &EndpointView, whole: &ControlState, observer: &Observer, now: Timestamp) -> Endpoint {
    let EndpointView { key, id, endpoint, connection, backends } = view;
    Endpoint {
        id: key.to_string(),
        name: key.name.clone(),
        resource_group: key.group.clone(),
        vnet: endpoint.vnet.to_string(),
        subnet: endpoint.subnet.clone(),
        addresses: addresses(endpoint, connection.tells_parts()),
        resource: endpoint.resource.to_string(),
        subresource: endpoint.subresource.clone(),
        state: connection.state.to_string(),
        reason: connection.description.clone(),
        request_message: endpoint.request_message.clone(),
        decision: decision(connection),
        ending: ending(connection.ends_at, now),
        sources: texts(&endpoint.sources),
        accept_names: endpoint.accept_names.iter().flat_map(|names| names.iter().map(str::to_owned)).collect(),
        waiting_names: waiting_at_home(whole, key, endpoint),
        rates: endpoint.rates.map(rates),
        backends: backends.map(|count| count as u64),
        traffic: traffic(observer.endpoint(*id)),
    }
}

/// `tells`: what the resource calls its members is told, too.
fn addresses(endpoint: &PrivateEndpoint, tells: bool) -> Vec<Address> {
    let one = |ip: std::net::IpAddr, member: &str| {
        let member = if tells { member } else { "" };
        Address { ip: ip.to_string(), member: member.to_owned() }
    };
    endpoint.addresses.iter().filter_map(|address| Some(one(address.ip?, &address.member))).collect()
}

/// An entry of the audit log.
pub(super) fn record(record: Recorded) -> Record {
    let Recorded {
        at,
        by,
        action,
        object,
        link,
        resource_type: _,
        scope: _,
        from,
        to,
        detail,
        changes,
        changes_left_out,
    } = record;
    let by = Actor { principal: by.principal.to_string(), name: by.name };
    let changes_left_out = changes_left_out.map(|number| number as u64);
    Record { at: at.to_string(), by, action, object, link, from, to, detail, changes, changes_left_out }
}

pub(super) fn connection(view: ConnectionView, observer: &Observer, now: Timestamp) -> Connection {
    let step = |step: crate::model::state::PastState| Step {
        state: step.state.to_string(),
        reason: step.description,
        by: step.decided_by.to_string(),
        at: time(step.decided_at),
    };
    Connection {
        link_identifier: view.connection.link,
        requester: view.connection.requester.to_string(),
        requested_at: time(view.connection.created_at),
        vnet: view.vnet.to_string(),
        region: view.region,
        addresses: texts(&view.addresses),
        traffic: traffic(observer.endpoint(view.id)),
        history: view.connection.history.iter().cloned().map(step).collect(),
        endpoint: view.endpoint.to_string(),
        resource: view.resource.to_string(),
        subresource: view.subresource,
        state: view.connection.state.to_string(),
        decision: decision(&view.connection),
        ending: ending(view.connection.ends_at, now),
        reason: view.connection.description,
        request_message: view.request_message,
        subscription: view.subscription,
        actions_required: view.actions_required,
    }
}

/// When an approval ends, and how far off that is at `now`.
pub(super) fn ending(ends_at: Option<Timestamp>, now: Timestamp) -> Option<Ending> {
    // Whole seconds: an approval for three is not shown with four left.
    let left = |end: Timestamp| u64::try_from(end.duration_since(now).as_secs()).unwrap_or(0);
    ends_at.map(|end| Ending { approval_ends_at: time(end), approval_seconds_left: left(end) })
}

fn decision(connection: &Decided) -> Option<Decision> {
    let by = connection.decided_by.to_string();
    match connection.decided_by {
        DecidedBy::Nobody => None,
        DecidedBy::File(_)
        | DecidedBy::Right(_)
        | DecidedBy::AutoApproval
        | DecidedBy::Live(_)
        | DecidedBy::ResourceDeleted(_)
        | DecidedBy::ApprovalEnded => Some(Decision { by, at: time(connection.decided_at) }),
    }
}

pub(super) fn resource(view: &ResourceView, sample: &Sample) -> Resource {
    let ResourceView { key, resource, health, .. } = view;
    let totals = sample.resources.get(&key.to_string()).copied().unwrap_or_default();
    Resource {
        id: key.to_string(),
        name: key.name.clone(),
        resource_group: key.group.clone(),
        kind: resource.kind.clone().unwrap_or_else(|| PRIVATE_LINK_SERVICE.to_owned()),
        region: resource.region.clone(),
        vnet: resource.vnet.as_ref().map(ToString::to_string).unwrap_or_default(),
        nat: texts(&resource.nat)
            .into_iter()
            .chain(view.retired.iter().map(|address| format!("{address} (retired)")))
            .collect(),
        alias: ids::alias(key, resource).unwrap_or_default(),
        balance: resource.balance.to_string(),
        shares_backends_with: texts(&view.shares_backends_with),
        rates: resource.rates.map(rates),
        targets: resource.targets.iter().map(|target| shown(health, key, target)).collect(),
        endpoints: view.endpoints.iter().map(|(endpoint, _)| endpoint.to_string()).collect(),
        traffic: traffic(totals),
    }
}

fn shown(health: &Health, key: &Key, target: &TargetSpec) -> Target {
    let backends = target.backends.iter().map(|backend| match health.state(key, target, backend) {
        BackendState::Up => match silent_at(health.silent(key, target, backend).flat_map(|one| &one.ports)) {
            ports if ports.is_empty() => backend.address.to_string(),
            ports => format!("{} (down at {ports})", backend.address),
        },
        BackendState::Draining => format!("{} (drain)", backend.address),
        BackendState::Down if backend.drain => format!("{} (drained)", backend.address),
        BackendState::Down => format!("{} (down)", backend.address),
    });
    let icmp = target.icmp.then(|| "icmp".to_owned());
    Target {
        subresource: target.subresource.clone(),
        member: target.member.clone(),
        backends: backends.collect(),
        ports: target.ports.iter().copied().map(ports).chain(icmp).collect(),
    }
}

/// Exposed ports at which a server takes no session: `tcp 443, tcp 8000-8100`.
pub(super) fn silent_at<'a>(silent: impl Iterator<Item = &'a (Protocol, u16, u16)>) -> String {
    let spec = |&(protocol, first, last): &_| PortSpec { protocol, first, last, backend_first: first };
    silent.map(spec).map(ports).collect::<Vec<_>>().join(", ")
}

/// `tcp 5432`, `tcp 443→10000`, `udp 8000-8100`.
fn ports(spec: PortSpec) -> String {
    let PortSpec { protocol, first, last, backend_first } = spec;
    let range = |first: u16, last: u16| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let exposed = range(first, last);
    if backend_first == first {
        return format!("{protocol} {exposed}");
    }
    format!("{protocol} {exposed}→{}", range(backend_first, backend_first + (last - first)))
}

pub(super) fn vnet(view: VnetView) -> Vnet {
    let VnetView { key, vnet, device, netns, peerings, endpoints } = view;
    let peering = |(vnet, state): (Key, PeeringState)| Peering {
        vnet: vnet.to_string(),
        state: match state {
            PeeringState::Initiated => "Initiated",
            PeeringState::Connected => "Connected",
            PeeringState::Disconnected => "Disconnected",
            PeeringState::Unknown => "Unknown",
        }
        .to_owned(),
    };
    Vnet {
        id: key.to_string(),
        name: key.name.clone(),
        resource_group: key.group.clone(),
        region: vnet.region,
        address_space: texts(&vnet.address_space),
        on_premises: texts(&vnet.on_premises),
        device,
        netns,
        peerings: peerings.into_iter().map(peering).collect(),
        subnets: vnet
            .subnets
            .into_iter()
            .map(|subnet| Subnet { name: subnet.name, prefixes: texts(&subnet.prefixes), dedicated: subnet.dedicated })
            .collect(),
        endpoints: texts(&endpoints),
    }
}

/// RFC 3339, to the second.
fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(super) fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_approval_is_never_more_than_was_given() {
        let end: Timestamp = "2026-12-01T08:00:00Z".parse().expect("a time");
        for (now, left) in [
            ("2026-12-01T07:59:56.2Z", 3),
            ("2026-12-01T07:59:57Z", 3),
            ("2026-12-01T07:59:59.9Z", 0),
            ("2026-12-01T08:00:05Z", 0),
        ] {
            let shown = ending(Some(end), now.parse().expect("a time")).expect("an end");
            assert_eq!(
                (&*shown.approval_ends_at, shown.approval_seconds_left),
                ("2026-12-01T08:00:00Z", left),
                "{now}"
            );
        }
    }
}
