//! The model: what the configuration, the API and the store all speak about. Values here cannot be
//! wrong by themselves (prefixes are masked, names are checked, ports are ordered); what must hold
//! between them is checked by `model::rules`.

use serde::{Deserialize, Serialize};

/// `kinds! { [then] given }` is `then! { given … }`, followed by the kinds of objects that a model names by key, each
/// with its type and the field that holds them, in the order in which they depend on each other. Every list of kinds comes from this one.
macro_rules! kinds {
    ([$($then:tt)+] $($given:tt)*) => {
        $($then)+! {
            $($given)*
            /// A role of one's own.
            Role: RoleDefinition in roles,
            /// Of a role to somebody.
            Assignment: RoleAssignment in assignments,
            /// A resource group.
            ResourceGroup: ResourceGroup in groups,
            /// A network.
            Vnet: Vnet in vnets,
            /// A rule set.
            SecurityGroup: SecurityGroup in security_groups,
            /// A private DNS zone.
            DnsZone: DnsZone in dns_zones,
            /// A load balancer.
            LoadBalancer: LoadBalancer in load_balancers,
            /// A link resource.
            Resource: LinkResource in resources,
            /// A private endpoint.
            Endpoint: PrivateEndpoint in endpoints,
        }
    };
}
pub(crate) use kinds;

/// Actions: everything that is judged.
pub mod actions;
/// The states of a connection.
pub mod approval;
/// Why a command is refused.
pub mod error;
/// What typed resources say to their own clients.
pub mod foreign;
/// What may name something.
pub mod grammar;
/// Resource IDs and aliases.
pub mod ids;
/// Link identifiers.
pub mod links;
/// Names of endpoints.
pub mod names;
/// From a name to the thing meant.
pub mod references;
/// What every kind of object has in common.
pub mod registry;
/// Types of link resources.
pub mod resource_types;
/// What must hold between the parts of a model.
pub mod rules;
/// What a refusal says, and which objects it mentions.
pub mod sentence;
/// How the values of a spec are written.
pub mod spelled;
/// What is in force, and what must be remembered of it.
pub mod state;
/// What is text, and what is not.
pub mod text;
/// Bearer tokens.
pub mod token;

mod accept;
mod assignment;
mod attachments;
mod blank;
mod caseless;
mod domain;
mod endpoint;
mod former;
mod health;
mod host;
mod item;
mod key;
mod labels;
mod limits;
mod load_balancer;
mod map;
mod ports;
mod principal;
mod resource;
mod role;
mod scope;
mod security_group;
mod spelling;
mod vnet;
mod zones;

pub use accept::AcceptedNames;
pub use actions::Action;
pub use assignment::{AssignmentId, Bootstrap, RoleAssignment};
pub use attachments::{AttachmentSpec, Pinned, imply_nat};
pub use caseless::Malformed;
pub(crate) use caseless::to_hex;
pub use domain::domain_name;
pub use endpoint::{EndpointIp, PrivateEndpoint};
pub use error::Error;
pub use former::{FormerResource, FormerTarget};
pub use health::{HealthCheck, PortCheck};
pub use host::{ApiListener, HostConfig};
pub use item::{Item, ItemKind};
pub use key::{DEFAULT, Key, KeyParts};
pub use labels::{EndpointLabels, FrontendRef, NatConfig, PeeringLabel, ResourceGroup, Tags};
pub use limits::{
    AuditLimits, DenyMode, EXCLUDED_WORKLOADS, FlowLog, Limits, Quota, Quotas, ResourceType, TimeoutOverrides,
    Visibility,
};
pub use load_balancer::{BackendPool, BalancerProbe, BalancingRule, Distribution, Frontend, LoadBalancer, PoolAddress};
pub use map::Map;
pub use ports::PortSpec;
pub use principal::{Actor, Caller, Principal, Subject, TokenId, TokenName};
pub use resource::{BackendSpec, DRAIN, LinkResource, TargetSpec};
pub use resource_types::Cloud;
pub(crate) use role::{ADMINISTRATOR, Effect, OWNER};
pub use role::{ActionPattern, RoleDefinition, RoleName, built_in};
pub use scope::Scope;
pub use security_group::{Access, SecurityGroup, SecurityRule};
pub use spelling::{member_name, region};
pub use vnet::{DNS_TTL, DnsSettings, NetworkPolicies, Subnet, Vnet, Workload};
pub use zones::{
    APEX, DnsZone, GroupZone, Mx, RECORD_TTL, RecordData, RecordSet, RecordType, ResolutionPolicy, Soa, Srv, TXT_PIECE,
    ZoneGroup, ZoneLink, ZoneRecord, read_values, whole, write_values,
};

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
