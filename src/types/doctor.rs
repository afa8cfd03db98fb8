//! What `doctor` finds, and what the daemon tells it, as JSON.

use serde::{Deserialize, Serialize};

/// What the daemon knows of a name that a client in a VNet asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Diagnosis {
    /// The VNet, `group/name`.
    pub vnet: String,
    /// Device of its attachment; absent where it is not attached to this host.
    pub device: Option<String>,
    /// Addresses of its resolver; empty: it has none.
    pub listen: Vec<String>,
    /// Servers for names that are not private.
    pub upstream: Vec<String>,
    /// Why its resolver does not listen; empty: it does.
    pub silent: String,
    /// The name, and the aliases it leads to; empty: it is no private name here.
    pub chain: Vec<String>,
    /// Addresses at the end of the chain, whether they are answered or not.
    pub addresses: Vec<DiagnosedAddress>,
    /// Endpoints of that name that this VNet does not see, as `group/name in group/vnet`.
    pub elsewhere: Vec<String>,
    /// What lets the name answer here, for each endpoint whose name it is and that waits for the VNet's consent.
    pub waiting: Vec<String>,
    /// What is so where this VNet's attachment, or that of a service behind the name, lost its network namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detached: Vec<String>,
}

/// One address of the name, and the endpoint it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiagnosedAddress {
    /// The address.
    pub address: String,
    /// Its endpoint, `group/name`.
    pub endpoint: String,
    /// What the endpoint is bound to, `group/name`.
    pub resource: String,
    /// State of the connection.
    pub state: String,
    /// Reason given with the state.
    pub reason: String,
    /// Whether the resolver answers with it.
    pub answered: bool,
    /// What may be asked for there: `tcp 443`, `tcp 8000-8100`, `icmp`.
    pub ports: Vec<String>,
    /// Servers behind it, and how many of them take new sessions.
    pub backends: u64,
    /// Those that take new sessions.
    pub backends_up: u64,
    /// Live sessions of the endpoint.
    pub sessions: u64,
    /// Sessions ever opened.
    pub sessions_opened: u64,
    /// Live sessions that the endpoint may have at most; absent: any number.
    pub max_sessions: Option<u64>,
    /// Servers towards which no NAT port is left, such as `tcp 10.20.0.2:5432`.
    pub exhausted: Vec<String>,
}

/// One line of `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `daemon`, `resolver`, `name`, `hosts`, `address`, `connection`, `route`, `policy`,
    /// `sessions`, `backend`.
    pub check: String,
    /// How it is.
    pub outcome: Outcome,
    /// What was seen.
    pub evidence: String,
    /// What to do; absent where there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Failed,
    /// It cannot be seen from here.
    Unknown,
}

/// A set-up that will surprise somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lint {
    /// A word for programs: `PublicZoneOverridden`, `PublicZoneInUse`, `NameClaimedTwice`, `OtherResolver`,
    /// `NxDomainTrap`; or `NotAsked`, which is no surprise: whether there is one, no upstream could say.
    pub code: String,
    /// The VNet whose clients meet it, `group/name`.
    pub vnet: String,
    /// A sentence for people.
    pub message: String,
    /// What an upstream answers, where one was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: String,
}

impl Lint {
    /// Whether it only says that nobody could be asked.
    pub fn is_untold(&self) -> bool {
        self.code == "NotAsked"
    }
}
