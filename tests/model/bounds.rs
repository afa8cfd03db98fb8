//! What meets a bound: of a datagram's pieces, of a path, of time, of a ring, of a device.

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::DropReason;

use super::oracle::{Expected, Key};
use super::packet::{ICMP, Packet, Sum, TCP, UDP, VNET, header_of, residue};
use super::pieces::piece;
use super::run::{Case, Run, Sent};

/// Pieces that one datagram may have.
const MOST_PIECES: usize = 128;

/// Unfinished datagrams of one source that one worker keeps.
const MOST_OF_SOURCE: u32 = 64;

/// Packets that may wait for a worker.
const RING: u64 = 1_024;

/// What every attachment carries.
pub(crate) const MTU: usize = 1_500;

impl Run {
    pub(crate) fn send_bounded(&mut self, before: &VerdictCounts) {
        match self.random.u8(..11) {
            0..3 => self.send_bad_piece(before),
            3..5 => self.abandon_datagrams(before),
            5..7 => self.send_too_large(before),
            7..9 => self.send_large_segment(before),
            9 => self.send_to_a_broken_device(before),
            _ if self.workers > 1 && self.random.u8(..20) == 0 => self.flood_a_ring(before),
            _ => self.send_bad_piece(before),
        }
    }

    /// A packet that pieces are made of.
    fn packet_to_cut(&mut self) -> Option<Sent> {
        let sent = self.choose_packet();
        let cuttable = sent.sum != Sum::Partial && sent.packet.protocol != TCP && sent.packet.ttl > 1;
        self.identification += 1;
        cuttable.then_some(sent)
    }

    /// A packet of a live session by UDP, and which; any other packet goes its usual way.
    pub(crate) fn packet_of_a_session(&mut self, before: &VerdictCounts) -> Option<(Sent, Key)> {
        let sent = self.choose_packet();
        let expected = self.oracle.decide(sent.at, &sent.packet, sent.sum);
        if let (Expected::Pass(key), UDP) = (&expected, sent.packet.protocol) {
            return Some((sent, *key));
        }
        let frame = sent.packet.frame(sent.sum, self.six(sent.at));
        let out = self.deliver(sent.at, frame.clone());
        self.take(&sent, &expected, &frame, &out, before, &[]);
        None
    }

    /// `dropped` more were dropped for `reason`, and nothing else was counted, nor is anything more held.
    pub(crate) fn only_dropped(&mut self, before: &VerdictCounts, reason: DropReason, dropped: u64) {
        let (after, mut wanted) = (self.world.counts(), before.dropped);
        wanted[reason as usize] += dropped;
        assert_eq!((after.dropped, after.held), (wanted, before.held), "{reason:?}");
        assert_eq!(after.forwarded, before.forwarded);
        for _ in 0..dropped {
            self.reach(Case::Drop(reason.name()));
        }
    }

    /// Pieces that no datagram can be made of: too short, beyond the end of every packet, too many.
    fn send_bad_piece(&mut self, before: &VerdictCounts) {
        let Some(sent) = self.packet_to_cut() else { return };
        let (frame, identification) = (sent.packet.frame(Sum::Full, self.six(sent.at)), self.identification);
        let of = |at: usize, length: usize, more| piece(&frame, identification, at, &vec![7; length], more);
        let (reason, pieces) = match self.random.u8(..8) {
            0..4 => (DropReason::FragmentTiny, vec![of(8 * self.random.usize(..9), self.random.usize(1..8), true)]),
            4..7 => (DropReason::FragmentOversize, vec![of(65_528, 8 * self.random.usize(1..3), self.random.bool())]),
            // Every other one, so that they never touch.
            _ => (DropReason::FragmentTooMany, (0..=MOST_PIECES).map(|at| of(16 * at, 8, true)).collect()),
        };
        if let Some(reason) = self.oracle.unwelcome(sent.at, &sent.packet) {
            return self.all_dropped(&sent, &pieces, reason, before, &[]);
        }
        let count = pieces.len() as u64;
        for piece in pieces {
            self.quietly(sent.at, piece);
        }
        self.only_dropped(before, reason, count);
    }

    /// Datagrams whose other pieces never come, and half a minute. Their sender is told of each whose first piece
    /// came, unless it asked a silent resource; a source that begins more than its share loses its oldest.
    fn abandon_datagrams(&mut self, before: &VerdictCounts) {
        let Some(mut sent) = self.packet_to_cut() else { return };
        let flood = self.workers == 1 && self.random.u8(..15) == 0;
        let count = if flood { MOST_OF_SOURCE + 6 } else { 1 };
        if flood {
            // A source that nothing else is held of.
            sent.packet.source = sent.packet.source & !0xFF | 0x66;
        }
        if self.oracle.unwelcome(sent.at, &sent.packet).is_some() {
            return;
        }
        let (frame, first) = (sent.packet.frame(Sum::Full, self.six(sent.at)), self.random.bool());
        for _ in 0..count {
            self.identification += 1;
            let bytes = &frame[VNET + header_of(&frame)..][..8];
            let piece = piece(&frame, self.identification, if first { 0 } else { 64 }, bytes, true);
            self.quietly(sent.at, piece);
        }
        let kept = count.min(MOST_OF_SOURCE);
        let displaced = u64::from(count - kept);
        let waiting = VerdictCounts { held: before.held + u64::from(kept), ..self.world.counts() };
        assert_eq!(self.world.counts(), waiting, "each is held, or makes room");
        let killed = self.let_pass(30 * 10 + 1);
        let out = self.world.settle(self.oracle.now);
        let (after, mut wanted) = (self.world.counts(), before.dropped);
        wanted[DropReason::FragmentTimeout as usize] += u64::from(kept);
        wanted[DropReason::FragmentFull as usize] += displaced;
        assert_eq!((after.dropped, after.held), (wanted, before.held));
        for _ in 0..kept {
            self.reach(Case::Drop("fragment_timeout"));
        }
        for _ in 0..displaced {
            self.reach(Case::Drop("fragment_full"));
        }
        let silent = self.oracle.is_silent(sent.at, sent.packet.destination);
        let told = if first && !silent { u64::from(kept) } else { 0 };
        let own = self.check_resets(&out, &killed, before, &after, &sent.packet);
        assert_eq!((own.len() as u64, after.answered - before.answered), (told, told));
        for (to, frame) in own {
            self.is_error(&sent, to, &frame, ((11, 1), (3, 1)));
        }
    }

    /// An ICMP error about a packet: from where it was going to where it came from.
    pub(crate) fn is_error(&mut self, sent: &Sent, to: u16, frame: &[u8], (four, six): ((u8, u8), (u8, u8))) {
        let (answer, header) = (Packet::parse(frame), header_of(frame));
        let ends = (sent.at, sent.packet.destination, sent.packet.source);
        assert_eq!((to, answer.source, answer.destination), ends);
        let kind = (frame[VNET + header], frame[VNET + header + 1]);
        assert_eq!((answer.protocol, kind), (ICMP, if header == 40 { six } else { four }));
        assert_eq!(residue(frame), 0);
        self.reach(Case::Answered);
    }

    /// A device that takes nothing: the packet is counted as dropped, and its session goes on as if it had been lost
    /// further on.
    fn send_to_a_broken_device(&mut self, before: &VerdictCounts) {
        let Some((sent, key)) = self.packet_of_a_session(before) else { return };
        let frame = sent.packet.frame(sent.sum, self.six(sent.at));
        self.world.break_devices(true);
        let out = self.deliver(sent.at, frame);
        self.world.break_devices(false);
        assert!(out.is_empty(), "{out:?}");
        self.only_dropped(before, DropReason::WriteFailed, 1);
        self.oracle.passed(key, is_forth(key, &sent), &sent.packet, true, true);
    }

    /// More packets of one session than may wait for the worker that has it, while that one does not look.
    fn flood_a_ring(&mut self, before: &VerdictCounts) {
        let Some((sent, key)) = self.packet_of_a_session(before) else { return };
        let frame = sent.packet.frame(sent.sum, self.six(sent.at));
        let reader = self.random.usize(..usize::from(self.workers));
        let sum = RING + 50;
        (0..sum).for_each(|_| self.world.push(reader, sent.at, frame.clone()));
        self.world.settle_one(reader, self.oracle.now);
        let out = self.world.settle(self.oracle.now).len() as u64;
        let after = self.world.counts();
        let refused =
            after.dropped[DropReason::HandoverFull as usize] - before.dropped[DropReason::HandoverFull as usize];
        assert!([0, sum - RING].contains(&refused), "all, or as many as the ring holds: {refused} refused");
        assert_eq!((out, after.forwarded), (sum - refused, before.forwarded + sum - refused));
        for _ in 0..refused {
            self.reach(Case::Drop("handover_full"));
        }
        self.oracle.passed(key, is_forth(key, &sent), &sent.packet, false, true);
    }
}

/// Whether a packet of a session goes to the service.
pub(crate) fn is_forth(key: Key, sent: &Sent) -> bool {
    (sent.at, sent.packet.source) == (key.0, key.2) && sent.packet.destination == key.4
}
