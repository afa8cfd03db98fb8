//! Applies a session's translation to a frame in place: addresses, ports (or echo identifier), TTL, and
//! every checksum by its delta, never by recomputation, so that a wrong checksum stays wrong (RFC 1624;
//! requirements T-1 to T-3). Payload is not touched; a partial checksum stays partial.

use crate::dataplane::nat::classify::Packet;
use crate::dataplane::session::{Direction, Session};
use crate::snapshot::Protocol;
use crate::wire::fragment::Identifications;
use crate::wire::headers::{half, put_half, put_word};
use crate::wire::{Address, Version, VnetHeader, checksum, vnet};

/// Change of the word that holds an IPv4 header's TTL and protocol when the TTL falls by one.
const TTL_DELTA: u16 = !0x0100;

/// The don't-fragment flag in an IPv4 header's seventh byte.
const DONT_FRAGMENT: u8 = 0x40;

/// What a packet of one direction becomes.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    /// New source address.
    pub source: Address,
    /// New destination address.
    pub destination: Address,
    /// New source port.
    pub source_port: u16,
    /// New destination port.
    pub destination_port: u16,
    /// Change of the address words' sum.
    pub addresses: u16,
    /// Change of the port words' sum.
    pub ports: u16,
}

impl Translation {
    /// What `session` makes of a packet of `direction`, which leaves with these addresses.
    #[inline]
    #[must_use]
    pub fn of(session: &Session, [source, destination]: [Address; 2], direction: Direction) -> Self {
        match direction {
            Direction::ToService => Self {
                source,
                destination,
                source_port: session.nat_port,
                destination_port: session.backend_port,
                addresses: session.address_delta,
                ports: session.port_delta(),
            },
            // The way back undoes the way there: one's-complement negation is the bitwise complement.
            Direction::ToConsumer => Self {
                source,
                destination,
                source_port: session.endpoint_port,
                destination_port: session.consumer_port,
                addresses: !session.address_delta,
                ports: !session.port_delta(),
            },
        }
    }

    /// The identifier of an echo message: the one port that is not 0.
    #[inline]
    #[must_use]
    pub const fn identifier(&self) -> u16 {
        self.source_port | self.destination_port
    }
}

/// Translates `frame` within its family.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
pub fn rewrite(frame: &mut [u8], packet: &Packet, to: &Translation, identifications: &mut Identifications) {
    match packet.version {
        Version::V4 => v4(frame, packet, to, identifications),
        Version::V6 => v6(frame, to),
    }
    transport(&mut frame[packet.transport()..packet.end()], packet, to);
    frame[..vnet::LENGTH].copy_from_slice(&outgoing(packet));
}

#[inline]
fn v4(frame: &mut [u8], packet: &Packet, to: &Translation, identifications: &mut Identifications) {
    const FIXED: usize = Version::V4.header();
    let Some(ip) = frame[vnet::LENGTH..].first_chunk_mut::<FIXED>() else { return };
    let mut change = checksum::join(to.addresses, TTL_DELTA);
    if ip[6] & DONT_FRAGMENT == 0 {
        change = checksum::join(change, renumber(ip, packet, identifications));
    }
    ip[8] -= 1;
    let field = half(ip, 10);
    put_half(ip, 10, checksum::update(field, change));
    put_word(ip, 12, to.source.low());
    put_word(ip, 16, to.destination.low());
}

#[inline]
fn v6(frame: &mut [u8], to: &Translation) {
    let ip = &mut frame[vnet::LENGTH..];
    ip[Version::V6.hops()] -= 1;
    to.source.write(ip, Version::V6.addresses());
    to.destination.write(ip, Version::V6.addresses() + Version::V6.address_bytes());
}

/// Gives a packet that may be fragmented an identification of our own: its sender's is unique among the
/// sender's packets, not among all that leave with the NAT address (RFC 6864 §5.3.1; requirement G-4).
fn renumber(ip: &mut [u8], packet: &Packet, identifications: &mut Identifications) -> u16 {
    let fresh = identifications.take16(packet.wire_size().0);
    let change = checksum::delta(half(ip, 4), fresh);
    put_half(ip, 4, fresh);
    change
}

/// Ports or identifier, and the transport checksum. ICMPv6 alone of the ICMPs covers the addresses (RFC 4443 §2.3).
#[inline(always)]
#[allow(clippy::inline_always, reason = "a hit is one function")]
fn transport(bytes: &mut [u8], packet: &Packet, to: &Translation) {
    match packet.key.protocol {
        Protocol::Tcp => ported::<18>(bytes, packet, to),
        Protocol::Udp => ported::<8>(bytes, packet, to),
        Protocol::Icmp => {
            let renamed = checksum::delta(half(bytes, 4), to.identifier());
            let covered = if packet.version == Version::V6 { to.addresses } else { 0 };
            put_half(bytes, 4, to.identifier());
            let field = half(bytes, 2);
            put_half(bytes, 2, checksum::update(field, checksum::join(renamed, covered)));
        }
    }
}

/// A header whose checksum stands in its bytes before `END`.
#[inline]
fn ported<const END: usize>(bytes: &mut [u8], packet: &Packet, to: &Translation) {
    let Some(header) = bytes.first_chunk_mut::<END>() else { return };
    put_half(header, 0, to.source_port);
    put_half(header, 2, to.destination_port);
    let field = half(header, END - 2);
    put_half(header, END - 2, transport_sum(field, packet, to));
}

/// The transport checksum after translation.
#[inline]
fn transport_sum(field: u16, packet: &Packet, to: &Translation) -> u16 {
    if packet.vnet.needs_csum() {
        return checksum::update_partial(field, to.addresses);
    }
    let is_udp = packet.key.protocol == Protocol::Udp;
    if is_udp && field == 0 {
        return 0; // RFC 768: no checksum; stays so (requirements T-2, X-3).
    }
    let sum = checksum::update(field, checksum::join(to.addresses, to.ports));
    if is_udp && sum == 0 { 0xFFFF } else { sum }
}

/// The virtio header to write: the kernel is told the real header length, so that a super-packet's
/// payload goes to page fragments, and nothing it would ignore or refuse.
#[inline]
fn outgoing(packet: &Packet) -> [u8; vnet::LENGTH] {
    if !packet.vnet.needs_csum() {
        return [0; vnet::LENGTH];
    }
    let header = packet.transport() + packet.transport_header() - vnet::LENGTH;
    VnetHeader { flags: vnet::NEEDS_CSUM, hdr_len: u16::try_from(header).unwrap_or(0), ..packet.vnet }.bytes()
}

/// Lowers every MSS option of a SYN to `most` (which of two counts is the receiver's choice), never raises one (RFC 6691, RFC 9293 §3.7.1; requirement
/// T-6). An option may stand at an odd offset (RFC 9293 §3.1), so the checksum is updated by the aligned words
/// that cover it; a partial checksum covers the pseudo-header only, and stays as it is.
pub fn clamp_mss(frame: &mut [u8], packet: &Packet, most: u16) {
    let Some(header) = frame.get_mut(packet.transport()..packet.transport() + packet.transport_header()) else {
        return;
    };
    let mut from = crate::wire::headers::TCP_HEADER;
    while let Some(at) = mss_at(header, from) {
        from = at + 2;
        if half(header, at) <= most {
            continue;
        }
        let words = at & !1..(at + 3) & !1;
        let before = checksum::sum(&header[words.clone()]);
        put_half(header, at, most);
        let change = checksum::delta(before, checksum::sum(&header[words]));
        if !packet.vnet.needs_csum() {
            let field = half(header, 16);
            put_half(header, 16, checksum::update(field, change));
        }
    }
}

/// Offset of the value of the first MSS option at or after the option at `at` of a TCP header.
fn mss_at(header: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match (header.get(at)?, header.get(at + 1)) {
            (0, _) => return None,
            (1, _) => at += 1,
            (2, Some(4)) if at + 4 <= header.len() => return Some(at + 2),
            (_, Some(length)) if *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::nat::classify::classify;
    use crate::snapshot::AttachmentId;

    /// A SYN whose options are `options`, with a right TCP checksum.
    fn syn(options: &[u8]) -> Vec<u8> {
        let mut tcp = etherparse::TcpHeader::new(40_000, 443, 1, 64_000);
        tcp.syn = true;
        tcp.set_options_raw(options).expect("options");
        let mut frame = vec![0; vnet::LENGTH];
        let builder = etherparse::PacketBuilder::ipv4([10, 1, 0, 5], [10, 1, 9, 4], 64).tcp_header(tcp);
        builder.write(&mut frame, &[]).expect("written");
        frame
    }

    fn clamped(options: &[u8], most: u16) -> Vec<u8> {
        let mut frame = syn(options);
        let packet = classify(&frame, AttachmentId(0)).expect("a packet");
        clamp_mss(&mut frame, &packet, most);
        let sliced = etherparse::SlicedPacket::from_ip(&frame[vnet::LENGTH..]).expect("a packet");
        let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        let header = tcp.to_header();
        let sum = header.calc_checksum_ipv4_raw([10, 1, 0, 5], [10, 1, 9, 4], &[]).expect("sum");
        assert_eq!(sum, tcp.checksum());
        tcp.options().to_vec()
    }

    /// T-6.
    #[test]
    fn the_mss_falls_at_any_offset_and_never_rises() {
        assert_eq!(clamped(&[2, 4, 5, 180], 1_360), [2, 4, 5, 80]);
        assert_eq!(clamped(&[2, 4, 5, 180], 1_460), [2, 4, 5, 180]);
        assert_eq!(clamped(&[2, 4, 2, 24], 1_460), [2, 4, 2, 24]);
        assert_eq!(clamped(&[1, 2, 4, 5, 180, 1, 1, 0], 1_360), [1, 2, 4, 5, 80, 1, 1, 0], "an odd offset");
        assert_eq!(clamped(&[3, 3, 7, 2, 4, 5, 180, 0], 1_360), [3, 3, 7, 2, 4, 5, 80, 0], "an odd offset");
        assert_eq!(clamped(&[4, 2, 2, 4, 5, 180, 1, 1], 536), [4, 2, 2, 4, 2, 24, 1, 1]);
        assert_eq!(clamped(&[2, 4, 5, 180, 2, 4, 35, 40], 1_360), [2, 4, 5, 80, 2, 4, 5, 80], "both");
        assert_eq!(clamped(&[2, 4, 2, 24, 1, 2, 4, 35, 40, 0, 0, 0], 1_360), [2, 4, 2, 24, 1, 2, 4, 5, 80, 0, 0, 0]);
        for odd in [&[2, 3, 5, 180][..], &[8, 0, 2, 4], &[0, 2, 4, 5], &[1, 1, 1, 2], &[5, 40, 2, 4]] {
            assert_eq!(clamped(odd, 1_000), odd, "no MSS option");
        }
    }

    #[test]
    fn a_partial_checksum_stays_as_it_is() {
        let mut frame = syn(&[2, 4, 5, 180]);
        let partial = VnetHeader { flags: vnet::NEEDS_CSUM, csum_start: 20, csum_offset: 16, ..Default::default() };
        frame[..vnet::LENGTH].copy_from_slice(&partial.bytes());
        let before = half(&frame, vnet::LENGTH + 36);
        let packet = classify(&frame, AttachmentId(0)).expect("a packet");
        clamp_mss(&mut frame, &packet, 1_000);
        assert_eq!((half(&frame, vnet::LENGTH + 42), half(&frame, vnet::LENGTH + 36)), (1_000, before));
    }
}
