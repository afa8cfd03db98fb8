//! The reference: every session in one ordered map, every decision made by looking at all of it. It
//! judges sessions when rules are published and when time passes, not when their packets come.

use std::collections::BTreeMap;

use privlink::snapshot::BackendState;
use privlink::snapshot::DropReason;

use super::packet::{ACK, FIN, ICMP, Packet, RST, SYN, Sum, TCP, UDP};
use super::rules::{Denied, Grant, Rules, SESSION};

/// Attachment, protocol, source, source port, destination, destination port.
pub(crate) type Key = (u16, u8, u32, u16, u32, u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Active,
    Opening,
    Established,
    Closing,
    Ended,
}

/// One end of a TCP connection as the end itself knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "what was seen of one end, fact by fact")]
pub(crate) struct Peer {
    pub(crate) next: u32,
    pub(crate) expects: u32,
    pub(crate) acked: u32,
    /// Whether it has received anything: it accepts a reset at `expects`.
    pub(crate) heard: bool,
    /// Whether anything of it has passed: `next` is known.
    pub(crate) sent: bool,
    pub(crate) fin: bool,
    pub(crate) fin_acked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) grant: Grant,
    pub(crate) backend: u32,
    pub(crate) nat: (u32, u16),
    pub(crate) phase: Phase,
    /// Both ends know that it is over: it may make room.
    pub(crate) exact: bool,
    pub(crate) seen: u32,
    /// When a segment last passed that is not of the connection.
    pub(crate) strange: Option<u32>,
    /// Since when both ends have been asked whether they live.
    pub(crate) asked: Option<u32>,
    /// When its tombstone last answered.
    pub(crate) answered: Option<u32>,
    pub(crate) consumer: Peer,
    pub(crate) provider: Peer,
    /// What the way to the consumer carries, and when an error said so.
    pub(crate) narrow: Option<(usize, u32)>,
}

impl Flow {
    /// One whose first packet has just passed.
    pub(crate) fn open(grant: Grant, backend: u32, nat: (u32, u16), protocol: u8, now: u32) -> Self {
        Self {
            grant,
            backend,
            nat,
            phase: if protocol == TCP { Phase::Opening } else { Phase::Active },
            exact: false,
            seen: now,
            strange: None,
            asked: None,
            answered: None,
            consumer: Peer::default(),
            provider: Peer::default(),
            narrow: None,
        }
    }

    /// Whether it lives no more: it counts under no limit, and may make room.
    pub(crate) fn closes(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Ended)
    }

    /// Whether it was just ended, and its ends may have yet to hear of it: half-open ones make room before it.
    pub(crate) fn tells(&self, now: u32) -> bool {
        self.phase == Phase::Ended && now - self.seen <= ANSWERS_ALL
    }

    /// Whether it is a connection that nobody has answered: it makes room for others, as far as that is of use.
    pub(crate) fn half_open(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Closed by a reset, or by FINs that were not acknowledged: nobody knows whether both ends have heard it.
    pub(crate) fn owes_resets(&self) -> bool {
        self.phase == Phase::Closing && !(self.consumer.fin_acked && self.provider.fin_acked)
    }

    /// Whether a segment is of the connection that the ends have: by what each has said so far, in plain arithmetic.
    fn is_own(&self, forth: bool, packet: &Packet) -> bool {
        let (own, other) = if forth { (self.consumer, self.provider) } else { (self.provider, self.consumer) };
        let ahead = |number: u32, of: u32| i64::from(number.wrapping_sub(of).cast_signed());
        if packet.flags & RST != 0 {
            let refused =
                self.phase == Phase::Opening && packet.flags & ACK != 0 && other.sent && packet.ack == other.next;
            let expected = other.heard && packet.seq == other.acked && self.phase != Phase::Opening;
            // Or it follows all that was sent before it.
            return refused || expected || own.sent && packet.seq == own.next;
        }
        if packet.flags & SYN != 0 {
            let opens = forth && packet.flags & ACK == 0 && !own.sent;
            let answers = !forth && packet.flags & ACK != 0 && other.sent && packet.ack == other.next;
            return self.phase == Phase::Opening && (opens || answers);
        }
        let end = packet.seq.wrapping_add(packet.payload.len() as u32);
        let late = ahead(packet.ack, other.next);
        packet.flags & ACK != 0
            && own.sent
            && other.sent
            && ahead(packet.seq, other.acked) <= WINDOW
            && ahead(end, own.next) >= -WINDOW
            && (-66_000..=0).contains(&late)
    }

    fn limit(&self, protocol: u8) -> u32 {
        let seconds = match (self.phase, protocol) {
            (Phase::Ended, _) => 60,
            (Phase::Established, _) => 7_440,
            (_, TCP) => 240,
            (_, UDP) => 300,
            _ => 60,
        };
        seconds * 10
    }
}

/// The window that every end of the model announces.
const WINDOW: i64 = 8_192;

/// Ticks in which both ends answer, if they live.
const ASKED_FOR: u32 = 30;

/// Ticks for which a tombstone answers everything; after that, once a tick.
const ANSWERS_ALL: u32 = 30;

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A packet of the session with this key.
    Pass(Key),
    /// The first packet of a session.
    Open(Key, Grant),
    /// Nothing but an answer, if the resource (or the daemon) answers at all.
    Drop(Denied),
}

pub(crate) struct Oracle {
    pub(crate) rules: Rules,
    pub(crate) flows: BTreeMap<Key, Flow>,
    pub(crate) now: u32,
    /// The ended session of the packet last decided.
    pub(crate) late: Option<Key>,
    /// The session whose place it takes, if its ends are to be told.
    pub(crate) replaced: Option<(Key, Flow)>,
}

impl Oracle {
    /// Sessions that the rules in force no longer admit, or whose endpoint was not Approved in between.
    pub(crate) fn judge_all(&mut self, dead: &[u32]) -> Vec<(Key, Flow)> {
        let rules = &self.rules;
        let revoked = |(key, flow): (&Key, &Flow)| {
            let resource = &rules.resources[flow.grant.resource];
            let kept = flow.phase == Phase::Ended
                || !dead.contains(&flow.grant.endpoint)
                    && rules.ask(key.0, key.1, key.2, key.4, key.5) == Ok(flow.grant)
                    && resource.has_nat(flow.nat.0)
                    && resource.targets[flow.grant.target]
                        .backends
                        .iter()
                        .any(|(own, state)| *own == flow.backend && *state != BackendState::Down);
            (!kept).then_some(*key)
        };
        let keys: Vec<Key> = self.flows.iter().filter_map(revoked).collect();
        keys.into_iter().map(|key| self.end(key)).collect()
    }

    /// Sessions that idled out by now; those of established connections, which are reset.
    pub(crate) fn expire(&mut self) -> (usize, Vec<(Key, Flow)>) {
        let now = self.now;
        let idle = |(key, flow): (&Key, &Flow)| (now - flow.seen > flow.limit(key.1)).then_some(*key);
        let keys: Vec<Key> = self.flows.iter().filter_map(idle).collect();
        let (mut reset, mut expired) = (Vec::new(), 0);
        for key in keys {
            let flow = self.flows.get_mut(&key).expect("listed above");
            // Segments passed since: both ends are asked before anybody is reset.
            let doubtful = key.1 == TCP && !flow.closes() && flow.strange.is_some_and(|at| at > flow.seen);
            let since = *flow.asked.get_or_insert(now);
            if doubtful && now - since < ASKED_FOR {
                continue;
            }
            expired += 1;
            if flow.phase == Phase::Established {
                reset.push(self.end(key));
                continue;
            }
            let flow = self.flows.remove(&key).expect("listed above");
            if flow.owes_resets() {
                reset.push((key, flow));
            }
        }
        (expired, reset)
    }

    /// Ends a session: TCP leaves a tombstone.
    fn end(&mut self, key: Key) -> (Key, Flow) {
        let flow = self.flows[&key].clone();
        if key.1 == TCP {
            let ended = Flow { phase: Phase::Ended, exact: true, seen: self.now, answered: None, ..flow.clone() };
            self.flows.insert(key, ended);
        } else {
            self.flows.remove(&key);
        }
        (key, flow)
    }

    /// Whether the table is full, so that admission must evict.
    pub(crate) fn full(&self) -> bool {
        self.flows.len() >= self.rules.table as usize
    }

    fn live(&self, which: impl Fn(&Flow) -> bool) -> u32 {
        self.flows.values().filter(|flow| !flow.closes() && which(flow)).count() as u32
    }

    /// Decides a well-formed packet, and removes the session whose place its SYN takes.
    pub(crate) fn decide(&mut self, at: u16, packet: &Packet, sum: Sum) -> Expected {
        let families = self.rules.families;
        // No IPv4 packet can be made of an IPv6 datagram whose sender left the checksum out.
        let unfit = |forth: bool| {
            let (from, to) =
                if forth { (families.consumer, families.provider) } else { (families.provider, families.consumer) };
            sum == Sum::Absent && from && !to
        };
        let (source, destination) = (packet.source, packet.destination);
        let key = (at, packet.protocol, source, packet.ports.0, destination, packet.ports.1);
        let reverse = |(_, flow): &(&Key, &Flow)| {
            at == super::rules::PROVIDER
                && (flow.backend, flow.grant.port, flow.nat) == (source, packet.ports.0, (destination, packet.ports.1))
        };
        let found = self.flows.get_key_value(&key).map(|(key, flow)| (key, flow, true)).or_else(|| {
            let same = self.flows.iter().filter(|(key, _)| key.1 == packet.protocol);
            same.clone().find(reverse).map(|(key, flow)| (key, flow, false))
        });
        let syn = packet.protocol == TCP && packet.flags & (SYN | ACK | RST | FIN) == SYN;
        let wrong = packet.protocol == TCP && sum == Sum::Wrong;
        (self.late, self.replaced) = (None, None);
        if let Some((&key, flow, forth)) = found {
            self.late = (flow.phase == Phase::Ended).then_some(key);
            if !(forth && syn && !wrong && flow.closes()) {
                return match flow.phase {
                    Phase::Ended => Expected::Drop((DropReason::SessionEnded, Some(flow.grant.resource))),
                    _ if packet.ttl <= 1 => Expected::Drop((DropReason::TtlExpired, Some(flow.grant.resource))),
                    _ if unfit(forth) => Expected::Drop((DropReason::BadChecksum, Some(flow.grant.resource))),
                    Phase::Active | Phase::Opening | Phase::Established | Phase::Closing => Expected::Pass(key),
                };
            }
            let refused = self.rules.spoofed(at, source, destination)
                || self.rules.ask(at, packet.protocol, source, destination, packet.ports.1).is_err();
            // An ended one answers until another takes its place.
            if !(refused && flow.phase == Phase::Ended) {
                self.replaced = self.flows.remove_entry(&key).filter(|(_, flow)| flow.owes_resets());
            }
        }
        if self.rules.is_nat(at, destination) {
            return Expected::Drop((DropReason::NoSession, None));
        }
        if self.rules.spoofed(at, source, destination) {
            return Expected::Drop((DropReason::SpoofedSource, None));
        }
        match self.rules.ask(at, packet.protocol, source, destination, packet.ports.1) {
            Ok(grant) => self.admit(key, grant, packet, (syn, unfit(true) || wrong)),
            Err(denied) => Expected::Drop(denied),
        }
    }

    /// Why nothing in pieces is kept of this sender to this address, whatever its ports; `None`: it is.
    pub(crate) fn unwelcome(&self, at: u16, packet: &Packet) -> Option<DropReason> {
        let rules = &self.rules;
        let (source, destination) = (packet.source, packet.destination);
        if rules.is_nat(at, destination) {
            let owner = rules.resources.iter().find(|resource| resource.has_nat(destination))?;
            let known = owner.targets.iter().flat_map(|target| &target.backends).any(|(own, _)| *own == source);
            return (!known).then_some(DropReason::NoSession);
        }
        if rules.spoofed(at, source, destination) {
            return Some(DropReason::SpoofedSource);
        }
        rules.admits_source(at, source, destination).err()
    }

    /// Whether whoever this packet asks for answers nothing.
    pub(crate) fn is_silent(&self, at: u16, destination: u32) -> bool {
        let rules = &self.rules;
        let owner =
            rules.resources.iter().find(|resource| rules.is_nat(at, destination) && resource.has_nat(destination));
        let bound = || rules.visible(at, destination).map(|(endpoint, _)| &rules.resources[endpoint.resource]);
        owner.or_else(bound).is_some_and(|resource| resource.silent)
    }

    /// What holds as many sessions as it may: the endpoint, then its resource. `None`: there is room for another.
    pub(crate) fn at_limit(&self, grant: &Grant) -> Option<fn(&Grant, &Grant) -> bool> {
        let most = self.rules.endpoints.iter().find(|e| e.id == grant.endpoint).map_or(0, |e| e.max);
        if self.live(|flow| flow.grant.endpoint == grant.endpoint) >= most {
            return Some(|one, other| one.endpoint == other.endpoint);
        }
        let most = self.rules.resources[grant.resource].max;
        let full = self.live(|flow| flow.grant.resource == grant.resource) >= most;
        full.then_some(|one, other| one.resource == other.resource)
    }

    /// Check 7.
    fn admit(&self, key: Key, grant: Grant, packet: &Packet, (syn, unfit): (bool, bool)) -> Expected {
        let drop = |reason| Expected::Drop((reason, Some(grant.resource)));
        let opens = match packet.protocol {
            TCP => syn,
            ICMP => packet.ports.1 == 0,
            _ => true,
        };
        let bucket = self.rules.endpoints.iter().find(|e| e.id == grant.endpoint).and_then(|e| e.bucket.as_ref());
        if opens && bucket.is_some_and(|bucket| !bucket.holds(SESSION, self.now)) {
            return drop(DropReason::RateLimited);
        }
        if !opens {
            return drop(DropReason::NotSyn);
        }
        if packet.ttl <= 1 {
            return drop(DropReason::TtlExpired);
        }
        let resource = &self.rules.resources[grant.resource];
        if resource.targets[grant.target].backends.iter().all(|(_, state)| *state != BackendState::Up) {
            return drop(DropReason::NoBackend);
        }
        if unfit {
            return drop(DropReason::BadChecksum);
        }
        if self.full() && !self.flows.values().any(|flow| flow.closes() || flow.half_open()) {
            return drop(DropReason::TableFull);
        }
        // A session that made room was live until then, and counts no more. Which one it was is the
        // forwarder's choice, so scenarios with a small table have no other limits.
        if let Some(shares) = self.at_limit(&grant)
            && !self.flows.values().any(|flow| shares(&flow.grant, &grant) && flow.half_open())
        {
            return drop(DropReason::SessionLimit);
        }
        Expected::Open(key, grant)
    }

    /// A session was opened.
    pub(crate) fn opened(&mut self, key: Key, flow: Flow) {
        let endpoint = self.rules.endpoints.iter_mut().find(|endpoint| endpoint.id == flow.grant.endpoint);
        if let Some(bucket) = endpoint.and_then(|endpoint| endpoint.bucket.as_mut()) {
            bucket.take(SESSION, self.now);
        }
        self.flows.insert(key, flow);
    }

    /// Whether a packet dropped so is answered.
    pub(crate) fn answers(&self, (reason, resource): Denied, (packet, sum, six): (&Packet, Sum, bool)) -> bool {
        let never = matches!(
            reason,
            DropReason::SpoofedSource
                | DropReason::SourceNotAllowed
                | DropReason::NoSession
                | DropReason::IcmpUnmatched
                | DropReason::Malformed
                | DropReason::BadChecksum
                | DropReason::RateLimited
        );
        let reset = packet.protocol == TCP && packet.flags & RST != 0;
        let unsound = sum == Sum::Wrong || sum == Sum::Absent && six;
        !never && !reset && !unsound && !resource.is_some_and(|resource| self.rules.resources[resource].silent)
    }

    /// Whether a late segment of an ended session is answered.
    pub(crate) fn answers_late(&mut self, packet: &Packet, intact: bool) -> bool {
        let now = self.now;
        let Some(flow) = self.late.and_then(|key| self.flows.get_mut(&key)) else { return false };
        if packet.flags & RST != 0 || !intact {
            return false;
        }
        now - flow.seen <= ANSWERS_ALL || flow.answered.replace(now) != Some(now)
    }

    /// Notes a TCP segment that passed. `lost`: it never reached the other end.
    /// `intact`: its checksum is right.
    pub(crate) fn passed(&mut self, key: Key, forth: bool, packet: &Packet, lost: bool, intact: bool) {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if key.1 == TCP && (!intact && packet.flags & (SYN | FIN | RST) != 0 || !flow.is_own(forth, packet)) {
            flow.strange = Some(now);
            return;
        }
        (flow.seen, flow.asked) = (now, None);
        if key.1 != TCP {
            return;
        }
        if packet.flags & RST != 0 {
            (flow.phase, flow.exact) = (Phase::Closing, true);
            return;
        }
        let (own, other) =
            if forth { (&mut flow.consumer, &mut flow.provider) } else { (&mut flow.provider, &mut flow.consumer) };
        let control = u32::from(packet.flags & SYN != 0) + u32::from(packet.flags & FIN != 0);
        let end = packet.seq.wrapping_add(packet.payload.len() as u32).wrapping_add(control);
        (own.next, own.sent) = (end, true);
        if !lost {
            (other.expects, other.heard) = (end, true);
        }
        own.fin |= packet.flags & FIN != 0;
        if packet.flags & ACK != 0 {
            own.acked = packet.ack;
            other.fin_acked |= other.fin && packet.ack == other.next;
        }
        let (own, other) = (*own, *other);
        if flow.phase == Phase::Opening && forth && packet.flags & ACK != 0 && flow.consumer.heard {
            flow.phase = Phase::Established;
        }
        if own.fin && other.fin {
            flow.phase = Phase::Closing;
        }
        flow.exact |= own.fin_acked && other.fin_acked;
    }
}
