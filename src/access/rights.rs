//! The rights that each command needs: Azure's actions at Azure's scopes.

/// The rights that a change of the model needs.
mod change;

/// What is deleted with an object.
mod gone;

/// Which fields refer to other objects, and the right that each reference needs.
mod references;

/// Which objects a caller may see.
pub mod visibility;

use super::Access;
use crate::model::error::{Error, ErrorKind};
use crate::model::registry::of_kind;
use crate::model::sentence::itself;
use crate::model::state::{Item, ItemKind};
use crate::model::{Action, Caller, Key, Model, PrivateEndpoint, RoleDefinition, Scope, actions, approval};

pub use change::refuse_other_type;
pub(crate) use gone::{assigned_at, place, vanished};
pub(crate) use references::not_shown;

/// An action at a scope.
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
    /// Read it.
    Read,
    /// Create or change it.
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
    /// `action` at `/`.
    pub fn anywhere(action: Action) -> Self {
        Self { action, scope: Scope::root() }
    }

    /// `verb` on an object of `model`.
    pub fn on(model: &Model, item: &Item, verb: Verb) -> Self {
        let (kind, scope) = of_kind!(item.kind, K => K::place(model, &item.key));
        Self { action: verb.of(kind), scope }
    }

    /// `verb` on an object of `model`, at every scope where it is needed: for a role, at each of its assignable scopes.
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

    /// To approve the connections of a link resource. Its owners hold this right.
    pub fn approve(model: &Model, resource: &Key) -> Self {
        let kind = resource_type(model, resource);
        Self::at(actions::approve(kind), resource, kind)
    }

    /// To see the connection of an endpoint as the resource's owner. A later resource with the same key gives no view
    /// of earlier connections.
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

    /// `action` on a link or a record set, at the scope of its zone.
    pub fn in_zone(zone: &Key, action: Action) -> Self {
        Self { action, scope: Scope::resource(zone, actions::DNS_ZONES) }
    }

    /// `action` on the zone group of an endpoint, at the scope of the endpoint.
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

    /// To see the object `key` of type `kind`, which need not exist.
    pub fn read_of(kind: &str, key: &Key) -> Self {
        Self::at(actions::read(kind), key, owner_of(kind))
    }

    /// Create or change it.
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

/// The type of a link resource, also of a deleted one.
fn resource_type<'a>(model: &'a Model, key: &Key) -> &'a str {
    model.resource_type(key).unwrap_or(actions::SERVICES)
}

/// The scope of a part is that of the whole: connections of a service are judged at the service.
fn owner_of(kind: &str) -> &str {
    kind.strip_suffix("/privateEndpointConnections").unwrap_or(kind)
}

/// How widely a caller may perform an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// At no scope.
    Nowhere,
    /// At some scope.
    Somewhere,
    /// At `/`.
    Everywhere,
}

/// The rights of one caller.
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

    /// The caller.
    pub fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Whether the caller has `right`.
    pub fn hold(&self, right: &Right) -> bool {
        self.access.of(&self.caller.subject).allows(&right.action, &right.scope)
    }

    /// Checks that the caller may assign `role` at `scope`: it holds all of the role there, or is Owner or User Access
    /// Administrator.
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

    /// Checks that the caller has all of `rights`.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope of the first missing one.
    pub fn demand_all(&self, rights: &[Right]) -> Result<(), Error> {
        rights.iter().try_for_each(|right| self.demand(right))
    }

    /// Checks that the caller may change anything at all, before its request is read. `needed` names the right.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn demand_any_write(&self, needed: &'static str) -> Result<(), Error> {
        if self.access.of(&self.caller.subject).any_write() {
            return Ok(());
        }
        Err(self.lacks_all("anything", needed))
    }

    /// The widest scope at which the caller may perform one of `actions`.
    fn widest(&self, actions: &[Action]) -> Where {
        let held = self.access.of(&self.caller.subject);
        let reaches = actions.iter().map(|action| match held.reach(action) {
            reach if reach.is_everything() => Where::Everywhere,
            reach if reach.is_nothing() => Where::Nowhere,
            _ => Where::Somewhere,
        });
        reaches.max().unwrap_or(Where::Nowhere)
    }

    /// Checks that the caller may perform `action` at some scope, and returns how wide.
    ///
    /// # Errors
    /// `Forbidden`, naming principal and action at scope `/`.
    pub fn demand_somewhere(&self, action: &Action) -> Result<Where, Error> {
        let found = self.widest(std::slice::from_ref(action));
        if found == Where::Nowhere {
            self.demand(&Right::anywhere(action.clone()))?;
        }
        Ok(found)
    }

    /// Checks that the caller may perform one of `actions` at some scope, and returns how wide.
    ///
    /// # Errors
    /// `Forbidden`; `needed` names the right.
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

    /// Checks that the caller has `right`.
    ///
    /// # Errors
    /// `Forbidden`, naming principal, action and scope.
    pub fn demand(&self, right: &Right) -> Result<(), Error> {
        self.access.demand(&self.caller.subject, &right.action, &right.scope)
    }
}

#[cfg(test)]
mod tests;
