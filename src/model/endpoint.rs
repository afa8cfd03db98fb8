//! Endpoints: addresses bound to what may be reached.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::registry::{Kind, Known};
use super::spelled::{Address, Any, Keyword, NamePattern, Named, OneOrMany, Prefix, in_order, short_form};
use super::{
    AcceptedNames, ConnectionState, DnsZone, EndpointLabels, Key, LinkResource, Rates, Vnet, ZoneGroup, actions,
};

/// An address in a VNet's subnet that reaches one resource, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Endpoint", transform = in_order::<Self>, transform = ip_for_addresses)]
pub struct PrivateEndpoint {
    /// Region; its VNet's, which it must be, unless set.
    #[serde(default)]
    pub region: String,
    /// Name of the VNet it is in; needed unless `subnet` is a resource ID.
    #[serde(default = "Key::nowhere")]
    #[schemars(with = "Named<Vnet>")]
    pub vnet: Key,
    /// Name or resource ID of the subnet its address is from.
    pub subnet: String,
    /// Its addresses, one per member of the subresource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<EndpointIp>,
    /// Name, resource ID or alias of the resource it reaches.
    #[schemars(with = "Named<LinkResource>")]
    pub resource: Key,
    /// Which part of the resource; needed where it has several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Whether the resource's owner is asked: the connection starts Pending.
    #[serde(default)]
    pub manual: bool,
    /// At most 140 characters for the owner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_message: String,
    /// The owner's first decision: "Approved", "Pending" or "Rejected".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Keyword<ConnectionState>")]
    pub status: Option<ConnectionState>,
    /// Why the owner decided so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Sources that may use it; all that reach it unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Any<OneOrMany<Prefix>>")]
    pub sources: Vec<IpNet>,
    /// Sessions it may hold at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// What may pass in a second; as much as comes unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Names that may lead to it in its VNet, such as "api.example.com" or "*.example.com", besides the resource's
    /// own name in the zones of its type, which does by itself.
    // `None`: a file or a request that says nothing of them leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<NamePattern>")]
    pub accept_names: Option<Box<AcceptedNames>>,
    /// At most five private DNS zones of your own that its records stand in; its own, which come about with it,
    /// unless set.
    #[serde(rename = "dns_zones", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OneOrMany<Named<DnsZone>>")]
    pub zone_group: Option<Box<ZoneGroup>>,
    /// Names that were given to its parts; boxed, for most endpoints have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub labels: Option<Box<EndpointLabels>>,
}

fn ip_for_addresses(schema: &mut Schema) {
    short_form::<Address>(schema, "ip", "addresses", Some("ip"), "Its address; allocated unless set.");
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EndpointAddress", transform = in_order::<Self>, extend("x-inline" = true))]
pub struct EndpointIp {
    /// Member it stands for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub member: String,
    /// The address; allocated unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Address")]
    pub ip: Option<IpAddr>,
}

impl PrivateEndpoint {
    /// An endpoint in `subnet` of `vnet` that is bound to `resource`, and of which nothing else is said.
    pub fn new(vnet: Key, subnet: impl Into<String>, resource: Key) -> Self {
        Self {
            region: String::new(),
            vnet,
            subnet: subnet.into(),
            addresses: Vec::new(),
            resource,
            subresource: String::new(),
            manual: false,
            request_message: String::new(),
            status: None,
            reason: String::new(),
            sources: Vec::new(),
            max_sessions: None,
            rates: None,
            accept_names: None,
            zone_group: None,
            labels: None,
        }
    }

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
    const SINGULAR: &'static str = "endpoint";
    const TYPE: &'static str = actions::ENDPOINTS;

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

    /// Region and subresource where there is one choice; names of members as its resource spells them.
    fn complete(&mut self, known: &Known<'_>) {
        if let Some(vnet) = known.get::<Vnet>(&self.vnet).filter(|_| self.region.is_empty()) {
            self.region.clone_from(&vnet.region);
        }
        if let Some(resource) = known.get::<LinkResource>(&self.resource) {
            let mut parts = resource.targets.iter().map(|target| &target.subresource);
            let first = parts.next().filter(|first| parts.all(|other| other == *first));
            if let Some(only) = first.filter(|_| self.subresource.is_empty()) {
                self.subresource.clone_from(only);
            }
            self.spell_as(resource);
        }
        self.zone_group = self.zone_group.take().filter(|group| !group.zones.is_empty());
    }
}
