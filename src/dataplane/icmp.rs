//! ICMP errors from either side. One is translated if the packet that it quotes is of a live session, which it neither
//! ends nor refreshes (RFC 5508 §4.2; requirements I-1 to I-6). The other side does not see who sent it, and no rule
//! checks that: a router on the way may have any address.
//!
//! A packet-too-big from a consumer's side is not passed on. The service would apply it to the NAT address, and so to
//! every consumer behind that; here it applies to the session alone (requirement I-9).

use std::net::IpAddr;

use crate::dataplane::Context;
use crate::dataplane::handoff::RxMeta;
use crate::dataplane::lifecycle::Sessions;
use crate::dataplane::nat::rewrite::Translation;
use crate::dataplane::session::{Direction, FlowKey, Session, tcp_state::TcpFlags};
use crate::dataplane::tx::TxQueue;
use crate::snapshot::DropReason;
use crate::snapshot::Protocol;
use crate::snapshot::prefixes::is_martian;
use crate::wire::icmp::{self, ErrorMessage, QuotedAs, Unusable};
use crate::wire::ip::{self, Outline};
use crate::wire::vnet;

/// How far behind the sequence numbers in flight a quoted segment may be: one that was sent before the last
/// acknowledgement passed here. Guessing a number within it is one chance in 2¹⁶ (RFC 5927 §4.1).
const LATE: u32 = 1 << 16;

/// An ICMP error that is not passed on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// Dropped.
    Drop(DropReason),
    /// Its session is this worker's, if it is anybody's.
    Elsewhere(u16),
}

/// Decides an ICMP error.
///
/// # Errors
/// Why it goes nowhere.
pub(super) fn error(
    frame: &[u8],
    outline: &Outline,
    meta: &RxMeta,
    sessions: &mut Sessions,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> Result<(), Astray> {
    const UNMATCHED: Result<(), Astray> = Err(Astray::Drop(DropReason::IcmpUnmatched));
    let message = match icmp::read_error(&frame[vnet::LENGTH..], outline) {
        Ok(message) => message,
        Err(Unusable::Checksum) => return Err(Astray::Drop(DropReason::Malformed)),
        Err(Unusable::Quote) => return UNMATCHED,
    };
    if cannot_tell(outline.source.ip()) || outline.source == outline.destination {
        return Err(Astray::Drop(DropReason::SpoofedSource));
    }
    // It goes to whoever sent the quoted packet, and nowhere else.
    if message.quote.source != outline.destination || !is_believable(&message) {
        return UNMATCHED;
    }
    let key = answering(&message, meta);
    let Some(hit) = sessions.table.find_any(&key) else {
        let owner = sessions.peers.owner(&key, context.snapshot);
        return if owner == sessions.peers.position.worker || meta.handed {
            UNMATCHED
        } else {
            Err(Astray::Elsewhere(owner))
        };
    };
    let direction = hit.direction;
    sessions.revalidate(hit.session, tx, context);
    let Some((session, leaves)) = sessions.table.leaving(hit) else { return UNMATCHED };
    if !session.is_known() || !is_in_flight(session, direction, &message) {
        return UNMATCHED;
    }
    if direction == Direction::ToService
        && let Some(mtu) = message.fitting()
    {
        let carried = context.snapshot.mtu(session.leaves_by(direction.opposite()));
        if mtu < carried {
            sessions.table.narrow(hit.session, mtu, context.now);
        }
        return Ok(());
    }
    if outline.hops <= 1 {
        return Err(Astray::Drop(DropReason::TtlExpired));
    }
    let translation = Translation::of(session, leaves, direction);
    let to = session.leaves_by(direction);
    let quoted = QuotedAs {
        source: translation.destination,
        destination: translation.source,
        source_port: translation.destination_port,
        destination_port: translation.source_port,
    };
    match icmp::rebuild(&message, translation.source, translation.destination, &quoted) {
        Some(frame) => {
            tx.forward(to, frame, meta.frames());
            Ok(())
        }
        None => UNMATCHED,
    }
}

/// Whether nobody sends errors from `source`. A router whose links have no address of their own may have nothing but a
/// link-local one (RFC 4291 §2.5.6, RFC 3927); what it quotes says whether it knows the packet.
fn cannot_tell(source: IpAddr) -> bool {
    let link_local = match source {
        IpAddr::V4(source) => source.is_link_local(),
        IpAddr::V6(source) => source.is_unicast_link_local(),
    };
    is_martian(source) && !link_local
}

/// A packet-too-big that no link could mean is forged, or would stall the sender (RFC 8201 §4, RFC 5927 §7.1).
fn is_believable(message: &ErrorMessage<'_>) -> bool {
    let least = u32::from(message.quote.version.least_mtu());
    // An IPv4 router that does not say what fits says 0 (RFC 1191 §5).
    let unknown = |mtu| mtu == 0 && message.quote.version == crate::wire::Version::V4;
    message.mtu().is_none_or(|mtu| mtu >= least || unknown(mtu))
}

/// Key of the packets that come the way the error came: the quoted packet's, mirrored.
fn answering(message: &ErrorMessage<'_>, meta: &RxMeta) -> FlowKey {
    let quote = &message.quote;
    let protocol = match quote.protocol {
        ip::TCP => Protocol::Tcp,
        ip::UDP => Protocol::Udp,
        _ => Protocol::Icmp,
    };
    let sent = FlowKey {
        attachment: meta.attachment,
        protocol,
        source: quote.source,
        destination: quote.destination,
        source_port: quote.source_port,
        destination_port: quote.destination_port,
    };
    sent.mirrored()
}

/// Whether a quoted TCP segment may still be on its way (RFC 5927 §4.1). `direction` is the error's: its segment
/// went the other way.
fn is_in_flight(session: &Session, direction: Direction, message: &ErrorMessage<'_>) -> bool {
    let Some(sequence) = message.quote.sequence else { return true };
    let (sent, heard, known) = match direction {
        Direction::ToConsumer => {
            (session.to_service, session.to_consumer, [TcpFlags::CONSUMER_SEQ, TcpFlags::PROVIDER_ACK])
        }
        Direction::ToService => {
            (session.to_consumer, session.to_service, [TcpFlags::PROVIDER_SEQ, TcpFlags::CONSUMER_ACK])
        }
    };
    if !session.tcp.contains(known[0]) {
        return false;
    }
    let in_flight = if session.tcp.contains(known[1]) { sent.seq_end.wrapping_sub(heard.last_ack) } else { 0 };
    // An acknowledgement beyond what was sent is garbage, and widens nothing.
    let in_flight = if in_flight < 1 << 31 { in_flight } else { 0 };
    sent.seq_end.wrapping_sub(sequence) <= in_flight.saturating_add(LATE)
}
