//! Model, host matters and decisions → [`crate::snapshot::Snapshot`] and [`crate::snapshot::topology::Topology`].

use super::model::{LinkResource, PrivateEndpoint};
use crate::snapshot::TargetId;

/// The targets an endpoint is bound to: (member, position in the resource), in the resource's order.
/// An endpoint without a subresource is bound to the only one there is.
pub fn bound_targets<'a>(resource: &'a LinkResource, endpoint: &PrivateEndpoint) -> Vec<(&'a str, TargetId)> {
    let only = resource.targets.first().map_or("", |target| target.subresource.as_str());
    let single = resource.targets.iter().all(|target| target.subresource.eq_ignore_ascii_case(only));
    let wanted = if endpoint.subresource.is_empty() && single { only } else { &endpoint.subresource };
    resource
        .targets
        .iter()
        .zip(0_u16..)
        .filter(|(target, _)| target.subresource.eq_ignore_ascii_case(wanted))
        .map(|(target, id)| (target.member.as_str(), TargetId(id)))
        .collect()
}
