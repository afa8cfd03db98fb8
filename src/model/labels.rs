//! What Azure's clients write beside an object, and read back.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::{Key, Model, Scope, actions};

/// Free words on an object, by name; they change no packet.
pub type Tags = BTreeMap<String, String>;

/// A resource group that was declared; every other one is there as long as something is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceGroup {
    /// Region of the group itself; what is in it may be anywhere.
    pub region: String,
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// Settings of Azure's that have no effect here, as a JSON object; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub foreign: String,
}

/// A frontend that a private link service stands behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendRef {
    /// The load balancer.
    pub balancer: Key,
    /// The name of its frontend.
    pub frontend: String,
}

/// A NAT address as it was asked for: a fixed one, or the next free one of a subnet of the provider's VNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatConfig {
    /// Unique within the resource.
    pub name: String,
    /// Name of the subnet.
    pub subnet: String,
    /// `None`: chosen, and kept as long as the configuration has its name.
    pub address: Option<IpAddr>,
    /// Whether an IPv6 address is meant.
    #[serde(default)]
    pub v6: bool,
    /// `primary`, which changes no packet; `None`: the first one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
}

/// A peering's own name and switches; what counts stands in `Vnet::peerings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeeringLabel {
    /// Unique within the VNet.
    pub name: String,
    /// The other VNet.
    pub remote: Key,
    /// `allowVirtualNetworkAccess`; `false`: the peering passes nothing.
    pub access: bool,
    /// The other side was deleted, the peering or its VNet: this one passes nothing, whatever the other side has since,
    /// until it is made anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub severed: bool,
}

/// Names within an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointLabels {
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// Of its connection.
    #[serde(default)]
    pub connection: Option<String>,
    /// `customNetworkInterfaceName`.
    #[serde(default)]
    pub interface: Option<String>,
    /// Of its interface.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub interface_tags: Tags,
    /// Name and member of each address that was asked for.
    #[serde(default)]
    pub addresses: Vec<(String, String)>,
    /// Settings of Azure's that have no effect here, as a JSON object; empty: none.
    #[serde(default)]
    pub foreign: String,
}

impl PeeringLabel {
    /// That of a peering which has no name of its own.
    pub(super) fn usual(remote: &Key) -> Self {
        Self { name: remote.name.clone(), remote: remote.clone(), access: true, severed: false }
    }
}

impl Kind for ResourceGroup {
    const SINGULAR: &'static str = "resource group";
    const TYPE: &'static str = actions::RESOURCE_GROUPS;

    fn place<'a>(_model: &'a Model, key: &Key) -> (&'a str, Scope) {
        (Self::TYPE, Scope::group(&key.subscription, &key.group))
    }
}
