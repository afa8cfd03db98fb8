//! From a wanted state to durable and in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Caller, Key, Kind, Ports, Refusal, Rights, Snapshot, Topology, Writer};
use super::{Found, broken, host_refused, input, not_compiled, refused, stopping};
use crate::control::SILENCE;
use crate::control::access::Access;
use crate::control::addresses::Allocator;
use crate::control::compile::{Compiled, Registry, compile, compile_endpoint, union};
use crate::control::decisions::Decisions;
use crate::control::health::Health;
use crate::control::index::Index;
use crate::control::model::Model;
use crate::control::names::Planner;
use crate::control::refusal::BrokenRule;
use crate::control::retired::{Retired, RetiredAddress};
use crate::control::state::{Change, Extent, Record};
use crate::control::validate::Counts;
use crate::control::validate::tightened::{self, Standing};
use crate::snapshot::ConnectionState;

/// A wanted state, and what is to be remembered of how it came about.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) after: Decisions,
    /// What of it differs.
    pub(super) extent: Extent,
    pub(super) records: Vec<Record>,
}

/// A wanted state that holds together.
struct Ready {
    registry: Registry,
    snapshot: Snapshot,
    /// `None`: the host's part is as it was.
    topology: Option<Topology>,
    /// `None`: who may do what is as it was.
    access: Option<Access>,
    /// `None`: no NAT address is taken or given.
    retired: Option<Retired>,
    /// What it breaks of the rules that came later.
    standing: Standing,
}

impl Writer {
    /// Makes `wanted` durable and puts it in force, in the order that its direction asks for. `author` is whoever must
    /// hold the rights to all that it changes; `None`: the daemon's own file speaks.
    ///
    /// # Errors
    /// It does not hold together, its author lacks a right, or somebody did not follow. Whatever it revokes may be in
    /// force all the same; the refusal says so.
    pub(super) fn carry_out(&mut self, ports: &Ports, author: Option<&Caller>, wanted: Wanted) -> Result<(), Refusal> {
        self.demand_change(author, &wanted.after.model, &wanted.extent)?;
        let pending = ConnectionState::Pending.to_string();
        let asks = |record: &&Record| record.from.is_none() && record.to.as_ref() == Some(&pending);
        let requests: Vec<Record> = wanted.records.iter().filter(asks).cloned().collect();
        self.put_in_force(ports, wanted)?;
        for request in &requests {
            ports.host.requested(request);
        }
        Ok(())
    }

    /// Checks the rights to what would change, before anything of it is compared or validated.
    fn demand_change(&self, author: Option<&Caller>, after: &Model, extent: &Extent) -> Result<(), Refusal> {
        let before = &self.decisions.model;
        author.map_or(Ok(()), |author| Rights::of(author, &self.access).demand_change(before, after, extent))
    }

    fn put_in_force(&mut self, ports: &Ports, wanted: Wanted) -> Result<(), Refusal> {
        let ready = self.ready(&wanted)?;
        let losing = self.losing(&wanted);
        match &wanted.extent {
            _ if losing.is_empty() => self.widen(ports, wanted, ready),
            Extent::Endpoint(_) => self.revoke(ports, wanted, ready),
            Extent::Whole => {
                self.block(ports, &wanted.after, &losing)?;
                // Compiled anew: generations have moved, and those of the block must hold.
                let ready = self.ready(&wanted)?;
                self.widen(ports, wanted, ready).map_err(|refusal| {
                    let message =
                        format!("what this revokes is blocked in force; the rest was refused: {}", refusal.message);
                    Refusal { message, ..refusal }
                })
            }
        }
    }

    /// Puts in force what has been found out of servers: the model is as it was and holds, so it is compiled and
    /// published, and neither the store nor the host has a part in it.
    pub(in crate::control) fn observe(
        &mut self,
        ports: &Ports,
        health: Health,
        over: &BTreeSet<RetiredAddress>,
    ) -> Result<(), Refusal> {
        if let Some(reason) = &self.stopped {
            return Err(stopping(reason));
        }
        let retired = self.retired.without(over);
        if health == *self.health && retired == *self.retired {
            return Ok(());
        }
        let mut registry = self.registry.clone();
        let found = Found { health: &health, retired: &retired };
        let input = input(&self.setup, &self.decisions, found);
        let Compiled { snapshot, topology } =
            compile(&input, &mut registry, self.snapshot.epoch + 1).map_err(not_compiled)?;
        self.publish(ports, snapshot.clone())?;
        (self.registry, self.snapshot) = (registry, snapshot);
        (self.health, self.retired) = (Arc::new(health), Arc::new(retired));
        self.settle_host(ports, topology);
        Ok(())
    }

    /// Validates and compiles: the one place where either is called for a change.
    fn ready(&self, wanted: &Wanted) -> Result<Ready, Refusal> {
        let mut registry = self.registry.clone();
        let epoch = self.snapshot.epoch + 1;
        let alone = match &wanted.extent {
            // An endpoint may take a retired address.
            Extent::Endpoint(key) if self.retired.is_empty() && !self.moves_routes(&wanted.after, key) => Some(key),
            Extent::Endpoint(_) | Extent::Whole => None,
        };
        let Some(key) = alone else {
            let retired = self.retired.after(&self.decisions.model, &wanted.after.model);
            let access = match &wanted.extent {
                Extent::Whole => Some(super::access(&self.setup, &wanted.after)?),
                Extent::Endpoint(_) => None,
            };
            let standing = self.checked(&wanted.after)?;
            let found = Found { health: &self.health, retired: &retired };
            let Compiled { snapshot, topology } =
                compile(&input(&self.setup, &wanted.after, found), &mut registry, epoch).map_err(not_compiled)?;
            return Ok(Ready {
                registry,
                snapshot,
                topology: Some(topology),
                access,
                retired: Some(retired),
                standing,
            });
        };
        let model = &wanted.after.model;
        let before = self.decisions.model.endpoints.share(key);
        let standing = match model.endpoints.share(key) {
            after @ Some(_) if before != after => {
                let validate = |model| (self.setup.validate)(model, &self.setup.host, Some(key));
                let found = tightened::judge(&validate(model), || validate(&self.decisions.model));
                let found = found.map_err(|violations| refused(&violations))?;
                self.within_quotas(model, key)?;
                self.standing.with_endpoint(key, found)
            }
            None => self.standing.with_endpoint(key, Vec::new()),
            Some(_) => self.standing.clone(),
        };
        let input = input(&self.setup, &wanted.after, self.found());
        let snapshot = compile_endpoint(&self.snapshot, &input, &mut registry, epoch, key).map_err(not_compiled)?;
        Ok(Ready { registry, snapshot, topology: None, access: None, retired: None, standing })
    }

    /// Refuses an endpoint that is new in `after` and one more than a quota allows.
    fn within_quotas(&self, after: &Model, key: &Key) -> Result<(), Refusal> {
        let new = after.endpoints.get(key).filter(|_| !self.decisions.model.endpoints.contains_key(key));
        let quotas = &self.setup.host.quotas;
        let exceeded: Vec<BrokenRule> = new
            .into_iter()
            .flat_map(|endpoint| self.counts.exceeded_by(quotas, key, endpoint))
            .map(|violation| BrokenRule::from(&violation))
            .collect();
        if exceeded.is_empty() { Ok(()) } else { Err(broken(exceeded)) }
    }

    /// Whether a change of the endpoint `key` is one of the host's routes or neighbours, too.
    fn moves_routes(&self, after: &Decisions, key: &Key) -> bool {
        let (old, new) = (self.decisions.model.endpoints.get(key), after.model.endpoints.get(key));
        if old.map(|endpoint| &endpoint.addresses) == new.map(|endpoint| &endpoint.addresses) {
            return false;
        }
        let alone = self.setup.host.attachments.iter().all(|attachment| attachment.proxy_on.is_empty());
        let dedicated = [(old, &self.decisions.model), (new, &after.model)].into_iter().all(|(endpoint, model)| {
            let Some(endpoint) = endpoint else { return true };
            let subnets = model.vnets.get(&endpoint.vnet).map(|vnet| vnet.subnets.as_slice()).unwrap_or_default();
            subnets.iter().any(|subnet| subnet.dedicated && subnet.name.eq_ignore_ascii_case(&endpoint.subnet))
        });
        !(alone && dedicated)
    }

    /// Endpoints that pass traffic now and will not after.
    fn losing(&self, wanted: &Wanted) -> BTreeSet<Key> {
        let approved = |decisions: &Decisions, key: &Key| {
            decisions.connections.get(key).is_some_and(|connection| connection.state == ConnectionState::Approved)
        };
        let loses = |key: &&Key| approved(&self.decisions, key) && !approved(&wanted.after, key);
        match &wanted.extent {
            Extent::Endpoint(key) => Some(key).filter(loses).into_iter().cloned().collect(),
            Extent::Whole => self.decisions.connections.keys().filter(loses).cloned().collect(),
        }
    }

    /// Routes, commit, publish, and last the routes that nothing needs any more.
    fn widen(&mut self, ports: &Ports, wanted: Wanted, ready: Ready) -> Result<(), Refusal> {
        let both = ready.topology.as_ref().map(|topology| union(&self.topology, topology));
        let more = both.filter(|both| *both != self.topology);
        if let Some(both) = &more
            && let Err(error) = ports.host.reconcile(both)
        {
            self.take_back(ports);
            self.save_unsaved().ok();
            return Err(host_refused(&error));
        }
        if let Err(error) = self.commit(&wanted) {
            if more.is_some() {
                self.take_back(ports);
            }
            return Err(not_durable("nothing new is in force: this", &error));
        }
        let snapshot = ready.snapshot.clone();
        self.in_force(wanted, ready.registry, ready.snapshot);
        ready.access.into_iter().for_each(|access| self.access = Arc::new(access));
        self.standing = ready.standing;
        ready.retired.into_iter().for_each(|retired| self.retired = Arc::new(retired));
        self.publish(ports, snapshot)?;
        if let Some(both) = more {
            self.topology = both;
        }
        ready.topology.into_iter().for_each(|topology| self.settle_host(ports, topology));
        Ok(())
    }

    /// Publishes, then commits. When this returns an error the revocation stays in force.
    fn revoke(&mut self, ports: &Ports, wanted: Wanted, ready: Ready) -> Result<(), Refusal> {
        let Wanted { after, extent, records } = wanted;
        let snapshot = ready.snapshot.clone();
        let blocked = Wanted { after: after.clone(), extent: extent.clone(), records: Vec::new() };
        self.in_force(blocked, ready.registry, ready.snapshot);
        self.standing = ready.standing;
        ready.retired.into_iter().for_each(|retired| self.retired = Arc::new(retired));
        let published = self.publish(ports, snapshot);
        // Also when a worker is silent: the next start must not revive what was revoked.
        let committed = self.commit(&Wanted { after, extent, records });
        published?;
        if let Err(error) = committed {
            self.unsaved = Some(error.to_string());
            return Err(Refusal::new(
                Kind::Storage,
                "NotDurable",
                format!("blocked in force, but not durable: {error}"),
                "make room on the state directory's disk and repeat the command; until then a restart undoes it",
            ));
        }
        ready.topology.into_iter().for_each(|topology| self.settle_host(ports, topology));
        Ok(())
    }

    /// Puts in force what `after` takes away, before any of it is durable.
    fn block(&mut self, ports: &Ports, after: &Decisions, losing: &BTreeSet<Key>) -> Result<(), Refusal> {
        let mut blocked = Decisions::clone(&self.decisions);
        for key in losing {
            if let Some(connection) = after.connections.get(key) {
                let mut connection = connection.clone();
                // The connection as it will be, on the endpoint as it is.
                connection.link = self.decisions.connections.get(key).map_or(connection.link, |before| before.link);
                blocked.connections.insert(key.clone(), connection);
            } else {
                blocked.connections.remove(key);
                blocked.model.endpoints.remove(key);
            }
        }
        let wanted = Wanted { after: blocked, extent: Extent::Whole, records: Vec::new() };
        let mut registry = self.registry.clone();
        let standing = self.checked(&wanted.after)?;
        let input = input(&self.setup, &wanted.after, self.found());
        let compiled = compile(&input, &mut registry, self.snapshot.epoch + 1).map_err(not_compiled)?;
        let snapshot = compiled.snapshot.clone();
        self.in_force(wanted, registry, compiled.snapshot);
        self.standing = standing;
        self.unsaved = Some("a block is not written yet".into());
        let published = self.publish(ports, snapshot);
        if published.is_err() {
            // The daemon stops; the next start must not revive what was revoked.
            self.save_unsaved().ok();
        }
        published
    }

    /// Makes `wanted` what the next start reads, with its records, or nothing of it.
    pub(super) fn commit(&mut self, wanted: &Wanted) -> std::io::Result<()> {
        // What an earlier failure left behind is written with it.
        let extent = if self.unsaved.is_none() { &wanted.extent } else { &Extent::Whole };
        let change = Change { before: &self.durable, after: &wanted.after, extent, records: &wanted.records };
        let committed = self.store.commit(&change);
        if committed.is_ok() {
            self.durable = Arc::new(wanted.after.clone());
            self.unsaved = None;
        } else if let Ok(found) = self.store.load() {
            // A failed commit may have become durable all the same: what is there is what the next one begins from.
            self.durable = Arc::new(found.unwrap_or_default());
            if *self.durable != *self.decisions {
                self.unsaved = Some("an earlier commit failed".into());
            }
        }
        committed
    }

    /// Makes what is in force durable, where it is not.
    pub(super) fn save_unsaved(&mut self) -> Result<(), Refusal> {
        self.save_with(Vec::new())
    }

    /// [`Self::save_unsaved`], with what is to be remembered of how it came about.
    pub(super) fn save_with(&mut self, records: Vec<Record>) -> Result<(), Refusal> {
        if self.unsaved.is_none() {
            return Ok(());
        }
        let after = Decisions::clone(&self.decisions);
        let saved = self.commit(&Wanted { after, extent: Extent::Whole, records });
        saved.map_err(|error| {
            self.unsaved = Some(error.to_string());
            not_durable("what is in force", &error)
        })
    }

    fn in_force(&mut self, wanted: Wanted, registry: Registry, snapshot: Snapshot) {
        match &wanted.extent {
            Extent::Whole => {
                self.addresses = Allocator::new(&wanted.after.model);
                self.index = Index::of(&wanted.after);
                self.counts = Counts::of(&wanted.after.model);
                self.names = Planner::of(&wanted.after, snapshot.epoch);
            }
            Extent::Endpoint(key) => {
                if let Some(old) = self.decisions.model.endpoints.get(key) {
                    old.addresses.iter().filter_map(|a| a.ip).for_each(|ip| self.addresses.release(&old.vnet, ip));
                }
                if let Some(new) = wanted.after.model.endpoints.get(key) {
                    new.addresses.iter().filter_map(|a| a.ip).for_each(|ip| self.addresses.spare(&new.vnet, ip));
                }
                self.index.follow(key, &self.decisions, &wanted.after);
                self.counts.follow(key, &self.decisions.model, &wanted.after.model);
                self.names.follow(key, &self.decisions, &wanted.after, snapshot.epoch);
            }
        }
        self.decisions = Arc::new(wanted.after);
        self.registry = registry;
        self.snapshot = snapshot;
    }

    /// Publishes and waits for every worker; a silent one stops the daemon.
    pub(super) fn publish(&mut self, ports: &Ports, snapshot: Snapshot) -> Result<(), Refusal> {
        ports.workers.publish(snapshot, SILENCE).map_err(|error| {
            let reason = format!("{error:#}");
            self.stopped = Some(reason.clone());
            (ports.fatal)(&reason);
            stopping(&reason)
        })
    }

    /// Brings the host to `topology`. A refusal here leaves routes that nothing needs, which lead into the
    /// forwarder: the change stands, and `status` tells.
    pub(super) fn settle_host(&mut self, ports: &Ports, topology: Topology) {
        if topology != self.topology || self.host_behind.is_some() {
            self.host_behind = ports.host.reconcile(&topology).err().map(|error| format!("{error:#}"));
        }
        self.topology = topology;
    }

    /// Removes the routes of a change that was refused.
    fn take_back(&mut self, ports: &Ports) {
        self.host_behind = ports.host.reconcile(&self.topology).err().map(|error| format!("{error:#}"));
    }
}

pub(super) fn not_durable(what: &str, error: &std::io::Error) -> Refusal {
    Refusal::new(
        Kind::Storage,
        "NotDurable",
        format!("{what} cannot be made durable: {error}"),
        "make room on the state directory's disk, see that the daemon may write there, and repeat the command",
    )
}
