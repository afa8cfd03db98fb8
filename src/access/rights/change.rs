//! What a change of the model asks for, whatever command it comes from: one comparison of the model before and after.

use super::gone::{is_severed_alone, vanished};
use super::references::Refers;
use super::{Right, Rights, Verb};
use crate::access::rights::visibility::sees;
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::{Kind as _, each_kind};
use crate::model::resource_types::PRIVATE_LINK_SERVICE;
use crate::model::sentence::{UNSEEN, itself};
use crate::model::state::{ChangeExtent, Item, ItemKind};
use crate::model::{Key, LinkResource, Model, RoleAssignment, RoleName, Scope, actions, built_in};

impl Rights<'_> {
    /// Checks the rights to everything that differs between `before` and `after`: to write or delete each object that
    /// is not as it was, also where the change only carries it along, and to name what it newly names.
    ///
    /// # Errors
    /// `Forbidden`; `Conflict` where an object would become something else.
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
    /// Nobody assigns what they do not hold. A role that gives more than it did is judged as if it were assigned anew
    /// wherever it is.
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

    /// `refusal`, which names where `given` is; whoever does not see that is told that it is somewhere.
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
        // Of a role that there is not the model says so itself.
        let Some(role) = own.or_else(fixed) else { return Ok(()) };
        self.rights.demand_assignable(role, &given.scope)
    }

    /// What was assigned at `vanished` or below goes with that; so it does with a resource group of which nothing is left.
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

    /// Whether the resource group that `scope` is, or is in, was there and is no more.
    fn lost_its_group(&self, scope: &Scope) -> bool {
        let text = scope.to_string();
        let parts: Vec<&str> = text.split('/').collect();
        let ["", _, subscription, _, group, ..] = parts.as_slice() else { return false };
        let group = Key::of_group(subscription, group);
        self.before.has_group(&group) && !self.after.has_group(&group)
    }

    /// What of a VNet only shows that those it was peered with are gone is nobody's doing there.
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

    /// What a resource is stays.
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

/// What a resource is does not change by a write: whoever is connected to it is connected to that.
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
