//! How much there is, and how much there may be: quotas count per subscription, per VNet and per resource, whatever
//! the connections' states.

use serde::Serialize;

use super::{Findings, Locator, Object, Violation, short};
use crate::model::sentence::{Mention, Named, Part, itself, sentence};
use crate::model::state::ItemKind;
use crate::model::{Key, Map, Model, PrivateEndpoint, Quota, Quotas};

/// What a quota counts in: a subscription, a VNet or a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// By name in lower case.
    Subscription(String),
    /// A network.
    Vnet(Key),
    /// A link resource.
    Resource(Key),
}

/// How much of a quota is used in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Name of the quota, such as `endpoints_per_vnet`.
    pub quota: &'static str,
    /// Such as `vnet spoke`.
    pub scope: String,
    /// `None`: unlimited.
    pub limit: Option<u64>,
    /// How many there are; `None`: the reader does not know all of them.
    pub used: Option<u64>,
}

/// How many there are of everything that a quota counts. Kept up to date endpoint by endpoint, it answers in
/// constant time whether one more may be. A clone is a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Map<u64, (Quota, Scope)>);

impl Counts {
    /// Counts a whole model.
    pub fn of(model: &Model) -> Self {
        let mut counts = Self::default();
        for key in model.vnets.keys() {
            counts.add(Quota::VnetsPerSubscription, Scope::subscription(key), 1);
            counts.add(Quota::EndpointsPerVnet, Scope::Vnet(key.clone()), 0);
        }
        for (key, resource) in &model.resources {
            counts.add(Quota::ResourcesPerSubscription, Scope::subscription(key), 1);
            counts.add(Quota::NatIpsPerResource, Scope::Resource(key.clone()), resource.nat.len() as u64);
            counts.add(Quota::EndpointsPerResource, Scope::Resource(key.clone()), 0);
        }
        for (key, endpoint) in &model.endpoints {
            counts.created(key, endpoint);
        }
        counts
    }

    fn add(&mut self, quota: Quota, scope: Scope, more: u64) {
        let place = (quota, scope);
        let known = self.0.get(&place).copied().unwrap_or_default();
        self.0.insert(place, known + more);
    }

    /// Takes over what became of the endpoint `key`.
    pub fn follow(&mut self, key: &Key, before: &Model, after: &Model) {
        before.endpoints.get(key).into_iter().for_each(|endpoint| self.deleted(key, endpoint));
        after.endpoints.get(key).into_iter().for_each(|endpoint| self.created(key, endpoint));
    }

    /// An endpoint was created.
    pub fn created(&mut self, key: &Key, endpoint: &PrivateEndpoint) {
        for (quota, scope) in counted(key, endpoint) {
            self.add(quota, scope, 1);
        }
    }

    /// An endpoint was deleted.
    pub fn deleted(&mut self, key: &Key, endpoint: &PrivateEndpoint) {
        for place in counted(key, endpoint) {
            if let Some(count) = self.0.get_mut(&place) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// What there is any of, and how many.
    #[cfg(test)]
    pub(crate) fn used(&self) -> Vec<(String, u64)> {
        let present = self.0.iter().filter(|(_, used)| **used > 0);
        present.map(|((quota, scope), used)| (format!("{} of {scope}", quota.name()), *used)).collect()
    }

    /// The quotas that creating an endpoint would exceed; the endpoint itself is not counted yet.
    pub fn exceeded_by(&self, quotas: &Quotas, key: &Key, endpoint: &PrivateEndpoint) -> Vec<Violation> {
        let mut findings = Findings::default();
        for (quota, scope) in counted(key, endpoint) {
            let place = (quota, scope);
            let wanted = self.0.get(&place).copied().unwrap_or_default() + 1;
            let (quota, scope) = place;
            judge(quotas, quota, &scope, wanted, Some(Object::Endpoint(key.clone()).at("")), &mut findings);
        }
        findings.0
    }
}

/// The quotas that an endpoint counts for, and where.
fn counted(key: &Key, endpoint: &PrivateEndpoint) -> [(Quota, Scope); 3] {
    [
        (Quota::EndpointsPerSubscription, Scope::subscription(key)),
        (Quota::EndpointsPerVnet, Scope::Vnet(endpoint.vnet.clone())),
        (Quota::EndpointsPerResource, Scope::Resource(endpoint.resource.clone())),
    ]
}

/// What is used of every quota, wherever something of what is `seen` is used or limited. How much of it all there is, is
/// told to who `knows` all that counts there; what then neither is known nor limited is left out.
pub fn usage(seen: &Model, whole: &Model, quotas: &Quotas, knows: impl Fn(Quota, &Scope) -> bool) -> Vec<Usage> {
    let (seen_places, whole) = (Counts::of(seen).0, Counts::of(whole).0);
    let line = |place: &(Quota, Scope)| {
        let (quota, scope) = place;
        let used = knows(*quota, scope).then(|| whole.get(place).copied().unwrap_or_default());
        let limit = quotas.get(*quota);
        let shown = Usage { quota: quota.name(), scope: scope.to_string(), limit, used };
        (used.is_some() || limit.is_some()).then_some(shown)
    };
    let is_seen = |(_, scope): &&(Quota, Scope)| match scope {
        Scope::Subscription(_) => true,
        Scope::Vnet(key) => seen.vnets.contains_key(key),
        Scope::Resource(key) => seen.resources.contains_key(key),
    };
    seen_places.keys().filter(is_seen).filter_map(line).collect()
}

pub(super) fn check(model: &Model, quotas: &Quotas, findings: &mut Findings) {
    if *quotas == Quotas::default() {
        return;
    }
    for ((quota, scope), used) in &Counts::of(model).0 {
        judge(quotas, *quota, scope, *used, None, findings);
    }
}

/// Notes that `used` is too much, at the place that the caller names, or else where the count is made.
fn judge(quotas: &Quotas, quota: Quota, scope: &Scope, used: u64, at: Option<Locator>, findings: &mut Findings) {
    let Some(limit) = quotas.get(quota).filter(|limit| used > *limit) else { return };
    let at = at.unwrap_or_else(|| match scope {
        Scope::Subscription(_) => Object::Daemon.at(format!("quotas.{}", quota.name())),
        Scope::Vnet(key) => Object::Vnet(key.clone()).at(""),
        Scope::Resource(key) if quota == Quota::NatIpsPerResource => Object::Resource(key.clone()).at("nat"),
        Scope::Resource(key) => Object::Resource(key.clone()).at(""),
    });
    let (what, name) = (what(quota), quota.name());
    let count = scope.mention(format!("{scope} would have {used} {what}, and "));
    findings.error(
        "QuotaExceeded",
        at,
        sentence!("{}the quota `{}` is {}", Part::Aside(count), name, limit),
        itself(format!("delete {what} that are not needed, or raise `quotas.{name}`")),
    );
}

fn what(quota: Quota) -> &'static str {
    match quota {
        Quota::VnetsPerSubscription => "VNets",
        Quota::ResourcesPerSubscription => "resources",
        Quota::NatIpsPerResource => "NAT IPs",
        Quota::EndpointsPerSubscription | Quota::EndpointsPerVnet | Quota::EndpointsPerResource => "endpoints",
    }
}

impl Scope {
    fn subscription(key: &Key) -> Self {
        Self::Subscription(key.subscription.to_lowercase())
    }

    /// `words` about how much there is, which only who may see all of it is told.
    fn mention(&self, words: String) -> Mention {
        match self {
            Self::Subscription(name) => Mention::new(Named::Subscription(name.clone()), words),
            Self::Vnet(key) => Mention::of(ItemKind::Vnet, key, words),
            Self::Resource(key) => Mention::of(ItemKind::Resource, key, words),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Subscription(name) => write!(f, "subscription {name}"),
            Self::Vnet(key) => write!(f, "vnet {}", short(key)),
            Self::Resource(key) => write!(f, "resource {}", short(key)),
        }
    }
}
