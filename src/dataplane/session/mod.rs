//! A session: both directions of one conversation, twice translated (RFC 2663 §4.3).
//!
//! The translation of one direction is the key of the other, mirrored: packets from (consumer →
//! endpoint) leave as (NAT → backend), and (backend → NAT) leaves as (endpoint → consumer). So four
//! addresses and four ports are key and precompiled rewrite of both directions at once, and one
//! pair of checksum deltas, complemented for the way back, serves both.

use crate::snapshot::{AttachmentId, EndpointId, Generation, Protocol, ResourceId, TargetId};
use crate::wire::{Address, Version, checksum};

/// Memory of the table: huge pages, prefetch.
pub mod arena;

/// What a session has carried.
mod carried;

/// What a key hashes to.
mod hash;

/// Where a hash may be found.
pub mod index;

/// What few sessions need.
pub mod rare;

/// A session as it is shown.
pub mod record;

/// Per-worker table: lookup, insertion, removal.
pub mod table;

#[cfg(test)]
mod flood;

/// Opening, established, closing; what a reset needs.
pub mod tcp_state;

/// What decides whether a session's packet fits.
mod families;

/// The windows that both ends of a TCP connection announce.
pub mod windows;

pub use families::Families;
pub use table::Table;

/// Time in tenths of a second since the daemon's start, from a clock that never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks in one second.
    pub const PER_SECOND: u32 = 10;

    /// Milliseconds in one tick.
    pub const MILLISECONDS: u64 = 1_000 / Self::PER_SECOND as u64;

    /// Ticks since `earlier`.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// A duration in ticks, rounded up, at most 13 years.
    #[must_use]
    pub fn span(duration: std::time::Duration) -> u32 {
        u32::try_from(duration.as_millis().div_ceil(u128::from(Self::MILLISECONDS))).unwrap_or(u32::MAX)
    }
}

/// Direction relative to the link, never to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the consumer to the service.
    ToService,
    /// From the service to the consumer.
    ToConsumer,
}

impl Direction {
    /// The other one.
    #[inline]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::ToService => Self::ToConsumer,
            Self::ToConsumer => Self::ToService,
        }
    }

    /// Source and destination that packets leave with, of the addresses of consumer, endpoint, NAT and backend.
    #[inline]
    const fn leaves_with<T: Copy>(self, [consumer, endpoint, nat, backend]: [T; 4]) -> [T; 2] {
        match self {
            Self::ToService => [nat, backend],
            Self::ToConsumer => [endpoint, consumer],
        }
    }
}

/// What identifies one direction of a session: the attachment the packet arrives on, and its tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Where it arrives: VNets may overlap.
    pub attachment: AttachmentId,
    /// Protocol.
    pub protocol: Protocol,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port; identifier of an echo request, 0 of an echo reply.
    pub source_port: u16,
    /// Destination port; identifier of an echo reply, 0 of an echo request.
    pub destination_port: u16,
}

impl FlowKey {
    /// The key of packets that answer those with this one, on the same side.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

/// Where a session stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The slot is free.
    Vacant,
    /// UDP and ICMP echo: as long as packets come.
    Active,
    /// TCP before both sides have acknowledged each other (transitory, RFC 5382 REQ-5).
    Opening,
    /// TCP with data flowing.
    Established,
    /// TCP after a FIN from both sides or a RST (transitory).
    Closing,
    /// Ended by a revocation or by idleness: answers every segment with a reset for a minute.
    Ended,
}

impl Phase {
    /// Whether it counts as a live session. A closing one does not: it forwards late segments, takes nobody's place under
    /// a limit, and is the first to go when room is short.
    #[inline]
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Opening | Self::Established)
    }

    /// Its name in `privlink flows`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vacant => "vacant",
            Self::Active => "active",
            Self::Opening => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// What a reset towards either end needs to be accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// Last acknowledgement number its sender sent: the next byte that sender expects.
    pub last_ack: u32,
    /// Highest sequence number after a segment of its sender.
    pub seq_end: u32,
}

/// The four addresses and ports of a session. The consumer's side and the service's may be of different
/// families (RFC 7915); the two addresses of one side never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Who asks.
    pub consumer: Address,
    /// The private endpoint asked.
    pub endpoint: Address,
    /// The resource's NAT address that stands for the consumer.
    pub nat: Address,
    /// The server that answers.
    pub backend: Address,
    /// Consumer's port or echo identifier.
    pub consumer_port: u16,
    /// Port asked for; 0 for ICMP echo.
    pub endpoint_port: u16,
    /// Reserved NAT port or echo identifier.
    pub nat_port: u16,
    /// Server's port; 0 for ICMP echo.
    pub backend_port: u16,
}

impl Addresses {
    /// The families of both sides.
    #[must_use]
    pub fn pair(&self) -> Pair {
        match (self.consumer.version(), self.backend.version()) {
            (Version::V4, Version::V4) => Pair::V4,
            (Version::V6, Version::V6) => Pair::V6,
            _ => Pair::Mixed,
        }
    }
}

/// The families of a session's two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Both IPv4.
    V4,
    /// Both IPv6.
    V6,
    /// One of each: packets are translated (RFC 7915).
    Mixed,
}

/// One session. Between two IPv4 sides it fills two cache lines: what every packet reads, then what TCP's packets
/// and the session's end do; the addresses of any other stand beside it in the table (see [`Table::addresses`]).
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Session {
    /// Consumer, endpoint, NAT and backend address of IPv4; otherwise the first says where the table keeps them.
    pub(super) words: [u32; 4],
    /// Consumer's port or echo identifier.
    pub consumer_port: u16,
    /// Port asked for; 0 for ICMP echo.
    pub endpoint_port: u16,
    /// Reserved NAT port or echo identifier.
    pub nat_port: u16,
    /// Server's port; 0 for ICMP echo.
    pub backend_port: u16,
    /// Which families its sides are of, and whether it is narrow.
    pub families: Families,
    /// Protocol.
    pub protocol: Protocol,
    /// Where it stands in its life.
    pub phase: Phase,
    /// What holds of it beside its phase.
    pub flags: SessionFlags,
    /// Where consumer packets arrive.
    pub consumer_attachment: AttachmentId,
    /// Where provider packets arrive.
    pub provider_attachment: AttachmentId,
    /// Change of the address words' sum towards the service.
    pub address_delta: u16,
    /// Target (subresource and member) it was admitted to.
    pub target: TargetId,
    /// What has been seen of the TCP exchange; see [`tcp_state`].
    pub tcp: tcp_state::TcpFlags,
    /// What passed lately in either direction.
    pub(super) recent: carried::Recent,
    /// The endpoint that admitted it.
    pub endpoint: EndpointId,
    /// Rules it was last judged by.
    pub generation: Generation,
    /// When its last packet passed.
    pub last_seen: Tick,
    /// Ticks after which it is idle, in its present phase.
    pub idle_limit: u32,
    /// Resource it was admitted to.
    pub resource: ResourceId,
    /// What passed before.
    pub(super) carried: [carried::Carried; 2],
    /// The windows that both ends of a TCP connection announce.
    pub windows: windows::Windows,
    /// Where the table keeps what few sessions need; see [`Table::rare`].
    pub(super) rare: Slot,
    /// Consumer → service.
    pub to_service: FlowState,
    /// Service → consumer.
    pub to_consumer: FlowState,
    /// Next session of the endpoint in this worker.
    pub(super) next: Slot,
    /// Previous session of the endpoint in this worker.
    pub(super) previous: Slot,
    /// Network identifier of the connection that admitted it.
    pub link: u32,
    /// When it was opened.
    pub opened: Tick,
}

bitflags::bitflags! {
    /// What holds of a session, whatever its connection is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SessionFlags: u8 {
        /// A rate limits its traffic: its packets take the slow path, so that all others pay nothing for it.
        const LIMITED = 1;
        /// Admitted by another worker than the one steering names.
        const ELSEWHERE = 1 << 1;
        /// Live no more: its endpoint counts it no longer.
        const DEPARTED = 1 << 2;
    }
}

/// The session that a packet belongs to, and the direction in which it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where the session stands in its worker's table.
    pub session: Slot,
    /// Which way the packet goes.
    pub direction: Direction,
}

/// Position of a session in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// No session.
    pub const NONE: Self = Self(u32::MAX);
}

impl Session {
    /// A session as admission opens it; the table links it.
    #[must_use]
    pub fn open(addresses: &Addresses, protocol: Protocol, admitted: &Admitted, now: Tick) -> Self {
        let a = addresses;
        let before = checksum::join(a.consumer.sum(), a.endpoint.sum());
        let after = checksum::join(a.nat.sum(), a.backend.sum());
        Self {
            words: [a.consumer, a.endpoint, a.nat, a.backend].map(Address::low),
            consumer_port: a.consumer_port,
            endpoint_port: a.endpoint_port,
            nat_port: a.nat_port,
            backend_port: a.backend_port,
            families: a.pair().into(),
            protocol,
            phase: if protocol == Protocol::Tcp { Phase::Opening } else { Phase::Active },
            flags: if admitted.is_limited { SessionFlags::LIMITED } else { SessionFlags::default() },
            consumer_attachment: admitted.consumer_attachment,
            provider_attachment: admitted.provider_attachment,
            address_delta: checksum::delta(before, after),
            endpoint: admitted.endpoint,
            generation: admitted.generation,
            last_seen: now,
            idle_limit: admitted.idle_limit,
            target: admitted.target,
            tcp: tcp_state::TcpFlags::default(),
            recent: carried::Recent::default(),
            carried: [carried::Carried::default(); 2],
            windows: windows::Windows::default(),
            rare: Slot::NONE,
            to_service: FlowState::default(),
            to_consumer: FlowState::default(),
            next: Slot::NONE,
            previous: Slot::NONE,
            resource: admitted.resource,
            link: admitted.link,
            opened: now,
        }
    }

    /// Key of consumer packets; `a` are the session's addresses.
    #[inline]
    #[must_use]
    pub fn service_key(&self, a: &Addresses) -> FlowKey {
        FlowKey {
            attachment: self.consumer_attachment,
            protocol: self.protocol,
            source: a.consumer,
            destination: a.endpoint,
            source_port: self.consumer_port,
            destination_port: self.endpoint_port,
        }
    }

    /// Key of provider packets; `a` are the session's addresses.
    #[inline]
    #[must_use]
    pub fn consumer_key(&self, a: &Addresses) -> FlowKey {
        FlowKey {
            attachment: self.provider_attachment,
            protocol: self.protocol,
            source: a.backend,
            destination: a.nat,
            source_port: self.backend_port,
            destination_port: self.nat_port,
        }
    }

    /// Whether packets with `key` belong to `direction` of this session between two IPv4 sides.
    #[inline]
    pub(super) fn has_v4_key(&self, direction: Direction, key: &FlowKey) -> bool {
        let [consumer, endpoint, nat, backend] = self.words;
        let (attachment, words, ports) = match direction {
            Direction::ToService => {
                (self.consumer_attachment, (consumer, endpoint), (self.consumer_port, self.endpoint_port))
            }
            Direction::ToConsumer => (self.provider_attachment, (backend, nat), (self.backend_port, self.nat_port)),
        };
        (key.source, key.destination) == (Address::v4(words.0), Address::v4(words.1))
            && (key.source_port, key.destination_port) == ports
            && (key.attachment, key.protocol) == (attachment, self.protocol)
    }

    /// Change of the port words' sum towards the service.
    #[inline]
    #[must_use]
    pub const fn port_delta(&self) -> u16 {
        let before = checksum::join(self.consumer_port, self.endpoint_port);
        checksum::delta(before, checksum::join(self.nat_port, self.backend_port))
    }

    /// The attachment that packets of `direction` leave by.
    #[inline]
    #[must_use]
    pub const fn leaves_by(&self, direction: Direction) -> AttachmentId {
        match direction {
            Direction::ToService => self.provider_attachment,
            Direction::ToConsumer => self.consumer_attachment,
        }
    }

    /// Whether it has a conversation still: live or closing.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self.phase, Phase::Vacant | Phase::Ended)
    }

    /// See [`Phase::is_live`].
    #[inline]
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.phase.is_live()
    }
}

/// What admission decided, besides the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// See [`Session::consumer_attachment`].
    pub consumer_attachment: AttachmentId,
    /// See [`Session::provider_attachment`].
    pub provider_attachment: AttachmentId,
    /// See [`Session::endpoint`].
    pub endpoint: EndpointId,
    /// See [`Session::link`].
    pub link: u32,
    /// See [`Session::generation`].
    pub generation: Generation,
    /// See [`Session::resource`].
    pub resource: ResourceId,
    /// See [`Session::target`].
    pub target: TargetId,
    /// See [`Session::idle_limit`].
    pub idle_limit: u32,
    /// See [`SessionFlags::LIMITED`].
    pub is_limited: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_fills_two_cache_lines() {
        assert_eq!(size_of::<Session>(), 128);
    }

    #[test]
    fn the_fields_every_packet_reads_lie_in_the_first_line() {
        assert!(std::mem::offset_of!(Session, carried) == 64);
    }
}
