//! What few sessions need: kept beside the table, so that a session stays two cache lines.

use super::tcp_state::Numbers;
use super::{Direction, FlowState, Tick};

/// The record of one session; it goes with its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// When a TCP segment last passed whose numbers are not the connection's.
    pub strange: Option<Tick>,
    /// Another connection that somebody opens, or claims to, in the place of the one that lives here.
    pub rival: Option<Rival>,
    /// What both ends are being asked for their numbers for.
    pub asked: Option<Asked>,
    /// Sequence ends of both directions when the connection closed, once it carries data beyond them.
    pub closed_at: Option<[u32; 2]>,
    /// When a late segment of an ended session was last answered.
    pub answered: Option<Tick>,
    /// What the way to the consumer carries, where an error said so.
    pub narrow: Option<Narrow>,
}

/// A way that carries less than the devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// Bytes of an IP packet that it carries.
    pub mtu: u16,
    /// When an error last said so.
    pub since: Tick,
}

/// A connection whose SYN passed through a live session. It takes the place of the one that lives there if both ends
/// speak by its numbers and neither by the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// What is known of it.
    pub numbers: Numbers,
    /// Sequence number of its SYN.
    pub isn: u32,
    /// When its SYN first came since an end last spoke by the old numbers.
    pub first: Tick,
    /// When a segment of it last passed.
    pub latest: Tick,
    /// How often its SYN has come since `first`.
    pub syns: u8,
}

impl Rival {
    /// A connection that a SYN of this sequence number opens.
    #[must_use]
    pub fn new(isn: u32, now: Tick) -> Self {
        Self { numbers: Numbers::new(), isn, first: now, latest: now, syns: 0 }
    }
}

/// A question to both ends: bare acknowledgements outside their windows, which a live end answers with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What depends on the answer.
    pub why: Why,
    /// When the question was first put.
    pub since: Tick,
    /// How often it has been put.
    pub rounds: u8,
    /// Whether the end that receives packets of either direction is asked.
    pub ends: [bool; 2],
    /// What the sender of either direction has answered.
    pub heard: [Option<FlowState>; 2],
    /// Whether one was heard to say two things that do not go together: somebody else speaks in its name.
    pub contradicted: bool,
}

impl Asked {
    /// Notes what the sender of `direction` says of itself. What it said before has moved on by a window at most.
    pub fn hear(&mut self, direction: Direction, said: FlowState, window: u32) {
        let near = |one: u32, other: u32| one.wrapping_sub(other).min(other.wrapping_sub(one)) <= window;
        let heard = &mut self.heard[direction as usize];
        self.contradicted |=
            heard.is_some_and(|before| !near(before.seq_end, said.seq_end) || !near(before.last_ack, said.last_ack));
        *heard = Some(said);
    }
}

/// What depends on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Whether a connection lives that was idle by its numbers, while others passed.
    Idle,
    /// Whether one lives whose client seems to have begun another.
    Silent,
    /// Nothing: it has ended, and the answer gets a reset at its own number.
    Ended,
}
