//! Rates: how much may pass an endpoint, or all endpoints of a resource together, in a second.
//!
//! A meter is one word for each kind of traffic: the virtual time up to which all that has passed is paid for
//! (the generic cell rate algorithm, ITU-T I.371). A packet passes while that time is no further ahead of the clock
//! than the meter is deep, and moves it on by what it costs. Workers share the words and only ever add to them, so
//! none of them waits, and two that look at the same moment overdraw by a packet that the next ones pay for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What may pass in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(extend("x-inline" = true, "x-order" = ["bits_per_second", "new_sessions_per_second"]))]
pub struct Rates {
    /// Bits of IP packets, in each direction by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
    /// Sessions opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_sessions_per_second: Option<u32>,
}

impl Rates {
    /// Bits per second that may be named. The lowest lets a full-sized packet pass every few seconds; the highest is
    /// more than a host forwards.
    pub const BITS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;

    /// New sessions per second that may be named.
    pub const SESSIONS: std::ops::RangeInclusive<u32> = 1..=100_000_000;

    /// Whether anything is limited.
    #[must_use]
    pub const fn limit_anything(&self) -> bool {
        self.bits_per_second.is_some() || self.new_sessions_per_second.is_some()
    }

    fn per_second(&self, what: Metered) -> Option<u64> {
        match what {
            Metered::ToService | Metered::ToConsumer => self.bits_per_second,
            Metered::Sessions => self.new_sessions_per_second.map(u64::from),
        }
    }
}

/// What a meter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// Bits from consumers to the service.
    ToService,
    /// Bits from the service to consumers.
    ToConsumer,
    /// Sessions that are opened.
    Sessions,
}

impl Metered {
    /// A meter is at least as deep as this: two super-packets of 64 KiB, so that the kernel's largest passes beside
    /// another; or two sessions.
    const fn least_depth(self) -> u64 {
        match self {
            Self::ToService | Self::ToConsumer => 2 * 65_536 * 8,
            Self::Sessions => 2,
        }
    }
}

/// Units of virtual time in a second. A packet of 64 bytes costs eight of them at the highest rate; 64 bits last for 36
/// years.
const SECOND: u64 = 16_000_000_000;

/// How deep a meter is: what may pass at once after a pause.
const DEPTH: u64 = SECOND / 10;

/// The words of one meter, in the order of [`Metered`]. Plain 64-bit words that are only read, added to and, after a
/// pause, moved up to now by a compare-and-swap: a kernel program can do the same to a map that holds them.
#[derive(Debug, Default)]
#[repr(C)]
struct Words([AtomicU64; 3]);

/// The rates of an endpoint or a resource, and what has passed by them. It goes on through every change of the rules
/// that leaves the rates as they are.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Meter {
    /// What has passed.
    all: Words,
    /// Of an endpoint: what has passed of the equal part that it has in its resource's rates.
    part: Words,
    /// What may pass.
    pub rates: Rates,
}

impl Meter {
    /// Nothing has passed yet.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, ..Self::default() }
    }
}

/// Meters are equal that allow the same: what has passed is no rule.
impl PartialEq for Meter {
    fn eq(&self, other: &Self) -> bool {
        self.rates == other.rates
    }
}

impl Eq for Meter {}

/// One meter at work.
#[derive(Clone, Copy, Debug)]
struct Gauge<'a> {
    word: &'a AtomicU64,
    /// What the packet in question costs, and how far ahead of the clock the word may be: units of virtual time.
    cost: u64,
    depth: u64,
}

impl<'a> Gauge<'a> {
    fn new(words: &'a Words, what: Metered, amount: u64, per_second: u64) -> Self {
        let cost = |amount: u64| amount.saturating_mul(SECOND) / per_second.max(1);
        Self { word: &words.0[what as usize], cost: cost(amount), depth: DEPTH.max(cost(what.least_depth())) }
    }

    /// Whether there is room but for the last `kept` units. What costs more than fits at all passes where the meter is
    /// empty, and is paid for afterwards.
    fn has_room(&self, now: u64, kept: u64) -> bool {
        let depth = self.depth - kept;
        let ahead = self.word.load(Ordering::Relaxed).saturating_sub(now);
        ahead.saturating_add(self.cost.min(depth)) <= depth
    }

    fn pay(&self, now: u64) {
        let before = self.word.load(Ordering::Relaxed);
        let renewed = || {
            let begins = now.saturating_add(self.cost);
            self.word.compare_exchange(before, begins, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        // Who comes second after a pause adds to what the first has begun.
        if before >= now || !renewed() {
            self.word.fetch_add(self.cost, Ordering::Relaxed);
        }
    }
}

/// What limits the traffic of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    endpoint: &'a Meter,
    resource: Option<&'a Meter>,
    /// Endpoints that share the resource's rates.
    contenders: u32,
}

impl<'a> Limits<'a> {
    /// Of an endpoint with this meter, whose resource has that one and `contenders`; `None`: nothing does.
    #[must_use]
    pub fn of(endpoint: Option<&'a Meter>, resource: Option<&'a Meter>, contenders: u32) -> Option<Self> {
        Some(Self { endpoint: endpoint?, resource, contenders })
    }

    /// Whether `amount` more may pass at `now`, the time since the daemon's start; `None`: it may not. It counts once
    /// the answer is [paid](Fee::pay).
    ///
    /// Of a resource's rates every endpoint has an equal part, and what others leave; so one that sends too much takes
    /// nothing from those that stay below their part: it leaves half of the depth to them.
    #[must_use]
    pub fn allow(&self, what: Metered, amount: u64, now: Duration) -> Option<Fee<'a>> {
        let now = u64::try_from(now.as_nanos() * u128::from(SECOND / 1_000_000_000)).unwrap_or(u64::MAX);
        let mut fee = Fee { gauges: [None; 3], now };
        if let Some(rate) = self.endpoint.rates.per_second(what) {
            let own = Gauge::new(&self.endpoint.all, what, amount, rate);
            fee.gauges[0] = Some(own).filter(|own| own.has_room(now, 0));
            fee.gauges[0]?;
        }
        let Some((resource, rate)) = self.resource.and_then(|r| Some((r, r.rates.per_second(what)?))) else {
            return Some(fee);
        };
        let all = Gauge::new(&resource.all, what, amount, rate);
        let part = Gauge::new(&self.endpoint.part, what, amount, rate / u64::from(self.contenders.max(1)));
        fee.gauges[1] = Some(part).filter(|part| part.has_room(now, 0));
        let kept = if fee.gauges[1].is_some() || self.contenders <= 1 { 0 } else { all.depth / 2 };
        fee.gauges[2] = Some(all).filter(|all| all.has_room(now, kept));
        fee.gauges[2]?;
        Some(fee)
    }
}

/// What something that may pass costs.
#[derive(Clone, Copy, Debug)]
pub struct Fee<'a> {
    gauges: [Option<Gauge<'a>>; 3],
    now: u64,
}

impl Fee<'_> {
    /// It passes.
    pub fn pay(self) {
        self.gauges.iter().flatten().for_each(|gauge| gauge.pay(self.now));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Metered::{Sessions, ToConsumer, ToService};
    use super::*;
    use crate::snapshot::{Balance, ConnectionState, Endpoint, EndpointId, Resource, ResourceId, Timeouts};

    fn of(bits: u64, sessions: u32) -> Rates {
        Rates {
            bits_per_second: Some(bits).filter(|bits| *bits > 0),
            new_sessions_per_second: Some(sessions).filter(|sessions| *sessions > 0),
        }
    }

    fn endpoint(rates: Rates) -> Endpoint {
        Endpoint {
            link: 1,
            id: EndpointId(0),
            name: Arc::from("default/e"),
            state: ConnectionState::Approved,
            resource: ResourceId(0),
            sources: None,
            rules: None,
            max_sessions: u32::MAX,
            meter: Some(Arc::new(Meter::new(rates))),
        }
    }

    fn resource(rates: Option<Rates>) -> Resource {
        Resource {
            retired: Vec::new(),
            name: Arc::from("default/r"),
            provider: crate::snapshot::AttachmentId(1),
            nat: Vec::new(),
            targets: Vec::new(),
            timeouts: Timeouts::default(),
            balance: Balance::LeastSessions,
            answer: None,
            max_sessions: u32::MAX,
            meter: rates.map(|rates| Arc::new(Meter::new(rates))),
        }
    }

    /// Milliseconds after the start.
    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Offers packets to each of several endpoints of one resource, so many bits every millisecond each, for ten
    /// seconds; returns what passed of each.
    fn offer(resource: &Resource, endpoints: &[Endpoint], each: &[u64], packet: u64) -> Vec<u64> {
        let contenders = u32::try_from(endpoints.len()).expect("few");
        let mut passed = vec![0; endpoints.len()];
        let mut owed = vec![0; endpoints.len()];
        for millisecond in 0..10_000 {
            for (number, endpoint) in endpoints.iter().enumerate() {
                owed[number] += each[number];
                while owed[number] >= packet {
                    owed[number] -= packet;
                    let limits =
                        Limits::of(endpoint.meter.as_deref(), resource.meter.as_deref(), contenders).expect("limited");
                    if let Some(fee) = limits.allow(ToService, packet, at(5_000 + millisecond)) {
                        fee.pay();
                        passed[number] += packet;
                    }
                }
            }
        }
        passed
    }

    fn share(passed: u64, allowed: u64) -> u64 {
        passed * 100 / allowed
    }

    #[test]
    fn of_twice_the_rate_the_rate_passes_whatever_the_packets() {
        for rate in [3_000_000, 100_000_000, 25_000_000_000, *Rates::BITS.end()] {
            for packet in [64 * 8, 1_500 * 8, 65_536 * 8, 400_000 * 8] {
                if rate / packet > 400_000 || packet * 20 > rate {
                    continue;
                }
                let one = [endpoint(of(rate, 0))];
                let passed = offer(&resource(None), &one, &[rate / 500], packet);
                assert!((95..=105).contains(&share(passed[0], rate * 10)), "{rate} of {packet}: {passed:?}");
            }
        }
    }

    #[test]
    fn a_pause_lends_a_tenth_of_a_second_and_no_less_than_two_super_packets() {
        for (rate, at_once) in [(1_000, 1_048_576), (10_000_000, 1_048_576), (100_000_000, 10_000_000)] {
            let (one, none) = (endpoint(of(rate, 0)), resource(None));
            let limits = Limits::of(one.meter.as_deref(), none.meter.as_deref(), 1).expect("limited");
            for hours in [0, 1, 100_000] {
                let mut passed = 0;
                while let Some(fee) = limits.allow(ToConsumer, 1_024, at(hours * 3_600_000)) {
                    fee.pay();
                    passed += 1_024;
                }
                assert!((at_once - 1_024..=at_once).contains(&passed), "{rate} after {hours} hours: {passed}");
                assert!(limits.allow(ToService, 1_024, at(hours * 3_600_000)).is_some(), "the other way has its own");
            }
        }
    }

    #[test]
    fn what_is_larger_than_a_meter_is_deep_passes_an_empty_one_and_is_paid_for() {
        let (one, none) = (endpoint(of(1_048_576, 0)), resource(None));
        let limits = Limits::of(one.meter.as_deref(), none.meter.as_deref(), 1).expect("limited");
        limits.allow(ToService, 3 * 1_048_576, at(0)).expect("empty").pay();
        for (second, passes) in [(0, false), (1, false), (2, false), (3, true)] {
            assert_eq!(limits.allow(ToService, 1_048_576, at(second * 1_000)).is_some(), passes, "{second}");
        }
    }

    #[test]
    fn sessions_have_a_rate_of_their_own() {
        let (one, none) = (endpoint(of(0, 5)), resource(None));
        let limits = Limits::of(one.meter.as_deref(), none.meter.as_deref(), 1).expect("limited");
        let mut opened = 0;
        for tenth in 0..100 {
            while let Some(fee) = limits.allow(Sessions, 1, at(tenth * 100)) {
                fee.pay();
                opened += 1;
            }
            assert!(limits.allow(ToService, 1 << 40, at(tenth * 100)).is_some(), "bits have none");
        }
        assert!((50..=52).contains(&opened), "{opened}");
    }

    #[test]
    fn a_greedy_endpoint_leaves_the_others_their_equal_parts() {
        const RATE: u64 = 90_000_000;
        for (each, expected) in [
            // One that takes ten times the rate, one that stays below its third, and one that sends nothing.
            ([900_000, 20_000, 0], [70_000_000, 20_000_000, 0]),
            // All of them want more.
            ([900_000, 900_000, 900_000], [30_000_000; 3]),
            // What two leave, the third may use.
            ([900_000, 1_000, 1_000], [88_000_000, 1_000_000, 1_000_000]),
            ([60_000, 0, 0], [60_000_000, 0, 0]),
        ] {
            let three = [(); 3].map(|()| endpoint(Rates::default()));
            let passed = offer(&resource(Some(of(RATE, 0))), &three, &each, 8_000);
            let sum: u64 = passed.iter().sum();
            assert!(share(sum, RATE * 10) <= 102, "{each:?}: {passed:?}");
            for (passed, expected) in passed.iter().zip(expected) {
                let near = (expected * 10 * 95 / 100)..=(expected * 10 * 105 / 100);
                assert!(near.contains(passed), "{each:?}: {passed} of {expected} a second");
            }
        }
    }

    #[test]
    fn an_endpoint_keeps_to_its_own_rate_and_to_its_resources() {
        for (own, all) in [(5_000_000, 50_000_000), (50_000_000, 5_000_000)] {
            let one = [endpoint(of(own, 0))];
            let passed = offer(&resource(Some(of(all, 0))), &one, &[100_000], 8_000);
            assert!((95..=105).contains(&share(passed[0], 50_000_000)), "{own} of {all}: {passed:?}");
        }
    }

    #[test]
    fn workers_that_pay_at_once_pass_no_more_than_the_rate() {
        const RATE: u64 = 80_000_000;
        let (one, none) = (endpoint(of(RATE, 0)), resource(None));
        let passed: u64 = std::thread::scope(|scope| {
            let worker = || {
                let mut passed = 0;
                for millisecond in 0..2_000 {
                    for _ in 0..20 {
                        let limits = Limits::of(one.meter.as_deref(), none.meter.as_deref(), 1).expect("limited");
                        if let Some(fee) = limits.allow(ToService, 8_000, at(millisecond)) {
                            fee.pay();
                            passed += 8_000;
                        }
                    }
                }
                passed
            };
            let workers = [(); 4].map(|()| scope.spawn(worker));
            workers.into_iter().map(|worker| worker.join().expect("ends")).sum()
        });
        // The clocks of the four are not one: whoever is behind the others finds nothing left.
        assert!(passed <= RATE * 2 * 106 / 100, "{passed}");
    }
}
