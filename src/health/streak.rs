//! A server counts as healthy until it fails `fall` times in a row, and as down until it succeeds `rise` times in a
//! row.

use crate::model::HealthCheck;

/// A server's state, and the number of contrary results in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streak {
    down: bool,
    against: u16,
}

impl Streak {
    pub(super) const fn is_down(self) -> bool {
        self.down
    }

    /// Adds one result. Returns whether the state has changed.
    pub(super) const fn note(&mut self, well: bool, check: &HealthCheck) -> bool {
        if well != self.down {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let enough = if self.down { check.rise } else { check.fall };
        if self.against < enough {
            return false;
        }
        *self = Self { down: !self.down, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_failures_in_a_row_bring_a_server_down_and_only_successes_in_a_row_up() {
        let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
        let check = HealthCheck { port: 80, interval, timeout, fall: 3, rise: 2, path: None };
        let mut streak = Streak::default();
        let seen: Vec<bool> = "xx.xxx..x.x.."
            .chars()
            .map(|result| {
                streak.note(result == '.', &check);
                streak.is_down()
            })
            .collect();
        let wanted: Vec<bool> = "-----##------".chars().map(|state| state == '#').collect();
        assert_eq!(seen, wanted);
    }
}
