//! Plans a command: the complete, valid next state, and the steps that lead there. Pure: `force` carries out the plan,
//! or it is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Allocator, Caller, Compiled, Counts, Index, Planner, Requester, Rights, Setup};
use super::{Error, Found, InForce, Key, Topology, broken, input, not_compiled, refused};
use crate::access::rights::visibility::sees;
use crate::access::rights::{assigned_at, vanished};
use crate::compile;
use crate::compile::compile_endpoint;
use crate::compile::health::Health;
use crate::compile::retired::RetiredAddress;
use crate::control::codec::Record;
use crate::model::error::{ErrorDetail, ErrorKind};
use crate::model::references::resolve_seen;
use crate::model::rules::tightened;
use crate::model::rules::tightened::Standing;
use crate::model::sentence::itself;
use crate::model::state::ChangeExtent;
use crate::model::state::{ControlState, Item, ItemKind};
use crate::model::{Map, Model, text};
use crate::snapshot::ConnectionState;

/// A command's remaining steps, and its result.
#[derive(Debug)]
pub struct PreparedChange<O> {
    pub(super) outcome: O,
    pub(super) steps: Steps,
    pub(super) extent: ChangeExtent,
    /// Its audit records.
    pub(super) records: Vec<Record>,
    /// It applies the daemon's own file, whose report is kept.
    pub(in crate::control) own_file: bool,
}

/// The order in which a plan is carried out.
#[derive(Debug)]
pub(super) enum Steps {
    /// Nothing: this is a dry run.
    Report,
    /// The wanted state is in force already. It may not be stored yet: callers repeat a command until it is.
    Nothing,
    /// Stores a deletion that is in force already, and then removes its route.
    DeleteAgain(Key, Topology),
    /// It affects no packet: the commit alone puts it in force.
    Keep(Box<InForce>),
    /// It revokes nothing.
    Widen(Box<Next>),
    /// It only revokes.
    Revoke(Box<Next>),
    /// It revokes and grants. The revoking part comes first.
    Block(Box<InForce>, Box<Next>),
}

/// The next state.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) in_force: InForce,
    /// `None`: the topology does not change.
    pub(super) topology: Option<Topology>,
}

/// New observations, ready to be put in force.
#[derive(Debug)]
pub(in crate::control) struct Observation(pub(super) Box<Next>);

/// A proposed state, before validation.
#[derive(Debug)]
pub(in crate::control) struct ProposedState {
    pub(in crate::control) after: ControlState,
    /// Which objects differ.
    pub(in crate::control) extent: ChangeExtent,
    /// The allocator, with newly allocated addresses.
    pub(in crate::control) addresses: Option<Allocator>,
    /// Older objects that break tightened rules, if the state and its texts have been validated already.
    pub(in crate::control) standing: Option<Standing>,
    /// The caller needs the rights for all changes. Only the daemon's own file does not.
    pub(in crate::control) asks_rights: bool,
}

/// What a command needs to plan a change.
#[derive(Clone, Copy, Debug)]
pub struct Planning<'a> {
    pub(in crate::control) setup: &'a Setup,
    pub(in crate::control) in_force: &'a InForce,
    pub(in crate::control) caller: &'a Caller,
}

impl<O> PreparedChange<O> {
    /// The wanted state is in force already.
    pub(in crate::control) fn nothing(outcome: O) -> Self {
        Self::without_change(outcome, Steps::Nothing)
    }

    /// A dry run.
    pub(in crate::control) fn report(outcome: O) -> Self {
        Self::without_change(outcome, Steps::Report)
    }

    /// The deletion of the endpoint `key` is in force. Stores it.
    pub(in crate::control) fn delete_again(outcome: O, key: Key, topology: Topology) -> Self {
        Self::without_change(outcome, Steps::DeleteAgain(key, topology))
    }

    /// The same plan with another outcome.
    #[cfg(test)]
    pub(in crate::control) fn map<P>(self, outcome: impl FnOnce(O) -> P) -> PreparedChange<P> {
        let Self { outcome: was, steps, extent, records, own_file } = self;
        PreparedChange { outcome: outcome(was), steps, extent, records, own_file }
    }

    fn without_change(outcome: O, steps: Steps) -> Self {
        Self { outcome, steps, extent: ChangeExtent::Whole, records: Vec::new(), own_file: false }
    }
}

impl Planning<'_> {
    /// Checks that the caller's token is still valid: it may have ended while the request waited.
    pub(in crate::control) fn refuse_ended_token(&self) -> Result<(), Error> {
        let caller = self.caller;
        let Some(presented) = caller.subject.token() else { return Ok(()) };
        let now = self.now();
        if self.in_force.state.tokens.values().any(|token| token.id == *presented && now < token.expires_at) {
            return Ok(());
        }
        let message = itself(format!("the token of {caller} was revoked or has expired meanwhile"));
        let remedy = "ask for a new one (`privlink token create`)";
        Err(Error::new(ErrorKind::Forbidden, "InvalidAuthenticationToken", message, remedy))
    }

    /// The plan that stores `wanted` and puts it in force.
    ///
    /// # Errors
    /// The caller lacks a right, or the state is invalid.
    pub(in crate::control) fn change<O>(
        &self,
        outcome: O,
        wanted: ProposedState,
        mut records: Vec<Record>,
    ) -> Result<PreparedChange<O>, Error> {
        let wanted = self.with_what_goes_too(wanted, &mut records);
        // Check rights before anything is compared or validated.
        if wanted.asks_rights {
            let before = &self.in_force.state.model;
            self.rights().demand_change(before, &wanted.after.model, &wanted.extent)?;
        }
        let only = match &wanted.extent {
            ChangeExtent::Endpoint(key) => Some(key),
            ChangeExtent::Whole => None,
        };
        if wanted.standing.is_none() {
            text::judge(&self.in_force.state, &wanted.after, only)?;
        }
        let extent = wanted.extent.clone();
        let losing = self.losing(&wanted);
        let steps = match &extent {
            _ if losing.is_empty() => Steps::Widen(Box::new(self.next(wanted)?)),
            ChangeExtent::Endpoint(_) => Steps::Revoke(Box::new(self.next(wanted)?)),
            ChangeExtent::Whole => {
                let blocked = self.blocked(&wanted.after, &losing)?;
                // Compile again: the first step changed generations, and those must stay.
                let next = Planning { in_force: &blocked, ..*self }.next(wanted)?;
                Steps::Block(Box::new(blocked), Box::new(next))
            }
        };
        Ok(PreparedChange { outcome, steps, extent, records, own_file: false })
    }

    /// Removes role assignments at objects that are deleted. Otherwise a later object with the same name would inherit
    /// them.
    fn with_what_goes_too(&self, mut wanted: ProposedState, records: &mut Vec<Record>) -> ProposedState {
        let before = &self.in_force.state.model;
        let places = vanished(before, &wanted.after.model, &wanted.extent);
        for key in assigned_at(&wanted.after.model, &places) {
            records.push(self.unassigned(&key));
            wanted.after.model.assignments.remove(&key);
            wanted.extent = ChangeExtent::Whole;
        }
        wanted
    }

    /// The plan of a change that affects no packet.
    ///
    /// # Errors
    /// The roles and assignments are not consistent.
    pub(in crate::control) fn keep<O>(
        &self,
        outcome: O,
        after: ControlState,
        records: Vec<Record>,
    ) -> Result<PreparedChange<O>, Error> {
        let access = Arc::new(super::access(self.setup, &after)?);
        let next = InForce { state: Arc::new(after), access, ..self.in_force.clone() };
        let steps = Steps::Keep(Box::new(next));
        Ok(PreparedChange { outcome, steps, extent: ChangeExtent::Whole, records, own_file: false })
    }

    /// The state in force with new observations. The model is unchanged and valid, so it is only compiled. `None`:
    /// there is nothing new.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub(in crate::control) fn observe(
        &self,
        health: &Health,
        over: &BTreeSet<RetiredAddress>,
    ) -> Result<Option<Observation>, Error> {
        let now = self.in_force;
        let retired = now.retired.without(over);
        if *health == *now.health && retired == *now.retired {
            return Ok(None);
        }
        let mut registry = now.registry.clone();
        let input = input(self.setup, &now.host, &now.state, Found { health, retired: &retired });
        let compiled = compile::compile(&input, &mut registry, now.snapshot.epoch + 1).map_err(not_compiled)?;
        let Compiled { snapshot, topology } = compiled;
        let (health, retired) = (Arc::new(health.clone()), Arc::new(retired));
        let in_force = InForce { registry, health, retired, snapshot, ..now.clone() };
        Ok(Some(Observation(Box::new(Next { in_force, topology: Some(topology) }))))
    }

    /// The object that `reference` names, among those that the caller may see. Others count as absent.
    pub(in crate::control) fn find<V>(&self, kind: ItemKind, reference: &str, objects: &Map<V>) -> Result<Key, Error> {
        resolve_seen(&kind.to_string(), reference, objects, &self.seen(kind)).cloned()
    }

    pub(in crate::control) fn seen(&self, kind: ItemKind) -> impl Fn(&Key) -> bool {
        let rights = self.rights();
        move |key| sees(&rights, &self.in_force.state.model, &Item { kind, key: key.clone() })
    }

    pub(in crate::control) fn maker(&self) -> Requester<'_> {
        Requester { rights: self.rights(), now: self.now(), dry_run: false }
    }

    pub(in crate::control) fn rights(&self) -> Rights<'_> {
        Rights::of(self.caller, &self.in_force.access)
    }

    pub(in crate::control) fn now(&self) -> Timestamp {
        (self.setup.clock)()
    }

    /// The host's topology for `state`, compiled with everything else.
    pub(in crate::control) fn topology(&self, state: &ControlState) -> Result<Topology, Error> {
        let input = input(self.setup, &self.in_force.host, state, self.in_force.found());
        let (mut registry, epoch) = (self.in_force.registry.clone(), self.in_force.snapshot.epoch);
        Ok(compile::compile(&input, &mut registry, epoch).map_err(not_compiled)?.topology)
    }

    /// Validates and compiles a change. No other place does either.
    fn next(&self, wanted: ProposedState) -> Result<Next, Error> {
        let now = self.in_force;
        let mut registry = now.registry.clone();
        let epoch = now.snapshot.epoch + 1;
        let alone = match &wanted.extent {
            // A new object may get a retired address, which then no longer counts as retired.
            ChangeExtent::Endpoint(key) if now.retired.is_empty() || !self.remodels(&wanted.after, key) => Some(key),
            ChangeExtent::Endpoint(_) | ChangeExtent::Whole => None,
        };
        let Some(key) = alone else {
            let retired = now.retired.after(&now.state.model, &wanted.after.model);
            let access = match &wanted.extent {
                ChangeExtent::Whole => Arc::new(super::access(self.setup, &wanted.after)?),
                ChangeExtent::Endpoint(_) => Arc::clone(&now.access),
            };
            let standing = wanted.standing.clone();
            let standing = standing.map_or_else(|| now.checked(self.setup, &wanted.after), Ok)?;
            let found = Found { health: &now.health, retired: &retired };
            let input = input(self.setup, &now.host, &wanted.after, found);
            let compiled = compile::compile(&input, &mut registry, epoch).map_err(not_compiled)?;
            let Compiled { snapshot, topology } = compiled;
            let retired = Arc::new(retired);
            let compiled = InForce { standing, access, registry, retired, snapshot, ..now.clone() };
            return Ok(Next { in_force: compiled.with(wanted), topology: Some(topology) });
        };
        let standing = self.standing_with(&wanted.after, key)?;
        let input = input(self.setup, &now.host, &wanted.after, now.found());
        let snapshot = compile_endpoint(&now.snapshot, &input, &mut registry, epoch, key).map_err(not_compiled)?;
        let topology = self.moves_routes(&wanted.after, key).then(|| compile::topology(&input));
        let compiled = InForce { standing, registry, snapshot, ..now.clone() };
        Ok(Next { in_force: compiled.with(wanted), topology })
    }

    /// Checks the endpoint `key` after the change, and returns older objects that break tightened rules.
    fn standing_with(&self, after: &ControlState, key: &Key) -> Result<Standing, Error> {
        let now = self.in_force;
        if !self.remodels(after, key) {
            return Ok(now.standing.clone());
        }
        if !after.model.endpoints.contains_key(key) {
            return Ok(now.standing.with_endpoint(key, Vec::new()));
        }
        let validate = |model| (self.setup.validate)(model, &self.in_force.host, Some(key));
        let found = tightened::judge(&validate(&after.model), || validate(&now.state.model));
        let found = found.map_err(|violations| refused(&violations))?;
        self.within_quotas(&after.model, key)?;
        Ok(now.standing.with_endpoint(key, found))
    }

    /// The state in force without what `after` revokes.
    fn blocked(&self, after: &ControlState, losing: &BTreeSet<Key>) -> Result<InForce, Error> {
        let now = self.in_force;
        let mut blocked = ControlState::clone(&now.state);
        let mut standing = now.standing.clone();
        for key in losing {
            if let Some(connection) = after.connections.get(key) {
                let mut connection = connection.clone();
                // The new connection with the current endpoint.
                connection.link = now.state.connections.get(key).map_or(connection.link, |before| before.link);
                blocked.connections.insert(key.clone(), connection);
            } else {
                blocked.connections.remove(key);
                blocked.model.endpoints.remove(key);
                standing = standing.with_endpoint(key, Vec::new());
            }
        }
        // A revocation is not validated: nothing may delay it.
        let mut registry = now.registry.clone();
        let input = input(self.setup, &now.host, &blocked, now.found());
        let compiled = compile::compile(&input, &mut registry, now.snapshot.epoch + 1).map_err(not_compiled)?;
        let compiled = InForce { standing, registry, snapshot: compiled.snapshot, ..now.clone() };
        let (extent, standing) = (ChangeExtent::Whole, None);
        Ok(compiled.with(ProposedState { after: blocked, extent, addresses: None, standing, asks_rights: false }))
    }

    /// Refuses a new endpoint in `after` that exceeds a quota.
    fn within_quotas(&self, after: &Model, key: &Key) -> Result<(), Error> {
        let new = after.endpoints.get(key).filter(|_| !self.in_force.state.model.endpoints.contains_key(key));
        let quotas = &self.setup.host.quotas;
        let exceeded: Vec<ErrorDetail> = new
            .into_iter()
            .flat_map(|endpoint| self.in_force.counts.exceeded_by(quotas, key, endpoint))
            .map(|violation| ErrorDetail::from(&violation))
            .collect();
        if exceeded.is_empty() { Ok(()) } else { Err(broken(exceeded)) }
    }

    /// Whether `after` changes more of the endpoint `key` than its connection.
    fn remodels(&self, after: &ControlState, key: &Key) -> bool {
        after.model.endpoints.share(key) != self.in_force.state.model.endpoints.share(key)
    }

    /// Whether a change of the endpoint `key` also changes the host's routes or neighbours.
    fn moves_routes(&self, after: &ControlState, key: &Key) -> bool {
        let before = &self.in_force.state.model;
        let (old, new) = (before.endpoints.get(key), after.model.endpoints.get(key));
        if old.map(|endpoint| &endpoint.addresses) == new.map(|endpoint| &endpoint.addresses) {
            return false;
        }
        let alone = self.setup.host.attachments.iter().all(|attachment| attachment.proxy_on.is_empty());
        let dedicated = [(old, before), (new, &after.model)].into_iter().all(|(endpoint, model)| {
            let Some(endpoint) = endpoint else { return true };
            let subnets = model.vnets.get(&endpoint.vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
            subnets.iter().any(|subnet| subnet.dedicated && subnet.name.eq_ignore_ascii_case(&endpoint.subnet))
        });
        !(alone && dedicated)
    }

    /// Endpoints that pass traffic now, but not after the change.
    fn losing(&self, wanted: &ProposedState) -> BTreeSet<Key> {
        let before = &self.in_force.state;
        let approved = |state: &ControlState, key: &Key| {
            state.connections.get(key).is_some_and(|connection| connection.state == ConnectionState::Approved)
        };
        let loses = |key: &&Key| approved(before, key) && !approved(&wanted.after, key);
        match &wanted.extent {
            ChangeExtent::Endpoint(key) => Some(key).filter(loses).into_iter().cloned().collect(),
            ChangeExtent::Whole => before.connections.keys().filter(loses).cloned().collect(),
        }
    }
}

impl InForce {
    /// Completes a compiled state with the proposed one and what is derived from it.
    fn with(mut self, wanted: ProposedState) -> Self {
        let ProposedState { after, extent, addresses, .. } = wanted;
        let before = std::mem::replace(&mut self.state, Arc::new(after));
        let (after, epoch) = (&self.state, self.snapshot.epoch);
        match &extent {
            ChangeExtent::Whole => {
                self.addresses = Allocator::new(&after.model);
                self.index = Index::of(after);
                self.counts = Counts::of(&after.model);
                self.names = Planner::of(after, epoch);
            }
            ChangeExtent::Endpoint(key) => {
                if let Some(addresses) = addresses {
                    self.addresses = addresses;
                }
                if let Some(old) = before.model.endpoints.get(key) {
                    old.addresses.iter().filter_map(|a| a.ip).for_each(|ip| self.addresses.release(&old.vnet, ip));
                }
                if let Some(new) = after.model.endpoints.get(key) {
                    new.addresses.iter().filter_map(|a| a.ip).for_each(|ip| self.addresses.spare(&new.vnet, ip));
                }
                self.index.follow(key, &before, after);
                self.counts.follow(key, &before.model, &after.model);
                self.names.follow(key, &before, after, epoch);
            }
        }
        self
    }
}
