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
    /// Resources that had the same key before it, each with those who were bound to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<FormerResource>,
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

    /// This one and the earlier ones.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.earlier)
    }

    /// The one that `endpoint` was bound to.
    fn holding(&self, endpoint: &Key) -> Option<&Self> {
        self.each().find(|former| former.endpoints.contains(endpoint))
    }

    /// This one, which had the key after `older`.
    #[must_use]
    pub fn after(self, older: Option<Self>) -> Self {
        let older = older.map(|mut older| {
            let earlier = std::mem::take(&mut older.earlier);
            std::iter::once(older).chain(earlier).collect()
        });
        Self { earlier: older.unwrap_or_default(), ..self }
    }

    /// What of it `stays` are still bound to; `None`: nothing, and nothing is to be remembered.
    #[must_use]
    pub fn kept(&self, stays: impl Fn(&Key) -> bool) -> Option<Self> {
        let kept = |one: &Self| Self {
            endpoints: one.endpoints.iter().filter(|key| stays(key)).cloned().collect(),
            earlier: Vec::new(),
            ..one.clone()
        };
        let mut kept = self.each().map(kept).filter(|one| !one.endpoints.is_empty());
        let newest = kept.next()?;
        Some(Self { earlier: kept.collect(), ..newest })
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
        let former = self.former_of(key, endpoint).map(|former| &former.kind);
        let live = self.resources.get(&endpoint.resource).map(|resource| &resource.kind);
        let kind = if self.is_left(key, endpoint) { former } else { live.or(former) };
        kind.and_then(Option::as_deref)
    }

    /// Whether `endpoint` was bound to a resource that is gone.
    pub fn is_left(&self, key: &Key, endpoint: &PrivateEndpoint) -> bool {
        self.former_resources.get(&endpoint.resource).is_some_and(|former| former.holding(key).is_some())
    }

    /// What is left of the resource that `endpoint` was bound to; of the last one that had its key, where none says that
    /// it was.
    pub fn former_of(&self, key: &Key, endpoint: &PrivateEndpoint) -> Option<&FormerResource> {
        let former = self.former_resources.get(&endpoint.resource)?;
        Some(former.holding(key).unwrap_or(former))
    }
}
