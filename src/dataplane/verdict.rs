//! How a packet ends: one closed verdict, one counter each (DESIGN law 4).

use crate::snapshot::policy::Reason;
use crate::snapshot::{AttachmentId, ConnectionState};

/// The outcome for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translated; write its first `length` bytes to this attachment.
    Forward {
        /// Where it leaves.
        to: AttachmentId,
        /// Bytes of the frame, link padding excluded.
        length: usize,
    },
    /// Translated into another family: write the forwarder's head, then these bytes of the frame.
    Rebuilt {
        /// Where it leaves.
        to: AttachmentId,
        /// First byte of the frame that is kept.
        from: usize,
        /// End of what is kept.
        end: usize,
    },
    /// Forwarded as frames of the forwarder's own, which wait in its outbox.
    Emitted,
    /// It told the forwarder something and goes no further; counts as forwarded.
    Absorbed,
    /// A piece of a datagram, kept until the others come.
    Held,
    /// The piece made its datagram whole, whose verdict is counted for all its pieces.
    Settled,
    /// Counted under its reason.
    Drop(DropReason),
    /// It belongs to another worker.
    HandOut {
        /// Which one.
        worker: u16,
        /// Whether this worker had no NAT port for it.
        refused: bool,
    },
}

/// Why a packet is dropped. The discriminant indexes the counter array; the names are those of
/// DESIGN §3, in the order in which the checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Lengths, version or header fields contradict each other.
    Malformed,
    /// A transport checksum that is missing or wrong, where the packet would leave with a right one.
    BadChecksum,
    /// A source no host may send from: special-purpose (RFC 6890), an endpoint's own, a subnet's network or broadcast
    /// address, one of a dedicated subnet.
    SpoofedSource,
    /// A protocol the forwarder does not carry.
    UnsupportedProtocol,
    /// Source routing, or a record of the way (RFC 7126, RFC 5095).
    SourceRoute,
    /// An IPv6 extension header that may not be passed over, or too many of them (RFC 8200).
    ExtensionHeader,
    /// A piece of a datagram that is empty, or no multiple of 8 bytes long and not the last (RFC 791 §3.2).
    FragmentTiny,
    /// A piece that has come before, byte by byte.
    FragmentDuplicate,
    /// Two pieces of a datagram contradict each other (RFC 5722).
    FragmentOverlap,
    /// A piece beyond 65,535 bytes.
    FragmentOversize,
    /// More pieces than a datagram may have.
    FragmentTooMany,
    /// No room for another datagram in pieces.
    FragmentFull,
    /// A piece of a datagram that was given up.
    FragmentDead,
    /// The other pieces of its datagram did not come in time.
    FragmentTimeout,
    /// The source is outside the VNet, its on-premises prefixes and its unattached peers.
    SourceNotAllowed,
    /// No endpoint at this address is visible from this VNet.
    UnknownEndpoint,
    /// The connection is Pending.
    NotApprovedPending,
    /// The connection is Rejected.
    NotApprovedRejected,
    /// The connection is Disconnected.
    NotApprovedDisconnected,
    /// The source belongs to a workload class that may not use private endpoints.
    WorkloadExcluded,
    /// The endpoint's source rule or a rule of the subnet's security group.
    DeniedByRule,
    /// The bound subresource and member do not expose this protocol and port.
    PortNotExposed,
    /// More than the rates of its endpoint, or of that one's resource, let pass.
    RateLimited,
    /// A TCP segment that belongs to no session and is not a SYN.
    NotSyn,
    /// No backend takes new sessions.
    NoBackend,
    /// The endpoint or the resource holds as many sessions as it may.
    SessionLimit,
    /// The daemon holds as many sessions as it may.
    TableFull,
    /// No NAT port is left for this backend.
    NatPortsExhausted,
    /// The session was ended: revoked or idle.
    SessionEnded,
    /// A provider-side packet that belongs to no session.
    NoSession,
    /// An ICMP message that belongs to no session.
    IcmpUnmatched,
    /// TTL or hop limit used up here.
    TtlExpired,
    /// Larger than the path behind the forwarder, and not to be cut.
    PacketTooBig,
    /// The ring to the owning worker is full.
    HandoverFull,
    /// The kernel refused the packet.
    WriteFailed,
}

impl DropReason {
    /// Every reason in the order of its discriminant.
    pub const ALL: [Self; 35] = [
        Self::Malformed,
        Self::BadChecksum,
        Self::SpoofedSource,
        Self::UnsupportedProtocol,
        Self::SourceRoute,
        Self::ExtensionHeader,
        Self::FragmentTiny,
        Self::FragmentDuplicate,
        Self::FragmentOverlap,
        Self::FragmentOversize,
        Self::FragmentTooMany,
        Self::FragmentFull,
        Self::FragmentDead,
        Self::FragmentTimeout,
        Self::SourceNotAllowed,
        Self::UnknownEndpoint,
        Self::NotApprovedPending,
        Self::NotApprovedRejected,
        Self::NotApprovedDisconnected,
        Self::WorkloadExcluded,
        Self::DeniedByRule,
        Self::PortNotExposed,
        Self::RateLimited,
        Self::NotSyn,
        Self::NoBackend,
        Self::SessionLimit,
        Self::TableFull,
        Self::NatPortsExhausted,
        Self::SessionEnded,
        Self::NoSession,
        Self::IcmpUnmatched,
        Self::TtlExpired,
        Self::PacketTooBig,
        Self::HandoverFull,
        Self::WriteFailed,
    ];

    /// Its name in metrics and in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::BadChecksum => "bad_checksum",
            Self::SpoofedSource => "spoofed_source",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::SourceRoute => "source_route",
            Self::ExtensionHeader => "extension_header",
            Self::FragmentTiny => "fragment_tiny",
            Self::FragmentDuplicate => "fragment_duplicate",
            Self::FragmentOverlap => "fragment_overlap",
            Self::FragmentOversize => "fragment_oversize",
            Self::FragmentTooMany => "fragment_too_many",
            Self::FragmentFull => "fragment_full",
            Self::FragmentDead => "fragment_dead",
            Self::FragmentTimeout => "fragment_timeout",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::NotApprovedPending => "not_approved_pending",
            Self::NotApprovedRejected => "not_approved_rejected",
            Self::NotApprovedDisconnected => "not_approved_disconnected",
            Self::SourceNotAllowed => "source_not_allowed",
            Self::WorkloadExcluded => "workload_excluded",
            Self::DeniedByRule => "denied_by_rule",
            Self::PortNotExposed => "port_not_exposed",
            Self::RateLimited => "rate_limited",
            Self::NotSyn => "not_syn",
            Self::NoBackend => "no_backend",
            Self::SessionLimit => "session_limit",
            Self::TableFull => "table_full",
            Self::NatPortsExhausted => "nat_ports_exhausted",
            Self::SessionEnded => "session_ended",
            Self::NoSession => "no_session",
            Self::IcmpUnmatched => "icmp_unmatched",
            Self::TtlExpired => "ttl_expired",
            Self::PacketTooBig => "packet_too_big",
            Self::HandoverFull => "handover_full",
            Self::WriteFailed => "write_failed",
        }
    }
}

/// The counted reason of a denial.
impl From<&Reason> for DropReason {
    fn from(reason: &Reason) -> Self {
        match reason {
            Reason::UnknownEndpoint => Self::UnknownEndpoint,
            Reason::NotApproved(ConnectionState::Pending | ConnectionState::Approved) => Self::NotApprovedPending,
            Reason::NotApproved(ConnectionState::Rejected) => Self::NotApprovedRejected,
            Reason::NotApproved(ConnectionState::Disconnected) => Self::NotApprovedDisconnected,
            Reason::SourceNotAllowed => Self::SourceNotAllowed,
            Reason::WorkloadExcluded(_) => Self::WorkloadExcluded,
            Reason::DeniedByRule(_) => Self::DeniedByRule,
            Reason::PortNotExposed => Self::PortNotExposed,
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
