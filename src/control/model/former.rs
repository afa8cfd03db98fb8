//! What is left of typed resources that were deleted while endpoints were bound to them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Key, LinkResource, Model, PrivateEndpoint};

/// What is left of a typed resource that was deleted while endpoints were bound to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerResource {
    /// As of [`LinkResource`].
    pub kind: Option<String>,
    /// As of [`LinkResource`]: names outlive what they led to, so that nobody is sent elsewhere.
    #[serde(default)]
    pub region: String,
    /// As of [`LinkResource`].
    #[serde(default)]
    pub fqdns: Vec<String>,
    /// Names of each member that had some of its own.
    #[serde(default)]
    pub targets: Vec<FormerTarget>,
    /// Who was bound to it. They pass nothing, whatever has its name since.
    #[serde(default)]
    pub endpoints: BTreeSet<Key>,
}

impl FormerResource {
    /// What is to be remembered of `resource`.
    #[must_use]
    pub fn of(resource: &LinkResource) -> Self {
        let named = resource.targets.iter().filter(|target| !target.fqdns.is_empty());
        let targets = named.map(|target| FormerTarget {
            subresource: target.subresource.clone(),
            member: target.member.clone(),
            fqdns: target.fqdns.clone(),
        });
        Self {
            kind: resource.kind.clone(),
            region: resource.region.clone(),
            fqdns: resource.fqdns.clone(),
            targets: targets.collect(),
            ..Self::default()
        }
    }
}

/// Names of one member of a resource that is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerTarget {
    /// As of [`TargetSpec`](super::TargetSpec).
    pub subresource: String,
    /// As of [`TargetSpec`](super::TargetSpec).
    pub member: String,
    /// As of [`TargetSpec`](super::TargetSpec).
    pub fqdns: Vec<String>,
}

impl Model {
    /// The type of what `endpoint` is bound to, also where that is gone and something else has its key since; `None`: a
    /// private link service, or nothing that is known.
    pub fn bound_kind(&self, key: &Key, endpoint: &PrivateEndpoint) -> Option<&str> {
        let former = self.former_resources.get(&endpoint.resource).map(|former| &former.kind);
        let live = self.resources.get(&endpoint.resource).map(|resource| &resource.kind);
        let kind = if self.is_left(key, endpoint) { former } else { live.or(former) };
        kind.and_then(Option::as_deref)
    }

    /// Whether `endpoint` was bound to a resource that is gone.
    pub fn is_left(&self, key: &Key, endpoint: &PrivateEndpoint) -> bool {
        self.former_resources.get(&endpoint.resource).is_some_and(|former| former.endpoints.contains(key))
    }
}
