//! Deletes objects.

use crate::access::Grant;
use crate::access::rights::visibility::sees_grant;
use crate::access::rights::{Right, Verb};
use crate::control::apply::delete;
use crate::control::command::{Command, Vanishing};
use crate::control::outcome::Deletion;
use crate::control::writer::{Planning, PreparedChange, ProposedState};
use crate::model::error::{Error, ErrorKind};
use crate::model::references::resolve;
use crate::model::registry::of_kind;
use crate::model::sentence::{Mention, sentence};
use crate::model::state::{ChangeExtent, ControlState, DAEMON, Item};
use crate::model::{ItemKind, Key, RoleName};

/// Deletes an object. An endpoint may be in any state.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The object's kind.
    pub kind: ItemKind,
    /// The object: `name`, `group/name` or `subscription/group/name`.
    pub reference: String,
}

impl Command for Delete {
    type Output = Deletion;

    fn prepare(&self, planning: &Planning<'_>) -> Result<PreparedChange<Deletion>, Error> {
        let (kind, reference) = (self.kind, self.reference.as_str());
        refuse_built_in(planning, kind, reference)?;
        let before = &planning.in_force.state;
        let model = &before.model;
        let found = if kind == ItemKind::Role {
            // The list of roles is public.
            resolve("role", reference, &model.roles).cloned()
        } else if kind == ItemKind::ResourceGroup {
            planning.find(kind, reference, &model.all_groups())
        } else {
            of_kind!(kind, K => planning.find(kind, reference, K::map(model)))
        };
        let item = match found {
            Ok(key) => Item { kind, key },
            Err(unknown) => return delete_again(planning, reference, unknown),
        };
        let mut after = ControlState::clone(before);
        let disconnected = delete(&mut after, &planning.maker(), &item)?;
        refuse_attached(planning, &item)?;
        if kind == ItemKind::ResourceGroup {
            model.in_group(&item.key).iter().try_for_each(|inner| refuse_attached(planning, inner))?;
        }
        let deleted = |item: &Item| planning.item_record("delete", item, (before, &after));
        let mut records = vec![deleted(&item)];
        if kind == ItemKind::ResourceGroup {
            records.extend(model.in_group(&item.key).iter().map(deleted));
            let assignments = model.assignments.changes(&after.model.assignments);
            records.extend(assignments.into_iter().map(|(key, _)| planning.unassigned(key)));
        }
        records.extend(planning.severed(&after.model));
        records.extend(disconnected.iter().map(|key| planning.disconnected(key, &item.key, &after)));
        let single = kind == ItemKind::Endpoint && after.model.former_resources == model.former_resources;
        let extent = if single { ChangeExtent::Endpoint(item.key.clone()) } else { ChangeExtent::Whole };
        let needed = Right::each(model, &item, Verb::Delete);
        let outcome = Deletion { item, disconnected, warnings: Vec::new() };
        if kind == ItemKind::Assignment {
            // It affects no packet and only removes rights, so it needs no validation.
            planning.rights().demand_all(&needed)?;
            return planning.keep(outcome, after, records);
        }
        planning.change(
            outcome,
            ProposedState { after, extent, addresses: None, standing: None, asks_rights: true },
            records,
        )
    }

    fn only_revokes(&self) -> bool {
        matches!(self.kind, ItemKind::Endpoint | ItemKind::Assignment)
    }

    fn vanishing(&self) -> Vanishing<'_> {
        if self.kind == ItemKind::Endpoint {
            Vanishing::Endpoint(&self.reference)
        } else if self.kind == ItemKind::ResourceGroup {
            Vanishing::Several
        } else {
            Vanishing::Nothing
        }
    }
}

/// Built-in roles cannot be deleted.
fn refuse_built_in(planning: &Planning<'_>, kind: ItemKind, reference: &str) -> Result<(), Error> {
    let (rights, access) = (planning.rights(), &planning.in_force.access);
    if kind == ItemKind::Role
        && let Ok(name) = reference.parse::<RoleName>()
    {
        access.may_change_role(&name)?;
        // Only a caller who may delete the role learns who has it.
        let item = Item { kind, key: Key::global(name.to_string()) };
        rights.demand_all(&Right::each(&planning.in_force.state.model, &item, Verb::Delete))?;
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

/// Refuses to delete a VNet that the daemon's file attaches to this host.
fn refuse_attached(planning: &Planning<'_>, item: &Item) -> Result<(), Error> {
    let file = planning.in_force.state.files.get(&DAEMON.to_owned());
    let named = |key: &Key| file.is_some_and(|file| file.model.vnets.contains_key(key));
    let attached = |key: &Key| planning.setup.host.attachments.iter().any(|attachment| attachment.vnet == *key);
    if item.kind == ItemKind::Vnet && attached(&item.key) && named(&item.key) {
        let message = sentence!("{} is attached to this host", Mention::item(item));
        let remedy = "remove its [[attachment]] from the daemon's file, and restart the daemon";
        return Err(Error::new(ErrorKind::Conflict, "InUse", message, remedy));
    }
    Ok(())
}

/// Repeats a deletion that is in force but could not be stored.
fn delete_again(planning: &Planning<'_>, reference: &str, unknown: Error) -> Result<PreparedChange<Deletion>, Error> {
    let (now, deleting) = (&planning.in_force.state, &planning.in_force.deleting);
    let Ok(key) = resolve("endpoint", reference, deleting).cloned() else { return Err(unknown) };
    let Some(item) = deleting.get(&key).cloned() else { return Err(unknown) };
    if !planning.rights().hold(&Right::on(&now.model, &item, Verb::Delete)) {
        return Err(unknown);
    }
    let topology = planning.topology(now)?;
    let outcome = Deletion { item, disconnected: Vec::new(), warnings: Vec::new() };
    Ok(PreparedChange::delete_again(outcome, key, topology))
}
