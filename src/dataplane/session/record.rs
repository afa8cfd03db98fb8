//! A session as it is shown: by flows while it lives, by the flow log once it has ended, by `who` in both cases.

use std::net::IpAddr;

use super::{Addresses, Direction, Phase, Slot, Table, Tick, tcp_state::TcpFlags};
use crate::snapshot::{AttachmentId, EndpointId, Protocol};

/// Why a session is live no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowEndReason {
    /// Both ends sent a FIN.
    Closed,
    /// One end reset it.
    Reset,
    /// No packet for too long.
    Idle,
    /// The rules in force no longer admit it.
    Revoked,
    /// A new connection took the place of one that was closing; only in logs of versions that counted closing
    /// sessions as live.
    Reclaimed,
    /// The daemon stopped.
    Stopped,
}

impl FlowEndReason {
    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; 6] = [Self::Closed, Self::Reset, Self::Idle, Self::Revoked, Self::Reclaimed, Self::Stopped];

    /// Its name in `privlink who`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::Reclaimed => "reclaimed",
            Self::Stopped => "stopped",
        }
    }

    /// How a session that closes came to it.
    pub(in crate::dataplane) const fn of_close(flags: TcpFlags) -> Self {
        let fins = flags.contains(TcpFlags::CONSUMER_FIN) && flags.contains(TcpFlags::PROVIDER_FIN);
        if fins { Self::Closed } else { Self::Reset }
    }
}

/// Between whom a session is, and what it has carried: what stays true of it for whoever asks later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Addresses and ports of both sides.
    pub addresses: Addresses,
    /// Packets and bytes from the consumer to the service.
    pub to_service: (u64, u64),
    /// Packets and bytes from the service to the consumer.
    pub to_consumer: (u64, u64),
    /// Network identifier of its connection.
    pub link: u32,
    /// Protocol.
    pub protocol: Protocol,
}

impl FlowRecord {
    /// Consumer address and port (or echo identifier).
    #[must_use]
    pub fn consumer(&self) -> (IpAddr, u16) {
        (self.addresses.consumer.ip(), self.addresses.consumer_port)
    }

    /// Endpoint address and port.
    #[must_use]
    pub fn endpoint(&self) -> (IpAddr, u16) {
        (self.addresses.endpoint.ip(), self.addresses.endpoint_port)
    }

    /// NAT address and port.
    #[must_use]
    pub fn nat(&self) -> (IpAddr, u16) {
        (self.addresses.nat.ip(), self.addresses.nat_port)
    }

    /// Backend address and port.
    #[must_use]
    pub fn backend(&self) -> (IpAddr, u16) {
        (self.addresses.backend.ip(), self.addresses.backend_port)
    }
}

/// All that is shown of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Between whom it is, and what it has carried.
    pub flow: FlowRecord,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// When it was opened.
    pub opened: Tick,
    /// When its last packet passed; of one that has ended, when it ended.
    pub last: Tick,
    /// Attachment its consumer's packets arrive on.
    pub attachment: AttachmentId,
    /// Where it stands in its life.
    pub phase: Phase,
    /// Why it ended; `None`: it has not.
    pub end: Option<FlowEndReason>,
}

impl SessionRecord {
    /// The same, ended at `now`.
    #[must_use]
    pub const fn ended(self, reason: FlowEndReason, now: Tick) -> Self {
        Self { end: Some(reason), last: now, ..self }
    }
}

/// Which sessions are asked for: those that match all that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Of this endpoint.
    pub endpoint: Option<EndpointId>,
    /// With this NAT address and port (or echo identifier).
    pub nat: Option<(IpAddr, u16)>,
    /// With this backend address and port.
    pub backend: Option<(IpAddr, u16)>,
}

impl FlowFilter {
    /// Whether the session is asked for.
    #[must_use]
    pub fn matches(&self, session: &SessionRecord) -> bool {
        self.endpoint.is_none_or(|endpoint| endpoint == session.endpoint)
            && self.nat.is_none_or(|nat| nat == session.flow.nat())
            && self.backend.is_none_or(|backend| backend == session.flow.backend())
    }
}

impl Table {
    /// What is shown of the session at `slot`: the one place where its numbers are read.
    #[must_use]
    pub fn view(&self, slot: Slot) -> Option<SessionRecord> {
        let session = self.get(slot).filter(|session| session.phase != Phase::Vacant)?;
        Some(SessionRecord {
            flow: FlowRecord {
                addresses: self.addresses(slot),
                to_service: session.carried(Direction::ToService),
                to_consumer: session.carried(Direction::ToConsumer),
                link: session.link,
                protocol: session.protocol,
            },
            endpoint: session.endpoint,
            opened: session.opened,
            last: session.last_seen,
            attachment: session.consumer_attachment,
            phase: session.phase,
            end: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small_and_reasons_are_numbered_in_their_order() {
        assert!(size_of::<SessionRecord>() <= 128, "{}", size_of::<SessionRecord>());
        assert!(FlowEndReason::ALL.iter().zip(0_u8..).all(|(reason, number)| *reason as u8 == number));
    }
}
