//! Backends that serve two resources: addresses cannot keep those apart, so both have to say that they know.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Findings, Locator, Object};
use crate::model::sentence::{Mention, Part, itself, sentence};
use crate::model::{Key, LinkResource, Model};
use crate::snapshot::Protocol;

/// What one resource reaches on one server.
struct Reach<'a> {
    resource: &'a Key,
    spec: &'a LinkResource,
    ports: Vec<(Protocol, u32, u32)>,
    at: Locator,
}

pub(super) fn check(model: &Model, findings: &mut Findings) {
    let mut servers: HashMap<(Option<&Key>, IpAddr), Vec<Reach<'_>>> = HashMap::new();
    for (key, resource) in &model.resources {
        let object = Object::Resource(key.clone());
        for (index, target) in resource.targets.iter().enumerate() {
            let mut ports: Vec<_> = target
                .ports
                .iter()
                .map(|port| {
                    let first = u32::from(port.backend_first);
                    (port.protocol, first, first + u32::from(port.last.saturating_sub(port.first)))
                })
                .collect();
            if target.icmp {
                ports.push((Protocol::Icmp, 0, 0));
            }
            for (number, backend) in target.backends.iter().enumerate() {
                let at = object.at(format!("targets[{index}].backends[{number}]"));
                let reaches = servers.entry((resource.vnet.as_ref(), backend.address)).or_default();
                let reach = Reach { resource: key, spec: resource, ports: ports.clone(), at };
                check_one(&reach, backend.address, reaches, findings);
                reaches.push(reach);
            }
        }
    }
}

fn check_one(new: &Reach<'_>, address: IpAddr, known: &[Reach<'_>], findings: &mut Findings) {
    let said = |reach: &Reach<'_>| reach.spec.shared_backend;
    let mut others = known.iter().filter(|other| other.resource != new.resource && !(said(other) && said(new)));
    let shared = others.find_map(|other| Some((other, common(&new.ports, &other.ports)?)));
    let Some((other, (protocol, port))) = shared else { return };
    let what = if protocol == Protocol::Icmp { "ICMP echo".to_owned() } else { format!("{protocol} port {port}") };
    let [one, two] = [new, other].map(|reach| Mention::resource(reach.resource));
    let silent = [new, other].into_iter().filter(|reach| !said(reach)).map(|reach| Mention::resource(reach.resource));
    findings.error(
        "SharedBackend",
        new.at.clone(),
        sentence!("backend {} ({}) serves {}", address, itself(what), Part::Users(vec![one, two])),
        sentence!(
            "give each resource a server or port of its own, or set `shared_backend = true` on {}: whoever reaches \
             one of them then reaches what the server holds for the other",
            Part::Users(silent.collect()),
        ),
    );
    findings.also_at(other.at.clone());
    findings.involving(Object::Resource(other.resource.clone()));
}

/// A protocol and port that both reach.
fn common(one: &[(Protocol, u32, u32)], other: &[(Protocol, u32, u32)]) -> Option<(Protocol, u32)> {
    one.iter().find_map(|&(protocol, first, last)| {
        other
            .iter()
            .find(|&&(theirs, begin, end)| theirs == protocol && begin <= last && first <= end)
            .map(|&(_, begin, _)| (protocol, first.max(begin)))
    })
}
