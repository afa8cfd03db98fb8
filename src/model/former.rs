//! Records of typed resources that were deleted while endpoints were bound to them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Key, LinkResource, Model, PrivateEndpoint};

/// The record of a typed resource that was deleted while endpoints were bound to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerResource {
    /// As in [`LinkResource`].
    pub kind: Option<String>,
    /// As in [`LinkResource`]. The names stay reserved, so that they never resolve to another address.
    #[serde(default)]
    pub region: String,
    /// As in [`LinkResource`].
    #[serde(default)]
    pub fqdns: Vec<String>,
    /// The members with names of their own.
    #[serde(default)]
    pub targets: Vec<FormerTarget>,
    /// The endpoints that were bound to it. They pass no traffic, even if a later resource has the same name.
    #[serde(default)]
    pub endpoints: BTreeSet<Key>,
    /// Earlier resources with the same key, each with its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<FormerResource>,
}

impl FormerResource {
    /// The record of `resource`.
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

    /// This record and the earlier ones.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.earlier)
    }

    /// The record of the resource that `endpoint` was bound to.
    fn holding(&self, endpoint: &Key) -> Option<&Self> {
        self.each().find(|former| former.endpoints.contains(endpoint))
    }

    /// This record with `older` as an earlier one.
    #[must_use]
    pub fn after(self, older: Option<Self>) -> Self {
        let older = older.map(|mut older| {
            let earlier = std::mem::take(&mut older.earlier);
            std::iter::once(older).chain(earlier).collect()
        });
        Self { earlier: older.unwrap_or_default(), ..self }
    }

    /// The part of the record that endpoints in `stays` still need. `None`: none.
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

/// The names of one member of a deleted resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerTarget {
    /// As in [`TargetSpec`](super::TargetSpec).
    pub subresource: String,
    /// As in [`TargetSpec`](super::TargetSpec).
    pub member: String,
    /// As in [`TargetSpec`](super::TargetSpec).
    pub fqdns: Vec<String>,
}

impl Model {
    /// The type of the resource that `endpoint` is bound to, also if that is deleted and its key is used again. `None`:
    /// a private link service, or an unknown resource.
    pub fn bound_kind(&self, key: &Key, endpoint: &PrivateEndpoint) -> Option<&str> {
        let former = self.former_of(key, endpoint).map(|former| &former.kind);
        let live = self.resources.get(&endpoint.resource).map(|resource| &resource.kind);
        let kind = if self.is_left(key, endpoint) { former } else { live.or(former) };
        kind.and_then(Option::as_deref)
    }

    /// Whether `endpoint` was bound to a deleted resource.
    pub fn is_left(&self, key: &Key, endpoint: &PrivateEndpoint) -> bool {
        self.former_resources.get(&endpoint.resource).is_some_and(|former| former.holding(key).is_some())
    }

    /// The record of the resource that `endpoint` was bound to, or of the last one with its key if no record lists the
    /// endpoint.
    pub fn former_of(&self, key: &Key, endpoint: &PrivateEndpoint) -> Option<&FormerResource> {
        let former = self.former_resources.get(&endpoint.resource)?;
        Some(former.holding(key).unwrap_or(former))
    }
}
