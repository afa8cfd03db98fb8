//! Whether a packet fits where it is going. If it does not, a router tells its sender (RFC 1191, RFC 8201) or cuts what
//! may be cut (RFC 791 §3.2); between families the other header's length counts (RFC 7915 §4, §5).
//!
//! What comes from the service is addressed to a NAT address, which many consumers share. Its sender is told nothing,
//! since it would send smaller packets to all of them; its packets are cut.

use crate::dataplane::Context;
use crate::dataplane::handoff::RxMeta;
use crate::dataplane::nat::classify::Packet;
use crate::dataplane::session::{Direction, Families, Session};
use crate::snapshot::{AttachmentId, PathMtus, Protocol};
use crate::wire::headers::TCP_HEADER;
use crate::wire::{Version, vnet};

/// How much longer an IPv6 header is than an IPv4 one.
const GROWTH: usize = Version::V6.header() - Version::V4.header();

/// What every IPv6 link carries (RFC 8200 §5).
const EVERY_LINK: usize = Version::V6.least_mtu() as usize;

/// What becomes of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It leaves as it is.
    Whole,
    /// It leaves in pieces of at most so many bytes.
    Cut(usize),
    /// It is a TCP segment, and leaves as several of at most so many bytes each.
    Segments(usize),
    /// Its sender must send at most so many bytes.
    TooBig(u16),
}

/// Whether the packet leaves as it is. A hit asks only this; `false` means that [`fit`] decides.
#[inline]
pub(in crate::dataplane) fn surely(
    session: &Session,
    frame: &[u8],
    packet: &Packet,
    direction: Direction,
    context: &Context<'_>,
) -> bool {
    let mtu = usize::from(context.snapshot.mtu(session.leaves_by(direction)));
    let length = packet.wire_length();
    match session.families {
        Families::V4 | Families::V6 => length <= mtu,
        Families::MIXED => {
            let grown = length + GROWTH;
            grown <= mtu
                && (grown <= EVERY_LINK || !may_cut(frame, packet))
                && u16::try_from(packet.end()).is_ok()
                && !(packet.version == Version::V6 && packet.lacks_checksum(frame))
        }
        _ => false,
    }
}

/// Whether routers may cut the packet (RFC 791 §3.1); a super-packet is cut into segments already.
fn may_cut(frame: &[u8], packet: &Packet) -> bool {
    packet.version == Version::V4 && frame[vnet::LENGTH + 6] & 0x40 == 0 && !packet.is_super()
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub struct Onward {
    /// Family it leaves in.
    pub version: Version,
    /// Which way it goes.
    pub direction: Direction,
    /// Bytes that the way carries.
    pub mtu: u16,
}

/// What becomes of a packet that goes `onward`.
#[must_use]
pub fn fit(frame: &[u8], packet: &Packet, meta: &RxMeta, onward: &Onward) -> Fit {
    let (mtu, other) = (usize::from(onward.mtu), onward.version);
    let resized = |length: usize| match (packet.version, other) {
        (Version::V4, Version::V6) => length + GROWTH,
        (Version::V6, Version::V4) => length - GROWTH,
        _ => length,
    };
    let (largest, may_cut) = match meta.pieces {
        Some(pieces) => (pieces.largest, pieces.may_cut),
        None => (packet.wire_length(), may_cut(frame, packet)),
    };
    let whole = resized(packet.wire_length());
    if onward.direction == Direction::ToConsumer {
        let is_segment = packet.key.protocol == Protocol::Tcp && meta.pieces.is_none();
        if is_segment && whole > mtu {
            return Fit::Segments(mtu);
        }
    }
    // RFC 7915 §4: what may be cut on its way arrives in pieces that every IPv6 link carries.
    let limit = if may_cut && packet.version != other { mtu.min(EVERY_LINK) } else { mtu };
    if resized(largest) > limit && !may_cut && onward.direction == Direction::ToService {
        let told = if packet.version == other { mtu } else { mtu + packet.version.header() - other.header() };
        let told = told.max(usize::from(packet.version.least_mtu()));
        return Fit::TooBig(u16::try_from(told).unwrap_or(u16::MAX));
    }
    // In pieces no larger than they came: the path behind may carry no more than the one before.
    let limit = match meta.pieces {
        Some(_) => limit.min(resized(largest).max(usize::from(other.least_mtu()))),
        None => limit,
    };
    if whole > limit { Fit::Cut(limit) } else { Fit::Whole }
}

/// The largest MSS that makes segments which fit both `sides` of a session, whoever announces it.
pub(in crate::dataplane) fn most_mss(
    sides: [(AttachmentId, Version); 2],
    context: &Context<'_>,
    paths: &PathMtus,
) -> u16 {
    let [one, other] = sides.map(|(attachment, version)| {
        let headers = version.header() + TCP_HEADER;
        let mtu = context.snapshot.mtu(attachment).min(paths.get(attachment));
        mtu.saturating_sub(u16::try_from(headers).unwrap_or(0))
    });
    one.min(other)
}
