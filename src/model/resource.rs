//! What may be reached: private link services of one's own, and typed resources.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::ports::WrittenPort;
use super::registry::{Kind, Known};
use super::resource_types::{self, PRIVATE_LINK_SERVICE};
use super::spelled::{Address, Keyword, Named, OneOrMany, Time, add_key, alone, in_order, is_default, time};
use super::{
    Balance, DenyMode, FrontendRef, HealthCheck, Key, Model, NatConfig, PortCheck, PortSpec, Protocol, Rates, Scope,
    Tags, TimeoutOverrides, Visibility, Vnet, actions,
};

/// What may be reached: a private link service, or a typed resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Resource", transform = in_order::<Self>, transform = destination_for_targets)]
pub struct LinkResource {
    /// Such as "Microsoft.Storage/storageAccounts"; a private link service of your own unless set.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Region; its VNet's unless set.
    #[serde(default)]
    pub region: String,
    /// Name of the VNet its backends are in.
    // `None`: it has none yet, and nothing reaches it.
    #[schemars(with = "Named<Vnet>")]
    pub vnet: Option<Key>,
    /// 1 to 8 addresses of a subnet of its VNet: backends see clients under them.
    #[schemars(with = "OneOrMany<Address>")]
    pub nat: Vec<IpAddr>,
    /// How those were asked for, one each; empty where they were named outright.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub nat_configs: Vec<NatConfig>,
    /// Load balancers whose rules are its targets; empty where these were named outright.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub frontends: Vec<FrontendRef>,
    /// The one server of a service without port mapping, whose only target follows from it.
    #[serde(rename = "direct_destination", default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub destination: Option<IpAddr>,
    /// Subscriptions that may see it, or "*" for everyone; [] for who may read it alone, as unless set. A typed
    /// resource may besides be requested by whoever knows its ID, unless set.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(with = "OneOrMany<String>")]
    pub visibility: Visibility,
    /// Subscriptions whose requests are approved at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub auto_approval: Vec<String>,
    /// Says that its backends serve another resource too.
    #[serde(default)]
    pub shared_backend: bool,
    /// Whether denied packets are answered or dropped silently; the daemon's choice unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Keyword<DenyMode>")]
    pub deny: Option<DenyMode>,
    /// Sessions it may hold at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// Sessions each of its endpoints may hold at once.
    // `None`: no bound but an endpoint's fair share of what endpoints hold in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions_per_endpoint: Option<u32>,
    /// What may pass in a second through all its endpoints together; as much as comes unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Idle times of its sessions; the daemon's unless set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TimeoutOverrides,
    /// How new sessions find one of several backends: the one with the fewest, or always the same one for one
    /// client address.
    #[serde(default)]
    #[schemars(with = "Keyword<Balance>")]
    pub balance: Balance,
    /// How long a backend with `drain = true` keeps the sessions it has; 5 minutes unless set.
    #[serde(default = "five_minutes", with = "time")]
    #[schemars(with = "Time")]
    pub drain: Duration,
    /// Whether endpoints of other regions may reach it; they may unless set.
    #[serde(default = "yes")]
    pub cross_region: bool,
    /// First part of the alias by which it may be requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Names that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    pub fqdns: Vec<String>,
    /// Stored: this version does not send the PROXY header.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Its backends and ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<WrittenTarget>")]
    pub targets: Vec<TargetSpec>,
    /// See [`Tags`].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(skip)]
    pub tags: Tags,
    /// What clients wrote of a typed resource that means nothing here (`sku`, `kind`), as a JSON object; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(skip)]
    pub foreign: String,
}

/// The short form of one target. Its reader makes a target of the two keys.
fn destination_for_targets(schema: &mut Schema) {
    let address = Address::json_schema(&mut SchemaGenerator::default());
    let of_target = schema.pointer("/properties/targets/items/properties/ports");
    let ports = of_target.and_then(|ports| Schema::try_from(ports.clone()).ok());
    let ports = ports.unwrap_or_else(|| json_schema!({ "type": "array", "items": { "$ref": "#/$defs/Port" } }));
    for (key, about, mut value) in [
        ("destination", "Its only backend: with `ports`, the short form of one target.", address),
        ("ports", "Ports of `destination` that endpoints expose.", ports),
    ] {
        value.insert("description".to_owned(), about.into());
        add_key(schema, key, "", value);
    }
}

impl LinkResource {
    /// Whether whoever knows its ID may ask for a connection.
    #[must_use]
    pub fn is_requestable_by_id(&self) -> bool {
        self.kind.is_some() && self.visibility == Visibility::ById
    }

    /// What a file says, which changes nothing of `live` by silence.
    #[must_use]
    pub fn closed_as(&self, live: &Self) -> Self {
        Self { visibility: self.visibility.or_closed(&live.visibility), ..self.clone() }
    }
}

/// What a resource's servers get to empty unless it says otherwise.
pub const DRAIN: Duration = Duration::from_mins(5);

fn five_minutes() -> Duration {
    DRAIN
}

fn yes() -> bool {
    true
}

/// One member of one subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenTarget", into = "WrittenTarget")]
pub struct TargetSpec {
    /// Empty for a private link service.
    pub subresource: String,
    /// Empty where the subresource has one member.
    pub member: String,
    /// Names that lead to it.
    pub fqdns: Vec<String>,
    /// Servers.
    pub backends: Vec<BackendSpec>,
    /// Exposed ports.
    pub ports: Vec<PortSpec>,
    /// Whether ICMP echo is forwarded.
    pub icmp: bool,
    /// How its servers are checked; `None`: they are taken to be well.
    pub health: Option<HealthCheck>,
    /// How its servers are checked for single ports, beside that: by the rules of a load balancer.
    pub port_checks: Vec<PortCheck>,
    /// How a load balancer spreads new sessions over its servers; `None`: as the resource says.
    pub balance: Option<Balance>,
}

/// One member of one subresource: its servers and exposed ports.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Target", transform = in_order::<Self>)]
struct WrittenTarget {
    /// Such as "blob"; a private link service has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subresource: String,
    /// Needed where a subresource has several members.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    member: String,
    /// Names that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany<String>")]
    fqdns: Vec<String>,
    /// Addresses of its servers.
    #[schemars(with = "OneOrMany<AddressOrBackend>")]
    backends: Vec<BackendSpec>,
    /// Ports that endpoints expose.
    ports: Vec<WrittenPort>,
    /// How its servers are checked; they are taken to be well unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<HealthCheck>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    port_checks: Vec<PortCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    balance: Option<Balance>,
}

impl TryFrom<WrittenTarget> for TargetSpec {
    type Error = String;

    fn try_from(written: WrittenTarget) -> Result<Self, String> {
        let WrittenTarget { subresource, member, fqdns, backends, ports, health, port_checks, balance } = written;
        let ports: Vec<Option<PortSpec>> = ports.iter().map(WrittenPort::spec).collect::<Result<_, _>>()?;
        let icmp = ports.contains(&None);
        let ports = ports.into_iter().flatten().collect();
        Ok(Self { subresource, member, fqdns, backends, ports, icmp, health, port_checks, balance })
    }
}

impl From<TargetSpec> for WrittenTarget {
    fn from(target: TargetSpec) -> Self {
        let TargetSpec { subresource, member, fqdns, backends, ports, icmp, health, port_checks, balance } = target;
        let ports = ports.into_iter().map(Into::into).chain(icmp.then(WrittenPort::icmp)).collect();
        Self { subresource, member, fqdns, backends, ports, health, port_checks, balance }
    }
}

/// One server with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BackendTable", transform = in_order::<Self>, extend("x-inline" = true))]
pub struct BackendSpec {
    /// Its address.
    #[schemars(with = "Address")]
    pub address: IpAddr,
    /// Whether it takes no new sessions.
    #[serde(default)]
    pub drain: bool,
}

/// One server: its address, or a table.
struct AddressOrBackend;

impl JsonSchema for AddressOrBackend {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Backend".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        alone::<Address, BackendSpec>(generator, "address")
    }
}

impl TargetSpec {
    /// The checks of its servers, each by its name: that of the whole target has none.
    pub fn checks(&self) -> impl Iterator<Item = (&str, &HealthCheck)> {
        let ports = self.port_checks.iter().map(|one| (&*one.name, &one.check));
        self.health.iter().map(|check| ("", check)).chain(ports)
    }
}

impl TargetSpec {
    /// What a private link service with one server and no port mapping exposes: all of it.
    pub fn direct(server: IpAddr) -> Self {
        Self {
            backends: vec![BackendSpec { address: server, drain: false }],
            ports: vec![PortSpec::all(Protocol::Tcp), PortSpec::all(Protocol::Udp)],
            ..Self::default()
        }
    }
}

impl Kind for LinkResource {
    const SINGULAR: &'static str = "resource";
    const TYPE: &'static str = actions::SERVICES;

    fn place<'a>(model: &'a Model, key: &Key) -> (&'a str, Scope) {
        let kind = model.resource_type(key).unwrap_or(Self::TYPE);
        (kind, Scope::resource(key, kind))
    }

    /// Tags and foreign properties; how NAT addresses and targets came about, as long as these are the same.
    fn adopt(&self, live: &Self) -> Self {
        let mut resource = Self { tags: live.tags.clone(), foreign: live.foreign.clone(), ..self.closed_as(live) };
        // Nobody but its readers, said in another way.
        if live.visibility == Visibility::Readers && self.visibility == Visibility::Subscriptions(Vec::new()) {
            resource.visibility = Visibility::Readers;
        }
        if self.nat == live.nat && self.vnet == live.vnet {
            resource.nat_configs.clone_from(&live.nat_configs);
        }
        // A file has no word for how one target's sessions are spread, and how single ports are checked.
        for target in &mut resource.targets {
            let same =
                |other: &&TargetSpec| (&other.subresource, &other.member) == (&target.subresource, &target.member);
            let Some(other) = live.targets.iter().find(same) else { continue };
            target.balance = other.balance;
            target.port_checks.clone_from(&other.port_checks);
        }
        if resource.targets == live.targets {
            resource.frontends.clone_from(&live.frontends);
            resource.destination = live.destination;
        } else {
            resource.targets.clone_from(&self.targets);
        }
        resource
    }

    /// Its type in Azure's spelling; region and visibility where nothing is said of them.
    fn complete(&mut self, known: &Known<'_>) {
        let kind = self.kind.take().map(|kind| resource_types::find(&kind).map_or(kind, |known| known.name.to_owned()));
        self.kind = kind.filter(|kind| kind != PRIVATE_LINK_SERVICE);
        if let Some(vnet) =
            self.vnet.as_ref().and_then(|vnet| known.get::<Vnet>(vnet)).filter(|_| self.region.is_empty())
        {
            self.region.clone_from(&vnet.region);
        }
        if self.visibility == Visibility::Readers {
            self.visibility = Visibility::unsaid(self.kind.as_deref());
        }
    }
}
