//! Every action, as in Azure: a type of object, and what is done to it. An action on an object is checked at the
//! object's scope. Types without a scope (roles, `Privlink/…`) are checked at `/`.

use super::caseless::{Caseless, Malformed, caseless};

caseless! {
    /// One action, such as `Microsoft.Network/privateEndpoints/write`. Case does not matter.
    Action, check
}

/// Private endpoints.
pub const ENDPOINTS: &str = "Microsoft.Network/privateEndpoints";
/// Their network interfaces, which are created and deleted with them: read only.
pub const INTERFACES: &str = "Microsoft.Network/networkInterfaces";
/// VNets.
pub const NETWORKS: &str = "Microsoft.Network/virtualNetworks";
/// Their subnets. Creating an endpoint in one needs [`join`].
pub const SUBNETS: &str = "Microsoft.Network/virtualNetworks/subnets";
/// Peerings of a VNet.
pub const PEERINGS: &str = "Microsoft.Network/virtualNetworks/virtualNetworkPeerings";
/// Security groups. Referring to one from a subnet needs [`join`].
pub const SECURITY_GROUPS: &str = "Microsoft.Network/networkSecurityGroups";
/// Load balancers. Using a frontend for a private link service needs [`join`].
pub const LOAD_BALANCERS: &str = "Microsoft.Network/loadBalancers";
/// Private DNS zones. Writing an endpoint's records into one needs [`join`].
pub const DNS_ZONES: &str = "Microsoft.Network/privateDnsZones";
/// Links of a zone to VNets.
pub const ZONE_LINKS: &str = "Microsoft.Network/privateDnsZones/virtualNetworkLinks";
/// The zone groups of endpoints.
pub const ZONE_GROUPS: &str = "Microsoft.Network/privateEndpoints/privateDnsZoneGroups";
/// Private link services: the type of a link resource without an explicit type.
pub const SERVICES: &str = "Microsoft.Network/privateLinkServices";
/// The list of resource types that endpoints can connect to.
pub const AVAILABLE_TYPES: &str = "Microsoft.Network/locations/availablePrivateEndpointTypes";
/// Resource groups.
pub const RESOURCE_GROUPS: &str = "Microsoft.Resources/subscriptions/resourceGroups";
/// Role definitions. They apply everywhere, so they are checked at `/`.
pub const ROLE_DEFINITIONS: &str = "Microsoft.Authorization/roleDefinitions";
/// Role assignments, checked at their own scope.
pub const ROLE_ASSIGNMENTS: &str = "Microsoft.Authorization/roleAssignments";
/// The daemon's state.
pub const STATUS: &str = "Privlink/status";
/// Sessions. Those of one endpoint are checked at its scope.
pub const FLOWS: &str = "Privlink/flows";
/// What would happen to a packet.
pub const EXPLAIN: &str = "Privlink/explain";
/// The audit log.
pub const AUDIT: &str = "Privlink/audit";
/// Bearer tokens. A writer of tokens can act as any of them.
pub const TOKENS: &str = "Privlink/tokens";
/// Copies of the store.
pub const BACKUP: &str = "Privlink/backup";
/// The daemon's own file. It is always applied with the daemon's rights.
pub const CONFIGURATION: &str = "Privlink/configuration";

/// Read an object of type `kind`.
pub fn read(kind: &str) -> Action {
    of(kind, "read")
}

/// Create or change one.
pub fn write(kind: &str) -> Action {
    of(kind, "write")
}

/// Delete one.
pub fn delete(kind: &str) -> Action {
    of(kind, "delete")
}

/// Record sets of one type, such as `A`, in a zone.
pub fn record_sets(kind: &str) -> String {
    format!("{DNS_ZONES}/{kind}")
}

/// To let something else refer to one: [`SUBNETS`], [`SECURITY_GROUPS`], [`NETWORKS`] and [`DNS_ZONES`].
pub fn join(kind: &str) -> Action {
    of(kind, "join/action")
}

/// Peer another VNet with one: for [`NETWORKS`].
pub fn peer() -> Action {
    of(NETWORKS, "peer/action")
}

/// Approve and reject connections to a link resource of type `kind`: the owner's right.
pub fn approve(kind: &str) -> Action {
    of(kind, "privateEndpointConnectionsApproval/action")
}

/// Run the operation itself: for [`BACKUP`].
pub fn perform(kind: &str) -> Action {
    of(kind, "action")
}

/// The type of connections to link resources of type `kind`.
pub fn connections(kind: &str) -> String {
    format!("{kind}/privateEndpointConnections")
}

fn of(kind: &str, what: &str) -> Action {
    Action(Caseless::new(&format!("{kind}/{what}")))
}

impl Action {
    pub(crate) fn folded(&self) -> &str {
        self.0.folded()
    }
}

fn check(text: &str) -> Result<(), Malformed> {
    let remedy = "write type and action in full, such as Microsoft.Network/privateEndpoints/read";
    if is_path(text, b".-_") && text.contains('/') { Ok(()) } else { Err(Malformed::new(text, "action", remedy)) }
}

/// Whether `text` is at most 256 bytes of letters, digits and `signs`, in parts between slashes, none empty.
pub(crate) fn is_path(text: &str, signs: &[u8]) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
    text.len() <= 256 && text.split('/').all(|part| !part.is_empty() && part.bytes().all(fit))
}

/// Every action, for tests of who may do what.
#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::testing::every;
    use super::*;

    #[test]
    fn every_action_there_is_can_be_written_and_is_there_once() {
        let actions = every(["Microsoft.Sql/servers", "Microsoft.Storage/storageAccounts"]);
        for action in &actions {
            let read: Action = action.to_string().parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(&read, action);
        }
        let distinct: std::collections::BTreeSet<&Action> = actions.iter().collect();
        assert_eq!(distinct.len(), actions.len());
    }

    #[test]
    fn the_actions_are_those_of_azure() {
        for (action, text) in [
            (join(SUBNETS), "Microsoft.Network/virtualNetworks/subnets/join/action"),
            (approve("Microsoft.Sql/servers"), "Microsoft.Sql/servers/privateEndpointConnectionsApproval/action"),
            (delete(&connections(SERVICES)), "Microsoft.Network/privateLinkServices/privateEndpointConnections/delete"),
            (write(ROLE_ASSIGNMENTS), "Microsoft.Authorization/roleAssignments/write"),
            (perform(BACKUP), "Privlink/backup/action"),
        ] {
            assert_eq!(action.to_string(), text);
            assert!(every(["Microsoft.Sql/servers"]).contains(&text.to_uppercase().parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_no_action() {
        for text in ["", "read", "*", "Microsoft.Network/*", "/read", "a//read", "a/read/", "a b/read"] {
            assert!(text.parse::<Action>().is_err(), "{text}");
        }
    }
}
