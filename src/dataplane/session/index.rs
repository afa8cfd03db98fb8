//! The index of a session table: where a hash may be found.
//!
//! A bucket holds eight 16-bit tags and the slots they stand for, in one line, so a lookup reads one
//! line of index and the session itself. An entry that finds its home bucket full goes to the next
//! one with room; every bucket it passed counts it, and a search stops at the first bucket that
//! nothing has passed. So a miss reads one line too, and removal needs no tombstones.
//!
//! No search reads more than `REACH` buckets: an entry that would have to go farther is refused, and counted.

use super::arena::{advise_huge_pages, prefetch};
use super::{Direction, Slot};
use crate::dataplane::counters::Probes;

/// Entries per bucket.
const WIDTH: usize = 8;

/// Buckets that a search reads at most. In a full table a run of full buckets is longer by one with a probability of
/// e^-0.3 (six entries a bucket with room for eight): of four million buckets not one begins a run as long as this.
const REACH: usize = 128;

/// Sessions per bucket of a full table: their two entries each take at most 6 of its 8 places.
const SESSIONS_PER_BUCKET: u32 = 3;

/// One cache line of the index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// High bits of the hash, never 0; 0 marks a free place. Four to a word, the first lowest.
    tags: [u64; WIDTH / LANES],
    /// What each place stands for.
    entries: [Candidate; WIDTH],
    /// Entries that wanted this bucket or an earlier one and live in a later one.
    passed: u32,
}

/// Tags in one word.
const LANES: usize = 4;

/// The highest bit of every lane, the others, and the lowest.
const HIGH: u64 = 0x8000_8000_8000_8000;
const REST: u64 = !HIGH;
const LOW: u64 = 0x0001_0001_0001_0001;

impl Bucket {
    /// The places whose tag is `tag`: eight compared at once, without a branch to mispredict.
    #[inline]
    fn places(&self, tag: u16) -> Places {
        let wanted = LOW * u64::from(tag);
        // A lane of `other` is 0 where the tag is the wanted one; no carry leaves its lane.
        Places(self.tags.map(|tags| {
            let other = tags ^ wanted;
            !(((other & REST) + REST) | other) & HIGH
        }))
    }

    fn set_tag(&mut self, place: usize, tag: u16) {
        let shift = place % LANES * 16;
        let word = &mut self.tags[place / LANES];
        *word = *word & !(0xFFFF << shift) | u64::from(tag) << shift;
    }
}

/// Places of a bucket, as the highest bits of their lanes.
struct Places([u64; WIDTH / LANES]);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        for (word, lanes) in self.0.iter_mut().enumerate() {
            if *lanes != 0 {
                let place = word * LANES + lanes.trailing_zeros() as usize / 16;
                *lanes &= *lanes - 1;
                return Some(place);
            }
        }
        None
    }
}

const EMPTY: Bucket = Bucket { tags: [0; WIDTH / LANES], entries: [Candidate::NONE; WIDTH], passed: 0 };

/// What a key hashes to in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub(super) u64);

impl Hash {
    /// Of no key.
    pub const NONE: Self = Self(0);
}

/// What a place of the index stands for: a session and one of its directions, as `slot * 2 + direction`; or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(u32);

impl Candidate {
    /// No session.
    pub const NONE: Self = Self(u32::MAX);

    /// Of a session and one of its directions.
    #[inline]
    pub(super) const fn of(slot: Slot, direction: Direction) -> Self {
        Self(slot.0 << 1 | direction as u32)
    }

    /// The session.
    #[inline]
    pub(super) const fn slot(self) -> Slot {
        Slot(self.0 >> 1)
    }

    /// Its direction.
    #[inline]
    pub(super) const fn direction(self) -> Direction {
        if self.0 & 1 == Direction::ToService as u32 { Direction::ToService } else { Direction::ToConsumer }
    }
}

/// Places of the entries of all sessions.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
    probes: Probes,
}

impl Index {
    /// Room for two entries of each of `sessions`.
    pub(super) fn new(sessions: u32) -> Self {
        let count = sessions.div_ceil(SESSIONS_PER_BUCKET).next_power_of_two().max(2) as usize;
        let mut buckets = Vec::with_capacity(count);
        // Before the first touch: pages that are there already are not replaced at once.
        advise_huge_pages(buckets.as_ptr(), count);
        buckets.resize(count, EMPTY);
        Self { buckets: buckets.into_boxed_slice(), probes: Probes::default() }
    }

    /// How far its entries lie from home.
    pub(super) const fn probes(&self) -> Probes {
        self.probes
    }

    /// Asks for the line that a search for `hash` reads first.
    #[inline]
    pub(super) fn prefetch(&self, hash: Hash) {
        prefetch(&self.buckets[self.home(hash).1], 1);
    }

    /// What a search for `hash` finds first; most likely what it looks for.
    #[inline]
    pub(super) fn first(&self, hash: Hash) -> Candidate {
        let (tag, home) = self.home(hash);
        let bucket = &self.buckets[home];
        let place = bucket.places(tag).next();
        place.and_then(|place| bucket.entries.get(place).copied()).unwrap_or(Candidate::NONE)
    }

    /// The entry under `hash` that is the wanted one.
    #[inline]
    pub(super) fn find(&self, hash: Hash, is_wanted: impl Fn(Candidate) -> bool) -> Option<Candidate> {
        self.locate(hash, is_wanted).map(|(at, place)| self.buckets[at].entries[place % WIDTH])
    }

    #[inline]
    fn locate(&self, hash: Hash, is_wanted: impl Fn(Candidate) -> bool) -> Option<(usize, usize)> {
        let (tag, mut at) = self.home(hash);
        for _ in 0..REACH {
            let bucket = &self.buckets[at];
            if let Some(place) = bucket.places(tag).find(|&place| is_wanted(bucket.entries[place % WIDTH])) {
                return Some((at, place));
            }
            if bucket.passed == 0 {
                return None;
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
        None
    }

    /// Enters `entry` under `hash`. Returns whether there was room within reach; if not, nothing has changed.
    #[must_use]
    pub(super) fn insert(&mut self, hash: Hash, entry: Candidate) -> bool {
        let (tag, home) = self.home(hash);
        let last = self.buckets.len() - 1;
        let free = (0..REACH).find_map(|step| Some((step, self.buckets[(home + step) & last].places(0).next()?)));
        let Some((steps, place)) = free else {
            self.probes.refused += 1;
            return false;
        };
        (0..steps).for_each(|step| self.buckets[(home + step) & last].passed += 1);
        let bucket = &mut self.buckets[(home + steps) & last];
        bucket.set_tag(place, tag);
        bucket.entries[place] = entry;
        self.probes.longest = self.probes.longest.max(steps as u64 + 1);
        true
    }

    /// Takes `entry` out from under `hash`.
    pub(super) fn remove(&mut self, hash: Hash, entry: Candidate) {
        let Some((end, place)) = self.locate(hash, |found| found == entry) else { return };
        self.buckets[end].set_tag(place, 0);
        // Only now that it is found is the way there uncounted.
        let mut at = self.home(hash).1;
        while at != end {
            self.buckets[at].passed -= 1;
            at = (at + 1) & (self.buckets.len() - 1);
        }
    }

    /// Tag and home bucket of a hash.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a tag is 16 of the hash's bits")]
    fn home(&self, hash: Hash) -> (u16, usize) {
        ((hash.0 >> 48) as u16 | 1, hash.0 as usize & (self.buckets.len() - 1))
    }

    /// Whether nothing is in it, and nothing is left of what was.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.passed == 0 && bucket.tags == EMPTY.tags)
    }

    /// Buckets passed on the way to all entries.
    #[cfg(test)]
    pub(super) fn passed(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.passed)).sum()
    }

    /// As if something had passed every bucket.
    #[cfg(test)]
    pub(super) fn pass_everywhere(&mut self) {
        self.buckets.iter_mut().for_each(|bucket| bucket.passed += 1);
    }
}
