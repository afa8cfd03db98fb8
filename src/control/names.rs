//! Names of endpoints: those that a resource gives, or those that Azure's tables make of its own name (seed, *DNS
//! configuration*), and from them what each VNet's resolver answers.

use super::model::{Key, Model, PrivateEndpoint};
use super::resource_types;
pub use crate::snapshot::dns::{DnsPlan, Name, Node, Owner, ResolverPlan};

/// From the model to what every VNet's resolver answers.
mod plan;

pub use plan::{Planner, plan};

/// One name of one address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn {
    /// What applications ask for.
    pub public: String,
    /// What it leads to, in the private zone; `None`: the name is its own zone.
    pub private: Option<String>,
    /// The private zone.
    pub zone: String,
}

impl Fqdn {
    /// The name that has the addresses.
    pub fn host(&self) -> &str {
        self.private.as_deref().unwrap_or(&self.public)
    }
}

/// The names of one member of an endpoint: those its resource gives, else those of Azure's tables.
pub fn of_member(model: &Model, endpoint: &PrivateEndpoint, member: &str) -> Vec<Fqdn> {
    let Some(resource) = model.resources.get(&endpoint.resource) else { return Vec::new() };
    let target = resource.targets.iter().find(|target| {
        let subresource =
            endpoint.subresource.is_empty() || target.subresource.eq_ignore_ascii_case(&endpoint.subresource);
        subresource && (member.is_empty() || target.member.eq_ignore_ascii_case(member))
    });
    let subresource = target.map_or(&*endpoint.subresource, |target| &*target.subresource);
    let zones = zones(resource.kind.as_deref().unwrap_or_default(), subresource, &resource.region);
    let given = target.map(|target| &target.fqdns).filter(|given| !given.is_empty());
    if let Some(given) = given.or(Some(&resource.fqdns).filter(|given| !given.is_empty())) {
        return given.iter().map(|name| named(name, &zones)).collect();
    }
    let name = resource_label(&endpoint.resource.name, subresource);
    let first = zones.first().map(|(public, private)| Fqdn {
        public: format!("{name}.{public}"),
        private: Some(format!("{name}.{private}")),
        zone: private.clone(),
    });
    first.into_iter().collect()
}

/// What stands in front of the zone: the second place of an account has a name of its own.
fn resource_label(name: &str, subresource: &str) -> String {
    let name = name.to_lowercase();
    if subresource.to_lowercase().ends_with("_secondary") { format!("{name}-secondary") } else { name }
}

/// Public and private zones of a subresource; one that asks for more than the region is left out.
fn zones(kind: &str, subresource: &str, region: &str) -> Vec<(String, String)> {
    let filled = |zone: &str| zone.replace("{regionName}", region).to_lowercase();
    let private = resource_types::private_zones(kind, subresource).into_iter().map(filled);
    let whole = private.filter(|zone| !zone.contains('{'));
    whole.filter_map(|private| Some((public_zone(&private)?, private))).collect()
}

/// `privatelink.blob.core.windows.net` stands behind `blob.core.windows.net`.
fn public_zone(private: &str) -> Option<String> {
    let labels: Vec<&str> = private.split('.').filter(|label| *label != "privatelink").collect();
    (labels.len() < private.split('.').count()).then(|| labels.join("."))
}

/// A name that the resource gives: in a zone of its type, or a zone of its own (never its parent's).
fn named(name: &str, zones: &[(String, String)]) -> Fqdn {
    let public = name.trim_end_matches('.').to_lowercase();
    let within = zones.iter().find_map(|(parent, private)| {
        let front = public.strip_suffix(parent)?.strip_suffix('.')?;
        Some((format!("{front}.{private}"), private.clone()))
    });
    match within {
        Some((private, zone)) => Fqdn { public, private: Some(private), zone },
        None => Fqdn { zone: public.clone(), private: None, public },
    }
}

/// Whether both VNets list each other.
fn are_peers(model: &Model, one: &Key, other: &Key) -> bool {
    let lists = |from: &Key, to: &Key| model.vnets.get(from).is_some_and(|vnet| vnet.peerings.contains(to));
    one != other && lists(one, other) && lists(other, one)
}

#[cfg(test)]
mod tests;
