//! What somebody sends in the name of an end of a connection: everything passes, and nothing changes.

use privlink::dataplane::counters::VerdictCounts;

use super::oracle::{Flow, Key, Phase};
use super::packet::{ACK, FIN, Packet, RST, SYN, Sum, TCP};
use super::rules::PROVIDER;
use super::run::{Case, Run, Sent};

/// Name, flags, payload bytes, and whether the numbers are right but the checksum is not.
const KINDS: [(&str, u8, usize, bool); 9] = [
    ("acknowledgement", ACK, 0, false),
    ("data", ACK, 1, false),
    ("reset", RST, 0, false),
    ("fin", FIN | ACK, 0, false),
    ("syn", SYN, 0, false),
    ("syn-ack", SYN | ACK, 0, false),
    ("no flags", 0, 1, false),
    ("reset with a bad checksum", RST, 0, true),
    ("fin with a bad checksum", FIN | ACK, 0, true),
];

impl Run {
    /// A segment of each kind on a live connection, from either side.
    pub(crate) fn send_forged(&mut self, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        let live = |(key, flow): &(&Key, &Flow)| {
            key.1 == TCP && flow.phase == Phase::Established && flow.asked.is_none() && flow.consumer.sent
        };
        let flows: Vec<(Key, Flow)> = self.oracle.flows.iter().filter(live).map(|(k, f)| (*k, f.clone())).collect();
        let Some((key, flow)) = self.random.choice(&flows).cloned() else {
            let sent = self.choose_packet();
            return self.send(&sent, before, killed);
        };
        let (name, flags, payload, spoilt) = self.random.choice(KINDS).unwrap_or(KINDS[0]);
        let forth = self.random.bool();
        let (own, other) = if forth { (flow.consumer, flow.provider) } else { (flow.provider, flow.consumer) };
        // Far from all that either end has said.
        let far = |run: &mut Self, from: u32| from.wrapping_add((1 << 29) + run.random.u32(..1 << 31));
        let (seq, ack) = if spoilt { (own.next, own.expects) } else { (far(self, own.next), far(self, other.next)) };
        let (source, destination, ports) = if forth {
            (key.2, key.4, (key.3, key.5))
        } else {
            (flow.backend, flow.nat.0, (flow.grant.port, flow.nat.1))
        };
        let packet =
            Packet { source, destination, protocol: TCP, ports, ttl: 64, flags, seq, ack, payload: vec![9; payload] };
        let at = if forth { key.0 } else { PROVIDER };
        let sum = if spoilt { Sum::Wrong } else { Sum::Full };
        let (state, exact) = (flow.phase, flow.exact);
        self.send(&Sent { at, packet, sum, lost: false, cut: false }, before, killed);
        let after = &self.oracle.flows[&key];
        assert_eq!((after.phase, after.exact, after.seen), (state, exact, flow.seen), "{name}");
        self.reach(Case::Forged(name));
    }
}
