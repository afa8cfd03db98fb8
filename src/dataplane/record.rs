//! Sessions that have ended, on their way to the flow log. A worker drops a fixed-size note into its ring,
//! without a lock and without waiting; whoever keeps the log takes it out. A full ring loses, and counts.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use crossbeam_queue::ArrayQueue;

pub use crate::dataplane::session::Tick;
use crate::dataplane::session::{Addresses, Direction, Session, tcp_state::Seen};
use crate::snapshot::Protocol;

/// Why a session is live no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowEndReason {
    /// Both ends sent a FIN.
    Closed,
    /// One end reset it.
    Reset,
    /// No packet for too long.
    Idle,
    /// The rules in force no longer admit it.
    Revoked,
    /// A new connection took the place of one that was closing; only in logs of versions that counted closing
    /// sessions as live.
    Reclaimed,
    /// The daemon stopped.
    Stopped,
}

impl FlowEndReason {
    /// Every cause, in the order of its discriminant.
    pub const ALL: [Self; 6] = [Self::Closed, Self::Reset, Self::Idle, Self::Revoked, Self::Reclaimed, Self::Stopped];

    /// Its name in `privlink who`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::Reclaimed => "reclaimed",
            Self::Stopped => "stopped",
        }
    }

    /// How a session that closes came to it.
    pub(super) const fn of_close(seen: Seen) -> Self {
        let fins = seen.has(Seen::CONSUMER_FIN) && seen.has(Seen::PROVIDER_FIN);
        if fins { Self::Closed } else { Self::Reset }
    }
}

/// What is known of a session at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Network identifier of its connection.
    pub link: u32,
    /// Protocol.
    pub protocol: Protocol,
    /// Why it ended.
    pub cause: FlowEndReason,
    /// Consumer address and port (or echo identifier).
    pub consumer: (IpAddr, u16),
    /// Endpoint address and port.
    pub endpoint: (IpAddr, u16),
    /// NAT address and port.
    pub nat: (IpAddr, u16),
    /// Backend address and port.
    pub backend: (IpAddr, u16),
    /// When it was opened.
    pub opened: Tick,
    /// When it ended.
    pub ended: Tick,
    /// Packets and bytes from the consumer to the service.
    pub to_service: (u64, u64),
    /// Packets and bytes from the service to the consumer.
    pub to_consumer: (u64, u64),
}

impl Ended {
    /// The note of `session`, which ends now.
    #[must_use]
    pub fn new(a: &Addresses, session: &Session, cause: FlowEndReason, now: Tick) -> Self {
        Self {
            link: session.link,
            protocol: session.protocol,
            cause,
            consumer: (a.consumer.ip(), a.consumer_port),
            endpoint: (a.endpoint.ip(), a.endpoint_port),
            nat: (a.nat.ip(), a.nat_port),
            backend: (a.backend.ip(), a.backend_port),
            opened: session.opened,
            ended: now,
            to_service: session.carried(Direction::ToService),
            to_consumer: session.carried(Direction::ToConsumer),
        }
    }
}

/// One worker's notes, taken out by one reader.
#[derive(Debug)]
pub struct EndedRing {
    queue: ArrayQueue<Ended>,
    lost: AtomicU64,
    reader: OnceLock<Thread>,
}

impl EndedRing {
    /// A ring for `capacity` notes, all of its memory taken now.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), lost: AtomicU64::new(0), reader: OnceLock::new() }
    }

    /// Names the thread that is woken when the ring is half full.
    pub fn read_by(&self, reader: Thread) {
        // A second reader would change nothing but who is woken.
        let _ = self.reader.set(reader);
    }

    /// Leaves a note; counts it as lost where there is no room.
    pub fn push(&self, ended: Ended) {
        if self.queue.push(ended).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        if self.queue.len() == self.queue.capacity() / 2
            && let Some(reader) = self.reader.get()
        {
            reader.unpark();
        }
    }

    /// Takes the oldest note.
    pub fn pop(&self) -> Option<Ended> {
        self.queue.pop()
    }

    /// Whether the next note would be lost.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Notes lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::table::tests::{addresses, session};

    #[test]
    fn a_full_ring_counts_each_loss_and_keeps_the_oldest() {
        let ring = EndedRing::new(4);
        for number in 0..10 {
            ring.push(Ended::new(&addresses(number), &session(number), FlowEndReason::Idle, Tick(number)));
        }
        assert_eq!((ring.lost(), ring.is_full()), (6, true));
        let kept: Vec<u32> = std::iter::from_fn(|| ring.pop()).map(|ended| ended.ended.0).collect();
        assert_eq!(kept, [0, 1, 2, 3]);
        ring.push(Ended::new(&addresses(1), &session(1), FlowEndReason::Idle, Tick(0)));
        assert_eq!(ring.lost(), 6, "there is room again");
    }

    #[test]
    fn a_note_is_small_and_causes_are_numbered_in_their_order() {
        assert!(size_of::<Ended>() <= 128, "{}", size_of::<Ended>());
        assert!(FlowEndReason::ALL.iter().zip(0_u8..).all(|(cause, number)| *cause as u8 == number));
    }
}
