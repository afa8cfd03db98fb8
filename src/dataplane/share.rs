//! Fair share: no endpoint can take all that several endpoints share.
//!
//! A single Approved endpoint may use everything. Where there are several, a few places for each of the others are kept
//! for those that hold less than an equal part. So a new client of a quiet endpoint finds room, however many sessions a
//! busy endpoint opens. Only a few are kept, since kept places may stay unused; an endpoint's own limit
//! (`max_sessions`, `max_sessions_per_endpoint`) keeps more from it.

/// Places kept for each endpoint but one.
const KEPT_EACH: u32 = 32;

/// At most one place in so many is kept. Where that is less than one endpoint's places, none is.
const KEPT_OF: u32 = 64;

/// Room that several endpoints share: places in the session table, NAT ports towards one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FairShare {
    /// Places.
    pub capacity: u32,
    /// Approved endpoints that share them.
    pub contenders: u32,
}

impl FairShare {
    /// Whether an endpoint that holds `held` places gets another while all together hold `taken`.
    #[must_use]
    pub fn has_room(self, taken: u32, held: u32) -> bool {
        taken < self.capacity && self.is_fair(taken, held)
    }

    /// The same, where the caller checks the capacity itself.
    #[must_use]
    pub fn is_fair(self, taken: u32, held: u32) -> bool {
        let equal_part = || (self.capacity / self.contenders.max(1)).max(1);
        self.kept() == 0 || self.capacity.saturating_sub(taken) > self.kept() || held < equal_part()
    }

    /// Places kept for those below an equal part; 0 for a single endpoint.
    #[must_use]
    pub const fn kept(self) -> u32 {
        let (most, wanted) = (self.capacity / KEPT_OF, KEPT_EACH.saturating_mul(self.contenders.saturating_sub(1)));
        match most {
            ..KEPT_EACH => 0,
            _ if wanted < most => wanted,
            _ => most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that `greedy` endpoints of `contenders` get, one after the other, until none gets more.
    fn taken_by(greedy: u32, share: FairShare) -> Vec<u32> {
        let mut held = vec![0; greedy as usize];
        loop {
            let before = held.clone();
            for holder in 0..held.len() {
                if share.has_room(held.iter().sum(), held[holder]) {
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
        for capacity in [0, 1, 100, 5_000] {
            assert_eq!(taken_by(1, FairShare { capacity, contenders: 1 }), [capacity]);
        }
    }

    #[test]
    fn one_among_several_leaves_the_last_places_to_those_below_an_equal_part() {
        let share = FairShare { capacity: 9_600, contenders: 4 };
        assert_eq!(share.kept(), 3 * 32);
        assert_eq!(taken_by(1, share), [9_504]);
        assert_eq!(taken_by(3, share), [3_168; 3], "9,504 together");
        assert_eq!(taken_by(4, share), [2_400; 4], "and with nobody else to come, all of it");
        assert!(share.has_room(9_504, 0) && share.has_room(9_599, 2_399));
        assert!(!share.has_room(9_504, 2_400) && !share.has_room(9_600, 0));
        assert_eq!(FairShare { contenders: 100_000, ..share }.kept(), 150, "one in 64 at most");
    }

    #[test]
    fn a_small_room_keeps_nothing_and_more_sharers_than_places_may_hold_one_each() {
        assert_eq!(taken_by(1, FairShare { capacity: 2_047, contenders: 3 }), [2_047]);
        assert!(FairShare { capacity: 4_096, contenders: 100_000 }.has_room(4_095, 0));
        assert!(!FairShare { capacity: 4_096, contenders: 100_000 }.has_room(4_032, 1));
    }
}
