//! `judge()`: checks 2 to 6 of the policy, one pure function called by the packet path
//! on a session's first packet, by a worker that re-examines sessions after a change, and by `explain`.
//!
//! The checks in their order. The first that fails gives the drop reason (`docs/drop-reasons.md`):
//!
//! 1. The packet is well formed, and its source is one that a host behind the attachment can have.
//! 2. The source may use endpoints of this VNet. If not, it is never answered: a stranger learns nothing.
//! 3. An endpoint that is visible from this VNet has the destination address.
//! 4. Its connection is Approved, and the source is of no excluded workload.
//! 5. The endpoint's source rules and the subnet's security group allow it, where the subnet's network policies say so.
//! 6. Protocol and port belong to the subresource and member that the endpoint is bound to.
//! 7. Rates allow it, TCP begins with a SYN, a backend takes new sessions, there is room, and a NAT port is free.

use std::net::IpAddr;
use std::sync::Arc;

use super::prefixes::is_martian;
use super::tables::{EndpointAddress, Rule};
use super::{AttachmentId, ConnectionState, DropReason, Endpoint, Protocol, Resource, Snapshot, Target, TargetId};

/// What is asked: may this packet open a session?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Attachment the packet arrived on.
    pub attachment: AttachmentId,
    /// The consumer's address.
    pub source: IpAddr,
    /// The address it is sent to.
    pub destination: IpAddr,
    /// TCP, UDP or ICMP echo.
    pub protocol: Protocol,
    /// Destination port; 0 for ICMP echo.
    pub port: u16,
}

/// The answer when every check passes.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// The endpoint asked for.
    pub endpoint: &'a Arc<Endpoint>,
    /// The resource bound to it.
    pub resource: &'a Arc<Resource>,
    /// The member that the endpoint's address stands for.
    pub target: &'a Target,
    /// Position of `target` in the resource.
    pub target_id: TargetId,
    /// Port of the backend; 0 for ICMP echo.
    pub backend_port: u16,
}

/// The first check that fails. Where the endpoint is known, `endpoint` says whose counters and
/// whose answer mode apply.
#[derive(Clone, Debug)]
pub struct Denial<'a> {
    /// The endpoint, when check 2 found one.
    pub endpoint: Option<&'a Arc<Endpoint>>,
    /// Why.
    pub reason: DropReason,
    /// The workload class or the rule that denies it, by name.
    pub by: Option<Arc<str>>,
}

/// Check 1's second half: a source that no host behind the attachment may send from: a special-purpose
/// address, the destination itself, an endpoint's or a NAT address, a subnet's network or broadcast address, any of a
/// dedicated subnet (requirement P-3).
#[must_use]
pub fn is_spoofed(snapshot: &Snapshot, query: &Query) -> bool {
    let attachment = snapshot.attachments.get(usize::from(query.attachment.0));
    is_martian(query.source)
        || query.source == query.destination
        || attachment.is_some_and(|attachment| {
            attachment.unsent.contains(query.source) || snapshot.endpoint_address(attachment, query.source).is_some()
        })
        || snapshot.nat_owner(query.attachment, query.source).is_some()
}

/// Judges whether a packet may open (or keep) a session.
///
/// # Errors
/// The first check that fails, in the order above.
pub fn judge<'a>(snapshot: &'a Snapshot, query: &Query) -> Result<Admission<'a>, Denial<'a>> {
    let EndpointAddress { endpoint, target } = admitted(snapshot, query)?;
    let deny = |reason, by| Err(Denial { endpoint: Some(endpoint), reason, by });
    if let Some(rule) = denying_rule(endpoint, query) {
        return deny(DropReason::DeniedByRule, Some(rule));
    }
    let bound = snapshot
        .resource(endpoint.resource)
        .and_then(|resource| Some((resource, resource.targets.get(usize::from(target.0))?)));
    let Some((resource, bound_target)) = bound else {
        return deny(DropReason::PortNotExposed, None);
    };
    let Some(backend_port) = bound_target.backend_port(query.protocol, query.port) else {
        return deny(DropReason::PortNotExposed, None);
    };
    Ok(Admission { endpoint, resource, target: bound_target, target_id: *target, backend_port })
}

/// Checks 2 to 4 and the endpoint's own source rule: all that is known of a fragment, which has no ports.
///
/// # Errors
/// The first check that fails.
pub fn admits_source<'a>(snapshot: &'a Snapshot, query: &Query) -> Result<&'a Arc<Endpoint>, Denial<'a>> {
    let EndpointAddress { endpoint, .. } = admitted(snapshot, query)?;
    match own_rule(endpoint, query) {
        Some(rule) => Err(Denial { endpoint: Some(endpoint), reason: DropReason::DeniedByRule, by: Some(rule) }),
        None => Ok(endpoint),
    }
}

/// Checks 2 to 4.
fn admitted<'a>(snapshot: &'a Snapshot, query: &Query) -> Result<&'a EndpointAddress, Denial<'a>> {
    let unknown = Denial { endpoint: None, reason: DropReason::UnknownEndpoint, by: None };
    let Some(attachment) = snapshot.attachments.get(usize::from(query.attachment.0)) else {
        return Err(unknown);
    };
    // Whoever may use no endpoint at all learns neither which there are nor how they stand.
    if !attachment.may_use_any(query.source) {
        return Err(Denial { reason: DropReason::SourceNotAllowed, ..unknown });
    }
    let Some((entry, accepted)) = snapshot.endpoint_address(attachment, query.destination) else {
        return Err(unknown);
    };
    let endpoint = &entry.endpoint;
    let deny = |reason, by| Err(Denial { endpoint: Some(endpoint), reason, by });
    if !accepted.contains(query.source) {
        return deny(DropReason::SourceNotAllowed, None);
    }
    if endpoint.state != ConnectionState::Approved {
        return deny(DropReason::not_approved(endpoint.state), None);
    }
    if let Some((class, _)) = attachment.excluded_workloads.iter().find(|(_, set)| set.contains(query.source)) {
        return deny(DropReason::WorkloadExcluded, Some(Arc::clone(class)));
    }
    Ok(entry)
}

/// The endpoint's own source rule.
fn own_rule(endpoint: &Endpoint, query: &Query) -> Option<Arc<str>> {
    endpoint.sources.as_ref().is_some_and(|sources| !sources.contains(query.source)).then(|| Arc::from("sources"))
}

/// Check 5: the endpoint's own source rule, then the subnet's rules; the first match decides, and no
/// match allows, since check 4 has excluded outsiders.
fn denying_rule(endpoint: &Endpoint, query: &Query) -> Option<Arc<str>> {
    if let Some(rule) = own_rule(endpoint, query) {
        return Some(rule);
    }
    let rule = endpoint.rules.as_ref()?.iter().find(|rule| matches(rule, query))?;
    (!rule.allow).then(|| Arc::clone(&rule.name))
}

fn matches(rule: &Rule, query: &Query) -> bool {
    rule.protocol.is_none_or(|protocol| protocol == query.protocol)
        && rule.sources.as_ref().is_none_or(|set| set.contains(query.source))
        && rule.destinations.as_ref().is_none_or(|set| set.contains(query.destination))
        && (rule.ports.is_empty() || rule.ports.iter().any(|&(first, last)| (first..=last).contains(&query.port)))
}
