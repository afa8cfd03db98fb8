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

/// A private DNS zone, whoever sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateZone {
    /// `group/name` of one of somebody's own; the name of one that came about with the endpoints in it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `own` or `automatic`.
    pub kind: String,
    /// VNets whose resolvers answer for it.
    pub links: Vec<PrivateZoneLink>,
    /// How many record sets it has; the start of authority is one of them.
    pub record_sets: u64,
    /// Its records, by name; in a list they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<PrivateRecord>,
}

/// A zone is seen from a VNet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateZoneLink {
    /// What somebody called it; absent: it came about with the zone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `group/name` of the VNet.
    pub vnet: String,
    /// What becomes of names that the zone does not have: `Default` or `NxDomainRedirect`.
    pub resolution_policy: String,
}

/// One record of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateRecord {
    /// Relative to the zone; `@` is the zone itself.
    pub name: String,
    /// `A`, `TXT`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// As a zone file has it (RFC 1035 §5.1).
    pub data: String,
    /// How long it may be kept, in seconds; absent: as long as the VNet that asks says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// `group/name` of the endpoint whose it is; absent: somebody wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
}
