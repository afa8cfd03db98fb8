//! What each command needs: rights in Azure's words, asked at Azure's scopes.

/// The rights that a change of the model asks for.
mod change;

/// What goes with an object that is deleted.
mod gone;

/// Which fields name other objects, and what naming them asks for.
mod references;

/// Which objects a caller may see.
pub mod visibility;

use super::Access;
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::{Kind as _, of_kind};
use crate::model::sentence::itself;
use crate::model::state::{Item, ItemKind};
use crate::model::{Action, Caller, Key, Model, PrivateEndpoint, RoleDefinition, Scope, actions, approval};

pub use change::refuse_other_type;
pub(crate) use gone::{assigned_at, place, vanished};
pub(crate) use references::not_shown;

/// An action and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `Microsoft.Network/privateEndpoints/write`.
    pub action: Action,
    /// A resource ID, or `/`.
    pub scope: Scope,
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// To see it.
    Read,
    /// To make or change it.
    Write,
    /// To delete it.
    Delete,
}

impl Verb {
    fn of(self, kind: &str) -> Action {
        match self {
            Self::Read => actions::read(kind),
            Self::Write => actions::write(kind),
            Self::Delete => actions::delete(kind),
        }
    }
}

impl Right {
    /// `action` where it concerns nothing in particular.
    pub fn anywhere(action: Action) -> Self {
        Self { action, scope: Scope::root() }
    }

    /// `verb` on an object of `model`.
    pub fn on(model: &Model, item: &Item, verb: Verb) -> Self {
        let (kind, scope) = of_kind!(item.kind, K => K::place(model, &item.key));
        Self { action: verb.of(kind), scope }
    }

    /// `verb` on an object of `model`, wherever that must be held: on a role at each scope where it may be assigned.
    pub fn each(model: &Model, item: &Item, verb: Verb) -> Vec<Self> {
        match model.roles.get(&item.key).filter(|_| item.kind == ItemKind::Role) {
            Some(role) => {
                let at = |scope: &Scope| Self { action: verb.of(actions::ROLE_DEFINITIONS), scope: scope.clone() };
                role.assignable_scopes.iter().map(at).collect()
            }
            None => vec![Self::on(model, item, verb)],
        }
    }

    /// To put an endpoint, or NAT addresses, into a subnet.
    pub fn join(vnet: &Key, subnet: &str) -> Self {
        Self::subnet(vnet, subnet, actions::join(actions::SUBNETS))
    }

    /// To approve the connections of a link resource: whoever holds it is its owner.
    pub fn approve(model: &Model, resource: &Key) -> Self {
        let kind = resource_type(model, resource);
        Self::at(actions::approve(kind), resource, kind)
    }

    /// To see the connection of an endpoint from the other side. What has the key of a former resource since sees nothing
    /// of those that were bound to that.
    pub fn other_side(model: &Model, key: &Key, endpoint: &PrivateEndpoint) -> Self {
        let kind = model.bound_kind(key, endpoint).unwrap_or(actions::SERVICES);
        Self::at(actions::read(&actions::connections(kind)), &endpoint.resource, kind)
    }

    /// To see the connections of a link resource.
    pub fn connections(model: &Model, resource: &Key) -> Self {
        let kind = resource_type(model, resource);
        Self::at(actions::read(&actions::connections(kind)), resource, kind)
    }

    /// What `action` on the connection of `endpoint` needs.
    pub fn on_connection(model: &Model, key: &Key, endpoint: &PrivateEndpoint, action: approval::Action) -> Self {
        match action {
            approval::Action::Approve | approval::Action::Reject | approval::Action::Remove => {
                let kind = model.bound_kind(key, endpoint).unwrap_or(actions::SERVICES);
                Self::at(actions::approve(kind), &endpoint.resource, kind)
            }
            approval::Action::Delete => Self::at(actions::delete(actions::ENDPOINTS), key, actions::ENDPOINTS),
        }
    }

    /// To refer to a security group from a subnet.
    pub fn join_group(group: &Key) -> Self {
        Self::at(actions::join(actions::SECURITY_GROUPS), group, actions::SECURITY_GROUPS)
    }

    /// To peer another VNet with it.
    pub fn peer(vnet: &Key) -> Self {
        Self::at(actions::peer(), vnet, actions::NETWORKS)
    }

    /// To put something into any subnet of a VNet.
    pub fn join_all(vnet: &Key) -> Self {
        Self::at(actions::join(actions::SUBNETS), vnet, actions::NETWORKS)
    }

    /// To link a private DNS zone to a VNet, or to use addresses of it that are in no subnet.
    pub fn join_network(vnet: &Key) -> Self {
        Self::at(actions::join(actions::NETWORKS), vnet, actions::NETWORKS)
    }

    /// To put an endpoint's records into a private DNS zone.
    pub fn join_zone(zone: &Key) -> Self {
        Self::at(actions::join(actions::DNS_ZONES), zone, actions::DNS_ZONES)
    }

    /// `action` on a link or a record set, judged where its zone is.
    pub fn in_zone(zone: &Key, action: Action) -> Self {
        Self { action, scope: Scope::resource(zone, actions::DNS_ZONES) }
    }

    /// `action` on the zone group of an endpoint, judged where that is.
    pub fn zone_group(endpoint: &Key, action: Action) -> Self {
        Self { action, scope: Scope::resource(endpoint, actions::ENDPOINTS) }
    }

    /// To put a private link service behind a frontend.
    pub fn join_balancer(balancer: &Key) -> Self {
        Self::at(actions::join(actions::LOAD_BALANCERS), balancer, actions::LOAD_BALANCERS)
    }

    /// `action` on a subnet.
    pub fn subnet(vnet: &Key, name: &str, action: Action) -> Self {
        Self { action, scope: Scope::part(vnet, actions::NETWORKS, "subnets", name) }
    }

    /// `action` on a peering.
    pub fn peering(vnet: &Key, name: &str, action: Action) -> Self {
        Self { action, scope: Scope::part(vnet, actions::NETWORKS, "virtualNetworkPeerings", name) }
    }

    /// To see the object `key` of type `kind`, which need not be there.
    pub fn read_of(kind: &str, key: &Key) -> Self {
        Self::at(actions::read(kind), key, owner_of(kind))
    }

    /// To make or change it.
    pub fn write_of(kind: &str, key: &Key) -> Self {
        Self::at(actions::write(kind), key, kind)
    }

    /// To delete it.
    pub fn delete_of(kind: &str, key: &Key) -> Self {
        Self::at(actions::delete(kind), key, kind)
    }

    fn at(action: Action, key: &Key, kind: &str) -> Self {
        Self { action, scope: Scope::resource(key, kind) }
    }
}

/// The type of a link resource, also of one that is gone.
fn resource_type<'a>(model: &'a Model, key: &Key) -> &'a str {
    model.resource_type(key).unwrap_or(actions::SERVICES)
}

/// What is part of something is judged where that is: the connections of a service at the service.
fn owner_of(kind: &str) -> &str {
    kind.strip_suffix("/privateEndpointConnections").unwrap_or(kind)
}

/// Where somebody may do one thing or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// At no scope.
    Nowhere,
    /// At some scope or other.
    Somewhere,
    /// At `/`.
    Everywhere,
}

/// What one caller may do.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    caller: &'a Caller,
    access: &'a Access,
}

impl<'a> Rights<'a> {
    /// The rights of `caller` by `access`.
    pub fn of(caller: &'a Caller, access: &'a Access) -> Self {
        Self { caller, access }
    }

    /// Whose they are.
    pub fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Whether `right` is among them.
    pub fn hold(&self, right: &Right) -> bool {
        self.access.of(&self.caller.subject).allows(&right.action, &right.scope)
    }

    /// Checks that the caller may give `role` to somebody at `scope`: who holds all of it there, or grants roles there
    /// as Owner or User Access Administrator.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, role and scope.
    pub fn demand_assignable(&self, role: &RoleDefinition, scope: &Scope) -> Result<(), Error> {
        let subject = &self.caller.subject;
        if self.access.administers(subject, scope) || self.access.holds(subject, role, scope) {
            return Ok(());
        }
        let message =
            itself(format!("{subject} may not assign {} at {scope}: it gives what {subject} does not hold", role.name));
        let remedy = "ask whoever is Owner or User Access Administrator there";
        Err(Error::new(crate::model::error::ErrorKind::Forbidden, "AuthorizationFailed", message, remedy))
    }

    /// Checks that all of `rights` are among them.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope of the first that is not.
    pub fn demand_all(&self, rights: &[Right]) -> Result<(), Error> {
        rights.iter().try_for_each(|right| self.demand(right))
    }

    /// Checks that anything but reading is among them: who may change nothing is refused before anything is looked at.
    /// `needed` says what is asked for.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn demand_any_write(&self, needed: &'static str) -> Result<(), Error> {
        if self.access.of(&self.caller.subject).any_write() {
            return Ok(());
        }
        Err(self.lacks_all("anything", needed))
    }

    /// Where one of `actions` is among them: the widest scope of any.
    fn widest(&self, actions: &[Action]) -> Where {
        let held = self.access.of(&self.caller.subject);
        let reaches = actions.iter().map(|action| match held.reach(action) {
            reach if reach.is_everything() => Where::Everywhere,
            reach if reach.is_nothing() => Where::Nowhere,
            _ => Where::Somewhere,
        });
        reaches.max().unwrap_or(Where::Nowhere)
    }

    /// Checks that `action` is among them at some scope or other, and says how wide a one.
    ///
    /// # Errors
    /// `Forbidden`, naming principal and action, as if it were asked for everywhere.
    pub fn demand_somewhere(&self, action: &Action) -> Result<Where, Error> {
        let found = self.widest(std::slice::from_ref(action));
        if found == Where::Nowhere {
            self.demand(&Right::anywhere(action.clone()))?;
        }
        Ok(found)
    }

    /// Checks that one of `actions` is among them at some scope or other, and says how wide a one.
    ///
    /// # Errors
    /// `Forbidden`; `needed` says what is asked for.
    pub fn demand_any(&self, actions: &[Action], needed: &'static str) -> Result<Where, Error> {
        match self.widest(actions) {
            Where::Nowhere => Err(self.lacks_all("any object", needed)),
            found @ (Where::Somewhere | Where::Everywhere) => Ok(found),
        }
    }

    fn lacks_all(&self, what: &str, needed: &'static str) -> Error {
        let who = self.caller.subject.principal();
        let message = itself(format!("{who} may not change {what}, and this asks for {needed}"));
        let remedy = "ask for a role that gives it: `privlink access why` shows the way";
        Error::new(ErrorKind::Forbidden, "AuthorizationFailed", message, remedy)
    }

    /// Checks that `right` is among them.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope.
    pub fn demand(&self, right: &Right) -> Result<(), Error> {
        self.access.demand(&self.caller.subject, &right.action, &right.scope)
    }
}

#[cfg(test)]
mod tests;
