//! Fair share: what endpoints hold in common, none of them can take whole.
//!
//! Whoever is alone may use everything up to the last place. Where several endpoints are Approved, the last
//! sixteenth is kept for those that hold less than an equal part, so a new client of a quiet endpoint finds room
//! however many sessions a busy one opens. A limit of an endpoint's own (`max_sessions`) holds besides.

/// What part of a common room is kept for those below an equal part of it: one in so many.
const KEPT: u32 = 16;

/// Room that several endpoints share: places in the session table, NAT ports towards one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Places.
    pub capacity: u32,
    /// Approved endpoints that share them.
    pub sharers: u32,
}

impl Common {
    /// Whether one who holds `held` places gets another while `taken` are taken by all.
    #[must_use]
    pub fn has_room(self, taken: u32, held: u32) -> bool {
        taken < self.capacity && self.is_fair(taken, held)
    }

    /// The same where somebody else sees to the capacity itself.
    #[must_use]
    pub fn is_fair(self, taken: u32, held: u32) -> bool {
        let equal_part = || (self.capacity / self.sharers.max(1)).max(1);
        self.kept() == 0 || self.capacity.saturating_sub(taken) > self.kept() || held < equal_part()
    }

    /// Places kept for those below an equal part; 0 for who is alone.
    #[must_use]
    pub const fn kept(self) -> u32 {
        if self.sharers > 1 { self.capacity / KEPT } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that `greedy` endpoints of `sharers` get, one after the other, until none gets more.
    fn taken_by(greedy: u32, common: Common) -> Vec<u32> {
        let mut held = vec![0; greedy as usize];
        loop {
            let before = held.clone();
            for holder in 0..held.len() {
                if common.has_room(held.iter().sum(), held[holder]) {
                    held[holder] += 1;
                }
            }
            if held == before {
                return held;
            }
        }
    }

    #[test]
    fn who_is_alone_takes_all() {
        for capacity in [0, 1, 15, 16, 100] {
            assert_eq!(taken_by(1, Common { capacity, sharers: 1 }), [capacity]);
        }
    }

    #[test]
    fn one_among_several_leaves_a_sixteenth_to_those_below_an_equal_part() {
        let common = Common { capacity: 160, sharers: 4 };
        assert_eq!(taken_by(1, common), [150]);
        assert_eq!(taken_by(3, common), [50, 50, 50], "150 together");
        assert_eq!(taken_by(4, common), [40; 4], "and with nobody else to come, all of it");
        assert!(common.has_room(150, 0) && common.has_room(159, 39));
        assert!(!common.has_room(150, 40) && !common.has_room(160, 0));
    }

    #[test]
    fn a_room_for_few_keeps_nothing_and_more_sharers_than_places_may_hold_one_each() {
        assert_eq!(taken_by(1, Common { capacity: 15, sharers: 3 }), [15]);
        assert!(Common { capacity: 32, sharers: 100_000 }.has_room(31, 0));
        assert!(!Common { capacity: 32, sharers: 100_000 }.has_room(30, 1));
    }
}
