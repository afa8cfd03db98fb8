//! What a VNet's resolver makes of a name, step by step, as JSON.

use serde::{Deserialize, Serialize};

/// A name, followed to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsExplanation {
    /// `group/name` of the VNet.
    pub vnet: String,
    /// The name asked for.
    pub name: String,
    /// The type asked for.
    pub kind: String,
    /// How it ends, such as `NOERROR`.
    pub code: String,
    /// Why there is no answer, as clients are told (RFC 8914).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Endpoints that would answer to the name, if the VNet accepted it: why they do not, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Who told what, in order.
    pub hops: Vec<DnsHop>,
}

/// One stretch of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsHop {
    /// The name it begins with.
    pub name: String,
    /// `plan`: the VNet's own names; `cache`: an upstream's answer that was kept; `upstream`: a server, just now.
    pub source: String,
    /// Of the others: the server that gave the answer; none where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Of `cache`: how long it is kept on, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Of `upstream`: how long that took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// What was told.
    pub records: Vec<DnsRecord>,
}

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecord {
    /// Its name.
    pub name: String,
    /// Of the plan: the private zone that it lies in; none for the public name of an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: String,
}
