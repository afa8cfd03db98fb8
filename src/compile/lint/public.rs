//! Checks whether names of a VNet's resolver are also in public use: makes the questions for its upstreams, and
//! evaluates the answers. The caller sends the questions.

use std::collections::{BTreeMap, BTreeSet};

use super::{LintWarning, NX_DOMAIN_TRAP, PUBLIC_ZONE_OVERRIDDEN, endpoints_of, is_private};
use crate::model::Key;
use crate::snapshot::dns::ResolutionPolicy;
use crate::snapshot::dns::{Name, ResolverPlan};

/// Names of the VNet's resolver are also in public use.
pub const PUBLIC_ZONE_IN_USE: &str = "PublicZoneInUse";
/// It is unknown whether names are in public use.
pub const NOT_ASKED: &str = "NotAsked";

/// The most zones of one VNet that are checked. Private zones come first.
const ZONES: usize = 64;

/// The most names of one zone that are checked.
const NAMES: usize = 3;

/// The most answers that one message quotes.
const SHOWN: usize = 4;

/// A zone to ask the upstreams about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// The zone.
    pub zone: Name,
    /// What it hides, if it is in public use.
    matter: Matter,
    /// Names in it that the resolver answers.
    names: Vec<Name>,
    /// The affected endpoints.
    endpoints: BTreeSet<String>,
}

/// Why a zone is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// A private zone.
    Own(ResolutionPolicy),
    /// A private zone of typed resources that asks no upstream.
    Trap,
    /// A name of an endpoint, which forms a zone of its own.
    Fqdn,
}

/// An upstream's answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// No upstream could be asked, for this reason.
    Unknown(String),
    /// This server says NXDOMAIN: neither the name nor a name below it exists.
    Absent(String),
    /// This server has the name, with these records of the type.
    There(String, Vec<String>),
}

impl Inquiry {
    /// The questions, in the order in which [`judge`] expects the answers.
    pub fn questions(&self) -> impl Iterator<Item = (&Name, &'static str)> {
        let apex = ["SOA", "NS"].into_iter().map(|kind| (&self.zone, kind));
        apex.chain(self.names.iter().flat_map(|name| ["A", "AAAA"].map(|kind| (name, kind))))
    }

    /// The warning for `vnet`, if the zone is in public use.
    pub fn surprise(&self, vnet: &Key) -> LintWarning {
        let (zone, code) = (&self.zone, PUBLIC_ZONE_IN_USE);
        let (message, remedy) = match self.matter {
            Matter::Own(ResolutionPolicy::Default) => (
                format!(
                    "the zone {zone} is in public use: clients of {vnet} get what stands in the one here, and of the public \
                     one nothing"
                ),
                "name a zone that nobody else serves, or let unknown names through (`resolution_policy = \
                 \"NxDomainRedirect\"` of the link); where both is so on purpose, leave it",
            ),
            Matter::Own(ResolutionPolicy::NxDomainRedirect) => (
                format!(
                    "the zone {zone} is in public use: what stands in the one here hides it from clients of {vnet}"
                ),
                "name a zone that nobody else serves; where it is so on purpose, leave it",
            ),
            Matter::Fqdn => (
                format!("{zone} is in public use: clients of {vnet} get the endpoint's address instead"),
                "where they are to reach something else by this name, take it out of `fqdns`; else leave it",
            ),
            Matter::Trap => (format!("the zone {zone} is in public use"), ""),
        };
        let (endpoints, remedy) = (self.endpoints.clone(), remedy.to_owned());
        LintWarning {
            code,
            vnet: vnet.clone(),
            message,
            remedy,
            endpoints,
            zone: Some(zone.clone()),
            evidence: Vec::new(),
        }
    }
}

/// The zones to ask a resolver's upstreams about, and how many more there are. With `only`, just these names.
pub fn inquiries(plan: &ResolverPlan, only: Option<&BTreeSet<Name>>) -> (Vec<Inquiry>, usize) {
    if plan.upstream.is_empty() {
        return (Vec::new(), 0);
    }
    let (chosen, within): (Vec<_>, Vec<_>) = match only {
        None => (plan.zones.iter().collect(), plan.names.iter().collect()),
        Some(only) => (
            only.iter().filter_map(|name| plan.zones.entry(name)).collect(),
            only.iter().filter_map(|name| plan.names.entry(name)).collect(),
        ),
    };
    let mut zones: BTreeMap<(Matter, &Name), BTreeSet<&Name>> = BTreeMap::new();
    for (name, zone) in chosen.into_iter().filter(|(name, _)| plan.guard_of(name).is_none()) {
        let matter = match (is_private(name), &zone.own, zone.policy) {
            (true, Some(_), ResolutionPolicy::Default) => Matter::Trap,
            // The resolver asks an upstream there, or no public names exist.
            (true, ..) => continue,
            (false, Some(_), policy) => Matter::Own(policy),
            (false, None, _) => Matter::Fqdn,
        };
        zones.insert((matter, name), BTreeSet::new());
    }
    let more = zones.len().saturating_sub(ZONES);
    zones.truncate_to(ZONES);
    let places: BTreeMap<&Name, Matter> = zones.keys().map(|(matter, name)| (*name, *matter)).collect();
    for (name, _) in within.into_iter().filter(|(name, node)| !node.is_empty() && !name.starts_with('*')) {
        let Some((zone, _)) = plan.zone_of(name) else { continue };
        let Some(matter) = places.get(zone).filter(|matter| **matter != Matter::Trap) else { continue };
        if let Some(names) = zones.get_mut(&(*matter, zone)) {
            names.insert(name);
            if names.len() > NAMES {
                names.pop_last();
            }
        }
    }
    let inquiry = |((matter, zone), names): ((Matter, &Name), BTreeSet<&Name>)| Inquiry {
        zone: Name::clone(zone),
        matter,
        names: names.into_iter().cloned().collect(),
        endpoints: plan.names.get(zone).map(endpoints_of).unwrap_or_default(),
    };
    (zones.into_iter().map(inquiry).collect(), more)
}

/// Adds the upstreams' answers about `vnet` to the warnings in `found`, and names the zones without an answer. `more`
/// zones were not checked.
pub fn judge(vnet: &Key, inquiries: &[(Inquiry, Vec<Said>)], more: usize, found: &mut Vec<LintWarning>) {
    let mut untold: Vec<(&Name, String)> = Vec::new();
    for (inquiry, said) in inquiries {
        let known = |code: &str, one: &LintWarning| {
            one.code == code && one.vnet == *vnet && one.zone.as_ref() == Some(&inquiry.zone)
        };
        let evidence = evidence(inquiry, said);
        if inquiry.matter == Matter::Trap {
            match said.first() {
                // RFC 8020 §2: no name there has a public address.
                Some(Said::Absent(_)) => found.retain(|one| !known(NX_DOMAIN_TRAP, one)),
                Some(Said::There(server, _)) => {
                    let there = vec![format!("{server} knows {}", inquiry.zone)];
                    let told = if evidence.is_empty() { there } else { evidence };
                    if let Some(trap) = found.iter_mut().find(|one| known(NX_DOMAIN_TRAP, one)) {
                        trap.evidence = told;
                    }
                }
                Some(Said::Unknown(why)) => untold.push((&inquiry.zone, why.clone())),
                None => untold.push((&inquiry.zone, "no answer".to_owned())),
            }
        } else if !evidence.is_empty() {
            match found.iter_mut().find(|one| known(PUBLIC_ZONE_OVERRIDDEN, one)) {
                Some(one) => one.evidence = evidence,
                None => found.push(LintWarning { evidence, ..inquiry.surprise(vnet) }),
            }
        } else if let Some(why) = said.iter().find_map(Said::untold) {
            untold.push((&inquiry.zone, why.to_owned()));
        } else if said.is_empty() {
            untold.push((&inquiry.zone, "no answer".to_owned()));
        }
    }
    found.extend(not_asked(vnet, &untold, more));
    found.sort();
}

impl Said {
    fn untold(&self) -> Option<&str> {
        if let Self::Unknown(why) = self { Some(why) } else { None }
    }
}

/// Public records, and the server that has them.
fn evidence(inquiry: &Inquiry, said: &[Said]) -> Vec<String> {
    let told = inquiry.questions().zip(said).filter_map(|((name, kind), said)| {
        let Said::There(server, records) = said else { return None };
        Some((records.first()?, server, name, kind))
    });
    let line = |(record, server, name, kind): (&String, &String, &Name, &str)| {
        format!("{server} says: {name} {kind} {record}")
    };
    told.map(line).take(SHOWN).collect()
}

fn not_asked(vnet: &Key, untold: &[(&Name, String)], more: usize) -> Option<LintWarning> {
    let zones = |count: usize| if count == 1 { "1 more zone".to_owned() } else { format!("{count} more zones") };
    let message = match (untold, more) {
        ([], 0) => return None,
        ([], more) => format!("{} of {vnet} were not asked about: {ZONES} are enough at a time", zones(more)),
        ([(zone, why), rest @ ..], more) => {
            let others = rest.len() + more;
            let and = if others == 0 { String::new() } else { format!(" (and {})", zones(others)) };
            format!("whether {zone}{and} is in public use could not be asked for {vnet}: {why}")
        }
    };
    let remedy = format!("`privlink dns query NAME --vnet {vnet} --explain` says how its upstreams answer");
    let (code, endpoints) = (NOT_ASKED, BTreeSet::new());
    Some(LintWarning { code, vnet: vnet.clone(), message, remedy, endpoints, zone: None, evidence: Vec::new() })
}

/// Truncates a map.
trait Truncate {
    fn truncate_to(&mut self, length: usize);
}

impl<K: Ord, V> Truncate for BTreeMap<K, V> {
    fn truncate_to(&mut self, length: usize) {
        while self.len() > length {
            self.pop_last();
        }
    }
}

#[cfg(test)]
mod tests;
