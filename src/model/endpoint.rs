//! Endpoints: addresses bound to what may be reached.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::{AcceptedNames, ConnectionState, EndpointLabels, ItemKind, Key, Map, Model, Rates, ZoneGroup, actions};

/// An endpoint: an address in a VNet's subnet bound to one subresource of one link resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateEndpoint {
    /// Its VNet's region.
    pub region: String,
    /// Consumer VNet.
    pub vnet: Key,
    /// Name of the subnet its addresses are from.
    pub subnet: String,
    /// One per member of the bound subresource; empty until allocated.
    pub addresses: Vec<EndpointIp>,
    /// What it is bound to.
    pub resource: Key,
    /// Which part of it; empty for a private link service.
    pub subresource: String,
    /// Requested manually: the connection starts Pending.
    pub manual: bool,
    /// At most 140 characters, shown to the approver.
    pub request_message: String,
    /// The owner's first decision, when one author owns both sides.
    pub status: Option<ConnectionState>,
    /// Reason given with `status`.
    pub reason: String,
    /// Its own source rule; empty: none.
    pub sources: Vec<IpNet>,
    /// Live sessions at once; `None`: the resource's limit per endpoint.
    pub max_sessions: Option<u32>,
    /// What may pass in a second; `None`: as much as comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Names that may lead to it in its VNet, besides those that do by themselves; `None`: a file or a request that says
    /// nothing of them leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_names: Option<Box<AcceptedNames>>,
    /// Zones that its records stand in; `None`: those that come about with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_group: Option<Box<ZoneGroup>>,
    /// Names that were given to its parts; boxed, for most endpoints have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Box<EndpointLabels>>,
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointIp {
    /// Member it stands for; empty where there is one.
    pub member: String,
    /// `None`: to be allocated.
    pub ip: Option<IpAddr>,
}

impl PrivateEndpoint {
    /// What the audit log keeps of its making or change: the names that it accepts anew, else its author's request.
    #[must_use]
    pub fn said_since(&self, before: Option<&Self>) -> String {
        match &self.accept_names {
            Some(names) if before.and_then(|before| before.accept_names.as_ref()) != Some(names) => {
                format!("accepts {}", names.iter().collect::<Vec<_>>().join(", "))
            }
            _ => self.request_message.clone(),
        }
    }
}

impl Kind for PrivateEndpoint {
    const KIND: ItemKind = ItemKind::Endpoint;
    const SINGULAR: &'static str = "endpoint";
    const PLURAL: &'static str = "endpoints";
    const TYPE: &'static str = actions::ENDPOINTS;

    fn map(model: &Model) -> &Map<Self> {
        &model.endpoints
    }

    fn map_mut(model: &mut Model) -> &mut Map<Self> {
        &mut model.endpoints
    }

    /// Tags and names of its parts; addresses, which are its own for life; names that it accepts, and what its zones are
    /// called, unless the file says otherwise.
    fn adopt(&self, live: &Self) -> Self {
        // A group without zones is none in a file.
        let zones = |group: Option<&ZoneGroup>| -> Vec<Key> {
            group.iter().flat_map(|group| &group.zones).map(|one| one.zone.clone()).collect()
        };
        let same_zones = zones(self.zone_group.as_deref()) == zones(live.zone_group.as_deref());
        Self {
            addresses: live.addresses.clone(),
            labels: live.labels.clone(),
            accept_names: self.accept_names.clone().or_else(|| live.accept_names.clone()),
            zone_group: if same_zones { live.zone_group.clone() } else { self.zone_group.clone() },
            ..self.clone()
        }
    }
}
