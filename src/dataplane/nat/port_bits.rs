//! The ports of a range that were never used: one bit each, and one bit for each word of those that has any, so that
//! the last few of 64,512 are found as fast as the first.

/// A set of offsets below a size.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[u64]>,
    /// The words that are not 0.
    any: Box<[u64]>,
}

impl Bits {
    /// Every offset below `size` but those `used`.
    pub(super) fn but(used: &[u16], size: u32) -> Self {
        let mut words = ones(size as usize);
        let mut any = ones(words.len());
        for offset in used.iter().map(|offset| usize::from(*offset)) {
            clear(&mut words, &mut any, offset);
        }
        Self { words, any }
    }

    /// Takes an offset back.
    pub(super) fn put(&mut self, offset: u16) {
        let word = usize::from(offset) / 64;
        self.words[word] |= 1 << (offset % 64);
        self.any[word / 64] |= 1 << (word % 64);
    }

    /// Takes the first offset at or after a random one, after the last the first.
    pub(super) fn take(&mut self, random: &mut fastrand::Rng) -> Option<u16> {
        let start = random.usize(..self.words.len() * 64);
        let (mut word, mut left) = (start / 64, self.words[start / 64] & (u64::MAX << (start % 64)));
        if left == 0 {
            word = first_from(&self.any, word + 1).or_else(|| first_from(&self.any, 0))?;
            left = self.words[word];
        }
        let offset = word * 64 + left.trailing_zeros() as usize;
        clear(&mut self.words, &mut self.any, offset);
        u16::try_from(offset).ok()
    }
}

/// `count` ones.
fn ones(count: usize) -> Box<[u64]> {
    let mut words = vec![u64::MAX; count.div_ceil(64)].into_boxed_slice();
    if let Some(last) = words.last_mut() {
        *last >>= count.next_multiple_of(64) - count;
    }
    words
}

fn clear(words: &mut [u64], any: &mut [u64], offset: usize) {
    let word = offset / 64;
    words[word] &= !(1 << (offset % 64));
    if words[word] == 0 {
        any[word / 64] &= !(1 << (word % 64));
    }
}

/// The first one at `from` or after.
fn first_from(words: &[u64], from: usize) -> Option<usize> {
    let rest = words.get(from / 64..)?;
    let mask = u64::MAX << (from % 64);
    let mut masked = rest.iter().enumerate().map(|(step, word)| (step, if step == 0 { word & mask } else { *word }));
    let (step, word) = masked.find(|(_, word)| *word != 0)?;
    Some((from / 64 + step) * 64 + word.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_offset_is_taken_once_the_first_after_a_random_one() {
        for size in [1, 63, 64, 65, 4_096, 4_097, 64_512] {
            let used = [0, 62, 64, 4_000].map(|offset: u16| offset.min(u16::try_from(size - 1).expect("a port")));
            let mut bits = Bits::but(&used, size);
            let mut left: BTreeSet<u16> = (0..size).map(|offset| offset as u16).filter(|o| !used.contains(o)).collect();
            let mut random = fastrand::Rng::with_seed(5);
            let mut foreseen = random.clone();
            while !left.is_empty() {
                let start = foreseen.usize(..bits.words.len() * 64);
                let behind = u16::try_from(start).ok().and_then(|start| left.range(start..).next());
                let expected = behind.or(left.first()).copied();
                assert_eq!(bits.take(&mut random), expected, "from {start} of {size}");
                left.remove(&expected.expect("one is left"));
            }
            assert_eq!(bits.take(&mut random), None, "of {size}");
            bits.put(used[3]);
            assert_eq!((bits.take(&mut random), bits.take(&mut random)), (Some(used[3]), None));
        }
    }
}
