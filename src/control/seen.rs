//! Reduces a view to what a caller may see. Code that works with the reduced view needs no further checks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::index::Index;
use super::outcome::Outcome;
use super::views::View;
use crate::access::rights::visibility::{may_mention, sees, shows_itself};
use crate::access::rights::{Right, Rights, Verb};
use crate::compile::names::plan;
use crate::model::approval::Action;
use crate::model::error::Error;
use crate::model::references::{resolve_seen, unknown};
use crate::model::registry::each_kind;
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::rules::{Locator, Violation};
use crate::model::sentence::Named;
use crate::model::state::{ControlState, Item, ItemKind};
use crate::model::{Caller, Scope, actions, ids};
use crate::model::{
    EndpointIp, FormerResource, Key, LinkResource, Map, Model, PrivateEndpoint, ResourceType, Subnet, Tags, Vnet,
    resource_types,
};

/// The result of a command, without what the holder of `rights` may not see.
pub(super) fn told<O: Outcome>(rights: &Rights<'_>, model: &Model, outcome: Result<O, Error>) -> Result<O, Error> {
    let sees = |named: &Named| may_mention(rights, model, named);
    let hidden = |mut outcome: O| {
        outcome.hide(&sees);
        outcome
    };
    outcome.map(hidden).map_err(|refusal| refusal.told(&sees))
}

impl View {
    /// The rights of `caller`.
    pub fn rights<'a>(&'a self, caller: &'a Caller) -> Rights<'a> {
        Rights::of(caller, &self.access)
    }

    /// Whether `caller` may read every object, of every type, also of types without objects.
    pub fn is_whole_to(&self, caller: &Caller) -> bool {
        self.demand_whole(caller).is_ok()
    }

    /// Checks that `caller` may read every object, of whatever type.
    ///
    /// # Errors
    /// 403, naming a type. Which type does not depend on existing objects.
    pub fn demand_whole(&self, caller: &Caller) -> Result<(), Error> {
        let rights = self.rights(caller);
        self.kinds().try_for_each(|kind| rights.demand(&Right::anywhere(actions::read(kind))))
    }

    /// Whether `caller` may read every object of these types within `scope`.
    pub fn reads(&self, caller: &Caller, kinds: &[&str], scope: &Scope) -> bool {
        let rights = self.rights(caller);
        kinds.iter().all(|kind| rights.hold(&Right { action: actions::read(kind), scope: scope.clone() }))
    }

    /// Whether `caller` may read every object within `scope`, of whatever type.
    pub fn reads_all(&self, caller: &Caller, scope: &Scope) -> bool {
        self.kinds().all(|kind| self.reads(caller, &[kind], scope))
    }

    /// The actions that write or delete an object of any type.
    pub fn object_writes(&self) -> Vec<crate::model::Action> {
        self.kinds().flat_map(|kind| [actions::write(kind), actions::delete(kind)]).collect()
    }

    /// Every type of object.
    fn kinds<'a>(&'a self) -> impl Iterator<Item = &'a str> {
        let fixed = ItemKind::ALL.into_iter().rev().map(|kind| -> &'a str { kind.arm_type() });
        let declared = self.state.model.resource_types.values().map(|kind| kind.name.as_str());
        let known = resource_types::all().map(|kind| kind.name);
        fixed.chain(known).chain(declared)
    }

    /// The part of the view that `caller` may read: objects with their `read` right. For endpoints bound to the
    /// caller's resources, this is the connection only, without details of the consumer's network.
    #[must_use]
    pub fn seen_by(&self, caller: &Caller) -> Self {
        if self.is_whole_to(caller) {
            return self.clone();
        }
        if self.access.of(&caller.subject).is_nothing() {
            // A caller without any role sees nothing.
            let (state, seen) = (Arc::default(), Arc::default());
            return Self { index: Index::default(), state, seen, ..self.clone() };
        }
        let rights = self.rights(caller);
        self.seen.of(&caller.subject, || self.filtered(&rights))
    }

    fn filtered(&self, rights: &Rights<'_>) -> Self {
        let whole = &self.state.model;
        let may = |kind: ItemKind, key: &Key| sees(rights, whole, &Item { kind, key: key.clone() });
        let mut model = Model { cloud: whole.cloud, ..Model::default() };
        each_kind!(K => *K::map_mut(&mut model) = kept(K::map(whole), |key, _| may(K::KIND, key)));
        let connections = kept(&self.state.connections, |key, _| model.endpoints.contains_key(key));
        // Only readers of its endpoints see the record of a deleted resource.
        let left = |former: &FormerResource| {
            former.each().flat_map(|one| &one.endpoints).any(|key| model.endpoints.contains_key(key))
        };
        model.former_resources = kept(&whole.former_resources, |_, former| left(former));
        let read = |key: &Key| {
            rights.hold(&Right::on(whole, &Item { kind: ItemKind::Endpoint, key: key.clone() }, Verb::Read))
        };
        let unread: BTreeSet<Key> = model.endpoints.keys().filter(|key| !read(key)).cloned().collect();
        for key in &unread {
            if let Some(endpoint) = model.endpoints.get_mut(key) {
                *endpoint = for_owner(endpoint);
            }
        }
        let state = ControlState { model, connections, ..ControlState::default() };
        let (index, state, unread) = (Index::of(&state), Arc::new(state), Arc::new(unread));
        Self { index, state, unread, seen: Arc::default(), ..self.clone() }
    }

    /// A hash of this view's objects and connections.
    pub fn fingerprint(&self) -> u64 {
        let ControlState { model, connections, .. } = &*self.state;
        let text = serde_json::to_vec(&(model, connections)).unwrap_or_default();
        let digest = Sha256::digest(text);
        // 53 bits: every JSON reader keeps these exactly.
        digest.iter().take(6).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// Checks that `caller` may make this decision about the connection of the endpoint `reference`, among those that
    /// it sees.
    ///
    /// # Errors
    /// `NotFound`, or `Forbidden`.
    pub fn demand_decision(&self, caller: &Caller, reference: &str, action: Action) -> Result<(), Error> {
        let (key, endpoint) = self.seen_endpoint(caller, reference)?;
        self.rights(caller).demand(&Right::on_connection(&self.state.model, key, endpoint, action))
    }

    /// Checks that `caller` may decide about connections of the resource `reference`, among those that it sees.
    ///
    /// # Errors
    /// `NotFound`, or `Forbidden`.
    pub fn demand_decisions(&self, caller: &Caller, reference: &str) -> Result<(), Error> {
        let (rights, model) = (self.rights(caller), &self.state.model);
        let seen = |key: &Key| sees(&rights, model, &Item { kind: ItemKind::Resource, key: key.clone() });
        let key = resolve_seen("resource", reference, &model.resources, &seen)?;
        rights.demand(&Right::approve(model, key))
    }

    /// Checks that `caller` may write the endpoint `reference`, among those that it sees.
    ///
    /// # Errors
    /// `NotFound`, or `Forbidden`.
    pub fn demand_write_of_endpoint(&self, caller: &Caller, reference: &str) -> Result<(), Error> {
        let (key, _) = self.seen_endpoint(caller, reference)?;
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        self.rights(caller).demand(&Right::on(&self.state.model, &item, Verb::Write))
    }

    fn seen_endpoint(&self, caller: &Caller, reference: &str) -> Result<(&Key, &PrivateEndpoint), Error> {
        let (rights, model) = (self.rights(caller), &self.state.model);
        let seen = |key: &Key| sees(&rights, model, &Item { kind: ItemKind::Endpoint, key: key.clone() });
        let key = resolve_seen("endpoint", reference, &model.endpoints, &seen)?;
        model.endpoints.entry(key).ok_or_else(|| unknown("endpoint", reference, std::iter::empty()))
    }

    /// Objects in force that break a tightened rule, as far as `caller` may see their places.
    pub fn standing_for(&self, whole: &Model, caller: &Caller) -> Vec<Stands> {
        let rights = self.rights(caller);
        let sees = |named: &Named| may_mention(&rights, whole, named);
        let told = |violation: &Violation| {
            let places = std::iter::once(&violation.at).chain(&violation.also);
            let place = places.map(Locator::place).find(|place| place.is_seen(&sees))?;
            Some(Stands {
                code: violation.code,
                left_out: violation.left_out,
                place: place.told(&sees).to_string(),
                message: violation.message.told(&sees).to_string(),
                remedy: violation.remedy.told(&sees).to_string(),
            })
        };
        self.standing.iter().filter_map(told).collect()
    }

    /// Whether the reader of this view may read the endpoint `key`, and not only its connection.
    pub fn reads_endpoint(&self, key: &Key) -> bool {
        self.state.model.endpoints.contains_key(key) && !self.unread.contains(key)
    }

    /// Endpoints that the reader of this view may read, by name.
    pub fn endpoints_read(&self) -> impl Iterator<Item = &Key> {
        self.state.model.endpoints.keys().filter(|key| !self.unread.contains(key))
    }
}

impl View {
    /// The view with the objects of `own` added, for checks of names. An endpoint without an address gets one that
    /// nobody uses.
    #[must_use]
    pub fn as_if(&self, own: &Model) -> Self {
        let mut state = ControlState::clone(&self.state);
        let model = &mut state.model;
        model.vnets.extend(own.vnets.iter().map(|(key, vnet)| (key.clone(), vnet.clone())));
        model.dns_zones.extend(own.dns_zones.iter().map(|(key, zone)| (key.clone(), zone.clone())));
        model.resources.extend(own.resources.iter().map(|(key, resource)| (key.clone(), resource.clone())));
        for (key, endpoint) in &own.endpoints {
            let mut endpoint = endpoint.clone();
            if endpoint.addresses.is_empty() {
                endpoint.addresses.push(EndpointIp { member: String::new(), ip: None });
            }
            for address in &mut endpoint.addresses {
                address.ip.get_or_insert(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            }
            model.endpoints.insert(key.clone(), endpoint);
        }
        let dns = Arc::new(plan(&state, self.epoch));
        let seen = Arc::default();
        Self { index: Index::of(&state), dns, state: Arc::new(state), seen, ..self.clone() }
    }

    /// Objects that a document of `caller` may refer to: those that the caller may read, resources visible to a
    /// subscription in which the caller may create endpoints, and resources that `document` names by an ID, if they
    /// accept requests by ID. All other objects count as absent. Of a resource named by its ID only the type is known.
    /// A `dry_run` sends no request, so its result is the same whether or not that resource exists.
    #[must_use]
    pub fn seen_by_author(&self, caller: &Caller, document: &str, dry_run: bool) -> Model {
        let rights = self.rights(caller);
        let whole = &self.state.model;
        let mut model = self.seen_by(caller).state.model.clone();
        for (key, vnet) in whole.vnets.iter() {
            if !model.vnets.contains_key(key)
                && let Some(part) = readable_part(&rights, key, vnet)
            {
                model.vnets.insert(key.clone(), part);
            }
        }
        // The list of roles is public, as in Azure.
        model.roles = whole.roles.clone();
        for (key, resource) in &whole.resources {
            if shows_itself(&rights, whole, key) && !model.resources.contains_key(key) {
                model.resources.insert(key.clone(), resource.clone());
            }
        }
        for id in ids::written_in(document) {
            let meant = |resource: &LinkResource| {
                resource.is_requestable_by_id() && resource.kind.as_deref().is_some_and(|kind| id.is(kind))
            };
            let found = whole.resources.entry(id.key()).filter(|(_, resource)| meant(resource));
            let found = found.map(|(key, resource)| (key.clone(), resource.kind.clone()));
            let typed = || {
                let own = whole.resource_types.get(&ResourceType::key(&id.kind())).map(|own| own.name.clone());
                let kind = resource_types::find(&id.kind()).map(|known| known.name.to_owned()).or(own)?;
                (kind != PRIVATE_LINK_SERVICE).then(|| (id.key().clone(), Some(kind)))
            };
            let meant = if dry_run { typed() } else { found };
            if let Some((key, kind)) = meant.filter(|(key, _)| !model.resources.contains_key(key)) {
                model.resources.insert(key, LinkResource::blank(kind));
            }
        }
        model
    }
}

/// The live state as one reader may export it.
#[derive(Clone, Debug, Default)]
pub struct Exportable {
    /// What the reader may read, without endpoints of which it sees only the connection.
    pub state: Arc<ControlState>,
    /// Objects that these refer to, as far as the reader may know them.
    pub known: Model,
    /// The reader may read everything.
    pub whole: bool,
}

impl View {
    /// The part of the live state that `caller` may export.
    #[must_use]
    pub fn exportable(&self, caller: &Caller) -> Exportable {
        let seen = self.seen_by(caller);
        let mut state = ControlState::clone(&seen.state);
        // An endpoint of which only the connection is visible cannot be exported.
        seen.unread.iter().for_each(|key| _ = state.model.endpoints.remove(key));
        Exportable {
            state: Arc::new(state),
            known: self.seen_by_author(caller, "", false),
            whole: self.is_whole_to(caller),
        }
    }
}

/// The visible part of a VNet for a reader of some of its subnets only. `None`: it may read none.
fn readable_part(rights: &Rights<'_>, key: &Key, vnet: &Vnet) -> Option<Vnet> {
    let read = |name: &str| Right::subnet(key, name, actions::read(actions::SUBNETS));
    let subnets: Vec<Subnet> = vnet.subnets.iter().filter(|one| rights.hold(&read(&one.name))).cloned().collect();
    (!subnets.is_empty()).then(|| Vnet {
        region: vnet.region.clone(),
        address_space: subnets.iter().flat_map(|subnet| &subnet.prefixes).copied().collect(),
        on_premises: Vec::new(),
        peerings: Vec::new(),
        workloads: Vec::new(),
        dns: None,
        lockdown: false,
        public_prefixes: Vec::new(),
        peering_labels: Vec::new(),
        tags: Tags::new(),
        foreign: String::new(),
        // Only a reader of the VNet sees which rule set a subnet has.
        subnets: subnets.into_iter().map(|subnet| Subnet { security_group: None, ..subnet }).collect(),
    })
}

/// An endpoint as the resource's owner sees it: who requests what from which region, without details of the consumer's
/// network.
fn for_owner(endpoint: &PrivateEndpoint) -> PrivateEndpoint {
    PrivateEndpoint {
        region: endpoint.region.clone(),
        subresource: endpoint.subresource.clone(),
        manual: endpoint.manual,
        request_message: endpoint.request_message.clone(),
        status: endpoint.status,
        reason: endpoint.reason.clone(),
        ..PrivateEndpoint::new(Key::global(""), "", endpoint.resource.clone())
    }
}

/// An object in force that breaks a newer rule, without what the reader may not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// Names the rule.
    pub code: &'static str,
    /// It comes from the daemon's file, and is not in force on this host.
    pub left_out: bool,
    /// Where it shows.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// The objects for which `keep` is true.
fn kept<V: Clone>(objects: &Map<V>, keep: impl Fn(&Key, &V) -> bool) -> Map<V> {
    let kept = objects.iter().filter(|(key, value)| keep(key, value));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Names in answers.
#[cfg(test)]
pub(super) mod leaks;

#[cfg(test)]
mod tests;
