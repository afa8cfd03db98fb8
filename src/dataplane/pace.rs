//! How fast a worker resets the sessions that a change of the rules has ended.
//!
//! A reset costs the host as much as any packet: a million at once would leave nothing of it to those that are still
//! allowed, and a tenth of a second's worth at once makes their packets wait so long that cores idle meanwhile. So a
//! token bucket that is refilled every millisecond holds the right to reset.

use std::time::Duration;

use crate::dataplane::session::Tick;

/// Sessions a worker resets in a millisecond, unless its table is so full that [`ALL_WITHIN`] needs more.
const EACH_MILLISECOND: usize = 52;

/// Milliseconds within which every session of a full table is reset: the last is to know within ten seconds.
const ALL_WITHIN: usize = 9_500;

/// Milliseconds of which the resets may be sent at once: those of a small endpoint need not wait.
const AT_ONCE: u64 = 100;

/// Time in milliseconds since the daemon's start, from a clock that never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// So long after the start.
    #[must_use]
    pub fn after(start: Duration) -> Self {
        Self(u64::try_from(start.as_millis()).unwrap_or(u64::MAX))
    }

    /// Time since the start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The tick that it is part of; the last one from 13 years on.
    #[must_use]
    pub fn tick(self) -> Tick {
        Tick(u32::try_from(self.0 / Tick::MILLISECONDS).unwrap_or(u32::MAX))
    }
}

/// The beginning of a tick.
impl From<Tick> for Moment {
    fn from(tick: Tick) -> Self {
        Self(u64::from(tick.0) * Tick::MILLISECONDS)
    }
}

/// Sessions that may be reset now.
#[derive(Debug, Default)]
pub struct Pace {
    left: usize,
    earned: Moment,
}

impl Pace {
    /// Adds what the time since the last call has earned a worker that holds so many `sessions`.
    pub fn earn(&mut self, now: Moment, sessions: usize) {
        let each = EACH_MILLISECOND.max(sessions.div_ceil(ALL_WITHIN));
        let passed = now.0.saturating_sub(self.earned.0).min(AT_ONCE);
        // No more than 100 milliseconds, which any `usize` holds.
        #[allow(clippy::cast_possible_truncation, reason = "at most AT_ONCE")]
        let (passed, most) = (passed as usize, AT_ONCE as usize);
        self.left = (self.left + passed * each).min(most * each);
        self.earned = now;
    }

    /// Takes one, or what there is: who must be reset at once is.
    pub fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// How many are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset_all(pace: &mut Pace) -> usize {
        let all = pace.left();
        (0..all).for_each(|_| pace.spend());
        all
    }

    #[test]
    fn resets_are_earned_evenly_and_not_saved_up() {
        let mut pace = Pace::default();
        pace.earn(Moment(50_000), 1_000);
        assert_eq!(reset_all(&mut pace), 5_200, "what a tenth of a second earns, whatever passed before");
        pace.spend();
        assert_eq!(pace.left(), 0, "no debt");
        let mut each = |millisecond, held| {
            pace.earn(Moment(millisecond), held);
            reset_all(&mut pace)
        };
        assert_eq!(each(50_000, 1_000), 0);
        assert_eq!(each(50_001, 1_000), 52);
        assert_eq!(each(50_004, 1_000), 156, "a worker that comes late makes up for it");
        assert_eq!(each(49_000, 1_000), 0, "no time that went backwards earns anything");
        let mut full = Pace::default();
        let told: usize = (1..=9_600)
            .map(Moment)
            .map(|now| {
                full.earn(now, 4_000_000);
                reset_all(&mut full)
            })
            .sum();
        assert!(told >= 4_000_000, "a fuller table in the same time: {told}");
    }

    #[test]
    fn a_moment_is_part_of_its_tick() {
        assert_eq!(Moment::after(Duration::from_micros(1_234_999)), Moment(1_234));
        assert_eq!((Moment(1_299).tick(), Moment(1_300).tick()), (Tick(12), Tick(13)));
        assert_eq!(Moment::from(Tick(13)), Moment(1_300));
    }
}
