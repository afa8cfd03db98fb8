//! Admission: a session's first packet is judged, gets a backend and a NAT port, and opens its session.

use crate::dataplane::Context;
use crate::dataplane::counters::{add, find};
use crate::dataplane::handoff::{Full, RxMeta, Shared};
use crate::dataplane::lifecycle::Sessions;
use crate::dataplane::lifecycle::rules::{first_idle_limit, query};
use crate::dataplane::nat::classify::{Packet, Rx};
use crate::dataplane::nat::ports::{Claim, PoolKey, Reserved};
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::{Addresses, Admitted, FlowKey, Phase, Session, Slot, Tick, tcp_state::TcpFlags};
use crate::dataplane::tx::TxQueue;
use crate::snapshot::DropReason;
use crate::snapshot::policy::{Denial, is_spoofed, judge};
use crate::snapshot::{Admission, BackendState, Balance, Generation, Protocol, steering};
use crate::wire::headers::{ICMP_ECHO_REQUEST, ICMPV6_ECHO_REQUEST};
use crate::wire::{Address, Version};
use rates::within_rates;
use reject::DeniedPacket;

/// What a flood of SYNs holds is given to others.
mod half_open;

/// What rates let pass.
pub mod rates;

/// Answer TCP RST or ICMP, rate limited; or drop silently if so configured.
pub mod reject;

/// Ticks after its end in which every late segment of a session is answered; after that, one a tick.
pub(super) const EACH_ANSWERED: u32 = 3 * Tick::PER_SECOND;

/// The whole of admission, in the order of the checks (`snapshot::policy`).
/// `kept` are the addresses and ports of the session that the same client had until now, if it is to keep them.
pub(super) fn admit(
    rx: &Rx<'_, '_>,
    kept: Option<&Addresses>,
    sessions: &mut Sessions,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> Result<Slot, DeniedPacket> {
    let (frame, packet) = (&*rx.frame, rx.packet);
    let admission = judged(packet, context)?;
    let refuse = |reason| DeniedPacket { reason, answer: admission.resource.answer, mtu: 0 };
    let opens = opens_session(frame, packet);
    let Ok(fee) = within_rates(&sessions.traffic, packet, opens, &admission, context) else {
        return Err(DeniedPacket { reason: DropReason::RateLimited, answer: Some(false), mtu: 0 });
    };
    if !opens {
        return Err(refuse(DropReason::NotSyn));
    }
    if packet.hops <= 1 {
        return Err(refuse(DropReason::TtlExpired));
    }
    sessions.peers.tell_departed();
    let backend = choose_backend(&sessions.peers.shared, &admission, &packet.key, kept)
        .ok_or_else(|| refuse(DropReason::NoBackend))?;
    let unfit = packet.version == Version::V6 && backend.version() == Version::V4 && packet.lacks_checksum(frame);
    // A SYN that its receiver throws away takes nobody's place.
    if unfit || packet.key.protocol == Protocol::Tcp && !packet.is_intact(frame) {
        return Err(refuse(DropReason::BadChecksum));
    }
    make_room(sessions, rx.meta, tx, context).map_err(refuse)?;
    let (endpoint, resource) = (admission.endpoint.id, admission.endpoint.resource);
    if let Err(full) = sessions.enter(&admission, backend, context) {
        let made_room = match full {
            // Peered networks use it too: what one of them floods takes nothing from another.
            Full::Endpoint => half_open::gives_way(sessions, |session| session.endpoint == endpoint, tx, context),
            Full::Resource => half_open::gives_way(sessions, |session| session.resource == resource, tx, context),
            Full::All => half_open::gives_way(sessions, |_| true, tx, context),
        };
        if !made_room || sessions.enter(&admission, backend, context).is_err() {
            return Err(refuse(DropReason::SessionLimit));
        }
    }
    let opened = reserve(sessions, &admission, rx, (backend, kept), tx, context)
        .and_then(|addresses| insert(sessions, addresses, packet, &admission, context));
    if opened.is_err() {
        sessions.peers.shared.leave((admission.endpoint.id, admission.endpoint.resource, backend), 1);
    }
    if let (Ok(_), Some(fee)) = (&opened, fee) {
        fee.pay();
    }
    opened.map_err(refuse)
}

/// A backend that takes new sessions: the client's own, or the one with the fewest, by the consumer's tuple among
/// equals. Other workers may choose at the same moment: the counts are good enough to spread, not to bound.
fn choose_backend(
    shared: &Shared,
    admission: &Admission<'_>,
    key: &FlowKey,
    kept: Option<&Addresses>,
) -> Option<Address> {
    let reachable = |backend: &Address| nat_addresses(admission, backend.version()).next().is_some();
    let takes =
        admission.target.backends.iter().filter(|backend| {
            admission.target.state_at(backend, key.protocol, key.destination_port) == BackendState::Up
        });
    let takes = takes.map(|backend| Address::from(backend.address)).filter(reachable);
    if let Some(kept) = kept.map(|kept| kept.backend).filter(|kept| takes.clone().any(|backend| backend == *kept)) {
        return Some(kept);
    }
    let source = key.source.folded();
    match admission.resource.balance {
        Balance::Source => takes.max_by_key(|backend| {
            let weight = steering::place(source, backend.folded(), (0, 0), u16::MAX);
            (weight, backend.ip())
        }),
        Balance::LeastSessions => {
            let counted = takes.map(|backend| (shared.sessions_at(admission.endpoint.resource, backend), backend));
            let counted: Vec<(u32, Address)> = counted.collect();
            let fewest = counted.iter().map(|&(count, _)| count).min()?;
            let equals = || counted.iter().filter(|&&(count, _)| count == fewest);
            let among = steering::place(
                source.rotate_left(7),
                key.destination.folded(),
                (key.source_port, key.destination_port),
                u16::try_from(equals().count()).unwrap_or(u16::MAX),
            );
            equals().nth(usize::from(among)).map(|&(_, backend)| backend)
        }
    }
}

/// Room for one more session: below the worker's share, or made by ending the one that closes longest, or a
/// half-open one. One that was just ended gives last: its ends may have yet to hear that it is over.
fn make_room(
    sessions: &mut Sessions,
    meta: &RxMeta,
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> Result<(), DropReason> {
    let share = sessions.peers.position.share_of(context.snapshot.settings.max_sessions) as usize;
    while sessions.table.len() >= share || sessions.table.is_full() {
        let tells =
            |session: &Session| session.phase == Phase::Ended && context.now.since(session.last_seen) <= EACH_ANSWERED;
        let closing = sessions.closing_queue.front().filter(|slot| !sessions.table.get(**slot).is_some_and(tells));
        // Another worker may have room without a half-open one's giving way.
        if closing.is_none()
            && sessions.peers.elsewhere(DropReason::TableFull, meta).is_none()
            && half_open::gives_way(sessions, |_| true, tx, context)
        {
            continue;
        }
        let Some(slot) = sessions.closing_queue.pop_front() else { return Err(DropReason::TableFull) };
        let closes = |session: &Session| session.phase != Phase::Vacant && !session.is_live();
        if sessions.table.get(slot).is_some_and(closes) {
            sessions.retire(slot, FlowEndReason::Reclaimed, tx, context.now);
        }
    }
    Ok(())
}

/// Reserves a NAT address and port: never-used ports of every NAT address first, then used ones, then what a
/// half-open session gives.
/// A consumer keeps to one NAT address as long as it has ports (RFC 4787 REQ-2, paired pooling).
fn reserve(
    sessions: &mut Sessions,
    admission: &Admission<'_>,
    rx: &Rx<'_, '_>,
    (backend, kept): (Address, Option<&Addresses>),
    tx: &mut TxQueue,
    context: &Context<'_>,
) -> Result<Addresses, DropReason> {
    let key = &rx.packet.key;
    let pool: Vec<Address> = nat_addresses(admission, backend.version()).collect();
    let source = key.source.folded();
    let first = usize::from(steering::place(source, 0, (0, 0), u16::try_from(pool.len()).unwrap_or(1)));
    let contenders = context.snapshot.contenders.of(admission.endpoint.resource);
    let claim = Claim { endpoint: admission.endpoint.id, contenders, now: context.now };
    let pool_of = |nat| PoolKey { nat, protocol: key.protocol, backend, backend_port: admission.backend_port };
    if let Some(kept) = kept.filter(|kept| pool.contains(&kept.nat)) {
        let from = pool_of(kept.nat);
        if PoolKey::of(kept, key.protocol) == from && sessions.ports.take_again(from, kept.nat_port, claim) {
            return Ok(*kept);
        }
    }
    for round in [Round::Fresh, Round::Used, Round::HalfOpen] {
        if round == Round::HalfOpen {
            let pools: Vec<PoolKey> = pool.iter().copied().map(pool_of).collect();
            // Another worker may have a port without anybody's giving way.
            let last = sessions.peers.elsewhere(DropReason::NatPortsExhausted, rx.meta).is_none();
            if !last || !half_open::gives_port(sessions, &pools, admission.resource.provider, tx, context) {
                break;
            }
        }
        for nat in pool.iter().cycle().skip(first).take(pool.len()).copied() {
            let from = pool_of(nat);
            let reserved = match round {
                Round::Used => sessions.ports.reserve_used(from, claim),
                Round::Fresh | Round::HalfOpen => sessions.ports.reserve_fresh(from, claim, &mut sessions.random),
            };
            if let Some(reserved) = reserved {
                reclaim(sessions, &reserved, &from, tx, context.now);
                return Ok(Addresses {
                    consumer: key.source,
                    endpoint: key.destination,
                    nat,
                    backend,
                    consumer_port: key.source_port,
                    endpoint_port: key.destination_port,
                    nat_port: reserved.port,
                    backend_port: admission.backend_port,
                });
            }
        }
    }
    Err(DropReason::NatPortsExhausted)
}

/// Removes the closed session that still holds a reused port.
fn reclaim(sessions: &mut Sessions, reserved: &Reserved, from: &PoolKey, tx: &mut TxQueue, now: Tick) {
    let Some(slot) = reserved.reclaim else { return };
    let holds_it = sessions.table.get(slot).is_some_and(|session| {
        session.phase != Phase::Vacant
            && session.tcp.contains(TcpFlags::EXACT_CLOSE)
            && session.nat_port == reserved.port
            && PoolKey::of(&sessions.table.addresses(slot), session.protocol) == *from
    });
    if holds_it {
        sessions.retire(slot, FlowEndReason::Reclaimed, tx, now);
    }
}

fn insert(
    sessions: &mut Sessions,
    addresses: Addresses,
    packet: &Packet,
    admission: &Admission<'_>,
    context: &Context<'_>,
) -> Result<Slot, DropReason> {
    let admitted = Admitted {
        consumer_attachment: packet.key.attachment,
        provider_attachment: admission.resource.provider,
        endpoint: admission.endpoint.id,
        link: admission.endpoint.link,
        generation: context.snapshot.generation(admission.endpoint.id).unwrap_or(Generation(0)),
        resource: admission.endpoint.resource,
        target: admission.target_id,
        idle_limit: first_idle_limit(&admission.resource.timeouts, packet.key.protocol),
        is_limited: admission.endpoint.meter.is_some(),
    };
    let session = Session::open(&addresses, packet.key.protocol, &admitted, context.now);
    debug_assert!(!sessions.table.holds(&addresses, &session), "a reserved port cannot be in use");
    let slot = sessions.table.insert(&addresses, session).ok_or(DropReason::TableFull)?;
    if let Some(counters) = find(&sessions.traffic, admission.endpoint.id) {
        add(&counters.sessions, 1);
        add(&counters.sessions_opened, 1);
    }
    Ok(slot)
}

/// Where a NAT port is looked for, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Among those never used.
    Fresh,
    /// Among those whose quarantine is over.
    Used,
    /// What a half-open session gives back.
    HalfOpen,
}

/// What the rules in force say of a packet that may open a session.
pub(super) fn judged<'a>(packet: &Packet, context: &Context<'a>) -> Result<Admission<'a>, DeniedPacket> {
    let query = query(&packet.key);
    if is_spoofed(context.snapshot, &query) {
        return Err(DeniedPacket { reason: DropReason::SpoofedSource, answer: None, mtu: 0 });
    }
    judge(context.snapshot, &query).map_err(|denial| refusal(&denial, context))
}

/// Whoever asks a silent resource learns nothing, whatever check denies.
fn refusal(denial: &Denial<'_>, context: &Context<'_>) -> DeniedPacket {
    let resource = denial.endpoint.and_then(|endpoint| context.snapshot.resource(endpoint.resource));
    DeniedPacket { reason: denial.reason, answer: resource.and_then(|resource| resource.answer), mtu: 0 }
}

/// Check 7, first part: TCP starts with a SYN, ICMP with an echo request (its identifier is the
/// source port), UDP with anything.
fn opens_session(frame: &[u8], packet: &Packet) -> bool {
    match packet.key.protocol {
        Protocol::Tcp => packet.is_plain_syn(frame),
        Protocol::Udp => true,
        Protocol::Icmp => packet.key.destination_port == 0 && is_request(frame[packet.transport()], packet.version),
    }
}

const fn is_request(kind: u8, version: Version) -> bool {
    match version {
        Version::V4 => kind == ICMP_ECHO_REQUEST,
        Version::V6 => kind == ICMPV6_ECHO_REQUEST,
    }
}

/// The resource's NAT addresses of one family.
fn nat_addresses(admission: &Admission<'_>, version: Version) -> impl Iterator<Item = Address> {
    admission.resource.nat.iter().copied().map(Address::from).filter(move |nat| nat.version() == version)
}
