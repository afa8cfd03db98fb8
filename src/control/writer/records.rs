//! Audit records of a change.

use super::plan::Planning;
use crate::access::rights::visibility::sees;
use crate::access::rights::{Right, Verb};
use crate::control::codec::Record;
use crate::control::difference::{self, Changed as Difference, Object, of_connection, of_item};
use crate::model::state::{ControlState, Item};
use crate::model::{ItemKind, Key, Model, RoleAssignment, actions};
use crate::snapshot::ConnectionState;
use crate::types::{ApplyReport, FieldChange, ObjectChange};

impl Planning<'_> {
    pub(in crate::control) fn record(&self, action: &str, object: String) -> Record {
        Record::new(self.now(), self.caller.actor(), action, object)
    }

    /// The record that `item` was created, changed or deleted.
    pub(in crate::control) fn item_record(
        &self,
        verb: &str,
        item: &Item,
        states: (&ControlState, &ControlState),
    ) -> Record {
        let (before, after) = states;
        self.item_record_with(verb, item, states, of_item(&before.model, &after.model, item))
    }

    /// The same, with known changed fields.
    fn item_record_with(
        &self,
        verb: &str,
        item: &Item,
        (before, after): (&ControlState, &ControlState),
        changes: Vec<FieldChange>,
    ) -> Record {
        let endpoints = item.kind == ItemKind::Endpoint;
        let (old, new) = (before.model.endpoints.get(&item.key), after.model.endpoints.get(&item.key));
        let connection = |of: &ControlState| of.connections.get(&item.key).filter(|_| endpoints).cloned();
        let (was, is) = (connection(before), connection(after));
        let said = new.filter(|_| endpoints).map(|new| new.said_since(old));
        let assignments = |of: &ControlState| of.model.assignments.get(&item.key).map(assigned);
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

    /// The record of a role assignment that is deleted with the object at its scope.
    pub(in crate::control) fn unassigned(&self, key: &Key) -> Record {
        let before = &self.in_force.state.model;
        let item = Item { kind: ItemKind::Assignment, key: key.clone() };
        let given = before.assignments.get(key);
        let detail = given.map(|given| format!("{} was deleted", given.scope)).unwrap_or_default();
        let scope = given.map(|given| given.scope.clone());
        let changes = of_item(before, &Model::default(), &item);
        Record { scope, detail, ..self.record("delete", item.to_string()) }.with(changes)
    }

    /// Records of peerings whose other side is gone in `after`.
    pub(in crate::control) fn severed(&self, after: &Model) -> Vec<Record> {
        let before = &self.in_force.state.model.vnets;
        let mut records = Vec::new();
        for (key, new) in before.changes(&after.vnets) {
            let (Some(old), Some(new)) = (before.get(key), new) else { continue };
            let labels = new.peering_labels.iter().filter(|label| label.severed && !old.is_severed(&label.remote));
            let changes = of_item(&self.in_force.state.model, after, &Item { kind: ItemKind::Vnet, key: key.clone() });
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

    /// The description of an object of `model`.
    fn record_of(&self, action: &str, item: &Item, model: &Model) -> Record {
        let resource = model.resources.get(&item.key).filter(|_| item.kind == ItemKind::Resource);
        let kind = resource.map(|one| one.kind.clone().unwrap_or_else(|| actions::SERVICES.to_owned()));
        let given = model.assignments.get(&item.key).filter(|_| item.kind == ItemKind::Assignment);
        let scope = given.map(|given| given.scope.clone());
        Record { resource_type: kind, scope, ..self.record(action, item.to_string()) }
    }

    pub(in crate::control) fn disconnected(&self, key: &Key, resource: &Key, after: &ControlState) -> Record {
        let before = self.in_force.state.connections.get(key);
        let record = Record {
            link: before.map(|connection| connection.link),
            from: before.map(|connection| connection.state.to_string()),
            to: Some(ConnectionState::Disconnected.to_string()),
            detail: format!("resource {resource} was deleted"),
            ..self.record("disconnect", format!("connection {key}"))
        };
        record.with(of_connection(before, after.connections.get(key)))
    }

    /// Records of a file: of the file itself, of every changed object, and of every changed connection.
    pub(in crate::control) fn file_records(
        &self,
        author: &str,
        (before, after): (&ControlState, &ControlState),
        report: &ApplyReport,
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
                    // A decision is recorded only with its connection.
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

    /// The record of a connection that a file changed. A new connection is part of its endpoint's record.
    fn decided_by_file(&self, key: &Key, (before, after): (&ControlState, &ControlState)) -> Option<Record> {
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

    /// The changes from `before` to `after`, as far as the caller may see them.
    pub(in crate::control) fn readable_changes(
        &self,
        before: &ControlState,
        after: &ControlState,
    ) -> Vec<ObjectChange> {
        let rights = self.rights();
        // New values come from the caller. Existing ones are shown only if the caller may read them.
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

/// An assignment as text.
fn assigned(given: &RoleAssignment) -> String {
    let RoleAssignment { principal, role, scope } = given;
    format!("{role} for {principal} at {scope}")
}
