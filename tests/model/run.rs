//! Random steps over model and code, compared after each.

use std::collections::{BTreeMap, BTreeSet};

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::BackendState;
use privlink::snapshot::DropReason;

use super::oracle::{Expected, Flow, Key, Oracle, Peer, Phase};
use super::packet::{ACK, FIN, ICMP, Packet, RST, SYN, Sum, TCP, VNET, header_of, name, residue, sum_at};
use super::rules::{Families, Grant, PROVIDER, Rules};
use super::world::World;

/// What a generator must reach to be worth its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    Opened,
    Passed,
    Returned,
    Revoked,
    BothEndsReset,
    IdleReset,
    Expired,
    Partial,
    StillWrong,
    ExactClose,
    Answered,
    Malformed,
    Evicted,
    /// A half-open session made room.
    HalfOpenGave,
    /// An end was asked for its numbers.
    Asked,
    /// A segment that somebody sends in the name of an end.
    Forged(&'static str),
    /// An ICMP error was translated.
    Error,
    /// One made a session narrow.
    Narrowed,
    /// A datagram that did not fit left in pieces.
    Cut,
    /// A segment that did not fit left as several.
    Segmented,
    /// A datagram in pieces was forwarded.
    Whole,
    Drop(&'static str),
}

/// NAT side, backend side, state and endpoint of a session.
type Held = ((u32, u16), (u32, u16), &'static str, u32);

pub(crate) type Reached = BTreeMap<Case, u64>;

/// A packet to deliver: where, and whether its receiver never gets it.
pub(crate) struct Sent {
    pub(crate) at: u16,
    pub(crate) packet: Packet,
    pub(crate) sum: Sum,
    pub(crate) lost: bool,
    /// Whether it comes in pieces.
    pub(crate) cut: bool,
}

pub(crate) struct Run {
    pub(crate) random: fastrand::Rng,
    pub(crate) oracle: Oracle,
    pub(crate) world: World,
    pub(crate) workers: u16,
    pub(crate) epoch: u64,
    pub(crate) small: bool,
    pub(crate) reached: Reached,
    /// Addresses of deleted endpoints, to be used again.
    pub(crate) deleted: Vec<super::rules::Endpoint>,
    /// Of the last datagram that came in pieces.
    pub(crate) identification: u32,
    /// Whether the checksum of the packet last sent is right.
    pub(crate) intact: bool,
    /// A connection that was closed, and that made room: its ends are told.
    made_room: Option<(Key, Flow)>,
    /// Identification of the last datagram between two hosts.
    identified: BTreeMap<(u32, u32, u8), u16>,
}

impl Run {
    pub(crate) fn new(seed: u64, workers: u16, table: u32, families: Families) -> Self {
        let small = table < 100;
        let mut rules = Rules::new(table, families);
        if small {
            rules.resources.iter_mut().for_each(|resource| resource.max = u32::MAX);
            rules.endpoints.iter_mut().for_each(|endpoint| endpoint.max = u32::MAX);
        }
        let mut world = World::new(workers, seed);
        world.publish(rules.snapshot(1));
        world.settle(1_000);
        let oracle = Oracle { rules, flows: BTreeMap::new(), now: 1_000, late: None, replaced: None };
        let random = fastrand::Rng::with_seed(seed);
        Self {
            random,
            oracle,
            world,
            workers,
            epoch: 1,
            small,
            reached: Reached::new(),
            deleted: vec![],
            identification: 0,
            intact: true,
            made_room: None,
            identified: BTreeMap::new(),
        }
    }

    pub(crate) fn reach(&mut self, case: Case) {
        *self.reached.entry(case).or_insert(0) += 1;
    }

    pub(crate) fn finish(mut self, reached: &mut Reached) {
        self.compare_flows();
        for (case, count) in self.reached {
            *reached.entry(case).or_insert(0) += count;
        }
    }

    /// Perhaps a change of rules or of time, then a packet that meets it in the same batch.
    pub(crate) fn step(&mut self) {
        let mut killed = Vec::new();
        match self.random.u8(..100) {
            0..4 => killed = self.change_rules(),
            4..7 => killed = self.pass_time(),
            _ => {}
        }
        let which = self.random.u8(..100);
        if (6..22).contains(&which) && killed.is_empty() {
            // What these count and compare is theirs alone.
            let out = self.world.settle(self.oracle.now);
            assert!(out.iter().all(|(_, frame)| is_probe(frame)), "nothing ended: {out:?}");
        }
        let before = self.world.counts();
        if which < 6 {
            self.send_malformed(&before, &killed);
        } else if which < 12 && killed.is_empty() {
            self.send_error(&before, &killed);
        } else if which < 18 && killed.is_empty() && !self.small {
            self.send_pieces(&before, &killed);
        } else if which < 22 && killed.is_empty() && !self.small {
            self.send_bounded(&before);
        } else if which < 28 {
            self.send_forged(&before, &killed);
        } else {
            let sent = self.choose_packet();
            self.send(&sent, &before, &killed);
        }
        if self.random.u8(..40) == 0 {
            self.compare_flows();
        }
    }

    /// Whether packets at this attachment are of IPv6.
    pub(crate) fn six(&self, at: u16) -> bool {
        self.oracle.rules.families.at(at)
    }

    pub(crate) fn deliver(&mut self, at: u16, frame: Vec<u8>) -> Vec<(u16, Vec<u8>)> {
        let reader = self.random.usize(..usize::from(self.workers));
        self.world.settle_others(reader, self.oracle.now);
        self.world.push(reader, at, frame);
        self.world.settle(self.oracle.now)
    }

    pub(crate) fn send(&mut self, sent: &Sent, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        let expected = self.oracle.decide(sent.at, &sent.packet, sent.sum);
        let frame = sent.packet.frame(sent.sum, self.six(sent.at));
        let out = self.deliver(sent.at, frame.clone());
        self.take(sent, &expected, &frame, &out, before, killed);
    }

    /// Compares what left with what was expected to, and notes it.
    pub(crate) fn take(
        &mut self,
        sent: &Sent,
        expected: &Expected,
        frame: &[u8],
        out: &[(u16, Vec<u8>)],
        before: &VerdictCounts,
        killed: &[(Key, Flow)],
    ) {
        self.intact = sent.sum != Sum::Wrong;
        match *expected {
            Expected::Drop(ref denied) => {
                self.check_drop(denied, (&sent.packet, sent.sum), sent.at, out, before, killed);
            }
            Expected::Open(key, grant) => {
                let refused = self.world.counts().dropped[DropReason::SessionLimit as usize]
                    > before.dropped[DropReason::SessionLimit as usize];
                if refused && self.oracle.at_limit(&grant).is_some() && !self.looks_everywhere() {
                    let denied = (DropReason::SessionLimit, Some(grant.resource));
                    return self.check_drop(&denied, (&sent.packet, sent.sum), sent.at, out, before, killed);
                }
                let evicted = self.note_evicted(key, &grant);
                let out = self.check_forward(out, before, &[killed, &evicted].concat(), &sent.packet);
                let seen = Packet::parse(&out.1);
                let resource = &self.oracle.rules.resources[grant.resource];
                assert_eq!(out.0, PROVIDER);
                assert!(resource.nat.contains(&seen.source), "{seen:?}: not a NAT address of the resource");
                let backends = &resource.targets[grant.target].backends;
                assert!(
                    backends.contains(&(seen.destination, BackendState::Up)),
                    "{seen:?}: not a backend that takes sessions"
                );
                let nat = (seen.source, seen.ports.0);
                let flow = Flow::open(grant, seen.destination, nat, key.1, self.oracle.now);
                assert!(nat.1 >= 1024, "{seen:?}");
                self.oracle.opened(key, flow);
                self.reach(Case::Opened);
                self.check_translation(sent, frame, &out.1, key, true);
            }
            Expected::Pass(key) => {
                let out = self.check_forward(out, before, killed, &sent.packet);
                let forth = (sent.at, sent.packet.source) == (key.0, key.2) && sent.packet.destination == key.4;
                assert_eq!(out.0, if forth { PROVIDER } else { key.0 });
                self.reach(if forth { Case::Passed } else { Case::Returned });
                self.check_translation(sent, frame, &out.1, key, forth);
            }
        }
    }

    /// One frame was forwarded; returns it.
    pub(crate) fn check_forward(
        &mut self,
        out: &[(u16, Vec<u8>)],
        before: &VerdictCounts,
        killed: &[(Key, Flow)],
        packet: &Packet,
    ) -> (u16, Vec<u8>) {
        let after = self.world.counts();
        let dropped: Vec<_> =
            DropReason::ALL.into_iter().filter(|r| after.dropped[*r as usize] != before.dropped[*r as usize]).collect();
        assert_eq!(after.forwarded, before.forwarded + 1, "not forwarded but {dropped:?}");
        assert_eq!((after.dropped, after.answered), (before.dropped, before.answered));
        let own = self.check_resets(out, killed, before, &after, packet);
        assert_eq!(own.len(), 1, "{own:?}");
        own[0].clone()
    }

    /// The packet was dropped for exactly this reason, and answered if it ought to be.
    pub(crate) fn check_drop(
        &mut self,
        denied: &super::rules::Denied,
        (packet, sum): (&Packet, Sum),
        at: u16,
        out: &[(u16, Vec<u8>)],
        before: &VerdictCounts,
        killed: &[(Key, Flow)],
    ) {
        let (after, mut wanted) = (self.world.counts(), before.dropped);
        wanted[denied.0 as usize] += 1;
        let named = |counts: &[u64]| -> Vec<_> {
            DropReason::ALL.into_iter().filter(|r| counts[*r as usize] != before.dropped[*r as usize]).collect()
        };
        assert_eq!(named(&after.dropped), named(&wanted), "{packet:?} at {at}; {out:?}");
        assert_eq!((after.dropped, after.forwarded), (wanted, before.forwarded));
        self.reach(Case::Drop(denied.0.name()));
        let own = self.check_resets(out, killed, before, &after, packet);
        let unreadable = matches!(
            denied.0,
            DropReason::Malformed
                | DropReason::UnsupportedProtocol
                | DropReason::SourceRoute
                | DropReason::ExtensionHeader
        );
        let answered = match denied.0 {
            DropReason::SessionEnded => self.oracle.answers_late(packet, self.intact),
            _ => !unreadable && self.oracle.answers(*denied, (packet, sum, self.six(at))),
        };
        assert_eq!(
            (own.len(), after.answered - before.answered),
            (usize::from(answered), u64::from(answered)),
            "{denied:?} {packet:?}: {own:?}"
        );
        if let [(to, frame)] = own.as_slice() {
            self.reach(Case::Answered);
            let answer = Packet::parse(frame);
            assert_eq!((*to, answer.source, answer.destination), (at, packet.destination, packet.source));
            assert_eq!(residue(frame), 0, "{answer:?}");
            let header = header_of(frame);
            let kind = (frame[VNET + header], frame[VNET + header + 1]);
            let of = |four, six| if header == 40 { six } else { four };
            match denied.0 {
                DropReason::UnknownEndpoint => assert_eq!((answer.protocol, kind), (ICMP, of((3, 1), (1, 3)))),
                DropReason::TtlExpired => assert_eq!((answer.protocol, kind), (ICMP, of((11, 0), (3, 0)))),
                _ if packet.protocol != TCP => assert_eq!((answer.protocol, kind), (ICMP, of((3, 13), (1, 1)))),
                _ if packet.flags & ACK != 0 => assert_eq!((answer.flags, answer.seq), (RST, packet.ack)),
                _ => {
                    let control = u32::from(packet.flags & SYN != 0) + u32::from(packet.flags & FIN != 0);
                    let end = packet.seq.wrapping_add(packet.payload.len() as u32).wrapping_add(control);
                    assert_eq!((answer.flags, answer.ack), (RST | ACK, end));
                }
            }
        }
    }

    /// Every ended connection was reset at both ends at a number that each accepts. Returns what else left.
    pub(crate) fn check_resets(
        &mut self,
        out: &[(u16, Vec<u8>)],
        killed: &[(Key, Flow)],
        before: &VerdictCounts,
        after: &VerdictCounts,
        packet: &Packet,
    ) -> Vec<(u16, Vec<u8>)> {
        let probes = out.iter().filter(|(_, frame)| is_probe(frame)).count();
        let originated = (after.originated - before.originated) as usize - probes;
        (0..probes).for_each(|_| self.reach(Case::Asked));
        let (mut resets, mut rest) = (Vec::new(), Vec::new());
        // One that a reset closed may make room, and its ends are told.
        let closed: Vec<_> = (self.oracle.flows.iter())
            .filter(|(_, flow)| self.small && flow.owes_resets())
            .map(|(key, flow)| (*key, flow.clone()))
            .chain(self.made_room.take())
            .chain(self.oracle.replaced.take())
            .collect();
        // A late segment of a connection that ended just now is answered by a reset that looks the same.
        let mirrored = (packet.destination, packet.source, (packet.ports.1, packet.ports.0), packet.ack);
        for (at, frame) in out.iter().filter(|(_, frame)| !is_probe(frame)) {
            let packet = Packet::parse(frame);
            let of = |(key, flow): &&(Key, Flow)| {
                let to_consumer =
                    (*at, packet.source, packet.destination, packet.ports) == (key.0, key.4, key.2, (key.5, key.3));
                let service = (flow.nat.0, flow.backend, (flow.nat.1, flow.grant.port));
                let to_service = *at == PROVIDER && (packet.source, packet.destination, packet.ports) == service;
                key.1 == TCP && packet.flags == RST && (to_consumer || to_service)
            };
            if killed.iter().chain(&closed).any(|one| of(&one)) {
                assert_eq!(residue(frame), 0);
                resets.push((*at, packet, frame));
            } else {
                rest.push((*at, frame.clone()));
            }
        }
        if resets.len() > originated {
            let answers = |p: &Packet| (p.source, p.destination, p.ports, p.seq) == mirrored;
            let answer = resets.iter().position(|(_, p, _)| answers(p)).expect("a reset too many answers the packet");
            let (at, _, frame) = resets.remove(answer);
            rest.push((at, frame.clone()));
        }
        assert_eq!(resets.len(), originated, "a reset for a connection that did not end: {rest:?}");
        for (key, flow) in killed.iter().filter(|(key, flow)| key.1 == TCP && !flow.exact) {
            // At the expected number a reset is accepted at once; further on in the window it is challenged,
            // and the challenge is answered at its own number (RFC 5961 §3.2).
            let accepts = |peer: Peer, seq: u32| seq.wrapping_sub(peer.expects) < 8_192;
            let told = |at: u16, ports: (u16, u16), peer: Peer| {
                let exact = peer.acked == peer.expects || !peer.heard;
                let ok = |seq| if exact { seq == peer.expects } else { accepts(peer, seq) };
                !peer.heard || resets.iter().any(|(to, p, _)| *to == at && p.ports == ports && ok(p.seq))
            };
            // Before the handshake is over, the consumer learns from its next SYN.
            let opening = flow.phase == Phase::Opening;
            assert!(opening || told(key.0, (key.5, key.3), flow.consumer), "{key:?} {flow:?}: {resets:?}");
            assert!(told(PROVIDER, (flow.nat.1, flow.grant.port), flow.provider), "{key:?} {flow:?}: {resets:?}");
            if flow.consumer.heard && flow.provider.heard {
                self.reach(Case::BothEndsReset);
            }
        }
        rest
    }

    /// What left is the packet with other addresses and ports, one hop older, and nothing else changed.
    fn check_translation(&mut self, sent: &Sent, frame: &[u8], out: &[u8], key: Key, forth: bool) {
        let flow = self.oracle.flows[&key].clone();
        let mut wanted = Packet { ttl: sent.packet.ttl - 1, ..sent.packet.clone() };
        if forth {
            (wanted.source, wanted.destination) = (flow.nat.0, flow.backend);
            wanted.ports = (flow.nat.1, flow.grant.port);
        } else {
            (wanted.source, wanted.destination, wanted.ports) = (key.4, key.2, (key.5, key.3));
        }
        let (before, after) = (self.six(sent.at), self.six(if forth { PROVIDER } else { key.0 }));
        let absent = sent.sum == Sum::Absent;
        let mut naive = wanted.frame(if absent && after && !before { Sum::Full } else { sent.sum }, after);
        let mut got = out.to_vec();
        assert!(absent || residue(frame) == residue(out), "as right, or as wrong, as it was: {:?}", sent.packet);
        match sent.sum {
            Sum::Wrong => {
                assert_ne!(residue(out), 0, "a wrong checksum was made right");
                self.reach(Case::StillWrong);
            }
            Sum::Partial => self.reach(Case::Partial),
            // IPv6 demands a checksum where IPv4 has none (RFC 7915 §4.5).
            Sum::Absent if after && !before => assert_eq!(residue(out), 0),
            Sum::Absent => assert_eq!(out[VNET + header_of(out) + 6..][..2], [0, 0]),
            Sum::Full => assert_eq!(residue(out), 0),
        }
        if sent.cut && !after {
            // G-4: no identification of two datagrams that may be under way at once.
            let parties = (wanted.source, wanted.destination, wanted.protocol);
            let fresh = u16::from_be_bytes([out[VNET + 4], out[VNET + 5]]);
            assert_ne!(self.identified.insert(parties, fresh), Some(fresh), "{parties:?}");
        }
        // The checksum has been compared by what it means, the virtio header's length is a hint.
        let at = VNET + header_of(out) + sum_at(sent.packet.protocol);
        for frame in [&mut naive, &mut got] {
            frame[at..at + 2].fill(0);
            frame[2..4].fill(0);
            if !after && (before || sent.cut) {
                // Identification and don't-fragment flag of a packet that had neither (RFC 7915 §5.1), or that may be
                // cut again and has a fresh one; and the header's checksum, which `parse` verifies.
                frame[VNET + 4..VNET + 8].fill(0);
                frame[VNET + 10..VNET + 12].fill(0);
            }
            if after && !before {
                // The flow label, which IPv4 has not.
                frame[VNET + 2..VNET + 4].fill(0);
            }
        }
        assert_eq!(got, naive, "{:?}", Packet::parse(out));
        let exact = flow.exact;
        self.oracle.passed(key, forth, &sent.packet, sent.lost, self.intact);
        if !exact && self.oracle.flows[&key].exact {
            self.reach(Case::ExactClose);
        }
    }

    /// Whether a half-open session is found if there is one: it is drawn at random from a worker's table once that has
    /// grown, and only from that of the worker which needs room.
    fn looks_everywhere(&self) -> bool {
        self.workers == 1 && self.small
    }

    /// The forwarder made room where it had to: one session is gone, which was closed, or nobody had it yet and its
    /// server was told. Returns that one.
    fn note_evicted(&mut self, opened: Key, grant: &Grant) -> Vec<(Key, Flow)> {
        let (full, at_limit) = (self.oracle.full(), self.oracle.at_limit(grant));
        if !full && at_limit.is_none() {
            return Vec::new();
        }
        let held = self.listed();
        let missing: Vec<Key> = self.oracle.flows.keys().filter(|key| !held.contains_key(*key)).copied().collect();
        assert_eq!(missing.len(), 1, "one made room for {opened:?}: {missing:?}");
        let closes = self.oracle.flows.values().any(Flow::closes);
        let tells = self.oracle.flows.values().any(|flow| flow.tells(self.oracle.now));
        let evicted = self.oracle.flows.remove(&missing[0]).expect("listed above");
        if full && closes && !(tells && evicted.half_open()) {
            assert!(evicted.closes(), "a session made room that was not closed: {evicted:?}");
            self.reach(Case::Evicted);
            self.made_room = evicted.owes_resets().then_some((missing[0], evicted));
            return Vec::new();
        }
        let of_use = full || at_limit.is_some_and(|shares| shares(&evicted.grant, grant));
        assert!(evicted.half_open() && of_use, "a live session was evicted: {evicted:?}");
        self.reach(Case::HalfOpenGave);
        vec![(missing[0], evicted)]
    }

    /// Sessions of the code under test: NAT, backend and state by key.
    fn listed(&mut self) -> BTreeMap<Key, Held> {
        let mut reverse = BTreeSet::new();
        let mut all = BTreeMap::new();
        for session in self.world.flows(self.oracle.now) {
            let [nat, backend] = [session.flow.nat(), session.flow.backend()].map(|(ip, port)| (name(ip), port));
            let protocol = session.flow.protocol as u8;
            assert!(reverse.insert((protocol, nat, backend)), "two sessions share {nat:?} → {backend:?}");
            let (consumer, endpoint) = (session.flow.consumer(), session.flow.endpoint());
            let key = (session.attachment.0, protocol, name(consumer.0), consumer.1, name(endpoint.0), endpoint.1);
            let held = (nat, backend, session.phase.name(), session.endpoint.0);
            assert!(all.insert(key, held).is_none(), "two sessions for {key:?}");
        }
        all
    }

    /// Both hold the same sessions in the same states, and no two share a reverse key.
    fn compare_flows(&mut self) {
        let listed = self.listed();
        let state = |phase| match phase {
            Phase::Active => "active",
            Phase::Opening => "opening",
            Phase::Established => "established",
            Phase::Closing => "closing",
            Phase::Ended => "ended",
        };
        let model: BTreeMap<_, _> = (self.oracle.flows.iter())
            .map(|(key, f)| (*key, (f.nat, (f.backend, f.grant.port), state(f.phase), f.grant.endpoint)))
            .collect();
        assert_eq!(listed, model);
        assert!(!self.small || listed.len() <= self.oracle.rules.table as usize);
    }
}

/// Whether a frame is a bare acknowledgement of the forwarder's own: no end of the model announces such a window.
pub(crate) fn is_probe(frame: &[u8]) -> bool {
    let (at, packet) = (VNET + header_of(frame), &frame[VNET..]);
    let number = if header_of(frame) == 40 { packet[6] } else { packet[9] };
    number == TCP && frame.len() == at + 20 && frame[at + 13] == ACK && frame[at + 14..at + 16] == [4, 0]
}
