//! Applies a session's translation to a frame in place: addresses, ports (or echo identifier), TTL, and
//! every checksum by its delta, never by recomputation, so that a wrong checksum stays wrong (RFC 1624;
//! nat-requirements T-1 to T-3). Payload is not touched; a partial checksum stays partial.

use super::classify::Packet;
use crate::dataplane::session::{Direction, Session};
use crate::snapshot::Protocol;
use crate::wire::headers::{half, put_half};
use crate::wire::{Family, V4, VnetHeader, checksum, vnet};

/// Change of the word that holds TTL and protocol when the TTL falls by one.
const TTL_DELTA: u16 = !0x0100;

/// Translates `frame` as `session` has it for `direction`.
#[inline]
pub fn rewrite(frame: &mut [u8], packet: &Packet<V4>, session: &Session<V4, V4>, direction: Direction) {
    let a = &session.addresses;
    let (source, destination, source_port, destination_port) = match direction {
        Direction::ToService => (a.nat, a.backend, a.nat_port, a.backend_port),
        Direction::ToConsumer => (a.endpoint, a.consumer, a.endpoint_port, a.consumer_port),
    };
    // The way back undoes the way there: one's-complement negation is the bitwise complement.
    let (addresses, ports) = match direction {
        Direction::ToService => (session.address_delta, session.port_delta),
        Direction::ToConsumer => (!session.address_delta, !session.port_delta),
    };
    let ip = &mut frame[vnet::LENGTH..];
    V4::write(ip, V4::ADDRESSES, source);
    V4::write(ip, V4::ADDRESSES + V4::ADDRESS_BYTES, destination);
    ip[8] -= 1;
    let header_sum = half(ip, 10);
    put_half(ip, 10, checksum::update(header_sum, checksum::join(addresses, TTL_DELTA)));

    let transport = &mut frame[packet.transport..packet.end];
    match session.protocol {
        Protocol::Icmp => {
            echo(transport, if direction == Direction::ToService { source_port } else { destination_port });
        }
        Protocol::Tcp | Protocol::Udp => {
            put_half(transport, 0, source_port);
            put_half(transport, 2, destination_port);
            let at = if session.protocol == Protocol::Tcp { 16 } else { 6 };
            let field = half(transport, at);
            put_half(transport, at, transport_sum(field, session.protocol, packet.vnet, addresses, ports));
        }
    }
    frame[..vnet::LENGTH].copy_from_slice(&outgoing(packet).bytes());
}

/// The transport checksum after translation.
#[inline]
fn transport_sum(field: u16, protocol: Protocol, vnet: VnetHeader, addresses: u16, ports: u16) -> u16 {
    if vnet.needs_csum() {
        return checksum::update_partial(field, addresses);
    }
    if protocol == Protocol::Udp && field == 0 {
        return 0; // RFC 768: no checksum; stays so (nat-requirements T-2).
    }
    let sum = checksum::update(field, checksum::join(addresses, ports));
    if protocol == Protocol::Udp && sum == 0 { 0xFFFF } else { sum }
}

/// Replaces the identifier of an echo message.
fn echo(message: &mut [u8], identifier: u16) {
    let change = checksum::delta(half(message, 4), identifier);
    put_half(message, 4, identifier);
    let field = half(message, 2);
    put_half(message, 2, checksum::update(field, change));
}

/// The virtio header to write: the kernel is told the real header length, so that a super-packet's
/// payload goes to page fragments, and nothing it would ignore or refuse.
#[inline]
fn outgoing(packet: &Packet<V4>) -> VnetHeader {
    let partial = packet.vnet.needs_csum();
    let header = packet.transport + packet.transport_header - vnet::LENGTH;
    VnetHeader {
        flags: if partial { vnet::NEEDS_CSUM } else { 0 },
        hdr_len: if packet.vnet.gso_type == vnet::GSO_NONE && !partial {
            0
        } else {
            u16::try_from(header).unwrap_or(0)
        },
        ..packet.vnet
    }
}
