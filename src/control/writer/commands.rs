//! What each command asks for: the wanted state, the rights it needs, and what is recorded of it.

use super::fit::{Before, Fitted};
use super::plan::{Plan, Planning, Steps, Wanted};
use super::{Allocator, Application, Decisions, Item, Kind, Outcome, Refusal, Report, Rights};
use crate::access::Grant;
use crate::access::rights::visibility::{sees, sees_grant};
use crate::access::rights::{Right, Verb, refuse_other_type};
use crate::control::apply::{
    Requester, Requests, create, delete, follow, keep_accepted, needs_restart, refuse_disconnected, refuse_fixed,
    refuse_other_addresses, settled, sever_taken_back, spelled,
};
use crate::control::command::{Changed, Deletion, FileVersion, MOVED};
use crate::control::difference::{
    self, Changed as Difference, FieldChange, Object, ObjectChange, of_connection, of_item,
};
use crate::control::state::Record;
use crate::model::decisions::ChangeExtent;
use crate::model::decisions::ItemKind;
use crate::model::references::{resolve, resolve_seen};
use crate::model::registry::{self, Kind as _, each_kind, of_kind};
use crate::model::sentence::{Mention, itself, sentence};
use crate::model::{Key, Map, Model, PrivateEndpoint};
use crate::model::{RoleAssignment, RoleName, actions};
use crate::snapshot::ConnectionState;

impl Planning<'_> {
    /// Makes or changes objects, all or none.
    pub(super) fn put(&self, items: &Model, create_only: bool) -> Result<Plan, Refusal> {
        let now = &self.in_force.decisions;
        let mut after = Decisions::clone(now);
        let mut addresses = self.in_force.addresses.clone();
        let mut changed = Changed::default();
        let rights = self.rights();
        let mut put = Put { after: &mut after, changed: &mut changed, rights: &rights, create_only };
        // Before it shows which tokens there are.
        rights.demand_tokens(&self.in_force.decisions.model.assignments, &items.assignments)?;
        each_kind!(K => if !matches!(K::KIND, ItemKind::Resource | ItemKind::Endpoint) {
            put.all(K::map(items))?;
        });
        put.after.refuse_absent_tokens(&items.assignments)?;
        keep_accepted(&now.model, &mut put.after.model);
        sever_taken_back(&now.model, &mut put.after.model);
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
            resources.insert(key.clone(), settled(&put.after.model, &mut addresses, key, wanted)?);
        }
        put.all(&resources)?;
        let others = !(changed.created.is_empty() && changed.updated.is_empty());
        let mut put = Put { after: &mut after, changed: &mut changed, rights: &rights, create_only };
        let mut requests = Requests::beside(Some(&self.in_force.index));
        for (key, endpoint) in &items.endpoints {
            self.put_endpoint(&mut put, &mut addresses, &mut requests, key, endpoint)?;
        }
        let extent = match items.endpoints.keys().next() {
            Some(key) if !others && items.endpoints.len() == 1 => ChangeExtent::Endpoint(key.clone()),
            Some(_) | None => ChangeExtent::Whole,
        };
        let items = changed.created.iter().map(|item| ("create", item));
        let items = items.chain(changed.updated.iter().map(|item| ("update", item)));
        let records = items.map(|(verb, item)| self.item_record(verb, item, (now, &after)));
        let records: Vec<Record> = records.chain(self.severed(&after.model)).collect();
        let outcome = Outcome::Put(changed);
        if records.is_empty() {
            return Ok(Plan::without_change(outcome, Steps::Nothing));
        }
        self.change(
            outcome,
            Wanted { after, extent, addresses: Some(addresses), standing: None, asks_rights: true },
            records,
        )
    }

    fn put_endpoint(
        &self,
        put: &mut Put<'_>,
        addresses: &mut Allocator,
        requests: &mut Requests<'_>,
        key: &Key,
        wanted: &PrivateEndpoint,
    ) -> Result<(), Refusal> {
        let Put { after, changed, rights, create_only } = put;
        let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
        rights.demand(&Right::on(&after.model, &item, Verb::Write))?;
        let Some(live) = after.model.endpoints.get(key) else {
            // Whether an address is taken is told to who may use the subnet.
            rights.demand(&Right::join(&wanted.vnet, &wanted.subnet))?;
            for ip in wanted.addresses.iter().filter_map(|address| address.ip) {
                if addresses.is_taken(&wanted.vnet, ip) {
                    let message = itself(format!("{ip} is in use in VNet {}", wanted.vnet));
                    let remedy = "choose another address, or leave it out";
                    return Err(Refusal::new(Kind::Conflict, "PrivateIPAddressInUse", message, remedy));
                }
            }
            create(after, addresses, requests, &self.maker(), key, wanted)?;
            changed.created.push(item);
            return Ok(());
        };
        if *create_only {
            return Err(exists(&item));
        }
        let wanted = &spelled(&after.model, wanted);
        refuse_disconnected(after, key, wanted)?;
        refuse_fixed(live, wanted)?;
        refuse_other_addresses(live, wanted)?;
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

    /// Deletes one object.
    pub(super) fn delete(&self, kind: ItemKind, reference: &str) -> Result<Plan, Refusal> {
        self.refuse_built_in(kind, reference)?;
        let before = &self.in_force.decisions;
        let model = &before.model;
        let found = if kind == ItemKind::Role {
            // What roles there are is no secret.
            resolve("role", reference, &model.roles).cloned()
        } else if kind == ItemKind::ResourceGroup {
            self.find(kind, reference, &model.all_groups())
        } else {
            of_kind!(kind, K => self.find(kind, reference, K::map(model)))
        };
        let item = match found {
            Ok(key) => Item { kind, key },
            Err(unknown) => return self.delete_again(reference, unknown),
        };
        let mut after = Decisions::clone(before);
        let disconnected = delete(&mut after, &self.maker(), &item)?;
        self.refuse_attached(&item)?;
        if kind == ItemKind::ResourceGroup {
            model.in_group(&item.key).iter().try_for_each(|inner| self.refuse_attached(inner))?;
        }
        let deleted = |item: &Item| self.item_record("delete", item, (before, &after));
        let mut records = vec![deleted(&item)];
        if kind == ItemKind::ResourceGroup {
            records.extend(model.in_group(&item.key).iter().map(deleted));
            let assignments = model.assignments.changes(&after.model.assignments);
            records.extend(assignments.into_iter().map(|(key, _)| self.unassigned(key)));
        }
        records.extend(self.severed(&after.model));
        records.extend(disconnected.iter().map(|key| self.disconnected(key, &item.key, &after)));
        let single = kind == ItemKind::Endpoint && after.model.former_resources == model.former_resources;
        let extent = if single { ChangeExtent::Endpoint(item.key.clone()) } else { ChangeExtent::Whole };
        let needed = Right::each(model, &item, Verb::Delete);
        let outcome = Outcome::Deleted(Deletion { item, disconnected, warnings: Vec::new() });
        if kind == ItemKind::Assignment {
            // It moves no packet and takes rights away: it waits for no validation.
            self.rights().demand_all(&needed)?;
            return self.keep(outcome, after, records);
        }
        self.change(outcome, Wanted { after, extent, addresses: None, standing: None, asks_rights: true }, records)
    }

    /// The object that `reference` names among those that the caller may see: the others are as if they were not.
    pub(super) fn find<V>(&self, kind: ItemKind, reference: &str, objects: &Map<V>) -> Result<Key, Refusal> {
        resolve_seen(&kind.to_string(), reference, objects, &self.seen(kind)).cloned()
    }

    pub(super) fn seen(&self, kind: ItemKind) -> impl Fn(&Key) -> bool {
        let rights = self.rights();
        move |key| sees(&rights, &self.in_force.decisions.model, &Item { kind, key: key.clone() })
    }

    /// What comes with the system stays.
    fn refuse_built_in(&self, kind: ItemKind, reference: &str) -> Result<(), Refusal> {
        let (rights, access) = (self.rights(), &self.in_force.access);
        if kind == ItemKind::Role
            && let Ok(name) = reference.parse::<RoleName>()
        {
            access.may_change_role(&name)?;
            // Who has it is told only to those who may delete it.
            let item = Item { kind, key: Key::global(name.to_string()) };
            rights.demand_all(&Right::each(&self.in_force.decisions.model, &item, Verb::Delete))?;
            access.may_remove_role(&name)?;
        }
        if kind == ItemKind::Assignment {
            let named = |grant: &&Grant| reference.parse().is_ok_and(|id| grant.id == id);
            let seen = |grant: &&Grant| sees_grant(&rights, grant);
            let grant = access.grants().iter().filter(named).find(seen);
            grant.map_or(Ok(()), |grant| access.may_remove_assignment(&grant.id))?;
        }
        Ok(())
    }

    /// Refuses where one of `items` is not as it was in `seen`.
    pub(super) fn refuse_moved(&self, items: &[Item], seen: &Decisions) -> Result<(), Refusal> {
        let now = &self.in_force.decisions;
        let moved = |item: &&Item| {
            !seen.model.agrees(&now.model, item)
                || item.kind == ItemKind::Endpoint && seen.connections.get(&item.key) != now.connections.get(&item.key)
        };
        let Some(item) = items.iter().find(moved) else { return Ok(()) };
        let message = sentence!("{} has changed since it was read", Mention::item(item));
        Err(Refusal::new(Kind::Conflict, MOVED, message, "read it again, and repeat the change"))
    }

    /// A VNet that this host is attached to stays as long as the daemon's file names it.
    fn refuse_attached(&self, item: &Item) -> Result<(), Refusal> {
        let file = self.in_force.decisions.files.get(&crate::model::decisions::DAEMON.to_owned());
        let named = |key: &Key| file.is_some_and(|file| file.model.vnets.contains_key(key));
        let attached = |key: &Key| self.setup.host.attachments.iter().any(|attachment| attachment.vnet == *key);
        if item.kind == ItemKind::Vnet && attached(&item.key) && named(&item.key) {
            let message = sentence!("{} is attached to this host", Mention::item(item));
            let remedy = "remove its [[attachment]] from the daemon's file, and restart the daemon";
            return Err(Refusal::new(Kind::Conflict, "InUse", message, remedy));
        }
        Ok(())
    }

    /// A deletion that is in force and could not be made durable is retried by the same command.
    fn delete_again(&self, reference: &str, unknown: Refusal) -> Result<Plan, Refusal> {
        let (now, deleting) = (&self.in_force.decisions, &self.in_force.deleting);
        let Ok(key) = resolve("endpoint", reference, deleting).cloned() else { return Err(unknown) };
        let Some(item) = deleting.get(&key).cloned() else { return Err(unknown) };
        if !self.rights().hold(&Right::on(&now.model, &item, Verb::Delete)) {
            return Err(unknown);
        }
        let topology = self.topology(now)?;
        let outcome = Outcome::Deleted(Deletion { item, disconnected: Vec::new(), warnings: Vec::new() });
        Ok(Plan::without_change(outcome, Steps::DeleteAgain(key, topology)))
    }

    /// One version of a file, from merging to its report.
    pub(super) fn apply_file(&self, version: &FileVersion) -> Result<Plan, Refusal> {
        // The daemon's own file is exempt from rights, never from limits; whoever has it read needs one right.
        let own_file = version.author == crate::model::decisions::DAEMON;
        if own_file {
            self.rights().demand(&Right::anywhere(actions::write(actions::CONFIGURATION)))?;
        }
        let own_host = version.host.as_ref().filter(|_| own_file);
        let in_force = own_host.map_or_else(|| self.in_force.clone(), |host| self.in_force.followed(self.setup, host));
        let caller = if own_file { &self.setup.daemon } else { self.caller };
        let author = Planning { caller, in_force: &in_force, ..*self };
        let maker = Requester { dry_run: version.dry_run, ..author.maker() };
        let application = Application {
            index: Some(&self.in_force.index),
            ..Application::of(&version.model, &version.author, version.prune, maker)
        };
        let before = &self.in_force.decisions;
        let known = Before { decisions: before, host: &in_force.host, standing: Some(&in_force.standing) };
        let Fitted { decisions: after, mut report, standing } = known.fit(self.setup, application)?;
        report.needs_restart = version.host.iter().flat_map(|host| needs_restart(&in_force.host, host)).collect();
        report.dry_run = version.dry_run;
        if version.dry_run {
            super::access(self.setup, &after)?;
            author.topology(&after)?;
            report.changes = author.readable_changes(before, &after);
            return Ok(Plan::without_change(Outcome::Applied(report), Steps::Report));
        }
        let records = self.file_records(&version.author, (before, &after), &report);
        let outcome = Outcome::Applied(report);
        // What attachments allow is compiled, too.
        let plan = if after != **before || in_force.host != self.in_force.host {
            let standing = Some(standing);
            let wanted =
                Wanted { after, extent: ChangeExtent::Whole, addresses: None, standing, asks_rights: !own_file };
            Planning { in_force: &in_force, ..*self }.change(outcome, wanted, records)?
        } else {
            Plan::without_change(outcome, Steps::Nothing)
        };
        Ok(Plan { own_file, ..plan })
    }

    pub(super) fn record(&self, action: &str, object: String) -> Record {
        Record::new(self.now(), self.caller.actor(), action, object)
    }

    /// That `item` was made, changed or deleted.
    fn item_record(&self, verb: &str, item: &Item, states: (&Decisions, &Decisions)) -> Record {
        let (before, after) = states;
        self.item_record_with(verb, item, states, of_item(&before.model, &after.model, item))
    }

    /// The same, where the fields that differ are known.
    fn item_record_with(
        &self,
        verb: &str,
        item: &Item,
        (before, after): (&Decisions, &Decisions),
        changes: Vec<FieldChange>,
    ) -> Record {
        let endpoints = item.kind == ItemKind::Endpoint;
        let (old, new) = (before.model.endpoints.get(&item.key), after.model.endpoints.get(&item.key));
        let connection = |of: &Decisions| of.connections.get(&item.key).filter(|_| endpoints).cloned();
        let (was, is) = (connection(before), connection(after));
        let said = new.filter(|_| endpoints).map(|new| new.said_since(old));
        let assignments = |of: &Decisions| of.model.assignments.get(&item.key).map(assigned);
        let given = || assignments(after).or_else(|| assignments(before));
        let record = Record {
            link: is.as_ref().or(was.as_ref()).map(|connection| connection.link),
            from: was.map(|connection| connection.state.to_string()),
            to: is.map(|connection| connection.state.to_string()),
            detail: if item.kind == ItemKind::Assignment { given() } else { said }.unwrap_or_default(),
            ..self.record_of(verb, item, if after.model.has(item) { &after.model } else { &before.model })
        };
        record.with(changes)
    }

    /// What is recorded of peerings whose other side is gone in `after`.
    fn severed(&self, after: &Model) -> Vec<Record> {
        let before = &self.in_force.decisions.model.vnets;
        let mut records = Vec::new();
        for (key, new) in before.changes(&after.vnets) {
            let (Some(old), Some(new)) = (before.get(key), new) else { continue };
            let labels = new.peering_labels.iter().filter(|label| label.severed && !old.is_severed(&label.remote));
            let changes =
                of_item(&self.in_force.decisions.model, after, &Item { kind: ItemKind::Vnet, key: key.clone() });
            records.extend(labels.map(|label| {
                let remote = &label.remote;
                let stays = after.vnets.contains_key(remote);
                let went = if stays { format!("the peering of VNet {remote}") } else { format!("VNet {remote}") };
                let record = Record {
                    to: Some(ConnectionState::Disconnected.to_string()),
                    detail: format!("{went} was deleted"),
                    ..self.record("disconnect", format!("peering {} of vnet {key}", label.name))
                };
                record.with(changes.clone())
            }));
        }
        records
    }

    /// What is recorded of an object of `model`.
    fn record_of(&self, action: &str, item: &Item, model: &Model) -> Record {
        let resource = model.resources.get(&item.key).filter(|_| item.kind == ItemKind::Resource);
        let kind = resource.map(|one| one.kind.clone().unwrap_or_else(|| actions::SERVICES.to_owned()));
        let given = model.assignments.get(&item.key).filter(|_| item.kind == ItemKind::Assignment);
        let scope = given.map(|given| given.scope.clone());
        Record { resource_type: kind, scope, ..self.record(action, item.to_string()) }
    }

    fn disconnected(&self, key: &Key, resource: &Key, after: &Decisions) -> Record {
        let before = self.in_force.decisions.connections.get(key);
        let record = Record {
            link: before.map(|connection| connection.link),
            from: before.map(|connection| connection.state.to_string()),
            to: Some(ConnectionState::Disconnected.to_string()),
            detail: format!("resource {resource} was deleted"),
            ..self.record("disconnect", format!("connection {key}"))
        };
        record.with(of_connection(before, after.connections.get(key)))
    }

    /// The file as a whole, every object that it changed, and every connection that it moved.
    pub(super) fn file_records(
        &self,
        author: &str,
        (before, after): (&Decisions, &Decisions),
        report: &Report,
    ) -> Vec<Record> {
        let counts = [("created", &report.created), ("updated", &report.updated), ("pruned", &report.pruned)]
            .map(|(what, items)| (what, items.len()));
        let counts = counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}"));
        let detail = counts.collect::<Vec<_>>().join(", ");
        let mut records = vec![Record { detail, ..self.record("apply", format!("file of {author}")) }];
        for changed in difference::between(before, after) {
            match &changed.object {
                Object::Item(item) => {
                    let mut record = self.item_record_with(changed.action(), item, (before, after), changed.fields());
                    // A decision is recorded once, with its connection.
                    if item.kind == ItemKind::Endpoint && self.decided_by_file(&item.key, (before, after)).is_some() {
                        (record.from, record.to) = (None, None);
                    }
                    records.push(record);
                }
                Object::Connection(key) => records.extend(self.decided_by_file(key, (before, after))),
                Object::Token(_) | Object::ResourceType(_) => {
                    records.push(self.record(changed.action(), changed.object.to_string()).with(changed.fields()));
                }
            }
        }
        records
    }

    /// A connection that a file moved; what is new of one stands in the record of its endpoint.
    fn decided_by_file(&self, key: &Key, (before, after): (&Decisions, &Decisions)) -> Option<Record> {
        let (old, new) = (before.connections.get(key)?, after.connections.get(key)?);
        let moved = ((old.state, old.ends_at) != (new.state, new.ends_at)).then(|| Record {
            link: Some(new.link),
            from: Some(old.state.to_string()),
            to: Some(new.state.to_string()),
            detail: new.description.clone(),
            ..self.record("decide", format!("connection {key}"))
        })?;
        Some(moved.with(of_connection(Some(old), Some(new))))
    }

    /// What is not in `after` as in `before`, as far as the caller may read it.
    pub(super) fn readable_changes(&self, before: &Decisions, after: &Decisions) -> Vec<ObjectChange> {
        let rights = self.rights();
        // What is new is the caller's own word; what there is already it must be able to read.
        let reads = |item: &Item| {
            let of = if before.model.has(item) { before } else { after };
            rights.hold(&Right::on(&of.model, item, Verb::Read)) || !before.model.has(item)
        };
        let seen = |object: &Object| match object {
            Object::Item(item) => reads(item),
            Object::Connection(key) => {
                let item = Item { kind: ItemKind::Endpoint, key: key.clone() };
                sees(&rights, &before.model, &item) || sees(&rights, &after.model, &item)
            }
            Object::Token(_) | Object::ResourceType(_) => {
                rights.hold(&Right::anywhere(actions::read(actions::CONFIGURATION)))
            }
        };
        difference::between(before, after).iter().filter(|one| seen(&one.object)).map(Difference::told).collect()
    }
}

/// An assignment in words.
fn assigned(given: &RoleAssignment) -> String {
    let RoleAssignment { principal, role, scope } = given;
    format!("{role} for {principal} at {scope}")
}

/// The objects of one kind that are put.
struct Put<'a> {
    after: &'a mut Decisions,
    changed: &'a mut Changed,
    rights: &'a Rights<'a>,
    create_only: bool,
}

impl Put<'_> {
    fn all<K: registry::Kind>(&mut self, items: &Map<K>) -> Result<(), Refusal> {
        for (key, wanted) in items {
            let item = Item { kind: K::KIND, key: key.clone() };
            let mut typed = Model::default();
            K::map_mut(&mut typed).insert(key.clone(), wanted.clone());
            self.rights.demand_all(&Right::each(&typed, &item, Verb::Write))?;
            let live = K::map_mut(&mut self.after.model);
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
    Refusal::new(Kind::Conflict, "AlreadyExists", itself(format!("{item} exists")), "choose another name, or change it")
}
