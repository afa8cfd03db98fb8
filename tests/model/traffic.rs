//! The generator: random changes of rules and time, and packets that are genuine, nearly so, or not at all.

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::DropReason;
use privlink::snapshot::{BackendState, ConnectionState};

use super::oracle::{Flow, Key, Peer, Phase};
use super::packet::{ACK, FIN, ICMP, Packet, RST, SYN, Sum, TCP, UDP, VNET, seal};
use super::rules::{Net, PROVIDER, ip};
use super::run::{Case, Run, Sent};

impl Run {
    pub(crate) fn pass_time(&mut self) -> Vec<(Key, Flow)> {
        // Whole seconds, so that a sweep is due; now and then exactly up to a limit.
        let seconds = [1, 1, 5, 30, 59, 60, 61, 239, 241, 300, 301, 7_440, 7_441];
        let ticks = self.random.choice(seconds).unwrap_or(1) * 10 + self.random.u32(..2);
        self.let_pass(ticks)
    }

    /// What idles out within `ticks`, and is reset.
    pub(crate) fn let_pass(&mut self, ticks: u32) -> Vec<(Key, Flow)> {
        self.oracle.now += ticks;
        let (expired, reset) = self.oracle.expire();
        (0..expired).for_each(|_| self.reach(Case::Expired));
        for _ in &reset {
            self.reach(Case::IdleReset);
        }
        reset
    }

    pub(crate) fn change_rules(&mut self) -> Vec<(Key, Flow)> {
        use ConnectionState::{Approved, Disconnected, Pending, Rejected};
        let rules = &mut self.oracle.rules;
        let at = self.random.usize(..rules.endpoints.len().max(1));
        let mut dead = Vec::new();
        match self.random.u8(..10) {
            0..4 if !rules.endpoints.is_empty() => {
                let states = [Approved, Approved, Approved, Pending, Rejected, Disconnected];
                let state = self.random.choice(states).unwrap_or(Approved);
                let generation = rules.generation();
                let endpoint = &mut rules.endpoints[at];
                // Approved → Approved stands for a rejection and an approval between two batches.
                (endpoint.state, endpoint.stamp) = (state, (generation, generation));
                dead.push(endpoint.id);
            }
            4 if !rules.endpoints.is_empty() => {
                let generation = rules.generation();
                let sources = [None, None, Some(Net(ip(10, 1, 5, 0), 31)), Some(Net(ip(10, 0, 0, 0), 8))];
                rules.endpoints[at].sources = self.random.choice(sources).flatten();
                rules.endpoints[at].stamp.0 = generation;
            }
            5 => {
                use BackendState::{Down, Draining, Up};
                let lists: [&[(u8, BackendState)]; 7] = [
                    &[(2, Up), (3, Up)],
                    &[(2, Up)],
                    &[(3, Up), (2, Draining)],
                    &[(2, Draining)],
                    &[(3, Down), (2, Up)],
                    &[(2, Down), (3, Draining)],
                    &[],
                ];
                let list = self.random.choice(lists).unwrap_or(&[]);
                rules.resources[0].targets[0].backends =
                    list.iter().map(|&(last, state)| (ip(10, 20, 0, last), state)).collect();
                rules.touch(0);
            }
            // With several workers, late packets to an address that is no NAT address any more are not steered to the
            // worker that remembers them; its route is gone then, and they do not arrive.
            6 if self.workers == 1 => {
                let pools: [&[u8]; 3] = [&[4, 5], &[4], &[5]];
                let pool = self.random.choice(pools).unwrap_or(&[4]);
                let resource = &mut rules.resources[0];
                let before =
                    std::mem::replace(&mut resource.nat, pool.iter().map(|&last| ip(10, 20, 99, last)).collect());
                // Either what it loses ends with its sessions, or they end with it.
                let gently = self.random.bool();
                let lost = before.into_iter().filter(|nat| gently && !resource.nat.contains(nat));
                resource.retired = lost.collect();
                rules.touch(0);
            }
            7 => {
                rules.resources[0].targets[0].echo ^= true;
                rules.resources[0].silent ^= self.random.bool();
                rules.touch(0);
            }
            8 if rules.endpoints.len() > 2 => {
                let gone = rules.endpoints.remove(at);
                let generation = rules.generation();
                rules.gone.push((gone.id, generation));
                self.deleted.push(gone);
            }
            _ => {
                if let Some(old) = self.deleted.pop() {
                    rules.add(old.vnet, old.addresses, old.resource, old.max);
                }
            }
        }
        self.epoch += 1;
        self.world.publish(self.oracle.rules.snapshot(self.epoch));
        let killed = self.oracle.judge_all(&dead);
        for _ in &killed {
            self.reach(Case::Revoked);
        }
        killed
    }

    pub(crate) fn choose_packet(&mut self) -> Sent {
        let live = self.oracle.flows.len();
        let known = live > 0 && self.random.u8(..100) < 70;
        let mut genuine = false;
        let (at, mut packet, lost) = if known {
            let chosen = self.random.usize(..live);
            let (key, flow) = self.oracle.flows.iter().nth(chosen).map(|(k, f)| (*k, f.clone())).expect("in range");
            let (at, packet, lost) = self.packet_of(key, &flow);
            genuine = (at, packet.source, packet.ports) == (key.0, key.2, (key.3, key.5));
            (at, packet, lost)
        } else {
            let (at, packet) = self.fresh_packet();
            (at, packet, false)
        };
        // A stray segment on a live connection would make its ends disagree: no peer of the model sends one.
        let key = (at, packet.protocol, packet.source, packet.ports.0, packet.destination, packet.ports.1);
        let busy = self.oracle.flows.get(&key).is_some_and(|f| !matches!(f.phase, Phase::Closing | Phase::Ended));
        if !genuine && busy && packet.protocol == TCP {
            packet.ports.0 = 30_000 + self.random.u16(..30_000);
        }
        if self.random.u8(..40) == 0 {
            packet.ttl = self.random.u8(..2);
        }
        let sum = match self.random.u8(..20) {
            0..4 if packet.protocol != ICMP => Sum::Partial,
            4 => Sum::Wrong,
            5 if packet.protocol == UDP => Sum::Absent,
            _ => Sum::Full,
        };
        Sent { at, packet, sum, lost, cut: false }
    }

    fn blank(&mut self, protocol: u8, source: u32, destination: u32, ports: (u16, u16)) -> Packet {
        let length = self.random.usize(..40);
        let payload = (0..length).map(|_| self.random.u8(..)).collect();
        Packet { source, destination, protocol, ports, ttl: 64, flags: ACK, seq: 0, ack: 0, payload }
    }

    /// A packet from anyone to anything.
    fn fresh_packet(&mut self) -> (u16, Packet) {
        let at = self.random.choice([0, 0, 0, 0, 2, 3, PROVIDER]).unwrap_or(0);
        let host = self.random.u8(..6);
        let home = match at {
            1 => ip(10, 20, 0, 2 + host % 3),
            3 => ip(10, 3, 5, host),
            _ => ip(10, 1, 5, host),
        };
        let odd = [
            ip(192, 168, 40, 7),
            ip(10, 1, 200, 3),
            ip(10, 9, 0, 1),
            ip(127, 0, 0, 1),
            ip(10, 1, 9, 5),
            ip(240, 0, 0, 9),
            ip(10, 20, 99, 5),
            ip(10, 1, 6, 9),
            ip(169, 254, 1, 1),
            ip(10, 3, 1, 1),
            ip(10, 4, 1, 1), // a peer's peer
            ip(10, 1, 7, 0),
            ip(10, 1, 7, 255),
            ip(10, 1, 8, 9),
        ];
        let source = if self.random.u8(..4) == 0 { self.random.choice(odd).unwrap_or(home) } else { home };
        let last = self.random.choice([4, 4, 5, 6, 7, 77]).unwrap_or(4);
        let destination = match self.random.u8(..12) {
            0 => ip(10, 20, 99, 4 + self.random.u8(..3)),
            1 => ip(10, 1, 5, self.random.u8(..6)),
            _ => ip(10, 1, 9, last),
        };
        let protocol = self.random.choice([TCP, TCP, UDP, ICMP]).unwrap_or(TCP);
        let port = match protocol {
            TCP => self.random.choice([5432, 8000, 8002, 443, 80]).unwrap_or(80),
            UDP => self.random.choice([53, 53, 5432]).unwrap_or(53),
            _ => 0,
        };
        let mut packet = self.blank(protocol, source, destination, (0, port));
        packet.ports.0 = 20_000 + self.random.u16(..8);
        (packet.seq, packet.ack) = (self.random.u32(..), 0);
        if protocol == ICMP && self.random.u8(..8) == 0 {
            packet.ports = (0, packet.ports.0);
        }
        if protocol == TCP {
            let odd = [ACK, SYN | ACK, SYN | FIN, RST, FIN, 0].map(Some);
            packet.flags =
                if self.random.u8(..6) == 0 { self.random.choice(odd).flatten().unwrap_or(SYN) } else { SYN };
            packet.payload.clear();
        }
        (at, packet)
    }

    /// A packet of a session: genuine in either direction, or nearly.
    fn packet_of(&mut self, key: Key, flow: &Flow) -> (u16, Packet, bool) {
        let forth = match (key.1, flow.phase) {
            (TCP, Phase::Opening) => flow.consumer.heard,
            _ => self.random.bool(),
        };
        let (at, source, destination, ports) = if forth {
            (key.0, key.2, key.4, (key.3, key.5))
        } else {
            (PROVIDER, flow.backend, flow.nat.0, (flow.grant.port, flow.nat.1))
        };
        let mut packet = self.blank(key.1, source, destination, ports);
        let mut lost = false;
        if key.1 == TCP {
            let (own, other) = if forth { (flow.consumer, flow.provider) } else { (flow.provider, flow.consumer) };
            lost = self.next_segment(&mut packet, flow, forth, own, other);
        }
        // Almost: a stranger, a wrong port, the tuple in another VNet, a plain SYN.
        match self.random.u8(..24) {
            0 => packet.source = packet.source.wrapping_add(1),
            1 => packet.ports.0 = packet.ports.0.wrapping_add(1).max(1),
            2 if packet.ports.1 != 0 => packet.ports.1 = packet.ports.1.wrapping_add(1).max(1),
            3 => return ([2, 0, 3, 1][usize::from(at)], packet, lost),
            4 if key.1 == TCP && forth && matches!(flow.phase, Phase::Ended | Phase::Closing) => {
                (packet.flags, packet.seq, packet.ack) = (SYN, self.random.u32(..), 0);
                packet.payload.clear();
            }
            _ => {}
        }
        (at, packet, lost)
    }

    /// What this end of a TCP connection says next; whether the segment gets lost behind the forwarder.
    fn next_segment(&mut self, packet: &mut Packet, flow: &Flow, forth: bool, own: Peer, other: Peer) -> bool {
        (packet.flags, packet.seq, packet.ack) = (ACK, own.next, own.expects);
        let unheard = own.next.wrapping_sub(other.expects);
        if flow.phase == Phase::Opening {
            packet.payload.clear();
            if !forth && self.random.u8(..10) == 0 {
                (packet.flags, packet.seq) = (RST | ACK, 0);
            } else if !forth {
                packet.flags = SYN | ACK;
                packet.seq = self.random.u32(..);
            }
            return false;
        }
        if unheard > 0 && unheard < 4_000 {
            // A retransmission of everything that was lost.
            packet.seq = other.expects;
            packet.payload = vec![7; unheard as usize];
            return false;
        }
        if own.fin || flow.phase != Phase::Established {
            packet.payload.clear();
            return false;
        }
        match self.random.u8(..16) {
            0 => packet.flags = FIN | ACK,
            1 => (packet.flags, packet.seq) = (RST, if self.random.bool() { other.acked } else { own.next }),
            2..4 => (packet.flags, packet.seq) = (RST, other.acked.wrapping_add(77)),
            4..6 => return !packet.payload.is_empty(),
            _ => return false,
        }
        packet.payload.clear();
        false
    }

    pub(crate) fn send_malformed(&mut self, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        let (at, packet) = self.fresh_packet();
        if self.six(at) {
            return self.send_malformed_six(at, &packet, before, killed);
        }
        let mut frame = packet.frame(Sum::Full, false);
        let (mut sealed, which) = (true, self.random.u8(..10));
        let reason = match which {
            0 => {
                frame[VNET + 8] ^= 0x40;
                sealed = false;
                DropReason::Malformed
            }
            1 => {
                frame.truncate(frame.len() - 1);
                DropReason::Malformed
            }
            2 => {
                frame[VNET + 9] = 50;
                DropReason::UnsupportedProtocol
            }
            3 => {
                frame[VNET + 9] = 47;
                DropReason::UnsupportedProtocol
            }
            4 => {
                frame[VNET] = 0x60;
                sealed = false;
                DropReason::Malformed
            }
            5 => {
                let options = [1, 131, 3, 0];
                frame.splice(VNET + 20..VNET + 20, options);
                frame[VNET] = 0x46;
                let total = (frame.len() - VNET) as u16;
                frame[VNET + 2..VNET + 4].copy_from_slice(&total.to_be_bytes());
                DropReason::SourceRoute
            }
            6 => {
                frame[0] = 1;
                frame[6] = 19;
                DropReason::Malformed
            }
            7 => {
                frame.truncate(self.random.usize(..VNET + 20));
                sealed = false;
                DropReason::Malformed
            }
            8 => {
                frame[VNET] = 0x44;
                sealed = false;
                DropReason::Malformed
            }
            _ => {
                frame[1] = 3;
                DropReason::Malformed
            }
        };
        if sealed {
            seal(&mut frame[VNET..]);
        }
        self.reach(Case::Malformed);
        let out = self.deliver(at, frame);
        self.check_drop(&(reason, None), (&packet, Sum::Full), at, &out, before, killed);
    }
    fn send_malformed_six(&mut self, at: u16, packet: &Packet, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        let mut frame = packet.frame(Sum::Full, true);
        let extension = |frame: &mut Vec<u8>, number: u8, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[0] = std::mem::replace(&mut frame[VNET + 6], number);
            frame.splice(VNET + 40..VNET + 40, bytes);
            let length = (frame.len() - VNET - 40) as u16;
            frame[VNET + 4..VNET + 6].copy_from_slice(&length.to_be_bytes());
        };
        let reason = match self.random.u8(..8) {
            0 => {
                frame.truncate(frame.len() - 1);
                DropReason::Malformed
            }
            1 => {
                frame.truncate(self.random.usize(..VNET + 40));
                DropReason::Malformed
            }
            2 => {
                frame[VNET] = 0x50;
                DropReason::Malformed
            }
            3 => {
                frame[VNET + 6] = self.random.choice([1, 47, 50, 59, 132]).unwrap_or(59);
                DropReason::UnsupportedProtocol
            }
            4 => {
                let left = self.random.u8(..2);
                extension(&mut frame, 43, &[0, 0, 4 * left, left, 0, 0, 0, 0]);
                DropReason::SourceRoute
            }
            5 => {
                extension(&mut frame, 0, &[0, 0, 0xC5, 2, 0, 0, 0, 0]);
                DropReason::ExtensionHeader
            }
            6 => {
                (0..9).for_each(|_| extension(&mut frame, 60, &[0, 0, 1, 4, 0, 0, 0, 0]));
                DropReason::ExtensionHeader
            }
            _ => {
                frame[VNET + 8..VNET + 24].fill(0);
                frame[VNET + 18..VNET + 20].fill(0xFF);
                DropReason::SpoofedSource
            }
        };
        self.reach(Case::Malformed);
        let out = self.deliver(at, frame);
        self.check_drop(&(reason, None), (packet, Sum::Full), at, &out, before, killed);
    }
}
