//! A session's first packet, and packets whose session must be judged again.
//!
//! A miss from the consumer's side is admitted (see `admit`) or denied and answered; a miss from the
//! provider's side is dropped in silence (law 3). Fragments wait in `fragment` until they are whole,
//! ICMP errors follow the session of the packet they quote (`icmp`).

use super::{State, account};
use crate::dataplane::Context;
use crate::dataplane::admit::reject::{self, DeniedPacket, deny};
use crate::dataplane::admit::{self, EACH_ANSWERED, judged, rates};
use crate::dataplane::fragment;
use crate::dataplane::handoff::{Handoff, Peers, RxMeta};
use crate::dataplane::icmp::{self, Astray};
use crate::dataplane::lifecycle::Sessions;
use crate::dataplane::nat::classify::{NotAFlow, Packet, Rx, classify};
use crate::dataplane::nat::fit::{Fit, Onward, fit};
use crate::dataplane::nat::{Rewriter, super_packet};
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::{Addresses, Direction, FlowKey, Hit, Pair, Phase, SessionFlags, Slot};
use crate::dataplane::tx::{Transmit, TxQueue};
use crate::dataplane::verdict::Verdict;
use crate::snapshot::{DropReason, Protocol};
use crate::wire::Version;
use crate::wire::headers::{ACK, RST};

/// All stages of a frame that another worker handed over, or of a datagram that was put together here.
pub(in crate::dataplane) fn forward<'a>(
    frame: &'a mut [u8],
    meta: &RxMeta,
    state: &mut State,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Verdict<'a> {
    let packet = match classify(frame, meta.attachment) {
        Ok(packet) => packet,
        Err(other) => return no_flow(frame, &other, meta, state, context),
    };
    let rx = Rx { frame, packet: &packet, meta };
    match state.sessions.table.find_any(&packet.key) {
        Some(hit) => revalidate(rx, hit, state, nat, context),
        None => miss(rx, state, nat, context),
    }
}

/// A frame that is not simply a packet of a flow.
#[cold]
pub(super) fn no_flow<'a>(
    frame: &[u8],
    what: &NotAFlow,
    meta: &RxMeta,
    state: &mut State,
    context: &Context<'_>,
) -> Verdict<'a> {
    let State { sessions, fragments, tx, counts, .. } = state;
    let outline = match what {
        NotAFlow::Drop(reason) => return Verdict::Drop(*reason),
        NotAFlow::Other(outline) => outline,
    };
    if outline.fragment.is_none() {
        return match icmp::error(frame, outline, meta, sessions, tx, context) {
            Ok(()) => Verdict::Forwarded,
            Err(Astray::Drop(reason)) => Verdict::Drop(reason),
            Err(Astray::Elsewhere(owner)) => hand_off(frame, meta, owner, &sessions.peers),
        };
    }
    let owner = fragment::owner(outline, &sessions.peers);
    if owner != sessions.peers.position.worker && !meta.handed {
        return hand_off(frame, meta, owner, &sessions.peers);
    }
    match fragment::add(frame, outline, meta.attachment, fragments, counts, context) {
        Ok(None) => Verdict::Held,
        Ok(Some(datagram)) => Verdict::Whole(datagram),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Passes a frame to another worker.
fn hand_off<'a>(frame: &[u8], meta: &RxMeta, worker: u16, peers: &Peers) -> Verdict<'a> {
    if peers.shared.hand_off(worker, Handoff { frame: frame.into(), meta: *meta }) {
        Verdict::HandedOff
    } else {
        Verdict::Drop(DropReason::HandoverFull)
    }
}

/// A packet that no session here knows: handed to its owner, or opened here.
#[cold]
pub(super) fn miss<'a>(rx: Rx<'a, '_>, state: &mut State, nat: &'a mut Rewriter, context: &Context<'_>) -> Verdict<'a> {
    let peers = &state.sessions.peers;
    let owner = peers.owner(&rx.packet.key, context.snapshot);
    if owner != peers.position.worker && !rx.meta.handed {
        return hand_off(rx.frame, rx.meta, owner, peers);
    }
    open(rx, None, state, nat, context)
}

/// Opens a session for its first packet and forwards it, or denies it. `kept` are the addresses of the session whose
/// place it takes, where the client is to keep them.
fn open<'a>(
    rx: Rx<'a, '_>,
    kept: Option<&Addresses>,
    state: &mut State,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Verdict<'a> {
    let key = &rx.packet.key;
    if context.snapshot.nat_owner(key.attachment, key.destination.ip()).is_some() {
        return Verdict::Drop(DropReason::NoSession);
    }
    let State { sessions, answers, tx, .. } = state;
    match admit::admit(&rx, kept, sessions, tx, context) {
        Ok(session) => {
            note_if_elsewhere(sessions, session, key, context);
            fit_and_pass(rx, Hit { session, direction: Direction::ToService }, state, nat, context)
        }
        Err(refusal) => match sessions.peers.elsewhere(refusal.reason, rx.meta) {
            Some(worker) => {
                let meta = RxMeta { refusals: rx.meta.refusals + 1, ..*rx.meta };
                hand_off(rx.frame, &meta, worker, &sessions.peers)
            }
            None => Verdict::Drop(deny(&rx, refusal, answers, tx, context)),
        },
    }
}

/// A flow admitted here that steering brings to another worker must be findable from there.
fn note_if_elsewhere(sessions: &mut Sessions, slot: Slot, key: &FlowKey, context: &Context<'_>) {
    let peers = &sessions.peers;
    if peers.owner(key, context.snapshot) == peers.position.worker {
        return;
    }
    if let Some(session) = sessions.table.get_mut(slot) {
        session.flags.insert(SessionFlags::ELSEWHERE);
        peers.shared.settle(*key, peers.position.worker);
    }
}

/// A packet whose session is not simply current (see `is_current`): the rules changed, it has ended or
/// idled out, its TTL is used up, it does not fit, or a SYN wants the place of a closed connection.
#[cold]
pub(super) fn revalidate<'a>(
    rx: Rx<'a, '_>,
    hit: Hit,
    state: &mut State,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Verdict<'a> {
    let State { sessions, answers, tx, .. } = state;
    sessions.revalidate(hit.session, tx, context);
    let Some(session) = sessions.table.get(hit.session).filter(|session| session.phase != Phase::Vacant) else {
        return open(rx, None, state, nat, context);
    };
    let (phase, packet) = (session.phase, rx.packet);
    let is_over = matches!(phase, Phase::Ended | Phase::Closing);
    let is_new =
        || hit.direction == Direction::ToService && packet.is_plain_syn(rx.frame) && packet.is_intact(rx.frame);
    if is_over && is_new() {
        return open_anew(rx, hit.session, state, nat, context);
    }
    if phase == Phase::Ended {
        answer_late(&rx, hit, state, context);
        return Verdict::Drop(DropReason::SessionEnded);
    }
    if packet.hops <= 1 {
        let answer = context.snapshot.resource(session.resource).and_then(|resource| resource.answer);
        let refusal = DeniedPacket { reason: DropReason::TtlExpired, answer, mtu: 0 };
        return Verdict::Drop(deny(&rx, refusal, answers, tx, context));
    }
    fit_and_pass(rx, hit, state, nat, context)
}

/// A SYN in the place of a session that is over: a new admission, behind the resets that the old one's ends are
/// owed. While nobody admits it, an ended session stays, since its ends may have yet to hear that it is over.
fn open_anew<'a>(
    rx: Rx<'a, '_>,
    slot: Slot,
    state: &mut State,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Verdict<'a> {
    let State { sessions, answers, tx, .. } = state;
    let (isn, addresses) = (rx.packet.segment(rx.frame).seq, sessions.table.addresses(slot));
    let is_closing = sessions.table.get(slot).is_some_and(|session| session.phase == Phase::Closing);
    if !is_closing && let Err(refusal) = judged(rx.packet, context) {
        return Verdict::Drop(deny(&rx, refusal, answers, tx, context));
    }
    // The client has answered the server's challenge by a reset and repeats its SYN (RFC 5961 §4.2): both know.
    let repeats =
        is_closing && sessions.table.rare(slot).and_then(|rare| rare.rival).is_some_and(|rival| rival.isn == isn);
    if repeats {
        sessions.remove(slot, FlowEndReason::Reclaimed, context.now);
    } else {
        sessions.retire(slot, FlowEndReason::Reclaimed, tx, context.now);
    }
    open(rx, repeats.then_some(&addresses), state, nat, context)
}

/// A late segment of an ended session gets a reset at its own ACK number, from whichever side it comes (law
/// 5): each one in the first seconds, later ten a second. Neither the limit of answers nor a resource that answers
/// nothing keeps an end from knowing that its connection is over.
fn answer_late(rx: &Rx<'_, '_>, hit: Hit, state: &mut State, context: &Context<'_>) {
    let State { sessions, tx, .. } = state;
    let Hit { session: slot, direction } = hit;
    let Some(session) = sessions.table.get(slot) else { return };
    if rx.packet.key.protocol != Protocol::Tcp || !rx.packet.is_intact(rx.frame) {
        return;
    }
    let ended = session.last_seen;
    let segment = rx.packet.segment(rx.frame);
    if direction == Direction::ToConsumer && segment.flags & (ACK | RST) != 0 {
        sessions.server_answered(slot, context);
    }
    if segment.has(RST) {
        sessions.end_is_gone(slot, direction, segment);
    }
    let Some(answer) = reject::reset(rx.frame, rx.packet) else { return };
    if context.now.since(ended) > EACH_ANSWERED {
        let Some(rare) = sessions.table.rare_mut(slot) else { return };
        if rare.answered.replace(context.now) == Some(context.now) {
            return;
        }
    }
    tx.answer(rx.packet.key.attachment, answer);
}

/// Forwards a packet of a session that may pass: tracks, accounts, rewrites.
pub(super) fn pass<'a>(
    frame: &'a mut [u8],
    packet: &Packet,
    hit: Hit,
    sessions: &mut Sessions,
    tx: &mut TxQueue,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Result<Transmit<'a>, DropReason> {
    let is_tcp = packet.key.protocol == Protocol::Tcp;
    if is_tcp {
        sessions.note_segment(frame, packet, hit, tx, context)?;
    }
    let Some((session, leaves)) = sessions.table.leaving(hit) else { return Err(sessions.vanished()) };
    if !is_tcp {
        session.last_seen = context.now;
    }
    account(&sessions.traffic, session, hit.direction, packet);
    nat.rewrite(frame, packet, session, leaves, hit.direction)
}

/// Forwards a packet whole or in pieces, or tells a consumer what fits. It is told also where denied packets are
/// dropped in silence: without it the path would be a black hole (RFC 2923 §2.1).
fn fit_and_pass<'a>(
    Rx { frame, packet, meta }: Rx<'a, '_>,
    hit: Hit,
    state: &mut State,
    nat: &'a mut Rewriter,
    context: &Context<'_>,
) -> Verdict<'a> {
    let State { sessions, answers, tx, .. } = state;
    let Hit { session: slot, direction } = hit;
    let Some(session) = sessions.table.get(slot) else { return Verdict::Drop(sessions.vanished()) };
    let addresses = sessions.table.addresses(slot);
    let (version, unfit) = (packet.version, packet.lacks_checksum(frame));
    if session.families.pair() == Pair::Mixed && version == Version::V6 && unfit {
        return Verdict::Drop(DropReason::BadChecksum);
    }
    let mtu = context.snapshot.mtu(session.leaves_by(direction));
    let (target, mtu) = match direction {
        Direction::ToService => (addresses.backend, mtu),
        Direction::ToConsumer => {
            let told = sessions.table.path_mtu(slot, context.now);
            (addresses.consumer, told.map_or(mtu, |told| told.min(mtu)))
        }
    };
    let onward = Onward { version: target.version(), direction, mtu };
    let fit = fit(frame, packet, meta, &onward);
    let cut_small;
    let packet = match fit {
        Fit::Segments(limit) => match super_packet::of(frame, packet, target.version(), limit) {
            Ok(packet) => {
                cut_small = packet;
                &cut_small
            }
            Err(reason) => return Verdict::Drop(reason),
        },
        Fit::Whole | Fit::Cut(_) | Fit::TooBig(_) => packet,
    };
    if let Fit::TooBig(mtu) = fit {
        let refusal = DeniedPacket { reason: DropReason::PacketTooBig, answer: Some(true), mtu };
        return Verdict::Drop(deny(&Rx { frame, packet, meta }, refusal, answers, tx, context));
    }
    let Some(session) = sessions.table.get(slot) else { return Verdict::Drop(sessions.vanished()) };
    if session.flags.contains(SessionFlags::LIMITED)
        && !rates::pays(&sessions.traffic, session, packet, direction, context)
    {
        return Verdict::Drop(DropReason::RateLimited);
    }
    let Fit::Cut(limit) = fit else { return pass(frame, packet, hit, sessions, tx, nat, context).into() };
    let (to, whole) = match pass(frame, packet, hit, sessions, tx, nat, context) {
        Ok(transmit) => (transmit.to, transmit.whole()),
        Err(reason) => return Verdict::Drop(reason),
    };
    match fragment::cut(to, &whole, meta.frames(), limit, &mut nat.identifications, tx) {
        Ok(()) => Verdict::Forwarded,
        Err(reason) => Verdict::Drop(reason),
    }
}
