//! What each command asks for: the wanted state, the rights it needs, and what is recorded of it.

use std::sync::Arc;

use super::fit::{Before, Fitted};
use super::force::Wanted;
use super::gone;
use super::{Action, Application, Caller, Decisions, Item, Kind, Outcome, Ports, Refusal, Report, Rights, Writer};
use crate::control::access::{Grant, Scope, actions};
use crate::control::apply::{
    create, delete, follow, keep_accepted, needs_restart, refuse_disconnected, refuse_fixed, settled,
};
use crate::control::approval;
use crate::control::command::{Changed, Decided, Decision, Deletion, FileVersion, MOVED};
use crate::control::decisions::{Connection, DecidedBy, ItemKind};
use crate::control::model::{Key, Map, Model, PrivateEndpoint};
use crate::control::references::{check_bound, resolve, resolve_seen};
use crate::control::rights::{Right, Verb, refuse_other_type};
use crate::control::seen::sees;
use crate::control::state::{Extent, Record};
use crate::control::views::decision_of;
use crate::snapshot::ConnectionState;

impl Writer {
    /// Approve, reject, remove.
    pub(super) fn decide(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        action: Action,
        decision: &Decision,
    ) -> Result<Outcome, Refusal> {
        let model = &self.decisions.model;
        let key = self.find(caller, ItemKind::Endpoint, &decision.endpoint, &model.endpoints)?;
        let found = model.endpoints.get(&key).zip(self.decisions.connections.get(&key));
        let (endpoint, before) = found.ok_or_else(|| gone(&key))?;
        let bound = (&key, &endpoint.resource);
        check_bound(model, &self.seen(caller, ItemKind::Resource), bound, decision.resource.as_deref())?;
        let resource = endpoint.resource.clone();
        let maker = self.maker(caller);
        maker.rights.demand(&Right::on_connection(model, &key, endpoint, action))?;
        let from = before.state;
        if decision.if_state.is_some_and(|seen| seen != from) {
            return Err(decided_meanwhile(&key, before));
        }
        let to = approval::next(from, action).map_err(|_| terminal(&key, before, action))?;
        let to = to.ok_or_else(|| terminal(&key, before, action))?;
        if from == to {
            // The same command again is how a caller retries what could not be made durable.
            self.save_unsaved()?;
        } else {
            let by = DecidedBy::Live(caller.actor());
            let connection = before.decided(to, decision.reason.clone(), by, maker.now);
            let record = Record {
                from: Some(from.to_string()),
                to: Some(to.to_string()),
                link: Some(connection.link),
                detail: decision.reason.clone(),
                ..self.record(caller, action.verb(), format!("connection {key}"))
            };
            let mut after = Decisions::clone(&self.decisions);
            after.connections.insert(key.clone(), connection);
            let wanted = Wanted { after, extent: Extent::Endpoint(key.clone()), records: vec![record] };
            self.carry_out(ports, Some(caller), wanted)?;
        }
        let mut warnings = self.warnings();
        if to == ConnectionState::Disconnected && from != to {
            warnings.push(format!("{key} passes nothing any more and can only be deleted"));
        }
        Ok(Outcome::Decided(Decided { endpoint: key, resource, from, to, warnings }))
    }

    /// Makes or changes objects, all or none.
    pub(super) fn put(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        items: &Model,
        create_only: bool,
    ) -> Result<Outcome, Refusal> {
        let mut after = Decisions::clone(&self.decisions);
        let mut changed = Changed::default();
        let rights = Rights::of(caller, &self.access);
        let mut put = Put { after: &mut after, changed: &mut changed, rights: &rights, create_only };
        put.all(ItemKind::ResourceGroup, &items.groups, |model| &mut model.groups)?;
        put.all(ItemKind::Role, &items.roles, |model| &mut model.roles)?;
        put.all(ItemKind::Assignment, &items.assignments, |model| &mut model.assignments)?;
        put.after.refuse_absent_tokens(&items.assignments)?;
        put.all(ItemKind::Vnet, &items.vnets, |model| &mut model.vnets)?;
        put.all(ItemKind::SecurityGroup, &items.security_groups, |model| &mut model.security_groups)?;
        put.all(ItemKind::LoadBalancer, &items.load_balancers, |model| &mut model.load_balancers)?;
        put.all(ItemKind::DnsZone, &items.dns_zones, |model| &mut model.dns_zones)?;
        keep_accepted(&self.decisions.model, &mut put.after.model);
        for key in items.load_balancers.keys() {
            put.changed.updated.extend(follow(&mut put.after.model, key)?);
        }
        let mut resources = Map::default();
        for (key, wanted) in &items.resources {
            // Before what it names is looked at.
            let before = put.after.model.resources.get(key);
            rights.demand(&Right::on(items, &Item { kind: ItemKind::Resource, key: key.clone() }, Verb::Write))?;
            refuse_other_type(key, before, Some(wanted))?;
            rights.demand_references(&put.after.model, key, before, wanted)?;
            resources.insert(key.clone(), settled(&put.after.model, &mut self.addresses, key, wanted)?);
        }
        put.all(ItemKind::Resource, &resources, |model| &mut model.resources)?;
        let others = !(changed.created.is_empty() && changed.updated.is_empty());
        for (key, endpoint) in &items.endpoints {
            self.put_endpoint(caller, &mut after, &mut changed, key, endpoint, create_only)?;
        }
        let extent = match (others, items.endpoints.keys().next()) {
            (false, Some(key)) if items.endpoints.len() == 1 => Extent::Endpoint(key.clone()),
            (false, None) => return Ok(Outcome::Put(changed)),
            (true | false, _) => Extent::Whole,
        };
        let items = changed.created.iter().map(|item| ("create", item));
        let items = items.chain(changed.updated.iter().map(|item| ("update", item)));
        let records: Vec<Record> = items.map(|(verb, item)| self.put_record(caller, verb, item, &after)).collect();
        if records.is_empty() {
            self.save_unsaved()?;
            return Ok(Outcome::Put(changed));
        }
        let key = match &extent {
            Extent::Endpoint(key) => Some(key.clone()),
            Extent::Whole => None,
        };
        let made = self.carry_out(ports, Some(caller), Wanted { after, extent, records });
        if let Err(refusal) = made {
            self.give_back(key.as_ref());
            return Err(refusal);
        }
        changed.warnings = self.warnings();
        Ok(Outcome::Put(changed))
    }

    fn put_endpoint(
        &mut self,
        caller: &Caller,
        after: &mut Decisions,
        changed: &mut Changed,
        key: &Key,
        wanted: &PrivateEndpoint,
        create_only: bool,
    ) -> Result<(), Refusal> {
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        let rights = Rights::of(caller, &self.access);
        rights.demand(&Right::on(&after.model, &item, Verb::Write))?;
        let Some(live) = after.model.endpoints.get(key) else {
            let maker = crate::control::apply::Maker { rights, now: self.now() };
            for ip in wanted.addresses.iter().filter_map(|address| address.ip) {
                if self.addresses.is_taken(&wanted.vnet, ip) {
                    let message = format!("{ip} is in use in VNet {}", wanted.vnet);
                    let remedy = "choose another address, or leave it out";
                    return Err(Refusal::new(Kind::Conflict, "PrivateIPAddressInUse", message, remedy));
                }
            }
            create(after, &mut self.addresses, &maker, key, wanted)?;
            changed.created.push(item);
            return Ok(());
        };
        if create_only {
            return Err(exists(&item));
        }
        refuse_disconnected(after, key, wanted)?;
        refuse_fixed(live, wanted)?;
        // Read-only for the consumer: what the owner decides, and the addresses.
        let next = PrivateEndpoint {
            addresses: live.addresses.clone(),
            status: live.status,
            reason: live.reason.clone(),
            accept_names: wanted.accept_names.clone().or_else(|| live.accept_names.clone()),
            ..wanted.clone()
        };
        if *live != next {
            after.model.endpoints.insert(key.clone(), next);
            changed.updated.push(item);
        }
        Ok(())
    }

    /// What was allocated for an endpoint that was not made after all.
    fn give_back(&mut self, key: Option<&Key>) {
        if key.is_none_or(|key| !self.decisions.model.endpoints.contains_key(key)) {
            self.addresses = crate::control::addresses::Allocator::new(&self.decisions.model);
        }
    }

    /// Deletes one object.
    pub(super) fn delete(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        kind: ItemKind,
        reference: &str,
    ) -> Result<Outcome, Refusal> {
        self.refuse_built_in(caller, kind, reference)?;
        let model = &self.decisions.model;
        let found = match kind {
            // What roles there are is no secret.
            ItemKind::Role => resolve("role", reference, &model.roles).cloned(),
            ItemKind::Assignment => self.find(caller, kind, reference, &model.assignments),
            ItemKind::ResourceGroup => self.find(caller, kind, reference, &model.all_groups()),
            ItemKind::LoadBalancer => self.find(caller, kind, reference, &model.load_balancers),
            ItemKind::Vnet => self.find(caller, kind, reference, &model.vnets),
            ItemKind::SecurityGroup => self.find(caller, kind, reference, &model.security_groups),
            ItemKind::DnsZone => self.find(caller, kind, reference, &model.dns_zones),
            ItemKind::Resource => self.find(caller, kind, reference, &model.resources),
            ItemKind::Endpoint => self.find(caller, kind, reference, &model.endpoints),
        };
        let item = match found {
            Ok(key) => Item { kind, key },
            Err(unknown) => return self.delete_again(ports, caller, reference, unknown),
        };
        self.refuse_attached(&item)?;
        if kind == ItemKind::ResourceGroup {
            self.decisions.model.in_group(&item.key).iter().try_for_each(|inner| self.refuse_attached(inner))?;
        }
        let mut after = Decisions::clone(&self.decisions);
        let disconnected = delete(&mut after, &self.maker(caller), &item)?;
        let link = self.decisions.connections.get(&item.key).map(|connection| connection.link);
        let link = link.filter(|_| kind == ItemKind::Endpoint);
        let mut records = vec![Record { link, ..self.record(caller, "delete", item.to_string()) }];
        if kind == ItemKind::ResourceGroup {
            let gone = self.decisions.model.in_group(&item.key);
            records.extend(gone.iter().map(|inner| self.record(caller, "delete", inner.to_string())));
        }
        records.extend(disconnected.iter().map(|key| self.disconnected(caller, key, &item.key)));
        let single =
            kind == ItemKind::Endpoint && after.model.former_resources == self.decisions.model.former_resources;
        let extent = if single { Extent::Endpoint(item.key.clone()) } else { Extent::Whole };
        if let Err(refusal) = self.carry_out(ports, Some(caller), Wanted { after, extent, records }) {
            // Its packets end in the forwarder until the deletion is durable: the route stays.
            if kind == ItemKind::Endpoint && !self.decisions.model.has(&item) {
                self.deleting.insert(item.key.clone(), item);
            }
            return Err(refusal);
        }
        Ok(self.deleted(item, disconnected))
    }

    /// The object that `reference` names among those that `caller` may see: the others are as if they were not.
    fn find<V>(&self, caller: &Caller, kind: ItemKind, reference: &str, objects: &Map<V>) -> Result<Key, Refusal> {
        resolve_seen(&kind.to_string(), reference, objects, &self.seen(caller, kind)).cloned()
    }

    fn seen<'a>(&'a self, caller: &'a Caller, kind: ItemKind) -> impl Fn(&Key) -> bool + 'a {
        let rights = Rights::of(caller, &self.access);
        move |key| sees(&rights, &self.decisions.model, &Item { kind, key: key.clone() })
    }

    /// What comes with the system stays.
    fn refuse_built_in(&self, caller: &Caller, kind: ItemKind, reference: &str) -> Result<(), Refusal> {
        let rights = Rights::of(caller, &self.access);
        match kind {
            ItemKind::Role => reference.parse().map_or(Ok(()), |name| {
                self.access.may_change_role(&name)?;
                // Who has it is told only to those who may delete it.
                rights.demand(&Right::anywhere(actions::delete(actions::ROLE_DEFINITIONS)))?;
                self.access.may_remove_role(&name)
            }),
            ItemKind::Assignment => {
                let read =
                    |scope: &Scope| Right { action: actions::read(actions::ROLE_ASSIGNMENTS), scope: scope.clone() };
                let named = |grant: &&Grant| reference.parse().is_ok_and(|id| grant.id == id);
                let seen = |grant: &&Grant| {
                    grant.assignment.principal == *caller.subject.principal()
                        || rights.hold(&read(&grant.assignment.scope))
                };
                let grant = self.access.grants().iter().filter(named).find(seen);
                grant.map_or(Ok(()), |grant| self.access.may_remove_assignment(&grant.id))
            }
            ItemKind::ResourceGroup
            | ItemKind::LoadBalancer
            | ItemKind::Vnet
            | ItemKind::SecurityGroup
            | ItemKind::DnsZone
            | ItemKind::Resource
            | ItemKind::Endpoint => Ok(()),
        }
    }

    /// Refuses where one of `items` is not as it was in `seen`.
    pub(super) fn refuse_moved(&self, items: &[Item], seen: &Decisions) -> Result<(), Refusal> {
        let now = &self.decisions;
        let moved = |item: &&Item| {
            !seen.model.agrees(&now.model, item)
                || item.kind == ItemKind::Endpoint && seen.connections.get(&item.key) != now.connections.get(&item.key)
        };
        let Some(item) = items.iter().find(moved) else { return Ok(()) };
        let message = format!("{item} has changed since it was read");
        Err(Refusal::new(Kind::Conflict, MOVED, message, "read it again, and repeat the change"))
    }

    /// A VNet that this host is attached to stays as long as the daemon's file names it.
    fn refuse_attached(&self, item: &Item) -> Result<(), Refusal> {
        let file = self.decisions.files.get(&super::DAEMON.to_owned());
        let named = |key: &Key| file.is_some_and(|file| file.model.vnets.contains_key(key));
        let attached = |key: &Key| self.setup.host.attachments.iter().any(|attachment| attachment.vnet == *key);
        if item.kind == ItemKind::Vnet && attached(&item.key) && named(&item.key) {
            let message = format!("vnet {} is attached to this host", item.key);
            let remedy = "remove its [[attachment]] from the daemon's file, and restart the daemon";
            return Err(Refusal::new(Kind::Conflict, "InUse", message, remedy));
        }
        Ok(())
    }

    /// A deletion that is in force and could not be made durable is retried by the same command.
    fn delete_again(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        reference: &str,
        unknown: Refusal,
    ) -> Result<Outcome, Refusal> {
        let Ok(key) = resolve("endpoint", reference, &self.deleting).cloned() else { return Err(unknown) };
        let Some(item) = self.deleting.get(&key).cloned() else { return Err(unknown) };
        if !self.maker(caller).rights.hold(&Right::on(&self.decisions.model, &item, Verb::Delete)) {
            return Err(unknown);
        }
        self.save_unsaved()?;
        let decisions = Arc::clone(&self.decisions);
        let mut registry = self.registry.clone();
        let input = super::input(&self.setup, &decisions, self.found());
        let compiled = super::compile(&input, &mut registry, self.snapshot.epoch).map_err(super::not_compiled)?;
        let topology = compiled.topology;
        self.settle_host(ports, topology);
        self.deleting.remove(&key);
        Ok(self.deleted(item, Vec::new()))
    }

    fn deleted(&self, item: Item, disconnected: Vec<Key>) -> Outcome {
        Outcome::Deleted(Deletion { item, disconnected, warnings: self.warnings() })
    }

    /// One version of a file, from merging to its report.
    pub(super) fn apply_file(
        &mut self,
        ports: &Ports,
        caller: &Caller,
        version: &FileVersion,
    ) -> Result<Outcome, Refusal> {
        // The daemon's own file is exempt from rights, never from limits; whoever has it read needs one right.
        let own = version.author == super::DAEMON;
        if own {
            self.maker(caller).rights.demand(&Right::anywhere(actions::write(actions::CONFIGURATION)))?;
        }
        let daemon = self.setup.daemon.clone();
        let author = Some(caller).filter(|_| !own);
        let maker = self.maker(author.unwrap_or(&daemon));
        let application = Application::of(&version.model, &version.author, version.prune, maker);
        let before = Before { decisions: &self.decisions, standing: Some(&self.standing) };
        let Fitted { decisions: after, mut report, .. } = before.fit(&self.setup, application)?;
        report.needs_restart = version.host.iter().flat_map(|host| needs_restart(&self.setup.host, host)).collect();
        report.dry_run = version.dry_run;
        if version.dry_run {
            let mut registry = self.registry.clone();
            super::access(&self.setup, &after)?;
            let input = super::input(&self.setup, &after, self.found());
            super::compile(&input, &mut registry, self.snapshot.epoch).map_err(super::not_compiled)?;
            return Ok(Outcome::Applied(report));
        }
        let records = self.file_records(caller, &version.author, (&self.decisions, &after), &report);
        if after == *self.decisions {
            self.save_unsaved()?;
            if self.host_behind.is_some() {
                let topology = self.topology.clone();
                self.settle_host(ports, topology);
            }
        } else {
            self.carry_out(ports, author, Wanted { after, extent: Extent::Whole, records })?;
        }
        report.warnings = self.warnings();
        if version.author == super::DAEMON {
            self.last_apply = Arc::new(Report::clone(&report));
        }
        Ok(Outcome::Applied(report))
    }

    pub(super) fn record(&self, caller: &Caller, action: &str, object: String) -> Record {
        Record {
            at: self.now(),
            by: caller.actor(),
            action: action.to_owned(),
            object,
            link: None,
            from: None,
            to: None,
            detail: String::new(),
        }
    }

    fn put_record(&self, caller: &Caller, verb: &str, item: &Item, after: &Decisions) -> Record {
        let of_endpoint = item.kind == ItemKind::Endpoint;
        let (old, new) = (self.decisions.model.endpoints.get(&item.key), after.model.endpoints.get(&item.key));
        let connection = after.connections.get(&item.key).filter(|_| of_endpoint);
        Record {
            link: connection.map(|connection| connection.link),
            to: connection.map(|connection| connection.state.to_string()),
            detail: new.filter(|_| of_endpoint).map(|new| new.said_since(old)).unwrap_or_default(),
            ..self.record(caller, verb, item.to_string())
        }
    }

    fn disconnected(&self, caller: &Caller, key: &Key, resource: &Key) -> Record {
        let before = self.decisions.connections.get(key);
        Record {
            link: before.map(|connection| connection.link),
            from: before.map(|connection| connection.state.to_string()),
            to: Some(ConnectionState::Disconnected.to_string()),
            detail: format!("resource {resource} was deleted"),
            ..self.record(caller, "disconnect", format!("connection {key}"))
        }
    }

    /// The file as a whole, and every connection that it moved.
    pub(super) fn file_records(
        &self,
        caller: &Caller,
        author: &str,
        (before, after): (&Decisions, &Decisions),
        report: &Report,
    ) -> Vec<Record> {
        let lists = [("created", &report.created), ("updated", &report.updated), ("pruned", &report.pruned)];
        let said = lists.into_iter().filter(|(_, items)| !items.is_empty());
        let detail = said.map(|(what, items)| format!("{what}: {}", items.join(", "))).collect::<Vec<_>>().join("; ");
        let mut records = vec![Record { detail, ..self.record(caller, "apply", format!("file of {author}")) }];
        for (key, connection) in &after.connections {
            let before = before.connections.get(key).map(|connection| connection.state);
            if before != Some(connection.state) {
                records.push(Record {
                    link: Some(connection.link),
                    from: before.map(|state| state.to_string()),
                    to: Some(connection.state.to_string()),
                    detail: connection.description.clone(),
                    ..self.record(caller, "decide", format!("connection {key}"))
                });
            }
        }
        records
    }
}

/// The objects of one kind that are put.
struct Put<'a> {
    after: &'a mut Decisions,
    changed: &'a mut Changed,
    rights: &'a Rights<'a>,
    create_only: bool,
}

impl Put<'_> {
    fn all<T: Clone + PartialEq>(
        &mut self,
        kind: ItemKind,
        items: &Map<T>,
        of: fn(&mut Model) -> &mut Map<T>,
    ) -> Result<(), Refusal> {
        for (key, wanted) in items {
            let item = Item { kind, key: key.clone() };
            let mut typed = Model::default();
            of(&mut typed).insert(key.clone(), wanted.clone());
            self.rights.demand(&Right::on(&typed, &item, Verb::Write))?;
            let live = of(&mut self.after.model);
            let present = live.get(key);
            if present == Some(wanted) && !self.create_only {
                continue;
            }
            match present {
                Some(_) if self.create_only => return Err(exists(&item)),
                Some(_) => self.changed.updated.push(item),
                None => self.changed.created.push(item),
            }
            live.insert(key.clone(), wanted.clone());
        }
        Ok(())
    }
}

fn exists(item: &Item) -> Refusal {
    Refusal::new(Kind::Conflict, "AlreadyExists", format!("{item} exists"), "choose another name, or change it")
}

/// Somebody else was faster than the caller.
fn decided_meanwhile(key: &Key, connection: &Connection) -> Refusal {
    let message = format!("{key} is not as it was seen: it is {} now", decision_of(connection));
    let remedy = format!("look at it, and decide anew: `privlink connection show {key}`");
    Refusal::new(Kind::Conflict, MOVED, message, remedy)
}

fn terminal(key: &Key, connection: &Connection, action: Action) -> Refusal {
    let (verb, decision) = (action.verb(), decision_of(connection));
    Refusal::new(
        Kind::InvalidTransition,
        "InvalidTransition",
        format!("cannot {verb} {key}: it is {decision}, for good"),
        format!("its consumer can only delete it: `privlink endpoint delete {key}`"),
    )
}
