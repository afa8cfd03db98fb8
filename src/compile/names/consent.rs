//! Which names a network accepts. A name is answered in a whole VNet and in its peers, so the author of a resource does
//! not decide alone about its names: a foreign name waits until the network accepts it.

use crate::model::names::{Fqdn, are_peers, folded, told};
use crate::model::state::{ControlState, DAEMON};
use crate::model::{AcceptedNames, Key, Model, PrivateEndpoint};

/// The names that networks have accepted.
#[derive(Clone, Copy)]
pub(super) struct Consent<'a> {
    model: &'a Model,
    /// The daemon's own file. It consents for the VNets that it contains.
    file: Option<&'a Model>,
}

/// A name that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The VNet.
    pub vnet: Key,
    /// The name.
    pub name: String,
}

impl Waiting {
    /// Why it waits, and what to do, for `endpoint` in the VNet `home`.
    pub fn said(&self, endpoint: &Key, home: &Key) -> (String, String) {
        let Self { vnet, name } = self;
        let message = format!(
            "{name} of {endpoint} is a name that its resource gives and {vnet} has not accepted: it is asked of the upstreams \
             there, as if the endpoint did not have it"
        );
        let remedy = if vnet == home {
            format!("`privlink endpoint accept-names {endpoint} {name}`, where clients of {vnet} are to reach it so")
        } else {
            format!("name it in `dns.accept_names` of {vnet}, where its clients are to reach it so")
        };
        (message, remedy)
    }
}

impl<'a> Consent<'a> {
    pub(super) fn of(state: &'a ControlState) -> Self {
        let file = state.files.get(&DAEMON.to_owned()).map(|applied| &applied.model);
        Self { model: &state.model, file }
    }

    /// Whether `name` of `endpoint` may be answered in `vnet`, the endpoint's own VNet or a peer of it. A name that the
    /// endpoint's own VNet has not accepted is not answered in peers either.
    pub(super) fn is_given(&self, vnet: &Key, endpoint: &PrivateEndpoint, name: &Fqdn) -> bool {
        if name.own {
            return true;
        }
        let accepts = |accepted: &AcceptedNames| accepted.accept(&name.public);
        let at_home = endpoint.accept_names.as_deref().is_some_and(accepts);
        if !at_home && !self.is_in_file(&endpoint.vnet, endpoint, name) {
            return false;
        }
        let dns = || self.model.vnets.get(vnet)?.dns.as_ref()?.accept_names.as_deref();
        *vnet == endpoint.vnet || dns().is_some_and(accepts) || self.is_in_file(vnet, endpoint, name)
    }

    /// Whether the daemon's file contains both the resource with this name and the VNet.
    fn is_in_file(&self, vnet: &Key, endpoint: &PrivateEndpoint, name: &Fqdn) -> bool {
        let Some(file) = self.file.filter(|file| file.vnets.contains_key(vnet)) else { return false };
        let Some(resource) = file.resources.get(&endpoint.resource) else { return false };
        let mut given = resource.fqdns.iter().chain(resource.targets.iter().flat_map(|target| &target.fqdns));
        given.any(|given| folded(given) == name.public)
    }
}

/// The waiting names of `endpoint`, each with the VNet whose consent is missing. While a name waits in the endpoint's
/// own VNet, peers are not asked. An endpoint with a zone group has names only in that group's zones.
pub fn waiting(state: &ControlState, key: &Key, endpoint: &PrivateEndpoint) -> Vec<Waiting> {
    if endpoint.zone_group.is_some() {
        return Vec::new();
    }
    let consent = Consent::of(state);
    let model = &state.model;
    let mut waiting = Vec::new();
    let names = endpoint.addresses.iter().flat_map(|address| told(state, key, endpoint, &address.member));
    for name in names.filter(|name| !name.own) {
        if !consent.is_given(&endpoint.vnet, endpoint, &name) {
            waiting.push(Waiting { vnet: endpoint.vnet.clone(), name: name.public });
            continue;
        }
        let listed = model.vnets.get(&endpoint.vnet).map(|vnet| vnet.peerings.as_slice()).unwrap_or_default();
        let resolves = |peer: &&Key| model.vnets.get(peer).is_some_and(|vnet| vnet.dns.is_some());
        let peers = listed.iter().filter(|peer| are_peers(model, &endpoint.vnet, peer)).filter(resolves);
        let silent = peers.filter(|peer| !consent.is_given(peer, endpoint, &name));
        waiting.extend(silent.map(|peer| Waiting { vnet: peer.clone(), name: name.public.clone() }));
    }
    waiting.sort_unstable();
    waiting.dedup();
    waiting
}

/// The names of `endpoint` that wait in its own VNet.
pub fn waiting_at_home(state: &ControlState, key: &Key, endpoint: &PrivateEndpoint) -> Vec<String> {
    let here = waiting(state, key, endpoint).into_iter().filter(|one| one.vnet == endpoint.vnet);
    here.map(|one| one.name).collect()
}

/// Endpoints of `seen` whose name `asked` waits in `vnet`.
pub fn waiting_in<'a>(state: &ControlState, seen: &'a Model, vnet: &Key, asked: &str) -> Vec<(&'a Key, Waiting)> {
    let wanted = Waiting { vnet: vnet.clone(), name: folded(asked) };
    let waits = |key: &Key, endpoint: &PrivateEndpoint| waiting(state, key, endpoint).contains(&wanted);
    let found = seen.endpoints.iter().filter(|(key, endpoint)| waits(key, endpoint));
    found.map(|(key, _)| (key, wanted.clone())).collect()
}
