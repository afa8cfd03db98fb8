//! The slow path: a session's first packet, and packets of sessions that need a second look.
//!
//! A miss from the consumer's side is admitted (`judge` → choose backend → reserve a NAT port → insert)
//! or denied and answered; a miss from the provider's side is dropped in silence (DESIGN law 3).

use std::net::IpAddr;
use std::sync::Arc;

use super::ended::Cause;
use super::fastpath::classify::{Packet, classify};
use super::forwarder::{Context, Forwarder};
use super::session::{Addresses, Admitted, Direction, FlowKey, Phase, Session, Slot, Tick, tcp_state::Seen};
use super::verdict::{DropReason, Verdict};
use crate::snapshot::policy::{Denial, is_spoofed, judge};
use crate::snapshot::{Admission, Backend, Generation, Protocol, Query, Timeouts, steering};
use crate::wire::headers::{ACK, RST, SYN};
use crate::wire::{Family, V4, vnet};
use port_pool::{PoolKey, Reserved};

/// Reserve a NAT address and port for one service tuple.
pub mod port_pool;

/// Answer TCP RST or ICMP, rate limited; or drop silently if so configured.
pub mod reject;

/// Why a first packet opens no session, and whose answer mode applies.
struct Refusal {
    reason: DropReason,
    answer: Option<bool>,
}

impl Forwarder {
    /// Decides a frame that another worker handed over: it stays here whatever steering says.
    pub(super) fn forward_handed(
        &mut self,
        frame: &mut [u8],
        attachment: crate::snapshot::AttachmentId,
        refusals: u16,
        context: &Context<'_>,
    ) -> Verdict {
        match classify(frame, attachment) {
            Ok(packet) if self.sessions.find_any(&packet.key).is_none() => self.open(frame, &packet, refusals, context),
            _ => self.forward(frame, attachment, context),
        }
    }

    /// A packet that no session here knows: handed to its owner, or opened here.
    #[cold]
    pub(super) fn miss(
        &mut self,
        frame: &mut [u8],
        packet: &Packet<V4>,
        refusals: u16,
        context: &Context<'_>,
    ) -> Verdict {
        let owner = self.owner(&packet.key, context);
        if owner != self.position.worker {
            return Verdict::HandOut { worker: owner, refused: false };
        }
        self.open(frame, packet, refusals, context)
    }

    /// The worker that owns a flow: by NAT port on the provider's side, by hash on the consumer's, unless
    /// it was admitted elsewhere.
    fn owner(&self, key: &FlowKey<V4>, context: &Context<'_>) -> u16 {
        let workers = self.position.workers;
        if workers == 1 {
            return self.position.worker;
        }
        if context.snapshot.nat_owner(key.attachment, V4::ip(key.destination)).is_some() {
            return steering::nat_queue(key.destination_port, workers);
        }
        self.shared.owner_of(key).unwrap_or_else(|| {
            steering::consumer_queue(key.source, key.destination, key.source_port, key.destination_port, workers)
        })
    }

    /// Opens a session for its first packet and forwards it, or denies it.
    fn open(&mut self, frame: &mut [u8], packet: &Packet<V4>, refusals: u16, context: &Context<'_>) -> Verdict {
        if context.snapshot.nat_owner(packet.key.attachment, V4::ip(packet.key.destination)).is_some() {
            return Verdict::Drop(DropReason::NoSession);
        }
        match self.admit(frame, packet, context) {
            Ok(slot) => {
                self.note_if_elsewhere(slot, &packet.key, context);
                self.pass(frame, packet, slot, Direction::ToService, context)
            }
            Err(Refusal { reason: DropReason::NatPortsExhausted, .. })
                if refusals + 1 < self.position.workers && packet.key.protocol != Protocol::Icmp =>
            {
                // Another worker's range may have ports left: no early failure (DESIGN §2).
                let next = (self.position.worker + 1) % self.position.workers;
                Verdict::HandOut { worker: next, refused: true }
            }
            Err(refusal) => self.deny(frame, packet, &refusal, context),
        }
    }

    /// The whole of admission, in the order of DESIGN §3.
    fn admit(&mut self, frame: &[u8], packet: &Packet<V4>, context: &Context<'_>) -> Result<Slot, Refusal> {
        let query = query(&packet.key);
        if is_spoofed(context.snapshot, &query) {
            return Err(Refusal { reason: DropReason::SpoofedSource, answer: None });
        }
        let admission = judge(context.snapshot, &query).map_err(|denial| refusal(&denial, context))?;
        let refuse = |reason| Refusal { reason, answer: admission.resource.answer };
        if !opens_session(frame, packet) {
            return Err(refuse(DropReason::NotSyn));
        }
        if frame[vnet::LENGTH + 8] <= 1 {
            return Err(refuse(DropReason::TtlExpired));
        }
        let backend = choose_backend(&admission, &packet.key).ok_or_else(|| refuse(DropReason::NoBackend))?;
        self.make_room(context).map_err(refuse)?;
        let (endpoint, resource) = (admission.endpoint, admission.endpoint.resource);
        if !self.shared.enter((endpoint.id, endpoint.max_sessions), (resource, admission.resource.max_sessions)) {
            return Err(refuse(DropReason::SessionLimit));
        }
        let opened = self
            .reserve(&admission, &packet.key, backend, context)
            .and_then(|addresses| self.insert(addresses, packet, &admission, context));
        if opened.is_err() {
            self.shared.leave(endpoint.id, resource);
        }
        opened.map_err(refuse)
    }

    /// Room for one more session: below the worker's share, or made by ending an exactly closed one.
    fn make_room(&mut self, context: &Context<'_>) -> Result<(), DropReason> {
        let share = (context.snapshot.settings.max_sessions / u32::from(self.position.workers)).max(1) as usize;
        while self.sessions.len() >= share || self.sessions.is_full() {
            let Some(slot) = self.lingering.pop_front() else { return Err(DropReason::TableFull) };
            let closed =
                |session: &Session<V4, V4>| session.phase != Phase::Vacant && session.tcp.has(Seen::EXACT_CLOSE);
            if self.sessions.get(slot).is_some_and(closed) {
                self.remove(slot, Cause::Reclaimed, context.now);
            }
        }
        Ok(())
    }

    /// Reserves a NAT address and port: never-used ports of every NAT address first, then rested ones.
    /// A consumer keeps to one NAT address as long as it has ports (RFC 4787 REQ-2, paired pooling).
    fn reserve(
        &mut self,
        admission: &Admission<'_>,
        key: &FlowKey<V4>,
        backend: u32,
        context: &Context<'_>,
    ) -> Result<Addresses<V4, V4>, DropReason> {
        let pool: Vec<u32> = admission.resource.nat.iter().copied().filter_map(V4::from_ip).collect();
        let first = usize::from(steering::consumer_queue(key.source, 0, 0, 0, u16::try_from(pool.len()).unwrap_or(1)));
        for fresh in [true, false] {
            for nat in pool.iter().cycle().skip(first).take(pool.len()).copied() {
                let from = PoolKey { nat, protocol: key.protocol, backend, backend_port: admission.backend_port };
                let reserved = if fresh {
                    self.ports.reserve_fresh(from, &mut self.random)
                } else {
                    self.ports.reserve_rested(from, context.now)
                };
                if let Some(reserved) = reserved {
                    self.reclaim(&reserved, &from, context.now);
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
    fn reclaim(&mut self, reserved: &Reserved, from: &PoolKey<V4>, now: Tick) {
        let Some(slot) = reserved.reclaim else { return };
        let holds_it = self.sessions.get(slot).is_some_and(|session| {
            session.phase != Phase::Vacant
                && session.tcp.has(Seen::EXACT_CLOSE)
                && session.addresses.nat_port == reserved.port
                && PoolKey::of(session) == *from
        });
        if holds_it {
            self.remove(slot, Cause::Reclaimed, now);
        }
    }

    fn insert(
        &mut self,
        addresses: Addresses<V4, V4>,
        packet: &Packet<V4>,
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
        };
        let session = Session::open(addresses, packet.key.protocol, &admitted, context.now);
        debug_assert!(!self.sessions.holds(&session), "a reserved port cannot be in use");
        let slot = self.sessions.insert(session).ok_or(DropReason::TableFull)?;
        if let Some(counters) = super::counters::find(&self.counters, admission.endpoint.id) {
            super::counters::add(&counters.sessions, 1);
            super::counters::add(&counters.sessions_opened, 1);
        }
        Ok(slot)
    }

    /// A flow admitted here that steering brings to another worker must be findable from there.
    fn note_if_elsewhere(&mut self, slot: Slot, key: &FlowKey<V4>, context: &Context<'_>) {
        if self.owner(key, context) == self.position.worker {
            return;
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            session.tcp.set(Seen::ELSEWHERE);
            self.shared.settle(*key, self.position.worker);
        }
    }

    /// Drops a consumer's packet and, where its reason and the rate allow, answers it.
    fn deny(&mut self, frame: &[u8], packet: &Packet<V4>, refusal: &Refusal, context: &Context<'_>) -> Verdict {
        let settings = &context.snapshot.settings;
        if refusal.answer.unwrap_or(settings.answer)
            && let Some(answer) = reject::answer(frame, packet, refusal.reason)
            && self.limiter.take(settings.deny_rate, context.now)
        {
            self.outbox.push((packet.key.attachment, answer));
            self.counts.answered += 1;
        }
        Verdict::Drop(refusal.reason)
    }

    /// A packet whose session needs a second look (see `is_current`): the rules changed, it has ended or
    /// idled out, its TTL is used up, or a SYN wants the place of a closed connection.
    #[cold]
    pub(super) fn stale(
        &mut self,
        frame: &mut [u8],
        packet: &Packet<V4>,
        slot: Slot,
        direction: Direction,
        context: &Context<'_>,
    ) -> Verdict {
        self.revalidate(slot, context);
        let Some(session) = self.sessions.get(slot).filter(|session| session.phase != Phase::Vacant) else {
            return self.open(frame, packet, 0, context);
        };
        let opens_anew = direction == Direction::ToService && is_plain_syn(frame, packet);
        if opens_anew && matches!(session.phase, Phase::Ended | Phase::Closing) {
            self.remove(slot, Cause::Reclaimed, context.now);
            return self.open(frame, packet, 0, context);
        }
        let answer = context.snapshot.resource(session.resource).and_then(|resource| resource.answer);
        if session.phase == Phase::Ended {
            return self.answer_late(frame, packet, answer, context);
        }
        if frame[vnet::LENGTH + 8] <= 1 {
            return self.deny(frame, packet, &Refusal { reason: DropReason::TtlExpired, answer }, context);
        }
        self.pass(frame, packet, slot, direction, context)
    }

    /// Answers a late segment of an ended session with a reset at the segment's ACK number, from either side.
    fn answer_late(
        &mut self,
        frame: &[u8],
        packet: &Packet<V4>,
        answer: Option<bool>,
        context: &Context<'_>,
    ) -> Verdict {
        self.deny(frame, packet, &Refusal { reason: DropReason::SessionEnded, answer }, context)
    }
}

/// The question that a packet with `key` asks.
pub(super) fn query(key: &FlowKey<V4>) -> Query {
    Query {
        attachment: key.attachment,
        source: V4::ip(key.source),
        destination: V4::ip(key.destination),
        protocol: key.protocol,
        port: key.destination_port,
    }
}

/// Whoever asks a silent resource learns nothing, whatever check denies.
fn refusal(denial: &Denial<'_>, context: &Context<'_>) -> Refusal {
    let resource = denial.endpoint.and_then(|endpoint| context.snapshot.resource(endpoint.resource));
    Refusal { reason: DropReason::from(&denial.reason), answer: resource.and_then(|resource| resource.answer) }
}

/// Check 7, first part: TCP starts with a SYN, ICMP with an echo request (its identifier is the
/// source port), UDP with anything.
fn opens_session(frame: &[u8], packet: &Packet<V4>) -> bool {
    match packet.key.protocol {
        Protocol::Tcp => is_plain_syn(frame, packet),
        Protocol::Udp => true,
        Protocol::Icmp => {
            packet.key.destination_port == 0 && frame[packet.transport] == crate::wire::headers::ICMP_ECHO_REQUEST
        }
    }
}

/// A SYN that opens a connection: neither an answer nor garbage (nat-requirements C-4).
fn is_plain_syn(frame: &[u8], packet: &Packet<V4>) -> bool {
    packet.key.protocol == Protocol::Tcp
        && packet.segment(frame).flags & (SYN | ACK | RST | crate::wire::headers::FIN) == SYN
}

/// A backend that takes new sessions, spread by the consumer's tuple.
fn choose_backend(admission: &Admission<'_>, key: &FlowKey<V4>) -> Option<u32> {
    let takes = |backend: &&Backend| !backend.drain && matches!(backend.address, IpAddr::V4(_));
    let count = u16::try_from(admission.target.backends.iter().filter(takes).count()).ok()?;
    let chosen = steering::consumer_queue(
        key.source.rotate_left(7),
        key.destination,
        key.source_port,
        key.destination_port,
        count.max(1),
    );
    admission
        .target
        .backends
        .iter()
        .filter(takes)
        .nth(usize::from(chosen))
        .and_then(|backend| V4::from_ip(backend.address))
}

fn first_idle_limit(timeouts: &Timeouts, protocol: Protocol) -> u32 {
    Tick::span(match protocol {
        Protocol::Tcp => timeouts.tcp_transitory,
        Protocol::Udp => timeouts.udp,
        Protocol::Icmp => timeouts.icmp,
    })
}

/// Whether a session admitted earlier would be admitted the same way by the rules in force.
pub(super) fn still_admitted(session: &Session<V4, V4>, context: &Context<'_>) -> bool {
    let Ok(admission) = judge(context.snapshot, &query(&session.service_key())) else { return false };
    let a = &session.addresses;
    admission.endpoint.id == session.endpoint
        && admission.endpoint.resource == session.resource
        && admission.target_id == session.target
        && admission.backend_port == a.backend_port
        && admission.resource.provider == session.provider_attachment
        && admission.resource.nat.contains(&V4::ip(a.nat))
        && admission.target.backends.iter().any(|backend| backend.address == V4::ip(a.backend))
}

/// Idle limit of a session in its present phase.
pub(super) fn idle_limit(session: &Session<V4, V4>, context: &Context<'_>) -> u32 {
    let timeouts = context
        .snapshot
        .resource(session.resource)
        .map_or(context.snapshot.settings.timeouts, |r| Arc::as_ref(r).timeouts);
    match (session.phase, session.protocol) {
        (Phase::Established, _) => Tick::span(timeouts.tcp_established),
        (Phase::Ended, _) => super::lifecycle::TOMBSTONE,
        (_, protocol) => first_idle_limit(&timeouts, protocol),
    }
}
