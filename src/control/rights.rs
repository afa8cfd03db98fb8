//! What each command needs (DESIGN §4, features M14 and S5): rights in Azure's words, asked at Azure's scopes.

use super::approval::Action;
use super::command::Caller;
use super::decisions::{Item, ItemKind};
use super::model::{Key, Model, PrivateEndpoint};
use super::refusal::{self, Refusal};

/// Type of a private link service of one's own.
pub const PRIVATE_LINK_SERVICE: &str = "Microsoft.Network/privateLinkServices";
const ENDPOINT: &str = "Microsoft.Network/privateEndpoints";
const VNET: &str = "Microsoft.Network/virtualNetworks";
const SECURITY_GROUP: &str = "Microsoft.Network/networkSecurityGroups";

/// An action and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Such as `Microsoft.Network/privateEndpoints/write`.
    pub action: String,
    /// An ARM resource ID.
    pub scope: String,
}

impl Right {
    fn new(kind: &str, action: &str, key: &Key) -> Self {
        Self { action: format!("{kind}/{action}"), scope: scope(kind, key) }
    }

    /// To see, make, change or delete an object: `verb` is `read`, `write` or `delete`.
    pub fn on(model: &Model, item: &Item, verb: &str) -> Self {
        match item.kind {
            ItemKind::Vnet => Self::new(VNET, verb, &item.key),
            ItemKind::SecurityGroup => Self::new(SECURITY_GROUP, verb, &item.key),
            ItemKind::Resource => Self::new(resource_type(model, &item.key), verb, &item.key),
            ItemKind::Endpoint => Self::new(ENDPOINT, verb, &item.key),
        }
    }

    /// To apply the daemon's own file.
    pub fn configure() -> Self {
        Self { action: "Privlink/configuration/write".into(), scope: "/".into() }
    }

    /// To put an endpoint into a subnet, or NAT addresses.
    pub fn join(vnet: &Key, subnet: &str) -> Self {
        Self { action: format!("{VNET}/subnets/join/action"), scope: format!("{}/subnets/{subnet}", scope(VNET, vnet)) }
    }

    /// To approve the connections of a link resource: whoever holds it is its owner (seed, *Access to a private
    /// link resource using approval workflow*).
    pub fn approve(model: &Model, resource: &Key) -> Self {
        Self::new(resource_type(model, resource), "privateEndpointConnectionsApproval/action", resource)
    }

    /// What `action` on the connection of `endpoint` needs.
    pub fn on_connection(model: &Model, key: &Key, endpoint: &PrivateEndpoint, action: Action) -> Self {
        match action {
            Action::Approve | Action::Reject | Action::Remove => Self::approve(model, &endpoint.resource),
            Action::Delete => Self::new(ENDPOINT, "delete", key),
        }
    }
}

/// The type of a link resource, also of one that is gone.
fn resource_type<'a>(model: &'a Model, key: &Key) -> &'a str {
    let former = || model.former_resources.get(key).map(|former| &former.kind);
    let kind = model.resources.get(key).map(|resource| &resource.kind).or_else(former);
    kind.and_then(Option::as_deref).unwrap_or(PRIVATE_LINK_SERVICE)
}

fn scope(kind: &str, key: &Key) -> String {
    format!("/subscriptions/{}/resourceGroups/{}/providers/{kind}/{}", key.subscription, key.group, key.name)
}

/// What one caller may do.
#[derive(Clone, Copy, Debug)]
pub struct Rights<'a> {
    caller: &'a Caller,
    everything: bool,
}

impl<'a> Rights<'a> {
    /// The rights of `caller` with a daemon that runs as `daemon`.
    pub fn of(caller: &'a Caller, daemon: &Caller) -> Self {
        Self { caller, everything: caller.uid == 0 || caller.uid == daemon.uid }
    }

    /// Whose they are.
    pub fn caller(&self) -> &'a Caller {
        self.caller
    }

    /// Whether `right` is among them.
    pub fn hold(&self, _right: &Right) -> bool {
        self.everything
    }

    /// Checks that `right` is among them.
    ///
    /// # Errors
    /// `Forbidden`, naming the action and the scope.
    pub fn demand(&self, right: &Right) -> Result<(), Refusal> {
        if self.hold(right) {
            return Ok(());
        }
        Err(Refusal::new(
            refusal::Kind::Forbidden,
            "AuthorizationFailed",
            format!("{} may not perform {} on {}", self.caller, right.action, right.scope),
            format!(
                "`privlink access why {} {} {}` explains",
                self.caller.actor().principal,
                right.action,
                right.scope
            ),
        ))
    }
}
