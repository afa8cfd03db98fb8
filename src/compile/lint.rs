//! Warnings about DNS set-ups that are valid but may surprise users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::names::{Waiting, waiting};
use crate::model::state::{ControlState, ItemKind};
use crate::model::{Key, Model, PrivateEndpoint, names, resource_types};
use crate::snapshot::dns::{DnsPlan, Name, Node, ResolverPlan};
use crate::snapshot::dns::{ResolutionPolicy, Zone};

/// Warnings from answers of upstream servers.
mod public;

pub use public::{Inquiry, NOT_ASKED, PUBLIC_ZONE_IN_USE, Said, inquiries, judge};

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LintWarning {
    /// A code for programs.
    pub code: &'static str,
    /// The VNet whose clients are affected.
    pub vnet: Key,
    /// The message for people.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// The affected endpoints.
    pub endpoints: BTreeSet<String>,
    /// The zone, if the warning is about one.
    pub zone: Option<Name>,
    /// The answer of an upstream server, if one was asked.
    pub evidence: Vec<String>,
}

/// A private zone hides public names.
pub const PUBLIC_ZONE_OVERRIDDEN: &str = "PublicZoneOverridden";
/// Several endpoints share a name.
pub const NAME_CLAIMED_TWICE: &str = "NameClaimedTwice";
/// Clients ask another resolver.
pub const OTHER_RESOLVER: &str = "OtherResolver";
/// A name of an endpoint waits until its network accepts it.
pub const NAME_WAITS: &str = "NameWaits";
/// Names without an endpoint get NXDOMAIN.
pub const NX_DOMAIN_TRAP: &str = "NxDomainTrap";

/// The most endpoints in one message, and the most endpoints of one name that are checked.
const NAMED: usize = 3;
const MET: usize = 16;

impl LintWarning {
    /// Whether the warning is about one of the `changed` objects, such as `endpoint default/orders`.
    pub fn concerns(&self, changed: &BTreeSet<&str>) -> bool {
        let of_zone = [PUBLIC_ZONE_OVERRIDDEN, PUBLIC_ZONE_IN_USE, NX_DOMAIN_TRAP].contains(&self.code);
        let vnet = format!("{} {}", ItemKind::Vnet, self.vnet);
        changed.contains(vnet.as_str())
            || changed.iter().any(|item| match item.strip_prefix("endpoint ") {
                Some(endpoint) => self.endpoints.contains(endpoint),
                None => of_zone,
            })
    }
}

impl std::fmt::Display for LintWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, message, remedy, evidence, .. } = self;
        let evidence = if evidence.is_empty() { String::new() } else { format!(" ({})", evidence.join("; ")) };
        write!(f, "{code}: {message}{evidence}; {remedy}")
    }
}

/// All warnings for the model and its DNS plan.
pub fn lint(state: &ControlState, plan: &DnsPlan) -> Vec<LintWarning> {
    let model = &state.model;
    let mut found: Vec<LintWarning> =
        model.endpoints.iter().flat_map(|(key, endpoint)| waits(state, plan, key, endpoint)).collect();
    for key in model.vnets.keys() {
        match plan.resolvers.get(&key.to_string()) {
            Some(resolver) => of_resolver(model, key, resolver, &mut found),
            None => without_resolver(model, key, &mut found),
        }
        if plan.resolvers.get(&key.to_string()).is_some_and(|resolver| resolver.listen.is_empty()) {
            without_resolver(model, key, &mut found);
        }
    }
    found.sort();
    found
}

/// The warnings about `changed` objects (see [`LintWarning::concerns`]). If only endpoints changed, other names are not
/// checked.
pub fn concerning(state: &ControlState, plan: &DnsPlan, changed: &BTreeSet<&str>) -> Vec<LintWarning> {
    let model = &state.model;
    let mut found = match names_of(model, changed) {
        Some(names) => {
            let endpoints = changed.iter().filter_map(|item| endpoint_of(model, item));
            let mut found: Vec<LintWarning> =
                endpoints.flat_map(|(key, endpoint)| waits(state, plan, key, endpoint)).collect();
            for key in model.vnets.keys() {
                let resolver = plan.resolvers.get(&key.to_string());
                if let Some(resolver) = resolver {
                    for name in &names {
                        of_name(model, key, resolver, name, &mut found);
                    }
                }
                let holds = |item: &&str| endpoint_of(model, item).is_some_and(|(_, endpoint)| endpoint.vnet == *key);
                if resolver.is_none_or(|resolver| resolver.listen.is_empty()) && changed.iter().any(holds) {
                    without_resolver(model, key, &mut found);
                }
            }
            found
        }
        None => lint(state, plan),
    };
    found.retain(|surprise| surprise.concerns(changed));
    found.sort();
    found
}

/// The names of `changed`, if only endpoints changed.
pub fn names_of(model: &Model, changed: &BTreeSet<&str>) -> Option<BTreeSet<Name>> {
    let mut all = BTreeSet::new();
    for item in changed {
        let (key, endpoint) = endpoint_of(model, item)?;
        let grouped = names::grouped(model, key, endpoint).into_iter().map(|(_, name)| name);
        for name in names::of_endpoint(model, key, endpoint).into_iter().chain(grouped) {
            all.extend([Name::from(name.host()), Name::from(name.public)]);
        }
    }
    Some(all)
}

fn endpoint_of<'a>(model: &'a Model, item: &str) -> Option<(&'a Key, &'a PrivateEndpoint)> {
    let key = Key::try_from(item.strip_prefix("endpoint ")?.to_owned()).ok()?;
    model.endpoints.entry(&key)
}

/// Names of an endpoint that a resolver does not answer yet.
fn waits(state: &ControlState, plan: &DnsPlan, key: &Key, endpoint: &PrivateEndpoint) -> Vec<LintWarning> {
    let resolved = |one: &Waiting| plan.resolvers.contains_key(&one.vnet.to_string());
    let surprise = |one: Waiting| {
        let (message, remedy) = one.said(key, &endpoint.vnet);
        let (code, evidence, endpoints) = (NAME_WAITS, Vec::new(), BTreeSet::from([key.to_string()]));
        LintWarning { code, vnet: one.vnet, message, remedy, endpoints, zone: None, evidence }
    };
    waiting(state, key, endpoint).into_iter().filter(resolved).map(surprise).collect()
}

fn of_name(model: &Model, vnet: &Key, plan: &ResolverPlan, name: &Name, found: &mut Vec<LintWarning>) {
    if let Some((name, zone)) = plan.zones.entry(name) {
        found.extend(overridden(vnet, plan, name, zone));
    }
    if let Some((name, node)) = plan.names.entry(name) {
        found.extend(claimed_twice(model, vnet, name, node));
    }
}

fn of_resolver(model: &Model, vnet: &Key, plan: &ResolverPlan, found: &mut Vec<LintWarning>) {
    for (name, zone) in plan.zones.iter() {
        found.extend(overridden(vnet, plan, name, zone));
        found.extend(trap(vnet, plan, name, zone));
    }
    for (name, node) in plan.names.iter() {
        found.extend(claimed_twice(model, vnet, name, node));
    }
}

/// Public zones of typed resources, without their placeholders.
static PUBLIC: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let types = resource_types::all();
    let subresources = types.flat_map(|known| known.subresources.iter().map(|part| (known.name, *part)));
    let zones = subresources.flat_map(|(kind, part)| resource_types::public_zones(kind, part));
    zones.map(|zone| zone.rsplit_once("}.").map_or(zone, |(_, rest)| rest)).collect()
});

/// The public zone equal to `name` or below it.
fn public_below(name: &str) -> Option<&'static str> {
    PUBLIC
        .iter()
        .copied()
        .find(|zone| zone.strip_suffix(name).is_some_and(|front| front.is_empty() || front.ends_with('.')))
}

fn overridden(vnet: &Key, plan: &ResolverPlan, name: &Name, zone: &Zone) -> Option<LintWarning> {
    let public = public_below(name)?;
    let message = match (&zone.own, zone.policy) {
        (None, _) => format!("an endpoint's name is {name} itself, under which everybody's names of {public} stand"),
        (Some(_), ResolutionPolicy::Default) => format!(
            "the zone {name} overrides names in public use ({public}): those that it does not hold do not exist for clients \
             of {vnet}"
        ),
        (Some(_), ResolutionPolicy::NxDomainRedirect) => {
            format!("the zone {name} overrides names in public use ({public}) that it holds too")
        }
    };
    let remedy =
        format!("name the zone as the service's private one (`privatelink.{public}`), or the one name that is meant");
    let endpoints = plan.names.get(name).map(endpoints_of).unwrap_or_default();
    let (code, zone) = (PUBLIC_ZONE_OVERRIDDEN, Some(Name::clone(name)));
    Some(LintWarning { code, vnet: vnet.clone(), message, remedy, endpoints, zone, evidence: Vec::new() })
}

/// A private zone of typed resources that answers NXDOMAIN for unknown names instead of asking an upstream.
fn trap(vnet: &Key, plan: &ResolverPlan, name: &Name, zone: &Zone) -> Option<LintWarning> {
    if !is_private(name)
        || zone.policy != ResolutionPolicy::Default
        || plan.upstream.is_empty()
        || plan.lockdown.is_some()
    {
        return None;
    }
    let message = format!(
        "{name} is linked to {vnet} with the resolution policy Default: a resource without an endpoint here has no address \
         for its clients at all, though it has a public one"
    );
    let remedy =
        "`resolution_policy = \"NxDomainRedirect\"` of the link, or an endpoint for each such resource".to_owned();
    let (code, endpoints, zone) = (NX_DOMAIN_TRAP, BTreeSet::new(), Some(Name::clone(name)));
    Some(LintWarning { code, vnet: vnet.clone(), message, remedy, endpoints, zone, evidence: Vec::new() })
}

/// Whether typed resources have names in this zone.
fn is_private(zone: &str) -> bool {
    zone.split('.').any(|label| label == "privatelink")
}

fn endpoints_of(node: &Node) -> BTreeSet<String> {
    node.owners.iter().map(|owner| owner.endpoint.to_string()).collect()
}

fn claimed_twice(model: &Model, vnet: &Key, name: &Name, node: &Node) -> Option<LintWarning> {
    let endpoints = endpoints_of(node);
    if endpoints.len() < 2 {
        return None;
    }
    // Check only the first few: one name may belong to many endpoints.
    let keys = endpoints.iter().take(MET).filter_map(|endpoint| Key::try_from(endpoint.clone()).ok());
    let resources: BTreeSet<Key> =
        keys.filter_map(|key| model.endpoints.get(&key).map(|endpoint| endpoint.resource.clone())).collect();
    let names: Vec<&str> = endpoints.iter().take(NAMED).map(String::as_str).collect();
    let more = match endpoints.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let who = format!("{}{more}", names.join(", "));
    let (message, remedy) = if resources.len() > 1 {
        let bound: Vec<String> = resources.iter().map(ToString::to_string).collect();
        let message = format!(
            "{name} belongs to endpoints of different resources ({who}, of {}): clients of {vnet} meet one or the other",
            bound.join(", ")
        );
        (message, "give each resource names of its own (`fqdns`)".to_owned())
    } else {
        let message =
            format!("{name} belongs to several endpoints ({who}): clients of {vnet} take one address or the other");
        (message, "delete those that are not wanted; where they are, each must stay usable for every client".to_owned())
    };
    let (code, evidence) = (NAME_CLAIMED_TWICE, Vec::new());
    Some(LintWarning { code, vnet: vnet.clone(), message, remedy, endpoints, zone: None, evidence })
}

/// Endpoints with names in a VNet without a resolver.
fn without_resolver(model: &Model, vnet: &Key, found: &mut Vec<LintWarning>) {
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (key, endpoint) in model.endpoints.iter().filter(|(_, endpoint)| endpoint.vnet == *vnet) {
        let members = endpoint.addresses.iter();
        let first = members.flat_map(|address| names::of_member(model, key, endpoint, &address.member)).next();
        named.extend(first.map(|name| (key.to_string(), name.public)));
    }
    let Some((endpoint, name)) = named.first_key_value() else { return };
    let message = format!(
        "{vnet} has no resolver: its clients ask others for the names of its endpoints ({name} of {endpoint}), and what those \
         answer is not known here"
    );
    let remedy = "give it one (`dns = { listen = \"ADDRESS\" }`), or let the other server have these names; `privlink doctor` on \
                  a client's host says what it gets"
        .to_owned();
    let endpoints = named.into_keys().collect();
    let (code, evidence) = (OTHER_RESOLVER, Vec::new());
    found.push(LintWarning { code, vnet: vnet.clone(), message, remedy, endpoints, zone: None, evidence });
}

#[cfg(test)]
fn codes_of(found: &[LintWarning]) -> Vec<&str> {
    found.iter().map(|surprise| surprise.code).collect()
}

#[cfg(test)]
mod tests;
