//! What `status`, `flows` and `explain` show, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole daemon on one screen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The configuration file it applies.
    pub config: String,
    /// What became of the file when it was last read anew; absent: it was not, since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload: Option<LastReload>,
    /// Whether it forwards; until then nothing passes.
    pub ready: bool,
    /// Data workers.
    pub workers: u64,
    /// Whether the kernel steers packets to the worker that owns their session.
    pub steering: bool,
    /// What is not as it should be, gravest first.
    pub conditions: Vec<Condition>,
    /// Endpoints whose connection is alive or may become so, by id.
    pub endpoints: Vec<Line>,
    /// Disconnected endpoints: only their deletion is left.
    pub clean_up: Vec<Line>,
    /// Counters over all workers.
    pub totals: Totals,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// How grave it is.
    pub severity: Severity,
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What to do; absent where there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// How grave a [`Condition`] is; the gravest sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Something asked for is not so.
    Error,
    /// It works, but look at it.
    Warning,
    /// Good to know.
    Notice,
}

/// One endpoint in `status`: `orders 10.1.9.4 → orders-db Approved, 2 backends, 14 sessions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `group/name` of the endpoint.
    pub endpoint: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `group/name` of the resource.
    pub resource: String,
    /// Part of the resource; absent for a private link service of one's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// State of the connection.
    pub state: String,
    /// Reason given with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who decided, and when; absent while nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<super::Decision>,
    /// When the approval ends by itself; absent where it does not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ending: Option<super::Ending>,
    /// Backends its addresses reach; absent where the resource is not to be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<u64>,
    /// Live sessions.
    pub sessions: u64,
}

/// `read + handedIn = forwarded + dropped + handedOut + held` (law 4), in device reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Read from devices.
    pub read: u64,
    /// Received from other workers.
    pub handed_in: u64,
    /// Written as part of a session.
    pub forwarded: u64,
    /// Dropped, all reasons.
    pub dropped: u64,
    /// Passed to other workers.
    pub handed_out: u64,
    /// Kept for later.
    pub held: u64,
    /// Dropped packets that were answered (beside the sum).
    pub answered: u64,
    /// Packets made by the forwarder itself (beside the sum).
    pub originated: u64,
    /// Drops by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
}

/// An address and a port (or an echo identifier). In JSON, one that its reader may not see is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The address.
    pub ip: String,
    /// The port; the identifier of ICMP echo.
    pub port: u16,
}

impl Side {
    /// Whether its reader may not see it.
    pub fn is_unseen(&self) -> bool {
        self.ip.is_empty()
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ip, port } = self;
        if self.is_unseen() {
            return f.pad("-");
        }
        if ip.contains(':') { f.pad(&format!("[{ip}]:{port}")) } else { f.pad(&format!("{ip}:{port}")) }
    }
}

/// Who used a NAT address and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// What the provider saw.
    pub nat: Side,
    /// Live sessions first, then the most recently ended.
    pub matches: Vec<Match>,
    /// Ended sessions that match too and are not listed.
    pub more: u64,
    /// Ended sessions that are not in the flow log; absent: none is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// What else the answer lacks, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A session, live or ended, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// `group/name` of the endpoint; absent when the connection is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Network identifier of the connection.
    pub link_identifier: u32,
    /// Who asked for the connection; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// Who approved the connection; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The consumer.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub consumer: Side,
    /// The endpoint's side.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub endpoint_address: Side,
    /// The server.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub backend: Side,
    /// When the session was opened, RFC 3339 in UTC.
    pub from: String,
    /// When it ended; absent while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// `live`, or why it ended: `closed`, `reset`, `idle`, `revoked`, `reclaimed` or `stopped`.
    pub state: String,
    /// Packets from the consumer to the service.
    pub packets_to_service: u64,
    /// Bytes from the consumer to the service.
    pub bytes_to_service: u64,
    /// Packets from the service to the consumer.
    pub packets_to_consumer: u64,
    /// Bytes from the service to the consumer.
    pub bytes_to_consumer: u64,
}

/// Ended sessions that are not in the flow log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Those that were counted.
    pub records: u64,
    /// Times that the daemon was killed; sessions alive then are missing, their number is unknown.
    pub kills: u64,
    /// Since when, RFC 3339 in UTC.
    pub since: String,
}

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// `group/name` of the endpoint.
    pub endpoint: String,
    /// Network identifier of its connection.
    #[serde(default)]
    pub link_identifier: u32,
    /// VNet its consumer's packets come from; absent where it is not to be seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vnet: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The consumer.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub consumer: Side,
    /// The endpoint's side.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub endpoint_address: Side,
    /// The consumer as the provider sees it.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub nat: Side,
    /// The server.
    #[serde(default, skip_serializing_if = "Side::is_unseen")]
    pub backend: Side,
    /// `opening`, `established`, `closing` or `ended`; `active` for UDP and ICMP.
    pub state: String,
    /// Seconds since its last packet.
    pub idle_seconds: u32,
    /// Packets from the consumer to the service.
    pub packets_to_service: u64,
    /// Bytes from the consumer to the service.
    pub bytes_to_service: u64,
    /// Packets from the service to the consumer.
    pub packets_to_consumer: u64,
    /// Bytes from the service to the consumer.
    pub bytes_to_consumer: u64,
    /// Worker that owns it.
    pub worker: u16,
}

/// What would become of a session's first packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// VNet the packet comes from.
    pub vnet: String,
    /// Consumer's address.
    pub source: String,
    /// Address it asks for.
    pub destination: String,
    /// Port it asks for; 0 for ICMP echo.
    pub port: u16,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Whether the session would open.
    pub admitted: bool,
    /// Number of the check that decides: the first that fails, else the last.
    pub check: u8,
    /// The drop reason as counters name it; absent when admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The decision in a sentence.
    pub message: String,
    /// Every check, in the order in which they are made.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// The smallest change that would take the packet past this check; absent where none would or should.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// The endpoint at that address, `group/name`; absent where none is visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The resource bound to it; absent when denied before it is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Servers that take new sessions, `address:port`.
    pub backends: Vec<String>,
    /// What limits how much passes in a second, such as `default/orders: 10 Mbit/s each way`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<String>,
}

/// One check of `explain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its number in the order of the checks, from 1.
    pub number: u8,
    /// What it asks.
    pub question: String,
    /// `passed`, `failed` or `not reached`.
    pub outcome: String,
}

/// An endpoint is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// `group/name`; its addresses are free at once.
    pub endpoint: String,
    /// Microseconds until it was in force and durable.
    pub in_force_microseconds: u64,
    /// What the operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// One line per change, difference or warning.
    pub notes: Vec<String>,
    /// The same for programs.
    #[serde(default)]
    pub file: super::ApplyReport,
}

/// What became of the daemon's file when it was last read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastReload {
    /// When, RFC 3339.
    pub at: String,
    /// Who asked for it.
    pub by: String,
    /// `applied` or `refused`: then nothing changed.
    pub outcome: String,
    /// What it did, or why it was refused; absent for those who may not change the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
