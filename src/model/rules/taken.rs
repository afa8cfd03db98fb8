//! Names of accounts and servers become DNS names, and so belong to one resource alone, whatever its group and its
//! subscription.

use std::collections::{BTreeSet, HashMap};

use super::{Findings, Object};
use crate::model::names::{public_names, resource_of};
use crate::model::sentence::itself;
use crate::model::{Key, LinkResource, Model};

/// The rule. Who breaks it is told nothing but this: neither whose the name is, nor where.
pub const TAKEN: &str = "NameAlreadyTaken";

/// What is said of a name that somebody has.
pub fn message(name: &str) -> String {
    format!("the name `{name}` is already taken")
}

/// What to do.
pub const REMEDY: &str = "choose another name: this one makes a DNS name, which belongs to one resource alone";

pub(super) fn check(model: &Model, findings: &mut Findings) {
    // What has one name has one label in front of the zone, but for parts such as the second place of an account.
    let mut alike: HashMap<String, Vec<(&Key, &LinkResource)>> = HashMap::new();
    for (key, resource) in model.resources.iter().filter(|(_, resource)| resource.kind.is_some()) {
        let name = key.name.to_lowercase();
        alike.entry(resource_of(&name).to_owned()).or_default().push((key, resource));
    }
    let mut holders: Vec<&Key> = Vec::new();
    for several in alike.into_values().filter(|several| several.len() > 1) {
        let names: Vec<(&Key, BTreeSet<String>)> =
            several.into_iter().map(|(key, resource)| (key, public_names(model.cloud, key, resource))).collect();
        let meets = |(key, own): &&(&Key, BTreeSet<String>)| {
            names.iter().any(|(other, theirs)| other != key && !own.is_disjoint(theirs))
        };
        holders.extend(names.iter().filter(meets).map(|(key, _)| *key));
    }
    holders.sort_unstable();
    for key in holders {
        let (at, name) = (Object::Resource(key.clone()).at("name"), key.name.to_lowercase());
        findings.tightened(TAKEN, at, &name, itself(message(&name)), REMEDY);
    }
}
