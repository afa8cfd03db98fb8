//! The windows that both ends of a TCP connection announce (RFC 9293 §3.8.6, RFC 7323 §2), in the little room that a
//! session has for them: the largest window of each end as a power of two, and its scale.

use super::Direction;

/// Bits of the power.
const POWER: u32 = 5;

/// Bits that one direction takes: the power, then the scale.
const EACH: u32 = POWER + 4;

/// No scale is larger (RFC 7323 §2.3).
const MOST_SCALE: u8 = 14;

/// Largest windows and scales of both ends. A direction names the end that sends in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows(u32);

impl Windows {
    /// The largest window that the sender of `direction` has announced, rounded up to a power of two.
    #[inline]
    #[must_use]
    pub const fn largest(self, direction: Direction) -> u32 {
        1 << (self.0 >> shift(direction) & ((1 << POWER) - 1))
    }

    /// By how many bits the windows of `direction` are shifted.
    #[inline]
    #[must_use]
    pub const fn scale(self, direction: Direction) -> u32 {
        self.0 >> (shift(direction) + POWER) & ((1 << (EACH - POWER)) - 1)
    }

    /// Notes a window that the sender of `direction` announces, already scaled.
    #[inline]
    pub const fn announce(&mut self, direction: Direction, window: u32) {
        if window > self.largest(direction) {
            let (power, at) = (window.next_power_of_two().trailing_zeros(), shift(direction));
            self.0 = self.0 & !(((1 << POWER) - 1) << at) | power << at;
        }
    }

    /// Notes how the later windows of `direction` are shifted.
    pub const fn set_scale(&mut self, direction: Direction, scale: u8) {
        let scale = if scale > MOST_SCALE { MOST_SCALE } else { scale } as u32;
        let at = shift(direction) + POWER;
        self.0 = self.0 & !(((1 << (EACH - POWER)) - 1) << at) | scale << at;
    }
}

#[inline]
const fn shift(direction: Direction) -> u32 {
    direction as u32 * EACH
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{ToConsumer, ToService};

    #[test]
    fn each_direction_keeps_its_largest_window_and_its_scale() {
        let mut windows = Windows::default();
        assert_eq!((windows.largest(ToService), windows.scale(ToService)), (1, 0));
        for (window, kept) in
            [(0, 1), (1, 1), (65_535, 65_536), (65_536, 65_536), (300, 65_536), (65_535 << 14, 1 << 30)]
        {
            windows.announce(ToService, window);
            assert_eq!(windows.largest(ToService), kept, "{window}");
        }
        windows.set_scale(ToConsumer, 7);
        windows.announce(ToConsumer, 500);
        windows.set_scale(ToService, 200);
        assert_eq!((windows.scale(ToService), windows.largest(ToService)), (14, 1 << 30));
        assert_eq!((windows.scale(ToConsumer), windows.largest(ToConsumer)), (7, 512));
    }
}
