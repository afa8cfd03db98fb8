//! What may be reached: private link services of one's own, and typed resources.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::registry::Kind;
use super::{
    Balance, DenyMode, FrontendRef, HealthCheck, ItemKind, Key, Map, Model, NatConfig, PortCheck, PortSpec, Protocol,
    Rates, Scope, Tags, TimeoutOverrides, Visibility, actions,
};

/// What may be reached: a private link service of one's own (`kind` empty) or a typed resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkResource {
    /// `None`: a private link service; else such as `Microsoft.Storage/storageAccounts`.
    pub kind: Option<String>,
    /// Region; defaults to its VNet's.
    pub region: String,
    /// Provider VNet: where its backends are. `None`: it has none yet, and nothing reaches it.
    pub vnet: Option<Key>,
    /// 1 to 8 NAT addresses from a subnet of `vnet`, of this resource only.
    pub nat: Vec<IpAddr>,
    /// How those were asked for, one each; empty where they were named outright.
    #[serde(default)]
    pub nat_configs: Vec<NatConfig>,
    /// Load balancers whose rules are its targets; empty where these were named outright.
    #[serde(default)]
    pub frontends: Vec<FrontendRef>,
    /// The one server of a service without port mapping, whose only target follows from it.
    #[serde(default)]
    pub destination: Option<IpAddr>,
    /// Who sees it without a right on it.
    #[serde(default)]
    pub visibility: Visibility,
    /// Subscriptions whose requests are approved at once.
    pub auto_approval: Vec<String>,
    /// First part of a private link service's alias; see `control::ids::alias`.
    #[serde(default)]
    pub alias: Option<String>,
    /// Whether endpoints of another region may reach it.
    #[serde(default = "yes")]
    pub cross_region: bool,
    /// Names that lead to it, for resolvers.
    #[serde(default)]
    pub fqdns: Vec<String>,
    /// Stored: the header is not sent.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Says that backends are shared with another resource, and that addresses cannot keep them apart.
    pub shared_backend: bool,
    /// Overrides the daemon's answer mode.
    pub deny: Option<DenyMode>,
    /// Live sessions at once; `None`: unlimited.
    pub max_sessions: Option<u32>,
    /// Live sessions per endpoint at once; `None`: no bound but its fair share of what endpoints hold in common.
    pub max_sessions_per_endpoint: Option<u32>,
    /// What may pass in a second through all its endpoints together; `None`: as much as comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// Idle times that differ from the daemon's.
    pub timeouts: TimeoutOverrides,
    /// How long a server that takes no new sessions keeps those it has.
    #[serde(default = "five_minutes")]
    pub drain: Duration,
    /// How new sessions are spread over backends.
    #[serde(default)]
    pub balance: Balance,
    /// One per (subresource, member).
    pub targets: Vec<TargetSpec>,
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// What clients wrote of a typed resource that means nothing here (`sku`, `kind`), as a JSON object; empty: nothing.
    #[serde(default)]
    pub foreign: String,
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
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// How its servers are checked for single ports, beside that: by the rules of a load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_checks: Vec<PortCheck>,
    /// How a load balancer spreads new sessions over its servers; `None`: as the resource says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSpec {
    /// In the provider's VNet.
    pub address: IpAddr,
    /// Takes no new sessions.
    pub drain: bool,
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
    const KIND: ItemKind = ItemKind::Resource;
    const SINGULAR: &'static str = "resource";
    const PLURAL: &'static str = "resources";
    const TYPE: &'static str = actions::SERVICES;

    fn map(model: &Model) -> &Map<Self> {
        &model.resources
    }

    fn map_mut(model: &mut Model) -> &mut Map<Self> {
        &mut model.resources
    }

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
}
