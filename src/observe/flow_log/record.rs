//! One entry of the flow log as bytes: fixed size, little-endian, with a checksum over all before it.
//!
//! ```text
//!  0 link u32 │ 4 protocol u8 │ 5 kind u8 │ 6 zero u16 │ 8 consumer │ 26 endpoint │ 44 NAT │ 62 backend
//! 80 lasted u32, tenths of a second │ 84 ended i64, milliseconds since 1970 UTC
//! 92 packets, bytes to the service, packets, bytes to the consumer, u64 each │ 124 checksum
//! ```
//! A side is an IPv6 address (an IPv4 one as `::ffff:a.b.c.d`) and a port. Kinds below 0xF0 are the numbers
//! of [`FlowEndReason`]; the others speak of the log itself.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::dataplane::record::{Addresses, FlowEndReason, FlowRecord, SessionRecord};
use crate::snapshot::Protocol;

/// Bytes of an entry.
pub(super) const LENGTH: usize = 128;
const CHECKED: usize = LENGTH - 4;

const KIND: usize = 5;
const CONSUMER: usize = 8;
const ENDPOINT: usize = 26;
const NAT: usize = 44;
const BACKEND: usize = 62;
const SIDE: usize = 18;

/// The daemon stopped, and every session had been written before.
const KIND_STOP: u8 = 0xFE;
/// Entries are missing here.
const KIND_LOSS: u8 = 0xFF;

/// An address and a port.
type Side = (IpAddr, u16);

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A session ended.
    Session(Record),
    /// The daemon stopped in good order.
    Stop(Timestamp),
    /// Sessions ended that are not in the log: so many, or an unknown number.
    Loss { count: Option<u64>, since: Timestamp, until: Timestamp },
}

/// An ended session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Between whom it was, and what it carried.
    pub flow: FlowRecord,
    /// Why it ended.
    pub reason: FlowEndReason,
    /// When it was opened, to a tenth of a second.
    pub opened: Timestamp,
    /// When it ended, to a tenth of a second.
    pub ended: Timestamp,
}

impl Record {
    /// An ended session as an entry, read when the workers' clock said `tick` and the wall's `wall`.
    pub(super) fn new(session: &SessionRecord, (tick, wall): (u32, Timestamp)) -> Self {
        let ended = before(wall, tick.saturating_sub(session.last.0));
        Self {
            flow: session.flow,
            reason: session.end.unwrap_or(FlowEndReason::Stopped),
            opened: before(ended, session.last.since(session.opened)),
            ended,
        }
    }
}

/// `tenths` of a second before `time`.
pub(in crate::observe) fn before(time: Timestamp, tenths: u32) -> Timestamp {
    time.checked_sub(Duration::from_millis(u64::from(tenths) * 100)).unwrap_or(Timestamp::MIN)
}

impl Entry {
    /// When it was so.
    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Session(record) => record.ended,
            Self::Stop(at) => *at,
            Self::Loss { until, .. } => *until,
        }
    }

    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        match self {
            Self::Session(Record { flow, reason, opened, ended }) => {
                put(&mut bytes, 0, flow.link.to_le_bytes());
                put(&mut bytes, 4, [flow.protocol as u8, *reason as u8]);
                let sides = [flow.consumer(), flow.endpoint(), flow.nat(), flow.backend()];
                for (side, at) in sides.into_iter().zip([CONSUMER, ENDPOINT, NAT, BACKEND]) {
                    put(&mut bytes, at, encode_side(side));
                }
                put_span(&mut bytes, *opened, *ended);
                let counts = [flow.to_service.0, flow.to_service.1, flow.to_consumer.0, flow.to_consumer.1];
                for (count, at) in counts.into_iter().zip((92..).step_by(8)) {
                    put(&mut bytes, at, count.to_le_bytes());
                }
            }
            Self::Stop(at) => {
                bytes[KIND] = KIND_STOP;
                put_span(&mut bytes, *at, *at);
            }
            Self::Loss { count, since, until } => {
                bytes[KIND] = KIND_LOSS;
                put_span(&mut bytes, *since, *until);
                put(&mut bytes, 92, count.unwrap_or(u64::MAX).to_le_bytes());
            }
        }
        let sum = checksum(&bytes);
        put(&mut bytes, CHECKED, sum);
        bytes
    }

    /// `None`: damaged, or of a kind this version does not know.
    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        if bytes[CHECKED..] != checksum(bytes) {
            return None;
        }
        let ended = Timestamp::from_millisecond(i64::from_le_bytes(take(bytes, 84))).ok()?;
        let opened = before(ended, u32::from_le_bytes(take(bytes, 80)));
        let count = |at: usize| u64::from_le_bytes(take(bytes, at));
        match bytes[KIND] {
            KIND_STOP => Some(Self::Stop(ended)),
            KIND_LOSS => {
                let count = Some(count(92)).filter(|&count| count != u64::MAX);
                Some(Self::Loss { count, since: opened, until: ended })
            }
            reason => {
                let protocols = [Protocol::Icmp, Protocol::Tcp, Protocol::Udp];
                let flow = FlowRecord {
                    addresses: addresses(bytes),
                    to_service: (count(92), count(100)),
                    to_consumer: (count(108), count(116)),
                    link: u32::from_le_bytes(take(bytes, 0)),
                    protocol: protocols.into_iter().find(|protocol| *protocol as u8 == bytes[4])?,
                };
                let reason = *FlowEndReason::ALL.get(usize::from(reason))?;
                Some(Self::Session(Record { flow, reason, opened, ended }))
            }
        }
    }
}

/// Finds the entries worth decoding without looking at their checksums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needle {
    nat: [u8; SIDE],
    backend: Option<[u8; SIDE]>,
}

impl Needle {
    pub(super) fn new(nat: Side, backend: Option<Side>) -> Self {
        Self { nat: encode_side(nat), backend: backend.map(encode_side) }
    }

    /// Whether these bytes may be a matching session, or speak of losses.
    pub(super) fn may_match(&self, bytes: &[u8; LENGTH]) -> bool {
        let session = bytes[NAT..NAT + SIDE] == self.nat
            && self.backend.is_none_or(|backend| bytes[BACKEND..BACKEND + SIDE] == backend);
        session || bytes[KIND] == KIND_LOSS
    }
}

fn encode_side((address, port): Side) -> [u8; SIDE] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut bytes = [0; SIDE];
    put(&mut bytes, 0, address.octets());
    put(&mut bytes, 16, port.to_le_bytes());
    bytes
}

fn addresses(bytes: &[u8; LENGTH]) -> Addresses {
    let side = |at| (Ipv6Addr::from(take(bytes, at)).to_canonical().into(), u16::from_le_bytes(take(bytes, at + 16)));
    let [(consumer, consumer_port), (endpoint, endpoint_port)] = [side(CONSUMER), side(ENDPOINT)];
    let [(nat, nat_port), (backend, backend_port)] = [side(NAT), side(BACKEND)];
    Addresses { consumer, endpoint, nat, backend, consumer_port, endpoint_port, nat_port, backend_port }
}

fn put_span(bytes: &mut [u8], since: Timestamp, until: Timestamp) {
    let tenths = until.as_millisecond().saturating_sub(since.as_millisecond()) / 100;
    put(bytes, 80, u32::try_from(tenths.max(0)).unwrap_or(u32::MAX).to_le_bytes());
    put(bytes, 84, until.as_millisecond().to_le_bytes());
}

/// The first four bytes of SHA-256: chance and a torn write do not get past it.
pub(super) fn checksum(bytes: &[u8; LENGTH]) -> [u8; 4] {
    take(&Sha256::digest(&bytes[..CHECKED]), 0)
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}
