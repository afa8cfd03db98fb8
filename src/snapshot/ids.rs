//! Ids and small words shared by both planes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

/// Position of an attachment (a TUN device and the VNet behind it) in [`super::Snapshot`] and in
/// every worker's device list. Fixed for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentId(pub u16);

/// A private endpoint within this process. Never given out twice, so a session of a deleted
/// endpoint can never be taken for one of its successor at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointId(pub u32);

/// Position of a link resource in a [`super::Snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceId(pub u32);

/// Position of a target (subresource and member) within its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u16);

/// Version of one endpoint's rules, unique over time: each change to an endpoint takes the next
/// number of one process-wide counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u32);

/// State of the connection between an endpoint and its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Display)]
pub enum ConnectionState {
    /// Waits for the resource's owner; passes nothing.
    Pending,
    /// The only state that passes traffic.
    Approved,
    /// Refused by the owner, who may approve it later; passes nothing.
    Rejected,
    /// Removed by the owner; terminal, the consumer can only delete the endpoint.
    Disconnected,
}

/// Transport protocols a link resource may expose. The discriminant is the IANA protocol number
/// of the IPv4 header; ICMPv6 echo counts as [`Protocol::Icmp`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// ICMP echo, translated by identifier (RFC 5508).
    Icmp = 1,
}
