//! What rates let pass. Whatever goes beyond them is dropped silently: an answer would be traffic too, and ends that
//! send too fast find out by what is missing.

use crate::dataplane::counters::{add, find};
use crate::dataplane::forwarder::{Context, Forwarder};
use crate::dataplane::nat::classify::Packet;
use crate::dataplane::session::{Direction, Session};
use crate::snapshot::rates::Fee;
use crate::snapshot::{Admission, EndpointId, Limits, Metered};

/// More than the rates let pass.
pub(in crate::dataplane) struct BeyondRate;

impl Forwarder {
    /// Whether a packet of a new session may pass, and what the session costs if one is opened. Nothing is paid yet:
    /// what another check denies takes nothing from others.
    pub(in crate::dataplane) fn within_rates<'a>(
        &self,
        packet: &Packet,
        opens: bool,
        admission: &Admission<'a>,
        context: &Context<'a>,
    ) -> Result<Option<Fee<'a>>, BeyondRate> {
        let (endpoint, resource) = (admission.endpoint, admission.resource);
        let sharers = context.snapshot.sharers.of(endpoint.resource);
        let Some(limits) = Limits::of(endpoint.meter.as_deref(), resource.meter.as_deref(), sharers) else {
            return Ok(None);
        };
        let (packets, bytes) = packet.wire_size();
        let now = context.moment.since_start();
        let fits = limits.allow(Metered::ToService, bytes * 8, now);
        let fee = fits.and_then(|fee| if opens { limits.allow(Metered::Sessions, 1, now) } else { Some(fee) });
        match fee {
            None => Err(self.count_limited(endpoint.id, packets)),
            fee => Ok(fee.filter(|_| opens)),
        }
    }

    /// Pays for a packet of a session whose rates are limited. Returns whether it may pass.
    pub(in crate::dataplane) fn pays(
        &self,
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
            let BeyondRate = self.count_limited(session.endpoint, packets);
            return false;
        };
        fee.pay();
        true
    }

    fn count_limited(&self, endpoint: EndpointId, packets: u64) -> BeyondRate {
        if let Some(counters) = find(&self.counters, endpoint) {
            add(&counters.rate_limited, packets);
        }
        BeyondRate
    }
}
