//! Accepts names that resolvers answered before networks had to consent to them.

use std::collections::{BTreeMap, BTreeSet};

use super::Migration;
use crate::compile::names::{Waiting, waiting};
use crate::control::codec::Record;
use crate::model::state::ControlState;
use crate::model::{AcceptedNames, ConnectionState, Key};

/// Accepts every name that resolvers answer today and that would otherwise wait for consent: on the endpoint, and in
/// peered VNets that answer it too.
pub(super) fn accept_answered(migration: &Migration<'_>, state: &mut ControlState) -> Vec<Record> {
    let mut records = Vec::new();
    let keys: Vec<Key> = state.model.endpoints.keys().cloned().collect();
    let mut in_peers: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for key in &keys {
        let Some(endpoint) = state.model.endpoints.get(key) else { continue };
        let names: Vec<String> =
            waiting(state, key, endpoint).into_iter().map(|one| one.name).filter(is_name).collect();
        if names.is_empty() {
            continue;
        }
        let home = endpoint.vnet.clone();
        let peers = state.model.vnets.get(&home).map(|vnet| vnet.peerings.clone()).unwrap_or_default();
        if !std::iter::once(&home).chain(&peers).any(|vnet| tells(state, vnet, key)) {
            continue;
        }
        let mut accepting = endpoint.clone();
        accept(&mut accepting.accept_names, &names);
        state.model.endpoints.insert(key.clone(), accepting.clone());
        let asked_of_peers = waiting(state, key, &accepting);
        let told = |one: &Waiting| one.vnet != home && tells(state, &one.vnet, key);
        for Waiting { vnet, name } in asked_of_peers.into_iter().filter(told) {
            in_peers.entry(vnet).or_default().insert(name);
        }
        records.push(migration.record(format!("endpoint {key}"), accepted(&names)));
    }
    for (vnet, names) in in_peers {
        let names: Vec<String> = names.into_iter().collect();
        let settings = state.model.vnets.get_mut(&vnet).and_then(|vnet| vnet.dns.as_mut());
        if let Some(dns) = settings {
            accept(&mut dns.accept_names, &names);
        }
        records.push(migration.record(format!("vnet {vnet}"), accepted(&names)));
    }
    records
}

/// Whether the resolver of `vnet` would answer with addresses of the endpoint `key`.
fn tells(state: &ControlState, vnet: &Key, key: &Key) -> bool {
    let connected = state.connections.get(key).map(|connection| connection.state);
    let Some((vnet, connected)) = state.model.vnets.get(vnet).zip(connected) else { return false };
    let listed = vnet.dns.as_ref().is_some_and(|dns| dns.answer.contains(&connected));
    listed && (!vnet.lockdown || connected == ConnectionState::Approved)
}

/// An invalid name was never answered, and cannot be accepted.
fn is_name(name: &String) -> bool {
    AcceptedNames::read(&[name]).is_ok()
}

fn accept(accepted: &mut Option<Box<AcceptedNames>>, names: &[String]) {
    let each = names.iter().filter_map(|name| AcceptedNames::read(&[name]).ok());
    each.for_each(|name| accepted.get_or_insert_default().add(name));
}

fn accepted(names: &[String]) -> String {
    format!("accepts what answered already: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::names::plan;
    use crate::model::DnsSettings;
    use crate::snapshot::dns::DnsPlan;
    use crate::testing::{connection, endpoint, ip, key, model, noon, resource, root, target};

    const NAME: &str = "db.corp.internal";

    /// A state of an older release: `spoke` with its peer `hub`, and a service with that name.
    fn found(state: ConnectionState) -> ControlState {
        let mut model = model();
        let mut service = resource("core", "10.20.99.9", vec![target("", "", "10.20.0.6")]);
        service.fqdns = vec![NAME.to_owned(), "no name at all".to_owned()];
        model.resources.insert(key("service"), service);
        model.endpoints.insert(key("service"), endpoint("spoke", Some("10.1.9.7"), "service"));
        let mut spoke = model.vnets[&key("spoke")].clone();
        spoke.dns = Some(DnsSettings { listen: vec![ip("10.1.255.254")], ..DnsSettings::default() });
        let mut hub = spoke.clone();
        (spoke.peerings, hub.peerings) = (vec![key("hub")], vec![key("spoke")]);
        model.vnets.insert(key("spoke"), spoke);
        model.vnets.insert(key("hub"), hub);
        let mut all = ControlState { model, ..ControlState::default() };
        all.connections.insert(key("service"), connection(state));
        all.connections.insert(key("orders"), connection(ConnectionState::Approved));
        all
    }

    fn migrated(found: &ControlState) -> (ControlState, Vec<String>) {
        let (actor, mut state) = (root().actor(), found.clone());
        let link_key = crate::testing::link_key();
        let records = accept_answered(&Migration { by: &actor, at: noon(), link_key }, &mut state);
        (state, records.into_iter().map(|one| format!("{} {}: {}", one.action, one.object, one.detail)).collect())
    }

    fn answering(plan: &DnsPlan) -> Vec<&str> {
        let knows = plan.resolvers.iter().filter(|(_, resolver)| resolver.names.get(NAME).is_some());
        knows.map(|(vnet, _)| vnet.as_str()).collect()
    }

    #[test]
    fn what_answered_before_goes_on_answering_and_is_recorded() {
        let found = found(ConnectionState::Approved);
        assert_eq!(answering(&plan(&found, 1)), Vec::<&str>::new(), "without a migration it would wait");
        let (state, records) = migrated(&found);
        assert_eq!(answering(&plan(&state, 1)), ["default/hub", "default/spoke"]);
        assert_eq!(records.len(), 2, "{records:?}");
        for (record, object) in records.iter().zip(["endpoint default/service", "vnet default/hub"]) {
            assert!(record.contains(object) && record.contains(NAME), "{record}");
        }
        assert_eq!(migrated(&state), (state, vec![]), "once");
    }

    #[test]
    fn what_did_not_answer_is_not_accepted() {
        for state in [ConnectionState::Pending, ConnectionState::Rejected, ConnectionState::Disconnected] {
            let found = found(state);
            assert_eq!(migrated(&found), (found, vec![]), "{state}");
        }
        let mut deaf = found(ConnectionState::Approved);
        for vnet in ["spoke", "hub"] {
            deaf.model.vnets.get_mut(&key(vnet)).expect("a VNet").dns = None;
        }
        assert_eq!(migrated(&deaf), (deaf, vec![]), "nobody answers there");
    }
}
