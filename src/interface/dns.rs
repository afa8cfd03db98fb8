//! What a VNet's resolver answers, as JSON.

use serde::{Deserialize, Serialize};

/// A VNet's resolver and every private name it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsPlan {
    /// ID of the VNet.
    pub vnet: String,
    /// Addresses it listens on.
    pub listen: Vec<String>,
    /// Servers for all other names.
    pub upstream: Vec<String>,
    /// How long an answer may be kept, in seconds.
    pub ttl: u64,
    /// Names, those of applications first, in alphabetical order.
    pub names: Vec<DnsName>,
    /// Zones that it answers for, in alphabetical order.
    #[serde(default)]
    pub zones: Vec<DnsZone>,
}

/// A zone that a VNet's resolver answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsZone {
    /// Its name.
    pub name: String,
    /// Whether it is somebody's own; else it came about with the endpoints in it.
    pub own: bool,
    /// What becomes of names that it does not have: `Default` or `NxDomainRedirect`.
    pub resolution_policy: String,
}

/// A record that somebody wrote into a zone of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsWritten {
    /// `A`, `TXT`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// As a zone file has it (RFC 1035 §5.1).
    pub data: String,
}

/// A name and what it leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsName {
    /// The name, without the dot at its end.
    pub name: String,
    /// Another name it leads to; empty: it has addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// The zone it lies in: a public one for an alias, the private one for a name with addresses.
    pub zone: String,
    /// Its addresses, whether they are answered or not.
    pub addresses: Vec<DnsAddress>,
    /// Records that somebody wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<DnsWritten>,
}

/// One address of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsAddress {
    /// The address.
    pub address: String,
    /// `group/name` of the endpoint whose it is.
    pub endpoint: String,
    /// State of its connection.
    pub state: String,
    /// Whether that state is answered.
    pub answered: bool,
}
