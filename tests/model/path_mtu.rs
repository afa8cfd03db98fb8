//! Packets that do not fit their way. A consumer is told what does; whoever sends to a NAT address is told nothing, and
//! what it sends is cut.

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::DropReason;

use super::bounds::{MTU, is_forth};
use super::oracle::{Expected, Key};
use super::packet::{Packet, RST, SYN, Sum, TCP, VNET, header_of, naive_sum, seal};
use super::rules::PROVIDER;
use super::run::{Case, Run, Sent};

/// For how long an error is believed.
const BELIEVED: u32 = 10 * 60 * 10;

impl Run {
    /// What the way to the consumer of a session carries.
    fn carried(&self, key: Key) -> usize {
        let told = self.oracle.flows[&key].narrow.filter(|(_, since)| self.oracle.now - since < BELIEVED);
        told.map_or(MTU, |(mtu, _)| mtu)
    }

    /// An error about the way to a consumer is told to nobody: its session alone is narrow from now on.
    pub(crate) fn is_told(&mut self, key: Key, mtu: usize, out: &[(u16, Vec<u8>)], before: &VerdictCounts) {
        let after = self.world.counts();
        assert_eq!((after.forwarded, after.dropped), (before.forwarded + 1, before.dropped));
        assert_eq!((out, after.answered, after.originated), (&[][..], before.answered, before.originated));
        if mtu <= self.carried(key) && mtu < MTU {
            let now = self.oracle.now;
            self.oracle.flows.get_mut(&key).expect("chosen").narrow = Some((mtu, now));
        }
        self.reach(Case::Narrowed);
    }

    /// A packet of a session by UDP that does not fit the other side, and must not be cut.
    pub(crate) fn send_too_large(&mut self, before: &VerdictCounts) {
        let Some((mut sent, key)) = self.packet_of_a_session(before) else { return };
        let forth = is_forth(key, &sent);
        let (six, other) = (self.six(sent.at), self.six(if forth { PROVIDER } else { key.0 }));
        let limit = if forth { MTU } else { self.carried(key) + 1 - if other { 48 } else { 28 } };
        let length = limit + self.random.usize(..if forth { 90 } else { 900 });
        sent.packet.payload = (0..length).map(|_| self.random.u8(..)).collect();
        let mut frame = sent.packet.frame(Sum::Full, six);
        if !six {
            frame[VNET + 6] |= 0x40;
            seal(&mut frame[VNET..]);
        }
        let out = self.deliver(sent.at, frame);
        if !forth {
            return self.are_pieces(&sent, key, &out, before);
        }
        let told = match (six, other) {
            (false, true) => MTU - 20,
            (true, false) => MTU + 20,
            _ => MTU,
        };
        self.only_dropped(before, DropReason::PacketTooBig, 1);
        let [(to, frame)] = out.as_slice() else { panic!("one answer: {out:?}") };
        self.is_error(&sent, *to, frame, ((3, 4), (2, 0)));
        let at = VNET + header_of(frame) + 4;
        let word = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        assert_eq!(word as usize, told);
    }

    /// The consumer gets the datagram in pieces that fit.
    fn are_pieces(&mut self, sent: &Sent, key: Key, out: &[(u16, Vec<u8>)], before: &VerdictCounts) {
        let after = self.world.counts();
        assert_eq!((after.forwarded, after.dropped), (before.forwarded + 1, before.dropped));
        assert_eq!((after.answered, after.originated), (before.answered, before.originated));
        let (six, limit) = (self.six(key.0), self.carried(key));
        let (source, destination, ports) = (key.4, key.2, (key.5, key.3));
        let whole = Packet { source, destination, ports, ttl: sent.packet.ttl - 1, ..sent.packet.clone() };
        let naive = whole.frame(Sum::Full, six);
        let header = header_of(&naive);
        let (mut joined, mut identification) = (Vec::new(), None);
        for (number, (to, frame)) in out.iter().enumerate() {
            let ip = &frame[VNET..];
            let half = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
            let (start, offset, more, own) = if six {
                assert_eq!((ip[6], ip[7], &ip[8..40]), (44, naive[VNET + 7], &naive[VNET + 8..VNET + 40]));
                (48, half(42) & 0xFFF8, half(42) & 1, (half(44), half(46)))
            } else {
                assert_eq!((ip[8], &ip[12..20]), (naive[VNET + 8], &naive[VNET + 12..VNET + 20]));
                assert_eq!((naive_sum(&ip[..20], 0), half(6) & 0x4000), (0xFFFF, 0));
                (20, (half(6) & 0x1FFF) * 8, half(6) >> 13, (half(4), 0))
            };
            assert!(*to == key.0 && ip.len() <= limit, "{} bytes, not {limit}", ip.len());
            assert_eq!((usize::from(offset), more == 0), (joined.len(), number + 1 == out.len()));
            assert_eq!(*identification.get_or_insert(own), own);
            joined.extend_from_slice(&ip[start..]);
        }
        assert_eq!(joined, naive[VNET + header..]);
        self.reach(Case::Cut);
        self.oracle.passed(key, false, &sent.packet, false, true);
    }

    /// A segment of a service that does not fit the way to its consumer: several leave in its place.
    pub(crate) fn send_large_segment(&mut self, before: &VerdictCounts) {
        let mut sent = self.choose_packet();
        let expected = self.oracle.decide(sent.at, &sent.packet, sent.sum);
        let six = self.six(sent.at);
        let (key, other) = match expected {
            Expected::Pass(key) if key.1 == TCP && !is_forth(key, &sent) => (key, self.six(key.0)),
            _ => {
                let frame = sent.packet.frame(sent.sum, six);
                let out = self.deliver(sent.at, frame.clone());
                return self.take(&sent, &expected, &frame, &out, before, &[]);
            }
        };
        let headers = if other { 60 } else { 40 };
        let length = self.carried(key) + 1 - headers + self.random.usize(..900);
        (sent.packet.payload, sent.lost) = ((0..length).map(|_| self.random.u8(..)).collect(), false);
        let frame = sent.packet.frame(sent.sum, six);
        let mut out = self.deliver(sent.at, frame.clone());
        if sent.packet.flags & (SYN | RST) != 0 || sent.sum == Sum::Wrong {
            let one_says_so = sent.packet.flags & (SYN | RST) != 0;
            let reason = if one_says_so { DropReason::PacketTooBig } else { DropReason::BadChecksum };
            assert!(out.is_empty(), "{out:?}");
            return self.only_dropped(before, reason, 1);
        }
        for (_, super_packet) in &mut out {
            let size = u16::from_ne_bytes([super_packet[4], super_packet[5]]);
            assert_eq!((super_packet[1], usize::from(size)), (if other { 4 } else { 1 }, self.carried(key) - headers));
            super_packet[1] = 0;
            super_packet[4..6].fill(0);
        }
        // What else is in it is what the kernel lends: a checksum that is yet to be completed.
        sent.sum = Sum::Partial;
        self.take(&sent, &expected, &frame, &out, before, &[]);
        self.reach(Case::Segmented);
    }
}
