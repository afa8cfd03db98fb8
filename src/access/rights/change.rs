//! The rights that a change of the model needs: found by comparing the model before and after, the same for every
//! command.

use super::gone::{is_severed_alone, vanished};
use super::references::Refers;
use super::{Right, Rights, Verb};
use crate::access::rights::visibility::sees;
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::each_kind;
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::sentence::{UNSEEN, itself};
use crate::model::state::{ChangeExtent, Item, ItemKind};
use crate::model::{Key, LinkResource, Model, RoleAssignment, RoleName, Scope, actions, built_in};

impl Rights<'_> {
    /// Checks the rights for all differences between `before` and `after`: to write or delete each changed object, also
    /// one that changes only with another, and for each new reference.
    ///
    /// # Errors
    /// `Forbidden`; `Conflict` if an object would change its kind.
    pub fn demand_change(&self, before: &Model, after: &Model, extent: &ChangeExtent) -> Result<(), Error> {
        let change = Change { rights: self, before, after };
        if let ChangeExtent::Endpoint(key) = extent {
            let (old, new) = (before.endpoints.get(key), after.endpoints.get(key));
            return if old == new { Ok(()) } else { change.demand(key, old, new) };
        }
        each_kind!(K => if K::KIND == ItemKind::Assignment {
            change.assignments()?;
            change.demand_held()?;
        } else if K::KIND == ItemKind::Vnet {
            change.vnets()?;
        } else {
            if K::KIND == ItemKind::Resource {
                change.types()?;
            }
            change.all::<K>()?;
        });
        Ok(())
    }
}

struct Change<'a> {
    rights: &'a Rights<'a>,
    before: &'a Model,
    after: &'a Model,
}

impl Change<'_> {
    /// Nobody may assign a role that they do not hold. If a role gains actions, each of its assignments is checked
    /// again.
    fn demand_held(&self) -> Result<(), Error> {
        let new = self.before.assignments.changes(&self.after.assignments).into_iter().filter_map(|(_, given)| given);
        new.into_iter().try_for_each(|given| self.demand_assignable(given))?;
        let role_of = |model: &Model, name: &RoleName| model.roles.share(&Key::global(name.to_string()));
        for (key, given) in &self.after.assignments {
            let (old, new) = (role_of(self.before, &given.role), role_of(self.after, &given.role));
            if new.as_ref().zip(old.as_ref()).is_some_and(|(new, old)| !new.is_within(old)) {
                let action = actions::write(actions::ROLE_ASSIGNMENTS);
                let write = self.rights.demand(&Right { action, scope: given.scope.clone() });
                let assigned = write.and_then(|()| self.demand_assignable(given));
                assigned.map_err(|refusal| self.of_assignment(key, given, refusal))?;
            }
        }
        Ok(())
    }

    /// `refusal`, which names the scope of `given`. A reader who may not see that scope gets a text without it.
    fn of_assignment(&self, key: &Key, given: &RoleAssignment, refusal: Error) -> Error {
        if sees(self.rights, self.after, &Item { kind: ItemKind::Assignment, key: key.clone() }) {
            return refusal;
        }
        let (who, role) = (self.rights.caller().subject.principal(), &given.role);
        let message = itself(format!("{who} may not have the role {role} give more: {UNSEEN} has it"));
        let remedy = "ask somebody who may assign it wherever it is, or define another role";
        Error::new(ErrorKind::Forbidden, "AuthorizationFailed", message, remedy)
    }

    fn demand_assignable(&self, given: &RoleAssignment) -> Result<(), Error> {
        let own = self.after.roles.get(&Key::global(given.role.to_string()));
        let fixed = || built_in().iter().find(|role| role.name == given.role).map(|role| &**role);
        // The model's own check reports a missing role.
        let Some(role) = own.or_else(fixed) else { return Ok(()) };
        self.rights.demand_assignable(role, &given.scope)
    }

    /// Assignments at or below a `vanished` scope go with it, also those at an empty resource group.
    fn assignments(&self) -> Result<(), Error> {
        let before = &self.before.assignments;
        let changes = before.changes(&self.after.assignments);
        let vanished =
            if changes.is_empty() { Vec::new() } else { vanished(self.before, self.after, &ChangeExtent::Whole) };
        for (key, new) in changes {
            let old = before.get(key);
            let went = |given: &RoleAssignment| {
                vanished.iter().any(|place| place.covers(&given.scope)) || self.lost_its_group(&given.scope)
            };
            if !(new.is_none() && old.is_some_and(went)) {
                self.demand(key, old, new)?;
            }
        }
        Ok(())
    }

    /// Whether the resource group at or above `scope` has disappeared.
    fn lost_its_group(&self, scope: &Scope) -> bool {
        let text = scope.to_string();
        let parts: Vec<&str> = text.split('/').collect();
        let ["", _, subscription, _, group, ..] = parts.as_slice() else { return false };
        let group = Key::of_group(subscription, group);
        self.before.has_group(&group) && !self.after.has_group(&group)
    }

    /// If a VNet changes only because its peers are gone, nobody changed that VNet.
    fn vnets(&self) -> Result<(), Error> {
        for (key, new) in self.before.vnets.changes(&self.after.vnets) {
            let old = self.before.vnets.get(key);
            let severed = |(old, new)| is_severed_alone((self.before, self.after), key, old, new);
            if !old.zip(new).is_some_and(severed) {
                self.demand(key, old, new)?;
            }
        }
        Ok(())
    }

    /// The type of a resource never changes.
    fn types(&self) -> Result<(), Error> {
        let before = &self.before.resources;
        let mut changes = before.changes(&self.after.resources).into_iter();
        changes.try_for_each(|(key, new)| refuse_other_type(key, before.get(key), new))
    }

    fn all<K: Refers>(&self) -> Result<(), Error> {
        let (before, after) = (K::map(self.before), K::map(self.after));
        before.changes(after).into_iter().try_for_each(|(key, new)| self.demand(key, before.get(key), new))
    }

    fn demand<K: Refers>(&self, key: &Key, old: Option<&K>, new: Option<&K>) -> Result<(), Error> {
        let item = Item { kind: K::KIND, key: key.clone() };
        if old.is_some() {
            let verb = if new.is_some() { Verb::Write } else { Verb::Delete };
            self.rights.demand_all(&Right::each(self.before, &item, verb))?;
        }
        let Some(new) = new else { return Ok(()) };
        self.rights.demand_all(&Right::each(self.after, &item, Verb::Write))?;
        self.rights.demand_references(self.after, key, old, new)
    }
}

/// Refuses to change the type of a resource: its connections were made to that type.
///
/// # Errors
/// `Conflict`: it is of another type.
pub fn refuse_other_type(key: &Key, before: Option<&LinkResource>, wanted: Option<&LinkResource>) -> Result<(), Error> {
    let kind = |resource: &LinkResource| resource.kind.clone().unwrap_or_else(|| PRIVATE_LINK_SERVICE.to_owned());
    match (before.map(kind), wanted.map(kind)) {
        (Some(old), Some(new)) if !old.eq_ignore_ascii_case(&new) => {
            let message = itself(format!("{key} is the name of a resource of another type, and a type never changes"));
            let remedy = "choose another name: names of a group are unique across types; or delete that resource first";
            Err(Error::new(ErrorKind::Conflict, "NameInUse", message, remedy))
        }
        _ => Ok(()),
    }
}
