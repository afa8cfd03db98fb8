//! What the rules in force say of a session: whether they still admit it, how long it may idle, whether there is room.

use std::sync::Arc;

use super::{Sessions, TOMBSTONE};
use crate::dataplane::Context;
use crate::dataplane::counters::{add, find};
use crate::dataplane::handoff::Full;
use crate::dataplane::session::{Addresses, FlowKey, Phase, Session, Tick};
use crate::dataplane::share::FairShare;
use crate::snapshot::policy::judge;
use crate::snapshot::{Admission, BackendState, Protocol, Query, Timeouts};
use crate::wire::Address;

impl Sessions {
    /// Counts one more live session, if every limit allows it.
    pub(in crate::dataplane) fn enter(
        &self,
        admission: &Admission<'_>,
        backend: Address,
        context: &Context<'_>,
    ) -> Result<(), Full> {
        let (endpoint, resource) = (admission.endpoint, admission.endpoint.resource);
        let contenders = &context.snapshot.contenders;
        let room = FairShare { capacity: admission.resource.max_sessions, contenders: contenders.of(resource) };
        let all = FairShare { capacity: context.snapshot.settings.max_sessions, contenders: contenders.all() };
        self.peers.shared.enter((endpoint.id, endpoint.max_sessions), (resource, room), all, backend)
    }

    /// Counts a session as live that was closing, if the rules and every limit allow it.
    pub(in crate::dataplane) fn admit_again(&self, a: &Addresses, session: &Session, context: &Context<'_>) -> bool {
        let Ok(admission) = judge(context.snapshot, &query(&session.service_key(a))) else { return false };
        let entered = self.enter(&admission, a.backend, context).is_ok();
        if let Some(counters) = find(&self.traffic, session.endpoint).filter(|_| entered) {
            add(&counters.sessions, 1);
        }
        entered
    }
}

/// The question that a packet with `key` asks.
pub(in crate::dataplane) fn query(key: &FlowKey) -> Query {
    Query {
        attachment: key.attachment,
        source: key.source.ip(),
        destination: key.destination.ip(),
        protocol: key.protocol,
        port: key.destination_port,
    }
}

/// Idle limit of a session that was just opened.
pub(in crate::dataplane) fn first_idle_limit(timeouts: &Timeouts, protocol: Protocol) -> u32 {
    Tick::span(match protocol {
        Protocol::Tcp => timeouts.tcp_transitory,
        Protocol::Udp => timeouts.udp,
        Protocol::Icmp => timeouts.icmp,
    })
}

/// Whether a session admitted earlier would be admitted the same way by the rules in force.
pub(in crate::dataplane) fn still_admitted(a: &Addresses, session: &Session, context: &Context<'_>) -> bool {
    let asked = query(&session.service_key(a));
    let Ok(admission) = judge(context.snapshot, &asked) else { return false };
    let state = |backend: &_| admission.target.state_at(backend, asked.protocol, asked.port);
    admission.endpoint.id == session.endpoint
        && admission.endpoint.resource == session.resource
        && admission.target_id == session.target
        && admission.backend_port == session.backend_port
        && admission.resource.provider == session.provider_attachment
        && (admission.resource.nat.contains(&a.nat.ip()) || admission.resource.retired.contains(&a.nat.ip()))
        && admission
            .target
            .backends
            .iter()
            .any(|backend| state(backend) != BackendState::Down && backend.address == a.backend.ip())
}

/// Idle limit of a session in its present phase.
pub(in crate::dataplane) fn idle_limit(session: &Session, context: &Context<'_>) -> u32 {
    let timeouts = context
        .snapshot
        .resource(session.resource)
        .map_or(context.snapshot.settings.timeouts, |r| Arc::as_ref(r).timeouts);
    match (session.phase, session.protocol) {
        (Phase::Established, _) => Tick::span(timeouts.tcp_established),
        (Phase::Ended, _) => TOMBSTONE,
        (_, protocol) => first_idle_limit(&timeouts, protocol),
    }
}
