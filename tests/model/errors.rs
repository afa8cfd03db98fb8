//! ICMP errors about packets of sessions: genuine ones reach the other side with the quote restored, forged ones nobody.

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::DropReason;

use super::oracle::{Flow, Key, Phase};
use super::packet::{ACK, ICMP, Packet, Sum, TCP, UDP, VNET, header_of, naive_sum, residue, seal, sum_at};
use super::rules::PROVIDER;
use super::run::{Case, Run};

/// What an error says: of IPv4, and of IPv6 (RFC 7915 §4.2, §5.2). The word is the MTU where there is one.
#[derive(Clone, Copy)]
struct Said {
    four: (u8, u8, u32),
    six: (u8, u8, u32),
}

const SAYINGS: [Said; 6] = [
    Said { four: (3, 1, 0), six: (1, 0, 0) },
    Said { four: (3, 3, 0), six: (1, 4, 0) },
    Said { four: (11, 0, 0), six: (3, 0, 0) },
    Said { four: (11, 1, 0), six: (3, 1, 0) },
    Said { four: (3, 4, 1_400), six: (2, 0, 1_420) },
    Said { four: (3, 4, 1_260), six: (2, 0, 1_280) },
];

/// What is wrong with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forged {
    Nothing,
    Checksum,
    QuotedChecksum,
    Port,
    Destination,
    Sequence,
    TinyMtu,
    OtherTarget,
}

impl Run {
    /// An error about a packet that a session sent, or seems to have sent.
    pub(crate) fn send_error(&mut self, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        if self.oracle.flows.is_empty() {
            return;
        }
        let chosen = self.random.usize(..self.oracle.flows.len());
        let (key, flow) = self.oracle.flows.iter().nth(chosen).map(|(k, f)| (*k, f.clone())).expect("in range");
        let forth = self.random.bool();
        let at = if forth { key.0 } else { PROVIDER };
        let six = self.six(at);
        let kinds = [Forged::Checksum, Forged::QuotedChecksum, Forged::Port, Forged::Destination, Forged::Sequence];
        let mut forged = match self.random.u8(..4) {
            0 => self.random.choice(kinds).unwrap_or(Forged::Port),
            1 if self.random.bool() => {
                self.random.choice([Forged::TinyMtu, Forged::OtherTarget]).unwrap_or(Forged::Port)
            }
            _ => Forged::Nothing,
        };
        // The quoted packet went the other way.
        let (own, sent) = if forth { (flow.provider, flow.consumer) } else { (flow.consumer, flow.provider) };
        let mut quoted = Packet {
            source: if forth { key.4 } else { flow.nat.0 },
            destination: if forth { key.2 } else { flow.backend },
            protocol: key.1,
            ports: if forth { (key.5, key.3) } else { (flow.nat.1, flow.grant.port) },
            ttl: 9,
            flags: ACK,
            seq: own.next,
            ack: sent.next,
            payload: vec![5; self.random.usize(..50)],
        };
        match forged {
            Forged::Port if key.1 != ICMP => quoted.ports.1 = quoted.ports.1.wrapping_add(1).max(1),
            Forged::Destination => quoted.destination = quoted.destination.wrapping_add(7),
            Forged::Sequence if key.1 == TCP => quoted.seq = quoted.seq.wrapping_add(1 << 30),
            Forged::Port | Forged::Sequence => forged = Forged::Nothing,
            Forged::QuotedChecksum if six => forged = Forged::Nothing,
            _ => {}
        }
        // What is forged may by chance be true of another session.
        let sent_by = |(key, flow): (&Key, &Flow)| {
            let (consumer, provider) =
                ((key.4, key.2, (key.5, key.3)), (flow.nat.0, flow.backend, (flow.nat.1, flow.grant.port)));
            let own = if forth { consumer } else { provider };
            key.1 == quoted.protocol
                && (quoted.source, quoted.destination, quoted.ports) == own
                && (!forth || key.0 == at)
        };
        if matches!(forged, Forged::Port | Forged::Destination) && self.oracle.flows.iter().any(sent_by) {
            return;
        }
        let said = SAYINGS[self.random.usize(..SAYINGS.len())];
        let (kind, code, mut word) = if six { said.six } else { said.four };
        if forged == Forged::TinyMtu {
            if (kind, code) == if six { (2, 0) } else { (3, 4) } {
                word = if six { 1_279 } else { 575 };
            } else {
                forged = Forged::Nothing;
            }
        }
        let mut bytes = quoted.frame(Sum::Full, six)[VNET..].to_vec();
        if forged == Forged::QuotedChecksum {
            bytes[10] ^= 1;
        }
        let least = if six { 48 } else { 28 };
        if self.random.bool() {
            bytes.truncate(self.random.usize(least..=bytes.len()));
            // Half a checksum cannot be brought up to date; nobody could read it either.
            let sum = if six { 40 } else { 20 } + sum_at(key.1);
            if bytes.len() == sum + 1 {
                bytes.truncate(sum);
            }
        }
        let router = if forth { 0x0A01_0509 } else { 0x0A14_0009 };
        let target = if forged == Forged::OtherTarget { quoted.source.wrapping_add(1) } else { quoted.source };
        let mut frame = message(router, target, [kind, code], word, &bytes, six);
        if forged == Forged::Checksum {
            let header = header_of(&frame);
            frame[VNET + header + 2] ^= 0x10;
        }
        let out = self.deliver(at, frame);
        let known =
            if forth { flow.provider.next != 0 || flow.consumer.heard } else { key.1 != TCP || flow.consumer.sent };
        let passes = forged == Forged::Nothing && flow.phase != Phase::Ended && (key.1 != TCP || known);
        let error = Packet { source: router, destination: target, protocol: ICMP, flags: 0, ..quoted.clone() };
        if !passes {
            let reason = match forged {
                Forged::Checksum | Forged::QuotedChecksum => DropReason::Malformed,
                _ => DropReason::IcmpUnmatched,
            };
            return self.check_drop(&(reason, None), (&error, Sum::Full), at, &out, before, killed);
        }
        if forth && [(3, 4), (2, 0)].contains(&(kind, code)) {
            return self.is_told(key, word as usize, &out, before);
        }
        let (to, got) = self.check_forward(&out, before, killed, &error);
        self.reach(Case::Error);
        let (side, ends) = if forth {
            (PROVIDER, (flow.nat.0, flow.backend, (flow.grant.port, flow.nat.1)))
        } else {
            (key.0, (key.4, key.2, (key.3, key.5)))
        };
        assert_eq!(to, side);
        let wanted = Packet { source: ends.1, destination: ends.0, ports: ends.2, ..quoted };
        check_error(&got, ends, &wanted, if self.six(side) { said.six } else { said.four }, six);
    }
}

/// An ICMP error of IPv4 or IPv6.
fn message(from: u32, to: u32, kind: [u8; 2], word: u32, quote: &[u8], six: bool) -> Vec<u8> {
    // An echo makes the headers; its body is written anew.
    let payload = quote.to_vec();
    let echo = Packet {
        source: from,
        destination: to,
        protocol: ICMP,
        ports: (1, 0),
        ttl: 9,
        flags: 0,
        seq: 0,
        ack: 0,
        payload,
    };
    let mut frame = echo.frame(Sum::Full, six);
    let at = VNET + header_of(&frame);
    frame[at..at + 2].copy_from_slice(&kind);
    frame[at + 2..at + 4].fill(0);
    frame[at + 4..at + 8].copy_from_slice(&word.to_be_bytes());
    // What is off without a checksum is what the checksum makes up for.
    let sum = residue(&frame);
    frame[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The error that left: who says what to whom, and that the quote is what its receiver sent.
fn check_error(frame: &[u8], ends: (u32, u32, (u16, u16)), wanted: &Packet, said: (u8, u8, u32), was_six: bool) {
    let header = header_of(frame);
    assert_eq!(residue(frame), 0, "its checksum");
    let outer = Packet::parse(frame);
    assert_eq!((outer.source, outer.destination, outer.ttl), (ends.0, ends.1, 8));
    let body = &frame[VNET + header..];
    let word = u32::from_be_bytes(body[4..8].try_into().expect("four bytes"));
    assert_eq!((body[0], body[1], word), said);
    let six = header == 40;
    let quote = &body[8..];
    let mut naive = wanted.frame(Sum::Full, six)[VNET..].to_vec();
    assert!(quote.len() <= naive.len());
    naive.truncate(quote.len());
    let at = if six { 40 } else { 20 };
    let mut got = quote.to_vec();
    if !six {
        assert_eq!(naive_sum(&got[..20], 0), 0xFFFF, "the quoted header's checksum");
        if was_six {
            // Identification and flags are the translator's.
            got[4..8].copy_from_slice(&naive[4..8]);
            seal(&mut naive);
            seal(&mut got);
        }
    } else if !was_six {
        got[1..4].copy_from_slice(&naive[1..4]);
    }
    // The quoted transport checksum is right where it was; 0 and 0xFFFF are one number.
    let sum = at + sum_at(wanted.protocol);
    if let (Some(left), Some(right)) = (got.get(sum..sum + 2), naive.get(sum..sum + 2)) {
        let number = |bytes: &[u8]| u32::from(bytes[0]) * 256 + u32::from(bytes[1]);
        assert_eq!(number(left) % 0xFFFF, number(right) % 0xFFFF, "the quoted transport checksum");
        let right = right.to_vec();
        got[sum..sum + 2].copy_from_slice(&right);
    }
    assert_eq!(got, naive, "{wanted:?}");
    assert!(matches!(wanted.protocol, TCP | UDP | ICMP));
}
