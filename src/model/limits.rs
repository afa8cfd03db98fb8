//! What an installation allows: Azure's limitations of 2019, quotas, idle times, answers, and how much history is kept.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use super::spelled::{Time, in_order, time};

/// Azure's limitations of 2019, a row each (`docs/azure.md`): `true` where a row is lifted. Delegated subnets take no
/// endpoints either way.
#[allow(clippy::struct_excessive_bools, reason = "one per row of the table, each set by itself")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subnets with network policies may hold endpoints, and endpoints may have source rules (row 1).
    pub network_policies: bool,
    /// Subnets with service endpoints may hold endpoints (row 2).
    pub service_endpoints: bool,
    /// Endpoints may reach a private link service of another region (row 3).
    pub cross_region: bool,
    /// Every class of workload may be allowed to use endpoints (row 4).
    pub workloads: bool,
}

impl Limits {
    /// No row holds, as in Azure now.
    pub const TODAY: Self =
        Self { network_policies: true, service_endpoints: true, cross_region: true, workloads: true };
    /// Every row holds, as in 2019.
    pub const AZURE_2019: Self =
        Self { network_policies: false, service_endpoints: false, cross_region: false, workloads: false };
}

impl Default for Limits {
    fn default() -> Self {
        Self::TODAY
    }
}

/// Workloads that cannot use private endpoints (row 4), and the services that subnets are
/// delegated to for them.
pub const EXCLUDED_WORKLOADS: [(&str, &str); 4] = [
    ("App Service Plan", "Microsoft.Web/serverFarms"),
    ("Azure Container Instance", "Microsoft.ContainerInstance/containerGroups"),
    ("Azure NetApp Files", "Microsoft.NetApp/volumes"),
    ("Azure Dedicated HSM", "Microsoft.HardwareSecurityModules/dedicatedHSMs"),
];

/// How denied packets end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DenyMode {
    /// With a TCP RST or an ICMP message, rate limited.
    #[default]
    Answer,
    /// Silently.
    Drop,
}

/// Idle times of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Timeouts", transform = in_order::<Self>, extend("x-inline" = true))]
pub struct TimeoutOverrides {
    /// Established TCP, such as "2h4m".
    #[serde(with = "time::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub tcp_established: Option<Duration>,
    /// Opening and closing TCP.
    #[serde(with = "time::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub tcp_transitory: Option<Duration>,
    /// UDP.
    #[serde(with = "time::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub udp: Option<Duration>,
    /// ICMP echo.
    #[serde(with = "time::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub icmp: Option<Duration>,
    /// Incomplete datagrams.
    #[serde(with = "time::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub fragment: Option<Duration>,
}

/// What quotas count. [`Quota::name`] is the key below `[daemon] quotas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Quota {
    /// VNets of a subscription.
    VnetsPerSubscription,
    /// Link resources of a subscription.
    ResourcesPerSubscription,
    /// NAT addresses of a resource.
    NatIpsPerResource,
    /// Endpoints of a subscription.
    EndpointsPerSubscription,
    /// Endpoints in a VNet.
    EndpointsPerVnet,
    /// Endpoints bound to a resource, whatever their connection's state.
    EndpointsPerResource,
}

impl Quota {
    /// Its key in the file.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How much there may be; what is not set is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas([Option<u64>; Quota::COUNT]);

impl Quotas {
    /// At most how many; `None`: any number.
    pub fn get(&self, quota: Quota) -> Option<u64> {
        self.0[quota as usize]
    }

    /// These with one of them set.
    #[must_use]
    pub fn with(mut self, quota: Quota, limit: Option<u64>) -> Self {
        self.0[quota as usize] = limit;
        self
    }
}

/// How much of the sessions that ended is kept for `privlink who`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// For how long.
    pub retain: Duration,
    /// Bytes at most; the oldest go first.
    pub max_bytes: u64,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self { retain: Duration::from_hours(7 * 24), max_bytes: 256 << 20 }
    }
}

/// How much of the audit log is kept; the oldest records go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// For how long.
    pub retain: Duration,
    /// Bytes at most.
    pub max_bytes: u64,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { retain: Duration::from_hours(3650 * 24), max_bytes: 1 << 30 }
    }
}

/// Who may see a link resource, and so request a connection to it (`visibility` in `docs/configuration.md`). Who may read
/// it sees it in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenVisibility", into = "WrittenVisibility")]
pub enum Visibility {
    /// Callers that may read it.
    #[default]
    Readers,
    /// Callers that may read it; but whoever knows its ID may ask for a connection, which its owner decides about. Of a
    /// typed resource whose owner said nothing.
    ById,
    /// These subscriptions too.
    Subscriptions(Vec<String>),
    /// Everyone.
    Everyone,
}

/// A list of subscriptions, or of `*` alone; the word of what a file says by silence.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenVisibility {
    Said(Vec<String>),
    Unsaid(Unsaid),
}

#[derive(Serialize, Deserialize)]
enum Unsaid {
    Readers,
    ById,
}

impl From<WrittenVisibility> for Visibility {
    fn from(written: WrittenVisibility) -> Self {
        match written {
            WrittenVisibility::Said(list) if list.iter().any(|one| one == "*") => Self::Everyone,
            WrittenVisibility::Said(list) => Self::Subscriptions(list),
            WrittenVisibility::Unsaid(Unsaid::Readers) => Self::Readers,
            WrittenVisibility::Unsaid(Unsaid::ById) => Self::ById,
        }
    }
}

impl From<Visibility> for WrittenVisibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Everyone => Self::Said(vec!["*".to_owned()]),
            Visibility::Subscriptions(list) => Self::Said(list),
            Visibility::Readers => Self::Unsaid(Unsaid::Readers),
            Visibility::ById => Self::Unsaid(Unsaid::ById),
        }
    }
}

impl Visibility {
    /// That of a resource of the type `kind` whose owner says nothing of it.
    #[must_use]
    pub fn unsaid(kind: Option<&str>) -> Self {
        if kind.is_some() { Self::ById } else { Self::Readers }
    }

    /// This one, said again without a word on it of what is `live`: saying nothing opens nothing that was closed.
    #[must_use]
    pub fn or_closed(&self, live: &Self) -> Self {
        if (self, live) == (&Self::ById, &Self::Readers) { Self::Readers } else { self.clone() }
    }

    /// Whether callers of `subscription` see it without a right of their own.
    pub fn admits(&self, subscription: &str) -> bool {
        match self {
            Self::Readers | Self::ById => false,
            Self::Subscriptions(list) => list.iter().any(|listed| listed.eq_ignore_ascii_case(subscription)),
            Self::Everyone => true,
        }
    }
}

/// A type of link resource, and where it is offered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResourceType {
    /// Such as `Microsoft.Storage/storageAccounts`.
    pub name: String,
    /// Regions it is offered in; empty: every one.
    pub regions: Vec<String>,
}

impl ResourceType {
    /// What it is found by: types are compared without regard to case.
    pub fn key(name: &str) -> String {
        name.to_lowercase()
    }
}
