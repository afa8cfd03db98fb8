//! Why packets are dropped: one closed list for `judge()`, the packet path, metrics, `explain`, help and
//! `docs/drop-reasons.md`.

use super::ConnectionState;

/// What the sender of a dropped packet is told, where answers are on and within their rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// A reset for TCP, *administratively prohibited* for everything else.
    Refused,
    /// ICMP *host unreachable*.
    HostUnreachable,
    /// ICMP *time exceeded*.
    TimeExceeded,
    /// ICMP *packet too big*.
    TooBig,
}

/// One list for everything that is said of a reason; `docs/drop-reasons.md` and `privlink help drops` are made from it.
macro_rules! drop_reasons {
    ($($(#[doc = $meaning:literal])+ $reason:ident = $name:literal, $reply:ident, $remedy:literal;)+) => {
        /// Why a packet is dropped. The discriminant indexes the counter array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $meaning])+ $reason,)+
        }

        impl DropReason {
            /// Every reason in the order of its discriminant.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$reason),+];

            /// Its name in metrics and in `status`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$reason => concat!($($meaning),+).trim_ascii(),)+
                }
            }

            /// What the sender is told.
            #[must_use]
            pub const fn reply(self) -> Reply {
                match self {
                    $(Self::$reason => Reply::$reply,)+
                }
            }

            /// What to do about it.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$reason => $remedy,)+
                }
            }
        }
    };
}

// In the order in which the checks are made: meaning, reason, its name in metrics, the reply, what to do about it.
drop_reasons! {
    /// Lengths, version or header fields contradict each other.
    Malformed = "malformed", Nothing,
        "Capture at the sender: a length, a version or the checksum of its IPv4 header is wrong.";
    /// A transport checksum that is missing or wrong, where the packet would leave with a right one.
    BadChecksum = "bad_checksum", Nothing,
        "Capture at the sender, and check the checksum offload of the interfaces between it and this host.";
    /// A source no host may send from: special-purpose (RFC 6890), an endpoint's own, a subnet's network or broadcast
    /// address, one of a dedicated subnet.
    SpoofedSource = "spoofed_source", Nothing,
        "Send from an address of a host of that network; put no hosts into dedicated subnets.";
    /// A protocol the forwarder does not carry.
    UnsupportedProtocol = "unsupported_protocol", Nothing,
        "Use TCP, UDP or ICMP echo.";
    /// Source routing, or a record of the way (RFC 7126, RFC 5095).
    SourceRoute = "source_route", Nothing,
        "Send without source routes, recorded routes and IP timestamps.";
    /// An IPv6 extension header that may not be passed over, or too many of them (RFC 8200).
    ExtensionHeader = "extension_header", Nothing,
        "Send without such extension headers.";
    /// A fragment that is empty, or not the last and no multiple of 8 bytes long (RFC 791 §3.2).
    FragmentTiny = "fragment_tiny", Nothing,
        "Capture at the sender: RFC 791 does not allow such fragments.";
    /// A fragment that has come before, byte by byte.
    FragmentDuplicate = "fragment_duplicate", Nothing,
        "None needed: the first copy counts.";
    /// Two fragments of a datagram overlap, and neither is an exact copy of the other (RFC 5722).
    FragmentOverlap = "fragment_overlap", Nothing,
        "Look for an attack, or for two senders that use one address.";
    /// A fragment that ends beyond 65,535 bytes.
    FragmentOversize = "fragment_oversize", Nothing,
        "Look for an attack: no correct sender makes such fragments.";
    /// More fragments than a datagram may have.
    FragmentTooMany = "fragment_too_many", Nothing,
        "Send smaller datagrams, or use a larger MTU on the way: at most 128 fragments are taken.";
    /// No room to reassemble another datagram.
    FragmentFull = "fragment_full", Nothing,
        "Send smaller datagrams, or use a larger MTU on the way, so that fewer of them are fragmented.";
    /// A fragment of a datagram that was given up.
    FragmentDead = "fragment_dead", Nothing,
        "Look at the other reasons that begin with `fragment_`: one of them says why the datagram was given up.";
    /// The other fragments of its datagram did not come in time.
    FragmentTimeout = "fragment_timeout", Nothing,
        "Look for loss between the sender and this host; `timeouts.fragment` says how long a datagram is waited for.";
    /// The source is outside the VNet, its on-premises prefixes and its unattached peers.
    SourceNotAllowed = "source_not_allowed", Nothing,
        "Add the source to the VNet's `address_space` or `on_premises`, or peer the source's VNet.";
    /// No endpoint at this address is visible from this VNet.
    UnknownEndpoint = "unknown_endpoint", HostUnreachable,
        "Compare the address with `privlink status`; for an endpoint of a peer, both VNets must list each other.";
    /// The connection is Pending.
    NotApprovedPending = "not_approved_pending", Refused,
        "The service's owner decides: `privlink connection approve ENDPOINT`.";
    /// The connection is Rejected.
    NotApprovedRejected = "not_approved_rejected", Refused,
        "The service's owner can still approve: `privlink connection approve ENDPOINT`.";
    /// The connection is Disconnected.
    NotApprovedDisconnected = "not_approved_disconnected", Refused,
        "Delete the endpoint and create it anew.";
    /// The source belongs to a workload class that may not use private endpoints.
    WorkloadExcluded = "workload_excluded", Refused,
        "Set `private_endpoints = true` for that class in the `workloads` of the VNet.";
    /// The endpoint's source rule or a rule of the subnet's security group.
    DeniedByRule = "denied_by_rule", Refused,
        "`privlink explain` names the rule: change `sources` of the endpoint, or the subnet's security group.";
    /// The bound subresource and member do not expose this protocol and port.
    PortNotExposed = "port_not_exposed", Refused,
        "Use a port that the resource exposes, or add this one to its `ports`.";
    /// Beyond the rates of the endpoint or of its resource.
    RateLimited = "rate_limited", Nothing,
        "Raise `rates` of the endpoint or of the resource; `privlink usage` shows what passes.";
    /// A TCP segment that belongs to no session and is not a SYN.
    NotSyn = "not_syn", Refused,
        "None needed: the connection ended, or began before the daemon; the client connects anew.";
    /// No backend takes new sessions.
    NoBackend = "no_backend", Refused,
        "`privlink resource show` says which servers are down or being drained: bring one back.";
    /// The endpoint or the resource holds as many sessions as it may.
    SessionLimit = "session_limit", Refused,
        "Raise `max_sessions` or `max_sessions_per_endpoint`; `privlink flows` shows who holds sessions.";
    /// The daemon holds as many sessions as it may.
    TableFull = "table_full", Refused,
        "Raise `max_sessions` under `[daemon]`; `privlink flows` shows who holds sessions.";
    /// No NAT port is left for this backend.
    NatPortsExhausted = "nat_ports_exhausted", Refused,
        "Add a NAT address to the resource: it helps at once.";
    /// The session was ended: revoked or idle.
    SessionEnded = "session_ended", Refused,
        "None needed: the client connects anew, if it still may.";
    /// A provider-side packet that belongs to no session.
    NoSession = "no_session", Nothing,
        "None for late packets of an ended session. Otherwise a server tries to open a connection, which it never can.";
    /// An ICMP message that belongs to no session.
    IcmpUnmatched = "icmp_unmatched", Nothing,
        "None needed: the message is about a session that has ended, or is forged.";
    /// TTL or hop limit used up here.
    TtlExpired = "ttl_expired", TimeExceeded,
        "Look for a routing loop; traceroute causes this on purpose.";
    /// Larger than the path behind the forwarder, and not to be cut.
    PacketTooBig = "packet_too_big", TooBig,
        "Raise the MTU behind this host (`mtu` of the attachment), or let the sender discover the path's MTU.";
    /// The ring to the owning worker is full.
    HandoverFull = "handover_full", Nothing,
        "Let the daemon load BPF programs, so that the kernel brings packets to the right worker; or lower the load.";
    /// The kernel refused the packet.
    WriteFailed = "write_failed", Nothing,
        "Look at `ip -s link` of the devices and at the daemon's log: a device is down, or memory is short.";
}

impl DropReason {
    /// The reason for a packet to an endpoint whose connection is in another state than `Approved`.
    #[must_use]
    pub const fn not_approved(state: ConnectionState) -> Self {
        match state {
            ConnectionState::Pending | ConnectionState::Approved => Self::NotApprovedPending,
            ConnectionState::Rejected => Self::NotApprovedRejected,
            ConnectionState::Disconnected => Self::NotApprovedDisconnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discriminant_indexes_the_list() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }
}
