//! What a session has carried. Lately in its first cache line, all before that in its second: so that most packets of
//! UDP and ICMP touch, and dirty, the first only.

use super::{Direction, Session};

/// What has passed in either direction since it was last added to the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Recent {
    bytes: [u16; 2],
    packets: [u8; 2],
}

/// What has passed in one direction before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Carried {
    packets: u64,
    bytes: u64,
}

impl Session {
    /// Adds a packet of `direction`: its segments and their bytes of IP packets on the wire.
    #[inline]
    pub fn count(&mut self, direction: Direction, (packets, bytes): (u64, u64)) {
        let at = direction as usize;
        let recent = &mut self.recent;
        let sum = (u64::from(recent.packets[at]) + packets, u64::from(recent.bytes[at]) + bytes);
        if let (Ok(packets), Ok(bytes)) = (u8::try_from(sum.0), u16::try_from(sum.1)) {
            (recent.packets[at], recent.bytes[at]) = (packets, bytes);
            return;
        }
        (recent.packets[at], recent.bytes[at]) = (0, 0);
        self.carried[at].packets += sum.0;
        self.carried[at].bytes += sum.1;
    }

    /// Packets of `direction`, counting the segments of super-packets, and their bytes of IP packets on the wire.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> (u64, u64) {
        let at = direction as usize;
        let (recent, carried) = (self.recent, self.carried[at]);
        (carried.packets + u64::from(recent.packets[at]), carried.bytes + u64::from(recent.bytes[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::session::table::tests::session;

    #[test]
    fn nothing_is_lost_between_the_lines() {
        let mut session = session(1);
        let mut random = fastrand::Rng::with_seed(3);
        let mut sums = [(0, 0); 2];
        for _ in 0..10_000 {
            let direction = if random.bool() { Direction::ToService } else { Direction::ToConsumer };
            let packet = [(1, 64), (1, 1_400), (45, 65_535), (1_000, 105_000)][random.usize(..4)];
            session.count(direction, packet);
            let sum = &mut sums[direction as usize];
            *sum = (sum.0 + packet.0, sum.1 + packet.1);
            assert_eq!(session.carried(direction), *sum);
        }
        assert_eq!(session.carried(Direction::ToService), sums[0]);
    }

    #[test]
    fn small_packets_leave_the_second_line_alone() {
        let mut session = session(1);
        for _ in 0..255 {
            session.count(Direction::ToConsumer, (1, 64));
        }
        assert_eq!(session.carried, [Carried::default(); 2]);
        assert_eq!(session.carried(Direction::ToConsumer), (255, 255 * 64));
    }
}
