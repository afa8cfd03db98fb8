//! Endpoints, connections, resources and networks as JSON.

use super::Object;
use serde::{Deserialize, Serialize};

/// Packets and bytes as they are on the wire, one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Packets from consumers to the service.
    pub packets_to_service: u64,
    /// Bytes from consumers to the service.
    pub bytes_to_service: u64,
    /// Packets from the service to consumers.
    pub packets_to_consumer: u64,
    /// Bytes from the service to consumers.
    pub bytes_to_consumer: u64,
    /// Sessions ever opened.
    pub sessions_opened: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Packets that a rate did not let pass.
    #[serde(default)]
    pub rate_limited: u64,
}

/// What may pass in a second; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Bits of IP packets, in each direction by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
    /// Sessions opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_sessions_per_second: Option<u32>,
}

/// `10 Mbit/s each way, 20 new sessions a second`.
impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of_bits = |bits: u64| {
            let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s"), (1, "bit/s")];
            let (size, unit) = units.into_iter().find(|(size, _)| bits.is_multiple_of(*size)).unwrap_or((1, "bit/s"));
            format!("{} {unit} each way", bits / size)
        };
        let sessions = self.new_sessions_per_second.map(|sessions| format!("{sessions} new sessions a second"));
        let parts: Vec<String> = self.bits_per_second.map(of_bits).into_iter().chain(sessions).collect();
        f.write_str(&parts.join(", "))
    }
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address in the consumer's subnet.
    pub ip: String,
    /// Member of the bound subresource it stands for; absent where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member: String,
}

/// When an approval ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// RFC 3339 in UTC.
    pub approval_ends_at: String,
    /// What is left of it.
    pub approval_seconds_left: u64,
}

/// A private endpoint with the connection it owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `group/name`.
    pub id: String,
    /// Name within its group.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Its VNet, `group/name`.
    pub vnet: String,
    /// Name of its subnet.
    pub subnet: String,
    /// One per member of the bound subresource.
    pub addresses: Vec<Address>,
    /// What it is bound to, `group/name`.
    pub resource: String,
    /// Which part of it; absent for a private link service of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// `Pending`, `Approved`, `Rejected` or `Disconnected`.
    pub state: String,
    /// Reason given with the last decision; absent where none was given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the consumer wrote to the approver.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_message: String,
    /// Who decided last, and when; absent while nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When its approval ends by itself; absent where it does not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Its own source rule; absent where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Names that may lead to it, besides those that do by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_names: Vec<String>,
    /// Names that its resource gives and that nobody has accepted in its VNet: they do not lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_names: Vec<String>,
    /// What may pass through it in a second; absent where that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Backends its addresses reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<u64>,
    /// What passed through it.
    pub traffic: Traffic,
}

/// Body of a change of the names that an endpoint accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptNames {
    /// Whole names, or `*.example.com` for every name below.
    pub names: Vec<String>,
    /// Whether they are accepted no longer.
    #[serde(default)]
    pub remove: bool,
}

/// Who decided about a connection, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Who, such as `root` or `the file`.
    pub by: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// A connection as its resource's owner sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// `linkIdentifier`: unique, and never given to another connection.
    #[serde(default)]
    pub link_identifier: u32,
    /// Who asked for it.
    #[serde(default)]
    pub requester: String,
    /// When, RFC 3339.
    #[serde(default)]
    pub requested_at: String,
    /// The consumer's VNet, `group/name`.
    #[serde(default)]
    pub vnet: String,
    /// The consumer's region.
    #[serde(default)]
    pub region: String,
    /// The endpoint's addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Sessions, packets and bytes so far.
    #[serde(default)]
    pub traffic: Traffic,
    /// The states it was in before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Step>,
    /// The endpoint it belongs to, `group/name`; a connection has no name of its own.
    pub endpoint: String,
    /// The resource asked for, `group/name`.
    pub resource: String,
    /// Which part of it; absent for a private link service of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// `Pending`, `Approved`, `Rejected` or `Disconnected`.
    pub state: String,
    /// Reason given with the last decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the consumer wrote to the approver.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_message: String,
    /// Subscription the request comes from.
    pub subscription: String,
    /// Who decided last, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When the approval ends by itself; absent where it does not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What the consumer must do now; absent while there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actions_required: String,
}

/// Body of an approve, reject or remove; an empty body is an empty reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decide {
    /// Why, for the consumer and the records.
    #[serde(default)]
    pub reason: String,
    /// Resource that the endpoint must be bound to; absent: whichever it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// State that the connection must be in; absent: any that can be left so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_state: Option<String>,
    /// For how long an approval holds; absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
}

/// Body of an approve or reject of several connections of a resource: all that it would change, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecideAll {
    /// Why, for the consumers and the records.
    #[serde(default)]
    pub reason: String,
    /// Only endpoints of this subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Only endpoints in this VNet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnet: Option<String>,
    /// Only connections in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_state: Option<String>,
    /// For how long the approvals hold; absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// List what would be decided, and decide nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// [`DecidedAll::listed`] of such a list: the decision is refused where it would be about anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<String>,
}

/// What such a decision did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedAll {
    /// Names what was found to be decided: another one as soon as that is another.
    pub listed: String,
    /// Each connection that it changes.
    pub connections: Vec<Transition>,
    /// What the operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What an approve, reject or remove did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// The endpoint, `group/name`.
    pub endpoint: String,
    /// State before.
    pub from: String,
    /// State now; durable and in force on every worker.
    pub to: String,
    /// Whether the command changed anything: the state, or when the approval ends.
    #[serde(default)]
    pub changed: bool,
    /// When the approval ends by itself; absent where it does not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Microseconds from the call until every worker worked by it and it was durable.
    pub in_force_microseconds: u64,
    /// What the operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A link resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `group/name`.
    pub id: String,
    /// Name within its group.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Its type; a service of one's own is `Microsoft.Network/privateLinkServices`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Region.
    pub region: String,
    /// Provider VNet, `group/name`.
    pub vnet: String,
    /// NAT addresses.
    pub nat: Vec<String>,
    /// By which it may be requested without telling where it is; absent where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// How new sessions are spread over the backends of a target: `least-sessions` or `source`.
    #[serde(default)]
    pub balance: String,
    /// Resources that name one of its backends: addresses cannot keep their data apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares_backends_with: Vec<String>,
    /// What may pass through all its endpoints together in a second; absent where that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// One per (subresource, member).
    pub targets: Vec<Target>,
    /// Endpoints bound to it, `group/name`.
    pub endpoints: Vec<String>,
    /// What passed to it, through deleted endpoints too.
    pub traffic: Traffic,
}

/// One member of one subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Absent for a private link service of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Absent where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// Servers; behind one that takes no new sessions stands ` (drain)`, ` (drained)` or ` (down)`.
    pub backends: Vec<String>,
    /// Such as `tcp 5432`, `tcp 443→10000` or `icmp`.
    pub ports: Vec<String>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vnet {
    /// `group/name`.
    pub id: String,
    /// Name within its group.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Region.
    pub region: String,
    /// Address space.
    pub address_space: Vec<String>,
    /// Prefixes that reach it over VPN or a leased line.
    pub on_premises: Vec<String>,
    /// Device of its attachment on this host; absent where it is not attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Namespace of that device; absent where it is the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// VNets it lists as peers.
    pub peerings: Vec<Peering>,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Endpoints in it, `group/name`.
    pub endpoints: Vec<String>,
}

/// The interface of an endpoint: it comes and goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// `group/name`.
    pub id: String,
    /// Name within its group.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Its endpoint, `group/name`.
    pub endpoint: String,
    /// The endpoint's VNet, `group/name`.
    pub vnet: String,
    /// The subnet that its addresses are from.
    pub subnet: String,
    /// One per member of what the endpoint is bound to.
    pub addresses: Vec<InterfaceAddress>,
}

/// One address of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceAddress {
    /// Subresource; empty for a private link service.
    pub group: String,
    /// Member; empty where there is one.
    pub member: String,
    /// The address.
    pub ip: String,
    /// Names that must resolve to it.
    pub fqdns: Vec<String>,
}

/// A resource group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its subscription.
    pub subscription: String,
    /// Region of the group itself; empty where nobody declared it.
    pub region: String,
    /// Free words on it.
    pub tags: std::collections::BTreeMap<String, String>,
    /// Whether it stays when nothing is in it.
    pub declared: bool,
    /// How many objects are in it; absent: the caller may not see every object there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
}

/// A rule set for endpoints.
pub type SecurityGroup = Object<crate::model::SecurityGroup, SecurityGroupStatus>;

/// What the daemon knows of a rule set besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroupStatus {
    /// Subnets that refer to it, `group/vnet/subnet`.
    pub subnets: Vec<String>,
}

/// A peering as one side sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peering {
    /// The other VNet, `group/name`.
    pub vnet: String,
    /// `Connected` when both sides list it; `Initiated` otherwise, and it passes nothing.
    pub state: String,
}

/// Part of a VNet's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// Unique within its VNet.
    pub name: String,
    /// Its prefixes.
    pub prefixes: Vec<String>,
    /// Routed to the device whole.
    pub dedicated: bool,
}

/// A state that a connection was in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Which.
    pub state: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whose decision it was.
    pub by: String,
    /// Since when, RFC 3339.
    pub at: String,
}
