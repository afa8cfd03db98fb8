//! What decides whether a packet of a session fits: the families of its two sides, and the path MTU towards its
//! consumer. An ICMP error that tells of a smaller path MTU is not passed on to the service: it would apply it to the
//! NAT address, and so to every consumer behind that. Only this session is narrow for a while, and what is sent to its
//! consumer is cut.

use super::rare::Narrow;
use super::{Pair, Slot, Table, Tick};

/// For how long an error is believed (RFC 1191 §6.3, RFC 8201 §4).
const LASTS: u32 = 10 * 60 * Tick::PER_SECOND;

/// The families of a session's two sides, and whether the path to its consumer is narrow: one byte, which a hit reads
/// anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    /// Two IPv4 sides; the MTU of the devices decides what fits.
    pub const V4: Self = Self(0);
    /// Two IPv6 sides, the same.
    pub const V6: Self = Self(1);
    /// One side of each family, the same.
    pub const MIXED: Self = Self(2);

    /// Set while the path to the consumer carries less than the devices; see [`Table::path_mtu`].
    const NARROW: u8 = 1 << 2;

    /// The families of both sides.
    #[inline]
    #[must_use]
    pub const fn pair(self) -> Pair {
        if self.0 & Self::MIXED.0 != 0 {
            Pair::Mixed
        } else if self.0 & Self::V6.0 != 0 {
            Pair::V6
        } else {
            Pair::V4
        }
    }

    const fn is_narrow(self) -> bool {
        self.0 & Self::NARROW != 0
    }

    const fn set_narrow(&mut self, narrow: bool) {
        self.0 = self.0 & !Self::NARROW | if narrow { Self::NARROW } else { 0 };
    }
}

impl From<Pair> for Families {
    fn from(pair: Pair) -> Self {
        match pair {
            Pair::V4 => Self::V4,
            Pair::V6 => Self::V6,
            Pair::Mixed => Self::MIXED,
        }
    }
}

impl Table {
    /// Notes that the path to the consumer of the session at `slot` carries `mtu` bytes. No error makes it wider; time
    /// does.
    pub fn narrow(&mut self, slot: Slot, mtu: u16, now: Tick) {
        if self.path_mtu(slot, now).is_some_and(|known| known < mtu) {
            return;
        }
        let Some(rare) = self.rare_mut(slot) else { return };
        rare.narrow = Some(Narrow { mtu, since: now });
        if let Some(session) = self.get_mut(slot) {
            session.families.set_narrow(true);
        }
    }

    /// The path MTU towards the consumer, where an error told of one that is smaller than the devices'.
    pub fn path_mtu(&mut self, slot: Slot, now: Tick) -> Option<u16> {
        self.get(slot).filter(|session| session.families.is_narrow())?;
        let rare = self.rare_mut(slot)?;
        let told = rare.narrow.filter(|narrow| now.since(narrow.since) < LASTS);
        rare.narrow = told;
        if told.is_none() {
            self.get_mut(slot)?.families.set_narrow(false);
        }
        told.map(|narrow| narrow.mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{addresses, session};
    use super::*;

    #[test]
    fn a_way_is_narrow_for_ten_minutes_and_no_error_widens_it() {
        let mut table = Table::new(10, [1, 2]);
        for number in 0..4 {
            let slot = table.insert(&addresses(number), session(number)).expect("room");
            let plain = table.get(slot).expect("there").families;
            assert_eq!(plain, Families::from(addresses(number).pair()));
            assert_eq!(table.path_mtu(slot, Tick(5)), None);
            table.narrow(slot, 1_400, Tick(5));
            table.narrow(slot, 1_300, Tick(100));
            table.narrow(slot, 1_350, Tick(200));
            assert_eq!(table.path_mtu(slot, Tick(6_099)), Some(1_300));
            let narrow = table.get(slot).expect("there").families;
            assert!(narrow != plain && narrow.pair() == plain.pair());
            assert_eq!(table.path_mtu(slot, Tick(6_100)), None);
            assert_eq!(table.get(slot).expect("there").families, plain, "a hit is one again");
            table.narrow(slot, 1_350, Tick(6_100));
            assert_eq!(table.path_mtu(slot, Tick(6_100)), Some(1_350), "what is forgotten limits nothing");
        }
        assert_eq!(Families::MIXED.pair(), Pair::Mixed);
    }
}
