//! What a session has carried. Lately in its first cache line, all before that in its second: so that most packets of
//! UDP and ICMP touch, and dirty, the first only.

use super::{Direction, Session};

/// What has passed in either direction since it was last added to the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Recent {
    bytes: [u16; 2],
    packets: [u8; 2],
}

/// What has passed in one direction before: packets in the upper 40 bits, bytes in the lower 56. A session that carries
/// more stays at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::dataplane) struct Carried([u32; 3]);

impl Carried {
    const BYTES: u32 = 56;
    const MOST: (u64, u64) = ((1 << 40) - 1, (1 << Self::BYTES) - 1);

    #[allow(clippy::cast_possible_truncation, reason = "each word is a part of the 96 bits")]
    fn of((packets, bytes): (u64, u64)) -> Self {
        let (packets, bytes) = (packets.min(Self::MOST.0), bytes.min(Self::MOST.1));
        let all = u128::from(packets) << Self::BYTES | u128::from(bytes);
        Self([all as u32, (all >> 32) as u32, (all >> 64) as u32])
    }

    #[allow(clippy::cast_possible_truncation, reason = "each part is a part of the 96 bits")]
    fn sums(self) -> (u64, u64) {
        let [low, middle, high] = self.0.map(u128::from);
        let all = high << 64 | middle << 32 | low;
        ((all >> Self::BYTES) as u64, all as u64 & Self::MOST.1)
    }
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
        let before = self.carried[at].sums();
        self.carried[at] = Carried::of((before.0 + sum.0, before.1 + sum.1));
    }

    /// Packets of `direction`, counting the segments of super-packets, and their bytes of IP packets on the wire.
    #[must_use]
    pub fn carried(&self, direction: Direction) -> (u64, u64) {
        let at = direction as usize;
        let (recent, before) = (self.recent, self.carried[at].sums());
        (before.0 + u64::from(recent.packets[at]), before.1 + u64::from(recent.bytes[at]))
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
    fn totals_have_room_for_40_bits_of_packets_and_56_of_bytes() {
        for sums in [(0, 0), (1, 2), (1 << 39, 1 << 55), Carried::MOST, (0, Carried::MOST.1), (Carried::MOST.0, 0)] {
            assert_eq!(Carried::of(sums).sums(), sums);
        }
        assert_eq!(Carried::of((1 << 40, 1 << 56)).sums(), Carried::MOST, "no total begins again");
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
