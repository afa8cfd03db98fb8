//! What rates let pass. Whatever goes beyond them is dropped silently: an answer would be traffic too, and ends that
//! send too fast find out by what is missing.

use crate::dataplane::Context;
use crate::dataplane::counters::{CounterChunk, add, find};
use crate::dataplane::nat::classify::Packet;
use crate::dataplane::session::{Direction, Session};
use crate::snapshot::rates::Fee;
use crate::snapshot::{Admission, EndpointId, Limits, Metered};

/// More than the rates let pass.
pub(in crate::dataplane) struct BeyondRate;

/// Whether a packet of a new session may pass, and what the session costs if one is opened. Nothing is paid yet:
/// what another check denies takes nothing from others.
pub(in crate::dataplane) fn within_rates<'a>(
    traffic: &[CounterChunk],
    packet: &Packet,
    opens: bool,
    admission: &Admission<'a>,
    context: &Context<'a>,
) -> Result<Option<Fee<'a>>, BeyondRate> {
    let (endpoint, resource) = (admission.endpoint, admission.resource);
    let contenders = context.snapshot.contenders.of(endpoint.resource);
    let Some(limits) = Limits::of(endpoint.meter.as_deref(), resource.meter.as_deref(), contenders) else {
        return Ok(None);
    };
    let (packets, bytes) = packet.wire_size();
    let now = context.moment.since_start();
    let fits = limits.allow(Metered::ToService, bytes * 8, now);
    let fee = fits.and_then(|fee| if opens { limits.allow(Metered::Sessions, 1, now) } else { Some(fee) });
    match fee {
        None => Err(count_limited(traffic, endpoint.id, packets)),
        fee => Ok(fee.filter(|_| opens)),
    }
}

/// Pays for a packet of a session whose rates are limited. Returns whether it may pass.
pub(in crate::dataplane) fn pays(
    traffic: &[CounterChunk],
    session: &Session,
    packet: &Packet,
    direction: Direction,
    context: &Context<'_>,
) -> bool {
    let Some(limits) = context.snapshot.limits(session.endpoint) else { return true };
    let what = match direction {
        Direction::ToService => Metered::ToService,
        Direction::ToConsumer => Metered::ToConsumer,
    };
    let (packets, bytes) = packet.wire_size();
    let Some(fee) = limits.allow(what, bytes * 8, context.moment.since_start()) else {
        let BeyondRate = count_limited(traffic, session.endpoint, packets);
        return false;
    };
    fee.pay();
    true
}

fn count_limited(traffic: &[CounterChunk], endpoint: EndpointId, packets: u64) -> BeyondRate {
    if let Some(counters) = find(traffic, endpoint) {
        add(&counters.rate_limited, packets);
    }
    BeyondRate
}
