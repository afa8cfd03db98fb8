//! A TCP segment that is too large for its way, made a super-packet: what writes it to its device cuts it, the kernel
//! or we in its place. The connection's ends see smaller segments, as if its sender had known.

use crate::dataplane::nat::classify::{Packet, classify};
use crate::snapshot::DropReason;
use crate::wire::headers::{CWR, RST, SYN, URG, put_half};
use crate::wire::{Version, VnetHeader, build, ip, vnet};

/// Where a TCP header has its checksum.
const CHECKSUM: u16 = 16;

/// Makes `packet` one that is cut into segments of at most `limit` bytes of IP where it leaves in the family `out`.
///
/// # Errors
/// Its checksum is wrong, and those of its segments would be right; or it cannot be cut: what SYN, RST and the urgent
/// pointer say would be said by each segment.
pub(in crate::dataplane) fn of(
    frame: &mut [u8],
    packet: &Packet,
    out: Version,
    limit: usize,
) -> Result<Packet, DropReason> {
    if packet.segment(frame).flags & (SYN | RST | URG) != 0 {
        return Err(DropReason::PacketTooBig);
    }
    if !packet.is_sound(frame) {
        return Err(DropReason::BadChecksum);
    }
    let header = packet.transport() - vnet::LENGTH;
    let kept = if packet.version == out { header } else { out.header() };
    let room = limit.checked_sub(kept + packet.transport_header()).filter(|room| *room > 0);
    let narrow = |length: usize| u16::try_from(length).map_err(|_| DropReason::PacketTooBig);
    let gso_size = narrow(room.ok_or(DropReason::PacketTooBig)?)?;
    if !packet.vnet.needs_csum() {
        let key = &packet.key;
        let pseudo = build::pseudo_sum(key.source, key.destination, ip::TCP, packet.end() - packet.transport());
        put_half(frame, packet.transport() + usize::from(CHECKSUM), pseudo);
    }
    // The window was lowered once: one segment says so.
    let ecn = if packet.segment(frame).has(CWR) { vnet::GSO_ECN } else { 0 };
    let kind = if packet.version == Version::V4 { vnet::GSO_TCPV4 } else { vnet::GSO_TCPV6 };
    let vnet = VnetHeader {
        flags: vnet::NEEDS_CSUM,
        gso_type: kind | ecn,
        hdr_len: narrow(header + packet.transport_header())?,
        gso_size,
        csum_start: narrow(header)?,
        csum_offset: CHECKSUM,
    };
    frame[..vnet::LENGTH].copy_from_slice(&vnet.bytes());
    classify(frame, packet.key.attachment).map_err(|_| DropReason::Malformed)
}
