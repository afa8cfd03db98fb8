//! Datagrams in pieces, in any order, with duplicates, contradictions and holes: what is decided is what would be
//! decided of the whole packet, for every piece.

use privlink::dataplane::counters::VerdictCounts;
use privlink::snapshot::DropReason;

use super::oracle::{Expected, Flow, Key};
use super::packet::{Packet, Sum, TCP, VNET, header_of, seal};
use super::run::{Case, Run, Sent};

/// What becomes of a datagram's pieces on their way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    AllCome,
    OneComesTwice,
    OneIsMissing,
    TwoContradict,
}

impl Run {
    pub(crate) fn send_pieces(&mut self, before: &VerdictCounts, killed: &[(Key, Flow)]) {
        let mut sent = self.choose_packet();
        if sent.sum == Sum::Partial || sent.packet.protocol == TCP || sent.packet.ttl <= 1 {
            return;
        }
        (sent.lost, sent.cut) = (false, true);
        let length = 32 + self.random.usize(..200);
        sent.packet.payload = (0..length).map(|_| self.random.u8(..)).collect();
        let whole = sent.packet.frame(sent.sum, self.six(sent.at));
        self.identification += 1;
        let pieces = cut(&whole, self.identification, |most| 8 * self.random.usize(1..=most.max(1)));
        if pieces.len() < 2 {
            return;
        }
        let fates = [Fate::AllCome, Fate::AllCome, Fate::OneComesTwice, Fate::OneIsMissing, Fate::TwoContradict];
        let fate = self.random.choice(fates).unwrap_or(Fate::AllCome);
        let mut order: Vec<Vec<u8>> = pieces.clone();
        self.random.shuffle(&mut order);
        if let Some(reason) = self.oracle.unwelcome(sent.at, &sent.packet) {
            return self.all_dropped(&sent, &order, reason, before, killed);
        }
        let last = order.pop().expect("a datagram has pieces");
        let (mut held, mut duplicates) = (order.len() as u64, 0);
        for piece in &order {
            self.quietly(sent.at, piece.clone());
        }
        if fate == Fate::OneComesTwice && !order.is_empty() {
            self.quietly(sent.at, order[0].clone());
            duplicates = 1;
            self.reach(Case::Drop("fragment_duplicate"));
        }
        if matches!(fate, Fate::OneIsMissing | Fate::TwoContradict) && !order.is_empty() {
            // A contradiction also ends what would wait for its missing piece.
            let mut other = order[0].clone();
            *other.last_mut().expect("bytes") ^= 0x80;
            self.quietly(sent.at, other);
            self.quietly(sent.at, last);
            let after = self.world.counts();
            let grown = |reason: DropReason| after.dropped[reason as usize] - before.dropped[reason as usize];
            assert_eq!((grown(DropReason::FragmentOverlap), grown(DropReason::FragmentDead)), (held + 1, 1));
            assert_eq!((after.forwarded, after.held), (before.forwarded, before.held));
            self.reach(Case::Drop("fragment_overlap"));
            self.reach(Case::Drop("fragment_dead"));
            return;
        }
        held += 1;
        let counts = self.world.counts();
        assert_eq!((counts.held, counts.forwarded), (before.held + held - 1, before.forwarded));
        let expected = self.oracle.decide(sent.at, &sent.packet, sent.sum);
        // A message cut off its checksum is judged as it is; nothing of it is forwarded as an error.
        let out = self.deliver(sent.at, last);
        let after = self.world.counts();
        assert_eq!(after.held, before.held, "every piece has its verdict");
        let extra = |drop: Option<DropReason>| {
            let mut wanted = before.dropped;
            wanted[DropReason::FragmentDuplicate as usize] += duplicates;
            if let Some(reason) = drop {
                wanted[reason as usize] += held;
            }
            wanted
        };
        match expected {
            Expected::Drop((reason, _)) => {
                assert_eq!((after.dropped, after.forwarded), (extra(Some(reason)), before.forwarded), "{reason:?}");
                self.reach(Case::Drop(reason.name()));
            }
            Expected::Open(..) | Expected::Pass(_) => {
                assert_eq!((after.dropped, after.forwarded), (extra(None), before.forwarded + held));
                // The pieces are counted; what they became, and whom it made give way, is checked as any packet is.
                let mut as_one = after;
                as_one.forwarded -= 1;
                as_one.originated = counts.originated;
                self.reach(Case::Whole);
                self.take(&sent, &expected, &whole, &out, &as_one, killed);
            }
        }
    }

    /// Delivers a piece that nothing may come of yet.
    pub(crate) fn quietly(&mut self, at: u16, piece: Vec<u8>) {
        let out = self.deliver(at, piece);
        assert!(out.iter().all(|(_, frame)| Packet::parse(frame).flags & 4 != 0), "resets of ended sessions at most");
    }

    /// A sender who is not welcome: nothing is kept, nothing answered.
    pub(crate) fn all_dropped(
        &mut self,
        sent: &Sent,
        pieces: &[Vec<u8>],
        reason: DropReason,
        before: &VerdictCounts,
        killed: &[(Key, Flow)],
    ) {
        for piece in pieces {
            self.quietly(sent.at, piece.clone());
        }
        let after = self.world.counts();
        let mut wanted = before.dropped;
        wanted[reason as usize] += pieces.len() as u64;
        assert_eq!(
            (after.dropped, after.held, after.answered),
            (wanted, before.held, before.answered),
            "{sent_packet:?}",
            sent_packet = sent.packet
        );
        self.reach(Case::Drop(reason.name()));
        assert!(killed.len() < usize::MAX);
    }
}

/// The pieces of a frame's packet; `size` chooses how many of the units of 8 bytes that are left each takes.
fn cut(frame: &[u8], identification: u32, mut size: impl FnMut(usize) -> usize) -> Vec<Vec<u8>> {
    let body = &frame[VNET + header_of(frame)..];
    let (mut at, mut pieces) = (0, Vec::new());
    while at < body.len() {
        let left = body.len() - at;
        let length = size(left / 8).min(left);
        pieces.push(piece(frame, identification, at, &body[at..at + length], at + length < body.len()));
        at += length;
    }
    pieces
}

/// One piece of a frame's packet: `bytes` at the offset `at`, with `more` behind them.
pub(crate) fn piece(frame: &[u8], identification: u32, at: usize, bytes: &[u8], more: bool) -> Vec<u8> {
    let header = header_of(frame);
    let mut piece = frame[..VNET + header].to_vec();
    if header == 40 {
        let next = std::mem::replace(&mut piece[VNET + 6], 44);
        piece[VNET + 4..VNET + 6].copy_from_slice(&(bytes.len() as u16 + 8).to_be_bytes());
        piece.extend([next, 0]);
        piece.extend((at as u16 | u16::from(more)).to_be_bytes());
        piece.extend(identification.to_be_bytes());
    } else {
        piece[VNET + 2..VNET + 4].copy_from_slice(&(bytes.len() as u16 + 20).to_be_bytes());
        piece[VNET + 4..VNET + 6].copy_from_slice(&(identification as u16).to_be_bytes());
        let field = (at / 8) as u16 | if more { 0x2000 } else { 0 };
        piece[VNET + 6..VNET + 8].copy_from_slice(&field.to_be_bytes());
        seal(&mut piece[VNET..]);
    }
    piece.extend(bytes);
    piece
}
