//! Asking the ends of a TCP connection for their numbers. A live end answers a bare acknowledgement outside its window
//! with the number that it expects (RFC 9293 §3.10.7.4), whatever somebody has injected before; a host that has no such
//! connection answers with a reset. Linux answers one such segment in half a second, and a packet may be lost, so each
//! question is put again until then.

use std::collections::{BTreeSet, VecDeque};

use super::{Sessions, ends_towards};
use crate::dataplane::Context;
use crate::dataplane::record::FlowEndReason;
use crate::dataplane::session::rare::{Asked, Why};
use crate::dataplane::session::tcp_state::{TcpFlags, is_uncertain, probe_points};
use crate::dataplane::session::{Direction, FlowState, Phase, Session, Slot, Tick};
use crate::dataplane::tx::TxQueue;
use crate::wire::build;
use crate::wire::headers::TcpSegment;

/// Ticks after the first at which a question is put; where something depends on the answer, the last one is when it is
/// decided.
const ENDED: &[u32] = &[0, 6, 12, 20, 26];
const IDLE: &[u32] = &[0, 6, 20, 30];
const SILENT: &[u32] = &[0, 6, 10];

/// Questions put per batch.
const SLICE: usize = 64;

const BOTH: [Direction; 2] = [Direction::ToService, Direction::ToConsumer];

/// Who is asked when.
#[derive(Debug, Default)]
pub(in crate::dataplane) struct Questions {
    due: BTreeSet<(Tick, Slot)>,
    /// Servers of ended sessions, of whose resets nothing speaks against: asked once, when nothing else is to be done.
    servers: VecDeque<Slot>,
}

impl Questions {
    /// Whether servers wait to be asked, as fast as the pace allows.
    pub(in crate::dataplane) fn is_paced(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whether a question is due.
    fn is_due(&self, now: Tick) -> bool {
        self.due.first().is_some_and(|(due, _)| *due <= now)
    }

    /// Whether something is due at a time to come.
    pub(in crate::dataplane) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }
}

const fn times(why: Why) -> &'static [u32] {
    match why {
        Why::Ended => ENDED,
        Why::Idle => IDLE,
        Why::Silent => SILENT,
    }
}

impl Sessions {
    /// Asks the ends that receive packets of the directions in `ends`, from the next batch on.
    pub(in crate::dataplane) fn ask(&mut self, slot: Slot, why: Why, ends: [bool; 2], context: &Context<'_>) {
        let now = context.now;
        if let Some(rare) = self.table.rare_mut(slot) {
            rare.asked = Some(Asked { why, since: now, rounds: 0, ends, heard: [None; 2], contradicted: false });
            self.questions.due.insert((now, slot));
        }
    }

    /// Asks the ends of a session that was just ended and reset: at once those that may expect another number than the
    /// resets had; of others only the server, since a NAT port is used again sooner once it has answered.
    pub(in crate::dataplane) fn ask_ended(&mut self, slot: Slot, context: &Context<'_>) {
        let Some(session) = self.table.get(slot) else { return };
        let is_spoiled = self.table.rare(slot).is_some_and(|rare| rare.strange.is_some());
        let ends = BOTH.map(|direction| is_spoiled || is_uncertain(session, direction));
        let waits = !session.tcp.contains(TcpFlags::EXACT_CLOSE);
        if ends != [false; 2] {
            self.ask(slot, Why::Ended, ends, context);
        }
        if !ends[0] && waits {
            self.questions.servers.push_back(slot);
            self.pace.earn(context.moment, self.table.len());
        }
    }

    /// Puts the questions that are due, then some of those that may wait. Returns whether more can be put at once.
    pub(in crate::dataplane) fn question_slice(&mut self, tx: &mut TxQueue, context: &Context<'_>) -> bool {
        for _ in 0..SLICE {
            let Some(&(due, slot)) = self.questions.due.first().filter(|(due, _)| *due <= context.now) else { break };
            self.questions.due.pop_first();
            self.put(slot, due, tx, context);
        }
        if !self.questions.servers.is_empty() && !self.has_review() {
            self.pace.earn(context.moment, self.table.len());
            for _ in 0..SLICE {
                if self.pace.left() == 0 {
                    break;
                }
                let Some(slot) = self.questions.servers.pop_front() else { break };
                let waits =
                    |session: &Session| session.phase == Phase::Ended && !session.tcp.contains(TcpFlags::EXACT_CLOSE);
                if self.table.get(slot).is_some_and(waits) {
                    self.pace.spend();
                    self.probe(slot, Direction::ToService, 1, tx);
                }
            }
        }
        self.has_questions(context.now)
    }

    /// Whether an end can be asked at once.
    #[must_use]
    pub fn has_questions(&self, now: Tick) -> bool {
        self.questions.is_due(now) || (self.questions.is_paced() && self.pace.left() > 0 && !self.has_review())
    }

    /// Puts one question once more, or decides what depends on it.
    fn put(&mut self, slot: Slot, due: Tick, tx: &mut TxQueue, context: &Context<'_>) {
        let Some(asked) = self.table.rare(slot).and_then(|rare| rare.asked) else { return };
        let at = |round: u8| times(asked.why).get(usize::from(round)).map(|after| Tick(asked.since.0 + after));
        let Some(session) = self.table.get(slot).filter(|_| at(asked.rounds) == Some(due)) else { return };
        let is_answered = asked.why != Why::Ended && session.last_seen >= asked.since;
        let is_over = asked.why != Why::Ended && !session.is_live();
        if is_answered || is_over || asked.ends == [false; 2] {
            return self.answered(slot);
        }
        if let (Why::Idle, [Some(there), Some(back)]) = (asked.why, asked.heard)
            && self.renew_if_they_agree(slot, &asked, there, back, context)
        {
            return self.answered(slot);
        }
        let next = at(asked.rounds + 1);
        match next {
            None if asked.why != Why::Ended => return self.decide_asked(slot, &asked, tx, context),
            Some(next) => {
                self.questions.due.insert((next, slot));
            }
            None => {}
        }
        if let Some(asked) = self.table.rare_mut(slot).and_then(|rare| rare.asked.as_mut()) {
            asked.rounds += 1;
        }
        for direction in BOTH.into_iter().filter(|direction| asked.ends[*direction as usize]) {
            self.probe(slot, direction, 2, tx);
        }
    }

    /// The question is settled: an end has spoken.
    fn answered(&mut self, slot: Slot) {
        if let Some(rare) = self.table.rare_mut(slot) {
            rare.asked = None;
            if let Some(rival) = &mut rare.rival {
                rival.syns = 0;
            }
        }
    }

    /// The time to answer is over. One end's numbers stand for both if the other said nothing; where both contradict
    /// each other the connection lives, by whatever numbers.
    fn decide_asked(&mut self, slot: Slot, asked: &Asked, tx: &mut TxQueue, context: &Context<'_>) {
        self.answered(slot);
        let mirrored = |flow: FlowState| FlowState { last_ack: flow.seq_end, seq_end: flow.last_ack };
        let renewed = match (asked.why, asked.heard) {
            (_, [None, None]) => return self.fall_silent(slot, tx, context),
            (Why::Idle, [Some(there), None]) => self.renew_if_they_agree(slot, asked, there, mirrored(there), context),
            (Why::Idle, [None, Some(back)]) => self.renew_if_they_agree(slot, asked, mirrored(back), back, context),
            _ => false,
        };
        if renewed {
            return;
        }
        if let Some(session) = self.table.get_mut(slot) {
            session.last_seen = context.now;
        }
    }

    /// Neither end has answered: the session is over.
    fn fall_silent(&mut self, slot: Slot, tx: &mut TxQueue, context: &Context<'_>) {
        match self.table.get(slot).map(|session| session.phase) {
            Some(Phase::Established) => self.end(slot, FlowEndReason::Idle, tx, context),
            Some(_) => self.remove(slot, FlowEndReason::Idle, context.now),
            None => {}
        }
    }

    /// Sends up to two questions to the end that receives packets of `direction`.
    fn probe(&self, slot: Slot, direction: Direction, count: usize, tx: &mut TxQueue) {
        let Some(session) = self.table.get(slot) else { return };
        let Some(points) = probe_points(session, direction) else { return };
        let (ends, to) = (ends_towards(&self.table.addresses(slot), direction), session.leaves_by(direction));
        for (seq, ack) in points.into_iter().take(count) {
            tx.originate(to, build::probe_at(ends, seq, ack));
        }
    }

    /// A reset that answers a question to the sender of `direction`, since it has the question's number: that end has no
    /// such connection any more, and is asked no further.
    pub(in crate::dataplane) fn end_is_gone(&mut self, slot: Slot, direction: Direction, reset: TcpSegment) {
        let asked = direction.opposite();
        let Some(points) = self.table.get(slot).and_then(|session| probe_points(session, asked)) else { return };
        if points.iter().any(|(_, ack)| *ack == reset.seq)
            && let Some(question) = self.table.rare_mut(slot).and_then(|rare| rare.asked.as_mut())
        {
            question.ends[asked as usize] = false;
        }
    }

    /// A late segment of the service shows that its end knows of the reset, or gets one at its own number: the NAT
    /// port may be used again.
    pub(in crate::dataplane) fn server_answered(&mut self, slot: Slot, context: &Context<'_>) {
        let addresses = self.table.addresses(slot);
        let Some(session) = self.table.get_mut(slot).filter(|s| !s.tcp.contains(TcpFlags::EXACT_CLOSE)) else { return };
        session.tcp.insert(TcpFlags::EXACT_CLOSE);
        let session = session.clone();
        self.ports.close(&addresses, &session, slot, context.now);
    }
}
