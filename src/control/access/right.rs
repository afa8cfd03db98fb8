//! Who may do what, until role assignments exist: uid 0 and the daemon's own uid own everything,
//! every other caller that reaches the socket reads.

use crate::control::approval::Action;
use crate::control::command::Caller;
use crate::control::model::{Key, Model, PrivateEndpoint};
use crate::control::refusal::{Kind, Refusal};

/// A right, in Azure's words, and what it is asked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Right {
    action: String,
    scope: String,
}

impl Right {
    /// What `action` on the connection of `endpoint` needs. The owner's actions are rights on the resource.
    pub(in crate::control) fn on_connection(
        model: &Model,
        key: &Key,
        endpoint: &PrivateEndpoint,
        action: Action,
    ) -> Self {
        let kind = model.resources.get(&endpoint.resource).and_then(|resource| resource.kind.as_deref());
        let kind = kind.unwrap_or("Microsoft.Network/privateLinkServices");
        let owned =
            |right: &str| Self { action: format!("{kind}/{right}"), scope: format!("resource {}", endpoint.resource) };
        match action {
            Action::Approve | Action::Reject => owned("privateEndpointConnectionsApproval/action"),
            Action::Remove => owned("privateEndpointConnections/delete"),
            Action::Delete => Self::delete(key),
        }
    }

    /// What deleting the endpoint `key` needs.
    pub(in crate::control) fn delete(key: &Key) -> Self {
        Self { action: "Microsoft.Network/privateEndpoints/delete".into(), scope: format!("endpoint {key}") }
    }

    /// What applying a file needs.
    pub(in crate::control) fn everything() -> Self {
        Self { action: "Microsoft.Network/*/write".into(), scope: "everything".into() }
    }

    /// Checks that `caller` holds it.
    ///
    /// # Errors
    /// `Forbidden`, naming the action.
    pub(in crate::control) fn demand(&self, caller: &Caller, daemon: &Caller) -> Result<(), Refusal> {
        if caller.uid == 0 || caller.uid == daemon.uid {
            return Ok(());
        }
        Err(Refusal::new(
            Kind::Forbidden,
            "AuthorizationFailed",
            format!("{caller} (uid {}) may not perform {} on {}", caller.uid, self.action, self.scope),
            format!("ask root or {} (uid {}), which the daemon runs as", daemon.name, daemon.uid),
        ))
    }
}
