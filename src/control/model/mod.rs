//! The model: what the configuration, the API and the store all speak about. Values here cannot be
//! wrong by themselves (prefixes are masked, names are checked, ports are ordered); what must hold
//! between them is checked by `control::validate`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

mod accept;
mod arm;
mod attachments;
mod blank;
mod former;
mod health;
mod key;
mod limits;
mod map;
mod spelling;
mod zones;

pub use accept::AcceptedNames;
pub use arm::{
    BackendPool, BalancerProbe, BalancingRule, Distribution, EndpointLabels, Frontend, FrontendRef, LoadBalancer,
    NatConfig, PeeringLabel, PoolAddress, ResourceGroup, Tags,
};
pub use attachments::{AttachmentSpec, Pinned, imply_nat};
pub use former::{FormerResource, FormerTarget};
pub use health::{HealthCheck, PortCheck};
pub use key::{DEFAULT, Key, KeyParts};
pub use limits::{
    AuditLimits, DenyMode, EXCLUDED_WORKLOADS, FlowLog, Limits, Quota, Quotas, ResourceType, TimeoutOverrides,
    Visibility,
};
pub use map::Map;
pub use spelling::{member_name, region};
pub use zones::{
    APEX, DnsZone, GroupZone, Mx, RECORD_TTL, RecordData, RecordSet, RecordType, ResolutionPolicy, Soa, Srv, TXT_PIECE,
    ZoneGroup, ZoneLink, ZoneRecord, domain_name, read_values, whole, write_values,
};

pub use super::access::{RoleAssignment, RoleDefinition};
pub use super::resource_types::Cloud;
pub use crate::snapshot::topology::OnExit;
pub use crate::snapshot::{BackendState, Balance, ConnectionState, Protocol, Rates};

/// Everything that may connect to anything, as resources; host matters stand in [`HostConfig`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The cloud whose zones name typed resources: of the daemon's file as it was started, and never of the state.
    #[serde(skip)]
    pub cloud: Cloud,
    /// Roles besides the built-in ones, by name.
    #[serde(default)]
    pub roles: Map<RoleDefinition>,
    /// Who has which role where, by identifier.
    #[serde(default)]
    pub assignments: Map<RoleAssignment>,
    /// Resource groups that were declared, each under its own name twice (see [`Key::of_group`]).
    #[serde(default)]
    pub groups: Map<ResourceGroup>,
    /// Networks.
    pub vnets: Map<Vnet>,
    /// Rule sets that subnets refer to.
    pub security_groups: Map<SecurityGroup>,
    /// Private DNS zones of somebody's own.
    #[serde(default)]
    pub dns_zones: Map<DnsZone>,
    /// Port mappings of private link services.
    #[serde(default)]
    pub load_balancers: Map<LoadBalancer>,
    /// Types of link resources that are limited to regions, or of one's own; by their name in lower case.
    #[serde(default)]
    pub resource_types: Map<ResourceType, String>,
    /// What may be reached.
    pub resources: Map<LinkResource>,
    /// Resources that are deleted, and to which Disconnected endpoints were bound.
    #[serde(default)]
    pub former_resources: Map<FormerResource>,
    /// Who may reach it, by which address.
    pub endpoints: Map<PrivateEndpoint>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnet {
    /// Region; endpoints must be in their VNet's region.
    pub region: String,
    /// Address space, disjoint prefixes.
    pub address_space: Vec<IpNet>,
    /// Prefixes that reach this VNet over VPN or a leased line.
    pub on_premises: Vec<IpNet>,
    /// Directly peered VNets; counts only when both sides list it.
    pub peerings: Vec<Key>,
    /// Subnets in file order.
    pub subnets: Vec<Subnet>,
    /// Sources of workload classes, and whether they may use private endpoints.
    pub workloads: Vec<Workload>,
    /// Its resolver; `None`: it has none.
    pub dns: Option<DnsSettings>,
    /// Whether names of typed resources lead to its Approved endpoints only.
    #[serde(default)]
    pub lockdown: bool,
    /// Public addresses of typed resources, which no packet of the VNet reaches.
    #[serde(default)]
    pub public_prefixes: Vec<IpNet>,
    /// Names and switches of peerings; those without are named after their other side.
    #[serde(default)]
    pub peering_labels: Vec<PeeringLabel>,
    /// See [`Tags`].
    #[serde(default)]
    pub tags: Tags,
    /// Settings of Azure's that have no effect here, its subnets' and peerings' among them, as a JSON object; empty: none.
    #[serde(default)]
    pub foreign: String,
}

/// A VNet's resolver settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSettings {
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// Servers for everything that is not a private name.
    pub upstream: Vec<IpAddr>,
    /// States of a connection that are answered with the private address; others have no address at all.
    #[serde(default = "approved_only")]
    pub answer: Vec<ConnectionState>,
    /// How long an answer may be kept.
    #[serde(default = "ten_seconds")]
    pub ttl: Duration,
    /// Names of endpoints in peered VNets that may answer here, besides those that answer by themselves; `None`: a file
    /// or a request that says nothing of them leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_names: Option<Box<AcceptedNames>>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self { listen: Vec::new(), upstream: Vec::new(), answer: approved_only(), ttl: DNS_TTL, accept_names: None }
    }
}

/// How long a private answer may be kept unless the VNet says otherwise: a change of state is seen soon.
pub const DNS_TTL: Duration = Duration::from_secs(10);

fn approved_only() -> Vec<ConnectionState> {
    vec![ConnectionState::Approved]
}

fn ten_seconds() -> Duration {
    DNS_TTL
}

/// Part of a VNet's address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Unique within its VNet.
    pub name: String,
    /// Disjoint prefixes inside the address space.
    pub prefixes: Vec<IpNet>,
    /// Routed to the device whole; holds endpoints only.
    pub dedicated: bool,
    /// Specialised workloads it is delegated to; such a subnet takes no endpoints.
    pub delegations: Vec<String>,
    /// Service endpoints enabled on it.
    pub service_endpoints: Vec<String>,
    /// Whether endpoints here obey the security group.
    pub network_policies: NetworkPolicies,
    /// Rule set of this subnet.
    pub security_group: Option<Key>,
    /// `privateLinkServiceNetworkPolicies`: `Some(false)` (ARM's `Disabled`, the file's `nat = true`) says that NAT addresses
    /// may lie here; `None`: nobody said anything.
    #[serde(default)]
    pub service_policies: Option<bool>,
}

/// `privateEndpointNetworkPolicies` of a subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum NetworkPolicies {
    /// Endpoints ignore the security group.
    #[default]
    Disabled,
    /// Its rules are judged.
    NetworkSecurityGroupEnabled,
    /// Stored; there are no route tables here.
    RouteTableEnabled,
    /// Its rules are judged.
    Enabled,
}

/// A class of sources within a VNet (seed, *Limitations*, fourth row).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Such as `Azure Container Instance`.
    pub class: String,
    /// Where it lives.
    pub prefix: IpNet,
    /// Whether it may use private endpoints.
    pub private_endpoints: bool,
}

/// A rule set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Lowest priority number first.
    pub rules: Vec<SecurityRule>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// Unique within its group.
    pub name: String,
    /// 100 to 4096, unique within its group; the lowest is judged first.
    pub priority: u16,
    /// Allow or deny.
    pub allow: bool,
    /// `None`: any.
    pub protocol: Option<Protocol>,
    /// Empty: any.
    pub sources: Vec<IpNet>,
    /// Empty: any.
    pub destinations: Vec<IpNet>,
    /// Empty: any; first and last.
    pub ports: Vec<(u16, u16)>,
}

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

/// A range of exposed ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// First exposed port.
    pub first: u16,
    /// Last exposed port.
    pub last: u16,
    /// Backend port of the first one.
    pub backend_first: u16,
}

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

/// What `[daemon]` and `[[attachment]]` say: never enters the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Directory of the durable state.
    pub state: std::path::PathBuf,
    /// The control socket.
    pub socket: std::path::PathBuf,
    /// Group that may read over the control socket.
    pub socket_group: Option<String>,
    /// The API's listener on the network, `None`: none.
    pub api: Option<ApiListener>,
    /// Metrics listener, `None`: none.
    pub metrics: Option<std::net::SocketAddr>,
    /// Data workers; `None`: one per core.
    pub workers: Option<u16>,
    /// Super-packets and partial checksums.
    pub offload: bool,
    /// Live sessions the daemon may hold.
    pub max_sessions: u32,
    /// What stays when the daemon ends.
    pub on_exit: crate::snapshot::topology::OnExit,
    /// How denied packets end.
    pub deny: DenyMode,
    /// Answers per second and worker.
    pub deny_rate: u32,
    /// Idle times.
    pub timeouts: TimeoutOverrides,
    /// Which of the seed's limitations hold.
    pub limits: Limits,
    /// How much there may be.
    pub quotas: Quotas,
    /// Program and arguments to run for a new request; empty: none.
    pub on_request: Vec<String>,
    /// What is kept of ended sessions; `None`: nothing.
    pub flow_log: Option<FlowLog>,
    /// What is kept of the audit log.
    pub audit: AuditLimits,
    /// Whose names typed resources have.
    pub cloud: Cloud,
    /// In file order: the order of `AttachmentId`.
    pub attachments: Vec<AttachmentSpec>,
}

/// Where the API is served on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListener {
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// Without TLS, which only a loopback address may be.
    pub plain: bool,
    /// Certificate chain and key, PEM; `None`: of the daemon's own authority.
    pub certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
}
